/* conv_avx2.c - the first convolution with AVX2: 4 pixels x 16 outputs in 8 registers, VMULPS and VADDPS (no FMA: the
 * epilogue must round twice, and the sums gain nothing). VADDPS: Haswell 3 cycles, 1 a cycle; Zen 3 3 cycles, 2 a cycle. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "declare.h"
#include "target.h"

#include <string.h>

#include "conv_tiles.h"

KWS_TARGET_BEGIN("avx2")

/* prelu(a * sum + b) of 8 outputs. */
static inline __m256 epilogue(const kws_epilogue *e, int32_t at, __m256 sum)
{
    __m256 value = _mm256_add_ps(_mm256_mul_ps(_mm256_loadu_ps(e->a + at), sum), _mm256_loadu_ps(e->b + at));
    __m256 bent = _mm256_mul_ps(_mm256_loadu_ps(e->slope + at), value);
    return _mm256_blendv_ps(bent, value, _mm256_cmp_ps(value, _mm256_setzero_ps(), _CMP_GE_OQ));
}

static inline __attribute__((always_inline)) void tile(const kws_conv_args *args, const float *patch, int32_t block,
                                                       const int32_t columns, float *y)
{
    __m256 sums[4][2];
    int32_t padded = kws_padded_outputs(args->outputs), count = outputs_in_block(args, block);
    for (int32_t c = 0; c < columns; ++c) {
        sums[c][0] = sums[c][1] = _mm256_setzero_ps();
    }
    const float *w = args->weights + block;
    for (int32_t i = 0; i < args->kernel; ++i) {
        for (int32_t j = 0; j < args->kernel; ++j, w += padded) {
            __m256 low = _mm256_loadu_ps(w), high = _mm256_loadu_ps(w + 8);
            for (int32_t c = 0; c < columns; ++c) {
                __m256 x = _mm256_set1_ps(patch[i * args->width + c * args->stride + j]);
                sums[c][0] = _mm256_add_ps(sums[c][0], _mm256_mul_ps(low, x));
                sums[c][1] = _mm256_add_ps(sums[c][1], _mm256_mul_ps(high, x));
            }
        }
    }
    for (int32_t c = 0; c < columns; ++c) {
        float finished[KWS_OUTPUT_BLOCK];
        _mm256_storeu_ps(finished, epilogue(&args->epilogue, block, sums[c][0]));
        _mm256_storeu_ps(finished + 8, epilogue(&args->epilogue, block + 8, sums[c][1]));
        memcpy(y + c * args->outputs + block, finished, sizeof(float) * (size_t)count);
    }
}
#define KWS_CONV_TILE tile

void kws_conv_avx2(const kws_conv_args *args, const float *image, float *y)
{
    KWS_CONV_WALK(args, image, y);
}

KWS_TARGET_END
#endif
