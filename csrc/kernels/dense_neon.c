/* dense_neon.c - the classifier with NEON: its int8 input, and the products of four outputs at a time, which share the
 * input's loads: SMULL and SMLAL2 add two products in int16 (2 * 127 * 127 = 32,258 fits), SADALP adds pairs of these to
 * int32. SMULL, SMLAL, SADALP: A53 6 cycles, 1 a cycle; A55 4, 1; A72 5, 5 and 4, 1 (llvm 14's models).
 */
#if defined(__aarch64__)
#include <arm_neon.h>

#include "declare.h"

#define INLINE static inline __attribute__((always_inline))

INLINE void products(const int8_t *weights, const int8_t *q, int32_t inputs, const int32_t outputs, int32_t *sums)
{
    int32x4_t totals[4];
    int32_t i = 0;
    for (int32_t o = 0; o < outputs; ++o) {
        totals[o] = vdupq_n_s32(0);
    }
    for (; i + 16 <= inputs; i += 16) {
        int8x16_t x = vld1q_s8(q + i);
        for (int32_t o = 0; o < outputs; ++o) {
            int8x16_t w = vld1q_s8(weights + o * inputs + i);
            int16x8_t pair = vmlal_high_s8(vmull_s8(vget_low_s8(w), vget_low_s8(x)), w, x);
            totals[o] = vpadalq_s16(totals[o], pair);
        }
    }
    for (int32_t o = 0; o < outputs; ++o) {
        sums[o] = vaddvq_s32(totals[o]);
        for (int32_t rest = i; rest < inputs; ++rest) {
            sums[o] += weights[o * inputs + rest] * q[rest];
        }
    }
}

void kws_dense_neon(const int8_t *weights, const int8_t *q, int32_t inputs, int32_t outputs, int32_t *sums)
{
    int32_t o = 0;
    for (; o + 4 <= outputs; o += 4) {
        products(weights + o * inputs, q, inputs, 4, sums + o);
    }
    for (; o < outputs; ++o) {
        products(weights + o * inputs, q, inputs, 1, sums + o);
    }
}

/* FCVTNS rounds to nearest, ties to even, as the specification does; the values are within +-127 by then. */
INLINE int32x4_t rounded(const float *x, float32x4_t inverse_scale)
{
    float32x4_t scaled = vmulq_f32(vld1q_f32(x), inverse_scale), most = vdupq_n_f32(127.0f);
    return vcvtnq_s32_f32(vminq_f32(most, vmaxq_f32(vnegq_f32(most), scaled)));
}

void kws_to_int8_neon(const float *x, int32_t count, float inverse_scale, int8_t *q)
{
    const float32x4_t inverse = vdupq_n_f32(inverse_scale);
    int32_t i = 0;
    for (; i + 16 <= count; i += 16) {
        int16x8_t low = vcombine_s16(vmovn_s32(rounded(x + i, inverse)), vmovn_s32(rounded(x + i + 4, inverse)));
        int16x8_t high = vcombine_s16(vmovn_s32(rounded(x + i + 8, inverse)), vmovn_s32(rounded(x + i + 12, inverse)));
        vst1q_s8(q + i, vcombine_s8(vmovn_s16(low), vmovn_s16(high)));
    }
    kws_to_int8_scalar(x + i, count - i, inverse_scale, q + i);
}
#endif
