/* dense_avx2.c - the classifier's product with AVX2: 16 int8 of a row and of the input widened to int16 (VPMOVSXBW), 8
 * sums of two products each (VPMADDWD: 5 cycles, 1 a cycle on Haswell; 3 cycles, 2 a cycle on Zen 3). Two accumulators
 * hide its latency. A pair's sum is at most 2 * 128 * 127; int32 holds 132,000 inputs. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "declare.h"
#include "target.h"

KWS_TARGET_BEGIN("avx2")

/* Pairwise sums of the products of 16 neighbours. */
static inline __m256i products(const int8_t *w, const int8_t *q)
{
    __m256i weights = _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)w));
    return _mm256_madd_epi16(weights, _mm256_cvtepi8_epi16(_mm_loadu_si128((const __m128i *)q)));
}

static inline int32_t total(__m256i sums)
{
    __m128i four = _mm_add_epi32(_mm256_castsi256_si128(sums), _mm256_extracti128_si256(sums, 1));
    __m128i two = _mm_add_epi32(four, _mm_shuffle_epi32(four, _MM_SHUFFLE(1, 0, 3, 2)));
    return _mm_cvtsi128_si32(_mm_add_epi32(two, _mm_shuffle_epi32(two, _MM_SHUFFLE(2, 3, 0, 1))));
}

void kws_dense_avx2(const int8_t *weights, const int8_t *q, int32_t inputs, int32_t outputs, int32_t *sums)
{
    for (int32_t o = 0; o < outputs; ++o, weights += inputs) {
        __m256i even = _mm256_setzero_si256(), odd = even;
        int32_t i = 0;
        for (; i + 32 <= inputs; i += 32) {
            even = _mm256_add_epi32(even, products(weights + i, q + i));
            odd = _mm256_add_epi32(odd, products(weights + i + 16, q + i + 16));
        }
        sums[o] = total(_mm256_add_epi32(even, odd));
        for (; i < inputs; ++i) {
            sums[o] += weights[i] * q[i];
        }
    }
}

KWS_TARGET_END
#endif
