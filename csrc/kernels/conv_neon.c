/* conv_neon.c - the first convolution with NEON: 4 pixels x 16 outputs in 16 registers. FMLA by a broadcast pixel is
 * safe in the sums, whose integers are exact either way; the epilogue multiplies and adds apart, as every instruction
 * set does. FMLA 4s: Cortex-A53 8 cycles latency, 1 a cycle (accumulator forwarding 4); A72 7 cycles, 1.5 a cycle. */
#if defined(__aarch64__)
#include <arm_neon.h>
#include <string.h>

#include "declare.h"

#include "conv_tiles.h"

/* prelu(a * sum + b) of 4 outputs. */
static inline float32x4_t epilogue(const kws_epilogue *e, int32_t at, float32x4_t sum)
{
    float32x4_t value = vaddq_f32(vmulq_f32(vld1q_f32(e->a + at), sum), vld1q_f32(e->b + at));
    float32x4_t bent = vmulq_f32(vld1q_f32(e->slope + at), value);
    return vbslq_f32(vcgezq_f32(value), value, bent);
}

static inline __attribute__((always_inline)) void tile(const kws_conv_args *args, const float *patch, int32_t block,
                                                       const int32_t columns, float *y)
{
    float32x4_t sums[4][4];
    int32_t padded = kws_padded_outputs(args->outputs), count = outputs_in_block(args, block);
    for (int32_t c = 0; c < columns; ++c) {
        for (int32_t v = 0; v < 4; ++v) {
            sums[c][v] = vdupq_n_f32(0.0f);
        }
    }
    const float *w = args->weights + block;
    for (int32_t i = 0; i < args->kernel; ++i) {
        for (int32_t j = 0; j < args->kernel; ++j, w += padded) {
            float32x4_t weights[4] = {vld1q_f32(w), vld1q_f32(w + 4), vld1q_f32(w + 8), vld1q_f32(w + 12)};
            for (int32_t c = 0; c < columns; ++c) {
                float x = patch[i * args->width + c * args->stride + j];
                for (int32_t v = 0; v < 4; ++v) {
                    sums[c][v] = vfmaq_n_f32(sums[c][v], weights[v], x);
                }
            }
        }
    }
    for (int32_t c = 0; c < columns; ++c) {
        float finished[KWS_OUTPUT_BLOCK];
        for (int32_t v = 0; v < 4; ++v) {
            vst1q_f32(finished + 4 * v, epilogue(&args->epilogue, block + 4 * v, sums[c][v]));
        }
        memcpy(y + c * args->outputs + block, finished, sizeof(float) * (size_t)count);
    }
}
#define KWS_CONV_TILE tile

void kws_conv_neon(const kws_conv_args *args, const float *image, float *y)
{
    KWS_CONV_WALK(args, image, y);
}
#endif
