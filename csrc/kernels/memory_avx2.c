/* memory_avx2.c - one step of a memory with AVX2: VPSIGNB multiplies 32 activations by weights of +1 and -1
 * (1 cycle, 2 a cycle on Haswell and Zen 3), and a channel's taps add up in a byte.
 *
 * Overflow: |q| <= 3, so a byte holds the sum of KWS_MOST_TAPS = 31 taps, 93; only then are the sums widened.
 */
#if defined(__x86_64__)
#include <immintrin.h>

#include "declare.h"
#include "target.h"

KWS_TARGET_BEGIN("avx2")

void kws_memory_avx2(const int8_t *weights, const int8_t *q, int32_t taps, int32_t channels, int16_t *sums)
{
    int32_t c = 0;
    for (; c + 32 <= channels; c += 32) {
        __m256i sum = _mm256_setzero_si256();
        for (int32_t j = 0; j < taps; ++j) {
            __m256i w = _mm256_loadu_si256((const __m256i *)(const void *)(weights + j * channels + c));
            __m256i column = _mm256_loadu_si256((const __m256i *)(const void *)(q + j * channels + c));
            sum = _mm256_add_epi8(sum, _mm256_sign_epi8(column, w));
        }
        __m256i low = _mm256_cvtepi8_epi16(_mm256_castsi256_si128(sum));
        _mm256_storeu_si256((__m256i *)(void *)(sums + c), low);
        __m256i high = _mm256_cvtepi8_epi16(_mm256_extracti128_si256(sum, 1));
        _mm256_storeu_si256((__m256i *)(void *)(sums + c + 16), high);
    }
    for (; c < channels; ++c) {
        sums[c] = 0;
        for (int32_t j = 0; j < taps; ++j) {
            sums[c] = (int16_t)(sums[c] + weights[j * channels + c] * q[j * channels + c]);
        }
    }
}

KWS_TARGET_END
#endif
