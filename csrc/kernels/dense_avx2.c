/* dense_avx2.c - the classifier with AVX2. 32 inputs at a time: |w|, unsigned, and q with the sign of w (VPSIGNB) are
 * multiplied and added to 16 sums of two products (VPMADDUBSW), those to 8 sums of four (VPMADDWD with ones). Two
 * accumulators hide the latencies:
 *
 *     instruction               Haswell latency, issue    Zen 3
 *     VPABSB, VPSIGNB           1, 2 and 1 a cycle        1, 4 and 2
 *     VPMADDUBSW, VPMADDWD      5, 1                      3, 2
 *
 * No q is -128, so that its sign can be changed; a sum of two products is at most 2 * 128 * 127 = 32,512, inside int16. int32
 * holds 132,000 inputs. */
#if defined(__x86_64__)
#include <immintrin.h>

#include "declare.h"
#include "target.h"

KWS_TARGET_BEGIN("avx2")

/* Sums of four neighbours' products, of 32. */
static inline __m256i products(const int8_t *w, const int8_t *q)
{
    __m256i weights = _mm256_loadu_si256((const __m256i *)(const void *)w);
    __m256i signed_q = _mm256_sign_epi8(_mm256_loadu_si256((const __m256i *)(const void *)q), weights);
    return _mm256_madd_epi16(_mm256_maddubs_epi16(_mm256_abs_epi8(weights), signed_q), _mm256_set1_epi16(1));
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
        for (; i + 64 <= inputs; i += 64) {
            even = _mm256_add_epi32(even, products(weights + i, q + i));
            odd = _mm256_add_epi32(odd, products(weights + i + 32, q + i + 32));
        }
        if (i + 32 <= inputs) {
            even = _mm256_add_epi32(even, products(weights + i, q + i));
            i += 32;
        }
        sums[o] = total(_mm256_add_epi32(even, odd));
        for (; i < inputs; ++i) {
            sums[o] += weights[i] * q[i];
        }
    }
}

/* 8 values as int32: VCVTPS2DQ rounds to nearest, ties to even, as the specification does. */
static inline __m256i rounded(const float *x, __m256 inverse_scale)
{
    const __m256 most = _mm256_set1_ps(127.0f), least = _mm256_set1_ps(-127.0f);
    __m256 scaled = _mm256_mul_ps(_mm256_loadu_ps(x), inverse_scale);
    return _mm256_cvtps_epi32(_mm256_min_ps(most, _mm256_max_ps(least, scaled)));
}

void kws_to_int8_avx2(const float *x, int32_t count, float inverse_scale, int8_t *q)
{
    const __m256 inverse = _mm256_set1_ps(inverse_scale);
    const __m256i order = _mm256_setr_epi32(0, 4, 1, 5, 2, 6, 3, 7); /* undoes what the packs do within halves */
    int32_t i = 0;
    for (; i + 32 <= count; i += 32) {
        __m256i low = _mm256_packs_epi32(rounded(x + i, inverse), rounded(x + i + 8, inverse));
        __m256i high = _mm256_packs_epi32(rounded(x + i + 16, inverse), rounded(x + i + 24, inverse));
        __m256i bytes = _mm256_permutevar8x32_epi32(_mm256_packs_epi16(low, high), order);
        _mm256_storeu_si256((__m256i *)(void *)(q + i), bytes);
    }
    kws_to_int8_scalar(x + i, count - i, inverse_scale, q + i);
}

KWS_TARGET_END
#endif
