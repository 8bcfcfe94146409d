/* conv_avx2.c - the first convolution with AVX2: 4 pixels x 16 outputs in 8 registers, two taps of a kernel row at a time.
 *
 *     weights of taps j and j + 1, interleaved (VPUNPCKLWD, VPUNPCKHWD): 2 registers, shared by the pixels
 *     for each pixel: x = both its taps in every dword (VPBROADCASTD); sums += VPMADDWD(weights, x)   twice
 *
 * A last, odd tap has zero for its neighbour's weights. The unpacked halves hold outputs 0-3 8-11 and 4-7 12-15, which
 * VPACKSSDW puts in order; it never saturates, since int16 holds every sum (kernels.h).
 * VPMADDWD: Haswell 5 cycles, 1 a cycle; Zen 3 3 cycles, 2 a cycle; VPADDD 1 cycle.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "declare.h"
#include "target.h"

KWS_TARGET_BEGIN("avx2")

static inline __m256i two_taps(const int16_t *x)
{
    int32_t both;
    memcpy(&both, x, sizeof both);
    return _mm256_set1_epi32(both);
}

/* `kernel` is a constant where it is that of the family, 5, and `pixels` always. */
static inline __attribute__((always_inline)) void tile(const kws_conv_args *args, const int16_t *patch, int32_t block,
                                                       const int32_t kernel, const int32_t pixels, int16_t *sums)
{
    __m256i low[4], high[4];
    int32_t padded = kws_padded_outputs(args->outputs);
    for (int32_t p = 0; p < pixels; ++p) {
        low[p] = high[p] = _mm256_setzero_si256();
    }
    const int16_t *w = args->weights + block;
    for (int32_t i = 0; i < kernel; ++i) {
        for (int32_t j = 0; j < kernel; j += 2) {
            __m256i first = _mm256_loadu_si256((const __m256i *)(const void *)w), second = _mm256_setzero_si256();
            w += padded;
            if (j + 1 < kernel) {
                second = _mm256_loadu_si256((const __m256i *)(const void *)w);
                w += padded;
            }
            __m256i weights_low = _mm256_unpacklo_epi16(first, second);
            __m256i weights_high = _mm256_unpackhi_epi16(first, second);
            for (int32_t p = 0; p < pixels; ++p) {
                __m256i x = two_taps(patch + i * args->width + p * args->stride + j);
                low[p] = _mm256_add_epi32(low[p], _mm256_madd_epi16(weights_low, x));
                high[p] = _mm256_add_epi32(high[p], _mm256_madd_epi16(weights_high, x));
            }
        }
    }
    for (int32_t p = 0; p < pixels; ++p) {
        __m256i *at = (__m256i *)(void *)(sums + p * padded + block);
        _mm256_storeu_si256(at, _mm256_packs_epi32(low[p], high[p]));
    }
}

void kws_conv_avx2(const kws_conv_args *args, const int16_t *image, int16_t *sums)
{
    int32_t padded = kws_padded_outputs(args->outputs);
    for (int32_t row = 0; row < args->out_height; ++row) {
        const int16_t *patch = image + row * args->width * args->stride;
        int32_t column = 0;
        for (; column + 4 <= args->out_width; column += 4, patch += 4 * args->stride, sums += 4 * padded) {
            for (int32_t block = 0; block < padded; block += KWS_OUTPUT_BLOCK) {
                if (args->kernel == 5) {
                    tile(args, patch, block, 5, 4, sums);
                } else {
                    tile(args, patch, block, args->kernel, 4, sums);
                }
            }
        }
        for (; column < args->out_width; ++column, patch += args->stride, sums += padded) {
            for (int32_t block = 0; block < padded; block += KWS_OUTPUT_BLOCK) {
                tile(args, patch, block, args->kernel, 1, sums);
            }
        }
    }
}

KWS_TARGET_END
#endif
