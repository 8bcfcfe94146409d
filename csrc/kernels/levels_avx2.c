/* levels_avx2.c - floats to activation levels with AVX2, 16 at a time.
 *
 *     n = (d >= -scale) + (d >= 0) + (d >= scale)      VCMPPS gives -1 for true: the sum of the masks is -n
 *     q = -3 + 2 * n                                   one plane: n = (d >= 0), q = -1 + 2 * n
 *
 * The masks are added as int32, narrowed twice (VPACKSSDW, VPACKSSWB) and put in order by one VPERMQ. VCMPPS: Haswell 3
 * cycles, 1 a cycle; Zen 3 1 cycle, 2 a cycle. Ordered compares: NaN passes none, as in C.
 */
#if defined(__x86_64__)
#include <immintrin.h>

#include "declare.h"
#include "target.h"

#define INLINE static inline __attribute__((always_inline))

KWS_TARGET_BEGIN("avx2")

INLINE __m256i at_least(__m256 d, __m256 limit) { return _mm256_castps_si256(_mm256_cmp_ps(d, limit, _CMP_GE_OQ)); }

/* -n of 8 activations. */
INLINE __m256i steps(const float *x, const float *threshold, __m256 scale, const int two)
{
    __m256 d = _mm256_sub_ps(_mm256_loadu_ps(x), _mm256_loadu_ps(threshold));
    __m256i n = at_least(d, _mm256_setzero_ps());
    if (two) {
        __m256i below = at_least(d, _mm256_sub_ps(_mm256_setzero_ps(), scale));
        n = _mm256_add_epi32(n, _mm256_add_epi32(below, at_least(d, scale)));
    }
    return n;
}

INLINE void row(const float *x, const float *threshold, float scale, int32_t channels, const int two, int8_t *q)
{
    const __m256 scales = _mm256_set1_ps(scale);
    const __m128i lowest = _mm_set1_epi8(two ? -3 : -1);
    int32_t c = 0;
    for (; c + 16 <= channels; c += 16) {
        __m256i mixed = _mm256_packs_epi32(steps(x + c, threshold + c, scales, two),
                                           steps(x + c + 8, threshold + c + 8, scales, two));
        __m256i n = _mm256_permute4x64_epi64(mixed, _MM_SHUFFLE(3, 1, 2, 0));
        __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(n), _mm256_extracti128_si256(n, 1));
        _mm_storeu_si128((__m128i *)(void *)(q + c), _mm_sub_epi8(lowest, _mm_add_epi8(bytes, bytes)));
    }
    for (; c < channels; ++c) {
        float d = x[c] - threshold[c];
        q[c] = (int8_t)(two ? -3 + 2 * ((d >= -scale) + (d >= 0.0f) + (d >= scale)) : -1 + 2 * (d >= 0.0f));
    }
}

void kws_levels_avx2(const kws_quantizer *quantizer, const float *x, int32_t rows, int32_t channels, int8_t *q)
{
    for (int32_t i = 0; i < rows; ++i, x += channels, q += channels) {
        if (quantizer->planes == 2) {
            row(x, quantizer->threshold, quantizer->scale, channels, 1, q);
        } else {
            row(x, quantizer->threshold, quantizer->scale, channels, 0, q);
        }
    }
}

KWS_TARGET_END
#endif
