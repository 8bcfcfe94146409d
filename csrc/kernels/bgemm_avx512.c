/* bgemm_avx512.c - the binary product by popcount, with AVX-512 VPOPCNTDQ.
 *
 * Weights are rearranged once, at load: [outputs / 8][words of 64 inputs][8 outputs], so that a 64-bit lane is one
 * output and VPOPCNTQ leaves its count in place: no horizontal sum. Activations are split into two bit planes of 64-bit
 * words (the low and the high nibbles of sixteen codes) and broadcast from memory inside the XOR.
 *
 *     for each word, for each row: count1 += VPOPCNTQ(w ^ plane1[word]);  count2 += VPOPCNTQ(w ^ plane2[word])
 *     mismatches = 2*count1 + count2 (one plane: count1)
 *
 *     instruction        Ice Lake latency, issue     Zen 4
 *     VPOPCNTQ zmm       3, 1 a cycle                2, 1 a cycle
 *     VPXORQ, VPADDQ     1, 2                        1, 2
 *     (uops.info's tables)
 *
 * A tile is 4 rows x 8 outputs x 2 planes: 8 counters and one weight register; more rows would only help where the rows
 * of a call are many, and a window has 8. Counters are 64-bit: no overflow. Every ragged edge is zero in both operands.
 */
#if defined(__x86_64__)
#if defined(KWS_SIMDE) /* a build for tests: the same source on x86-64 without AVX-512, see setup.py */
#define SIMDE_ENABLE_NATIVE_ALIASES
#include <simde/x86/avx512.h>
#define KWS_TARGET "sse2"
#else
#include <immintrin.h>
#define KWS_TARGET "avx512f,avx512vpopcntdq"
#endif
#include <string.h>

#include "declare.h"
#include "target.h"

#define INLINE static inline __attribute__((always_inline))

enum { ROWS = 4, MAX_WORDS = KWS_MAX_INPUTS / 64 };

static int32_t words_of(int32_t inputs) { return (inputs + 63) / 64; }

size_t kws_bgemm_packed_size_avx512(int32_t inputs, int32_t outputs)
{
    return (size_t)kws_padded_outputs(outputs) * (size_t)words_of(inputs) * 8;
}

void kws_bgemm_pack_avx512(const uint8_t *weights, int32_t inputs, int32_t outputs, uint8_t *packed)
{
    int32_t bytes = kws_weight_bytes(inputs), padded = kws_padded_outputs(outputs), words = words_of(inputs);
    memset(packed, 0, kws_bgemm_packed_size_avx512(inputs, outputs));
    for (int32_t o = 0; o < padded; ++o) {
        const uint8_t *from = weights + (o / 16 * bytes * 16) + o % 16;
        uint8_t *to = packed + (o / 8 * words * 8 + o % 8) * 8;
        for (int32_t i = 0; i < bytes; ++i) {
            to[i / 8 * 64 + i % 8] = from[16 * i];
        }
    }
}

KWS_TARGET_BEGIN(KWS_TARGET)

/* The low nibbles of eight bytes, side by side in 32 bits. */
INLINE uint64_t low_nibbles(uint64_t x)
{
    x &= 0x0f0f0f0f0f0f0f0fULL;
    x = (x | x >> 4) & 0x00ff00ff00ff00ffULL;
    x = (x | x >> 8) & 0x0000ffff0000ffffULL;
    return (x | x >> 16) & 0x00000000ffffffffULL;
}

/* plane1 and plane2 of one row, words of 64 inputs, from its codes (two nibbles for four inputs). */
INLINE void split_planes(const uint8_t *codes, int32_t bytes, int32_t words, uint64_t *plane1, uint64_t *plane2)
{
    memset(plane1, 0, sizeof(uint64_t) * (size_t)words);
    memset(plane2, 0, sizeof(uint64_t) * (size_t)words);
    for (int32_t i = 0; i < bytes; i += 8) {
        uint64_t eight = 0;
        memcpy(&eight, codes + i, (size_t)(bytes - i < 8 ? bytes - i : 8));
        int32_t word = i / 16, shift = i % 16 * 4;
        plane1[word] |= low_nibbles(eight) << shift;
        plane2[word] |= low_nibbles(eight >> 4) << shift;
    }
}

/* Eight outputs of `rows` rows; `rows` and `planes` are constants after inlining. */
INLINE void tile(const uint8_t *weights, uint64_t planes_of[2][ROWS][MAX_WORDS], int32_t words, const int32_t rows,
                 const int32_t planes, int32_t all, int32_t padded, int16_t *sums)
{
    __m512i count[2][ROWS];
    for (int32_t r = 0; r < rows; ++r) {
        count[0][r] = count[1][r] = _mm512_setzero_si512();
    }
    for (int32_t i = 0; i < words; ++i) {
        __m512i w = _mm512_loadu_si512(weights + 64 * i);
        for (int32_t p = 0; p < planes; ++p) {
            for (int32_t r = 0; r < rows; ++r) {
                __m512i different = _mm512_xor_si512(w, _mm512_set1_epi64((int64_t)planes_of[p][r][i]));
                count[p][r] = _mm512_add_epi64(count[p][r], _mm512_popcnt_epi64(different));
            }
        }
    }
    for (int32_t r = 0; r < rows; ++r) {
        __m512i doubled = _mm512_add_epi64(count[0][r], count[0][r]);
        __m512i mismatches = planes == 2 ? _mm512_add_epi64(doubled, count[1][r]) : count[0][r];
        __m512i n = _mm512_sub_epi64(_mm512_set1_epi64(all), _mm512_add_epi64(mismatches, mismatches));
        _mm_storeu_si128((__m128i *)(void *)(sums + r * padded), _mm512_cvtsepi64_epi16(n));
    }
}

INLINE void row_tile(const kws_bgemm_args *args, const uint8_t *codes, const int32_t rows, int16_t *sums)
{
    uint64_t planes_of[2][ROWS][MAX_WORDS];
    int32_t bytes = kws_code_bytes(args->inputs), words = words_of(args->inputs);
    int32_t padded = kws_padded_outputs(args->outputs), all = (args->planes == 2 ? 3 : 1) * args->inputs;
    for (int32_t r = 0; r < rows; ++r) {
        split_planes(codes + r * bytes, bytes, words, planes_of[0][r], planes_of[1][r]);
    }
    for (int32_t o = 0; o < padded; o += 8) {
        const uint8_t *weights = args->weights + o * words * 8;
        if (args->planes == 2) {
            tile(weights, planes_of, words, rows, 2, all, padded, sums + o);
        } else {
            tile(weights, planes_of, words, rows, 1, all, padded, sums + o);
        }
    }
}

void kws_bgemm_avx512(const kws_bgemm_args *args, const uint8_t *codes, int32_t rows, int16_t *sums)
{
    int32_t code_bytes = kws_code_bytes(args->inputs), padded = kws_padded_outputs(args->outputs), row = 0;
    for (; row + ROWS <= rows; row += ROWS) {
        row_tile(args, codes + row * code_bytes, ROWS, sums + row * padded);
    }
    for (; row < rows; ++row) {
        row_tile(args, codes + row * code_bytes, 1, sums + row * padded);
    }
}

KWS_TARGET_END
#endif
