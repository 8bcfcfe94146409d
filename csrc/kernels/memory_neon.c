/* memory_neon.c - one step of a memory with NEON: MLA 16b multiplies 16 activations by weights of +1 and -1 and adds them
 * to what the channel's other taps gave (llvm 14's models: A53 6 cycles, 1 a cycle; A55 4, 1; A72 6, 1 in
 * 2 cycles; two registers hide it in part).
 *
 * Overflow: |q| <= 3, so a byte holds the sum of KWS_MOST_TAPS = 31 taps, 93; only then are the sums widened.
 */
#if defined(__aarch64__)
#include <arm_neon.h>

#include "declare.h"

void kws_memory_neon(const int8_t *weights, const int8_t *q, int32_t taps, int32_t channels, int16_t *sums)
{
    int32_t c = 0;
    for (; c + 32 <= channels; c += 32) {
        int8x16_t low = vdupq_n_s8(0), high = low;
        for (int32_t j = 0; j < taps; ++j) {
            const int8_t *w = weights + j * channels + c, *column = q + j * channels + c;
            low = vmlaq_s8(low, vld1q_s8(w), vld1q_s8(column));
            high = vmlaq_s8(high, vld1q_s8(w + 16), vld1q_s8(column + 16));
        }
        vst1q_s16(sums + c, vmovl_s8(vget_low_s8(low)));
        vst1q_s16(sums + c + 8, vmovl_high_s8(low));
        vst1q_s16(sums + c + 16, vmovl_s8(vget_low_s8(high)));
        vst1q_s16(sums + c + 24, vmovl_high_s8(high));
    }
    for (; c < channels; ++c) {
        sums[c] = 0;
        for (int32_t j = 0; j < taps; ++j) {
            sums[c] = (int16_t)(sums[c] + weights[j * channels + c] * q[j * channels + c]);
        }
    }
}
#endif
