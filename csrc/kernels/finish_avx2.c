/* finish_avx2.c - what follows an integer sum with AVX2, 16 outputs at a time, in one pass: int16 sum to float (VPMOVSXWD,
 * VCVTDQ2PS), norm, PReLU, residual; then, while y is in registers, the quantiser:
 *
 *     n = (d >= -scale) + (d >= 0) + (d >= scale)      VCMPPS gives -1 for true: the sum of the masks is -n
 *     q = -3 + 2 * n                                   one plane: n = (d >= 0), q = -1 + 2 * n
 *     b1 = n >= 2, b2 = n is odd                       one plane: b1 = n >= 1
 *
 * The masks are added as int32, narrowed (VPACKSSDW) and put in order by one VPERMQ. Codes: b1 and b2 of 16 outputs as
 * bytes (VPACKSSWB), dwords swapped so that b2 of four outputs follows b1 of the four, and VPMOVMSKB writes four codes.
 * A staircase goes there straight from the sums, by six compares of 16 int16, or by two where the last step is the only
 * one in question; its steps stay in registers over the rows.
 *
 * VCMPPS, VPCMPGTW: Haswell 3 and 1 cycles; Zen 3 1 cycle; 2 a cycle. VPMOVMSKB: Haswell 3, 1 a cycle; Zen 3 5, 1 a
 * cycle. Ordered compares: NaN passes none, as in C. No FMA: it would round once.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "declare.h"
#include "finish_tail.h"
#include "target.h"

#define INLINE static inline __attribute__((always_inline))

enum { FLOATS, LEVELS, CODES }; /* what is wanted of a sum */

KWS_TARGET_BEGIN("avx2")

INLINE __m256i at_least(__m256 d, __m256 limit) { return _mm256_castps_si256(_mm256_cmp_ps(d, limit, _CMP_GE_OQ)); }

/* -n of 8 activations. */
INLINE __m256i steps8(__m256 x, const float *threshold, __m256 scale, const int two)
{
    __m256 d = _mm256_sub_ps(x, _mm256_loadu_ps(threshold));
    __m256i n = at_least(d, _mm256_setzero_ps());
    if (two) {
        __m256i below = at_least(d, _mm256_sub_ps(_mm256_setzero_ps(), scale));
        n = _mm256_add_epi32(n, _mm256_add_epi32(below, at_least(d, scale)));
    }
    return n;
}

/* -n of 16, as int16 in order. */
INLINE __m256i steps16(__m256 low, __m256 high, const float *threshold, __m256 scale, const int two)
{
    __m256i mixed = _mm256_packs_epi32(steps8(low, threshold, scale, two), steps8(high, threshold + 8, scale, two));
    return _mm256_permute4x64_epi64(mixed, _MM_SHUFFLE(3, 1, 2, 0));
}

INLINE void store_levels(__m256i minus_n, const int two, int8_t *q)
{
    __m128i bytes = _mm_packs_epi16(_mm256_castsi256_si128(minus_n), _mm256_extracti128_si256(minus_n, 1));
    _mm_storeu_si128((__m128i *)(void *)q, _mm_sub_epi8(_mm_set1_epi8(two ? -3 : -1), _mm_add_epi8(bytes, bytes)));
}

/* 16 lanes of int16 whose sign bits are b1 and b2. */
INLINE void store_codes(__m256i b1, __m256i b2, uint8_t *codes)
{
    __m256i bytes = _mm256_shuffle_epi32(_mm256_packs_epi16(b1, b2), _MM_SHUFFLE(3, 1, 2, 0));
    int32_t four = _mm256_movemask_epi8(bytes);
    memcpy(codes, &four, 4);
}

INLINE void store_steps_as_codes(__m256i minus_n, const int two, uint8_t *codes)
{
    if (two) {
        store_codes(_mm256_cmpgt_epi16(_mm256_set1_epi16(-1), minus_n), _mm256_slli_epi16(minus_n, 15), codes);
    } else {
        store_codes(minus_n, _mm256_setzero_si256(), codes);
    }
}

/* prelu(a * n + b) of 8 outputs. */
INLINE __m256 norm8(const kws_epilogue *e, const int16_t *sums, int32_t o)
{
    __m256 n = _mm256_cvtepi32_ps(_mm256_cvtepi16_epi32(_mm_loadu_si128((const __m128i *)(const void *)(sums + o))));
    __m256 value = _mm256_add_ps(_mm256_mul_ps(_mm256_loadu_ps(e->a + o), n), _mm256_loadu_ps(e->b + o));
    __m256 bent = _mm256_mul_ps(_mm256_loadu_ps(e->slope + o), value);
    return _mm256_blendv_ps(bent, value, _mm256_cmp_ps(value, _mm256_setzero_ps(), _CMP_GE_OQ));
}

INLINE __m256 finish8(const kws_epilogue *e, const int16_t *sums, const float *residual, int32_t o, const int add,
                      float *y)
{
    __m256 value = norm8(e, sums, o);
    if (add) {
        value = _mm256_add_ps(value, _mm256_loadu_ps(residual + o));
    }
    _mm256_storeu_ps(y + o, value);
    return value;
}

/* All rows. The last three arguments are constants after inlining. */
INLINE void finish(const kws_epilogue *e, const kws_quantizer *quantizer, const int16_t *sums, const float *residual,
                   int32_t rows, int32_t outputs, float *y, int8_t *q, uint8_t *codes, const int wanted, const int add,
                   const int two)
{
    int32_t padded = kws_padded_outputs(outputs), whole = outputs / 16 * 16;
    const __m256 scale = _mm256_set1_ps(wanted != FLOATS ? quantizer->scale : 0.0f);
    for (int32_t row = 0; row < rows; ++row) {
        for (int32_t o = 0; o < whole; o += 16) {
            __m256 low = finish8(e, sums, residual, o, add, y), high = finish8(e, sums, residual, o + 8, add, y);
            if (wanted == LEVELS) {
                store_levels(steps16(low, high, quantizer->threshold + o, scale, two), two, q + o);
            } else if (wanted == CODES) {
                store_steps_as_codes(steps16(low, high, quantizer->threshold + o, scale, two), two, codes + o / 4);
            }
        }
        if (whole < outputs) {
            finish_tail(e, quantizer, sums, residual, whole, outputs, y, q, codes);
        }
        sums += padded;
        residual = add ? residual + outputs : NULL;
        y += outputs;
        q = wanted == LEVELS ? q + outputs : NULL;
        codes = wanted == CODES ? codes + padded / 4 : NULL;
    }
}

INLINE void levels_row(const kws_quantizer *quantizer, const float *x, int32_t whole, const int two, int8_t *q)
{
    const __m256 scale = _mm256_set1_ps(quantizer->scale);
    for (int32_t c = 0; c < whole; c += 16) {
        __m256 low = _mm256_loadu_ps(x + c), high = _mm256_loadu_ps(x + c + 8);
        store_levels(steps16(low, high, quantizer->threshold + c, scale, two), two, q + c);
    }
}

void kws_levels_avx2(const kws_quantizer *quantizer, const float *x, int32_t rows, int32_t channels, int8_t *q)
{
    int32_t whole = channels / 16 * 16;
    kws_quantizer rest = {quantizer->threshold + whole, quantizer->scale, quantizer->planes};
    for (int32_t i = 0; i < rows; ++i, x += channels, q += channels) {
        if (quantizer->planes == 2) {
            levels_row(quantizer, x, whole, 1, q);
        } else {
            levels_row(quantizer, x, whole, 0, q);
        }
        kws_levels_scalar(&rest, x + whole, 1, channels - whole, q + whole);
    }
}

INLINE __m256i load(const int16_t *at) { return _mm256_loadu_si256((const __m256i *)(const void *)at); }

/* Whether each of 16 sums passes a step. */
INLINE __m256i passed(__m256i n, __m256i above, __m256i below)
{
    return _mm256_or_si256(_mm256_cmpgt_epi16(n, above), _mm256_cmpgt_epi16(below, n));
}

INLINE void stairs_block(const kws_staircase *stairs, const int16_t *sums, int32_t rows, int32_t padded, int32_t o,
                         const steps_kind kind, uint8_t *codes)
{
    __m256i above[3], below[3];
    for (int32_t k = 0; k < 3; ++k) {
        above[k] = load(stairs->above[kind == ONE ? 0 : k] + o);
        below[k] = load(stairs->below[kind == ONE ? 0 : k] + o);
    }
    for (int32_t row = 0; row < rows; ++row) {
        __m256i n = load(sums + row * padded + o), b1 = _mm256_set1_epi16(-1), b2 = _mm256_setzero_si256();
        if (kind == LAST_ALONE) {
            b2 = passed(n, above[2], below[2]);
        } else {
            __m256i first = passed(n, above[0], below[0]);
            b1 = kind == THREE ? passed(n, above[1], below[1]) : first;
            b2 = kind == THREE ? _mm256_xor_si256(_mm256_xor_si256(first, b1), passed(n, above[2], below[2])) : b2;
        }
        store_codes(b1, b2, codes + (row * padded + o) / 4);
    }
}

#define KWS_ISA_SUFFIX avx2
#include "finish_variants.h"

void kws_staircase_avx2(const kws_staircase *stairs, const int16_t *sums, int32_t rows, int32_t outputs, uint8_t *codes)
{
    staircase_from(0, stairs, sums, rows, outputs, codes);
}

void kws_add_avx2(const int16_t *more, int32_t count, int16_t *sums)
{
    int32_t i = 0;
    for (; i + 16 <= count; i += 16) {
        _mm256_storeu_si256((__m256i *)(void *)(sums + i), _mm256_add_epi16(load(sums + i), load(more + i)));
    }
    kws_add_scalar(more + i, count - i, sums + i);
}

KWS_TARGET_END
#endif
