/* conv_neon.c - the first convolution with NEON: 4 pixels x 16 outputs in 8 registers of int16.
 *
 *     for each tap: the weights of 16 outputs (2 registers, shared by the pixels)
 *         for each pixel: sums += weights * x          MLA by element, twice
 *
 * For the kernel of the family, 5 wide and 2 apart, the 11 pixels that a kernel row sees sit in two registers, whose lanes
 * MLA takes for nothing; others load and broadcast (LD1R) each. MLA 8h: A53 6 cycles, 1 a cycle; A55 4, 2 a
 * cycle; A72 6, 1 in 2 cycles (llvm 14's models).
 * int16 holds every sum (kernels.h).
 */
#if defined(__aarch64__)
#include <arm_neon.h>

#include "declare.h"

#define INLINE static inline __attribute__((always_inline))

INLINE void clear(int16x8_t sums[4][2])
{
    for (int32_t p = 0; p < 4; ++p) {
        sums[p][0] = sums[p][1] = vdupq_n_s16(0);
    }
}

INLINE void store(int16x8_t sums[4][2], const int32_t pixels, int32_t padded, int16_t *at)
{
    for (int32_t p = 0; p < pixels; ++p) {
        vst1q_s16(at + p * padded, sums[p][0]);
        vst1q_s16(at + p * padded + 8, sums[p][1]);
    }
}

INLINE void tile(const kws_conv_args *args, const int16_t *patch, const int16_t *w, const int32_t pixels, int16_t *at)
{
    int16x8_t sums[4][2];
    int32_t padded = kws_padded_outputs(args->outputs);
    clear(sums);
    for (int32_t i = 0; i < args->kernel; ++i) {
        for (int32_t j = 0; j < args->kernel; ++j, w += padded) {
            int16x8_t low = vld1q_s16(w), high = vld1q_s16(w + 8);
            for (int32_t p = 0; p < pixels; ++p) {
                int16x8_t x = vld1q_dup_s16(patch + i * args->width + p * args->stride + j);
                sums[p][0] = vmlaq_s16(sums[p][0], low, x);
                sums[p][1] = vmlaq_s16(sums[p][1], high, x);
            }
        }
    }
    store(sums, pixels, padded, at);
}

/* One pixel of one tap: element `lane` of x. */
#define MLA(p, x, lane)                                                                                                \
    do {                                                                                                               \
        sums[p][0] = vmlaq_laneq_s16(sums[p][0], low, x, lane);                                                        \
        sums[p][1] = vmlaq_laneq_s16(sums[p][1], high, x, lane);                                                       \
    } while (0)

/* One tap of four pixels, which are two elements apart: those beyond the first register are in the second. */
#define TAP(x0, lane0, x1, lane1, x2, lane2, x3, lane3)                                                                \
    do {                                                                                                               \
        int16x8_t low = vld1q_s16(w), high = vld1q_s16(w + 8);                                                         \
        w += padded;                                                                                                   \
        MLA(0, x0, lane0);                                                                                             \
        MLA(1, x1, lane1);                                                                                             \
        MLA(2, x2, lane2);                                                                                             \
        MLA(3, x3, lane3);                                                                                             \
    } while (0)

/* The same for a kernel 5 wide and 2 apart. */
INLINE void tile_5_2(const kws_conv_args *args, const int16_t *patch, const int16_t *w, int16_t *at)
{
    int16x8_t sums[4][2];
    int32_t padded = kws_padded_outputs(args->outputs);
    clear(sums);
    for (int32_t i = 0; i < 5; ++i, patch += args->width) {
        int16x8_t x = vld1q_s16(patch), y = vld1q_s16(patch + 3); /* elements 0 to 7 and 3 to 10 */
        TAP(x, 0, x, 2, x, 4, x, 6);
        TAP(x, 1, x, 3, x, 5, x, 7);
        TAP(x, 2, x, 4, x, 6, y, 5);
        TAP(x, 3, x, 5, x, 7, y, 6);
        TAP(x, 4, x, 6, y, 5, y, 7);
    }
    store(sums, 4, padded, at);
}

void kws_conv_neon(const kws_conv_args *args, const int16_t *image, int16_t *sums)
{
    int32_t padded = kws_padded_outputs(args->outputs), of_family = args->kernel == 5 && args->stride == 2;
    for (int32_t row = 0; row < args->out_height; ++row) {
        const int16_t *patch = image + row * args->width * args->stride;
        int32_t column = 0;
        for (; column + 4 <= args->out_width; column += 4, patch += 4 * args->stride, sums += 4 * padded) {
            for (int32_t block = 0; block < padded; block += KWS_OUTPUT_BLOCK) {
                if (of_family) {
                    tile_5_2(args, patch, args->weights + block, sums + block);
                } else {
                    tile(args, patch, args->weights + block, 4, sums + block);
                }
            }
        }
        for (; column < args->out_width; ++column, patch += args->stride, sums += padded) {
            for (int32_t block = 0; block < padded; block += KWS_OUTPUT_BLOCK) {
                tile(args, patch, args->weights + block, 1, sums + block);
            }
        }
    }
}
#endif
