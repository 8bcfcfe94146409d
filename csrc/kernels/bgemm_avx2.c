/* bgemm_avx2.c - the binary product by table lookup with AVX2.
 *
 * As bgemm_neon.c, two weight bytes an instruction: the low half of a register is 16 outputs x inputs 0..7, the high
 * half the same outputs x inputs 8..15, and each half has its own row of the mismatch table (VPSHUFB looks up within a half).
 *
 *     for each pair of weight bytes: low = w & 15, high = (w >> 4) & 15     (shared by the rows of a tile)
 *         for each row: counter += VPSHUFB([table[code 0] : table[code 2]], low)
 *                       counter += VPSHUFB([table[code 1] : table[code 3]], high)
 *
 *     instruction            Haswell latency, issue     Zen 3
 *     VPSHUFB ymm            1, 1 a cycle               1, 2 a cycle
 *     VPADDB, VPAND          1, 2 and 3                 1, 4
 *     VINSERTI128 ymm, m128  4, 2 (no shuffle port)     1, 2
 *     (Agner Fog's and uops.info's tables)
 *
 * A tile is 2 rows x 4 blocks of 16 outputs: 8 counters, 4 tables, 2 nibble registers and the mask: 15 of 16 registers;
 * of a single row, as one new step of a causal network is, 8 blocks, which share the loading of its tables.
 *
 * Overflow: a lookup is at most 12; a byte counter takes 20, 240, between widenings: 10 pairs = 160 inputs.
 */
#if defined(__x86_64__)
#include <immintrin.h>
#include <string.h>

#include "declare.h"
#include "target.h"

enum { PAIRS_BETWEEN_WIDENINGS = 10, MOST_ROWS = 2, MOST_BLOCKS = 8 };

#define INLINE static inline __attribute__((always_inline))

KWS_TARGET_BEGIN("avx2")

/* Has gcc hold a value in one register: it would load weights twice, and copy counters through the stack. */
#define IN_REGISTER(value) __asm__("" : "+x"(value))

/* The table rows of two codes, one a half. */
INLINE __m256i two_rows(const uint8_t (*table)[16], uint8_t first, uint8_t second)
{
    __m128i low = _mm_load_si128((const __m128i *)table[first]);
    return _mm256_inserti128_si256(_mm256_castsi128_si256(low), *(const __m128i *)table[second], 1);
}

INLINE void count_chunk(const uint8_t (*table)[16], const uint8_t *codes, int32_t code_stride, const uint8_t *weights,
                        int32_t block_stride, int32_t pairs, const int32_t rows, const int32_t blocks,
                        __m256i counter[MOST_ROWS][MOST_BLOCKS])
{
    const __m256i nibble = _mm256_set1_epi8(15);
    for (int32_t r = 0; r < rows; ++r) {
        for (int32_t b = 0; b < blocks; ++b) {
            counter[r][b] = _mm256_setzero_si256();
        }
    }
    for (int32_t i = 0; i < pairs; ++i) {
        __m256i first[2], second[2];
        for (int32_t r = 0; r < rows; ++r) {
            const uint8_t *code = codes + r * code_stride + 4 * i;
            first[r] = two_rows(table, code[0], code[2]);
            second[r] = two_rows(table, code[1], code[3]);
        }
        for (int32_t b = 0; b < blocks; ++b) {
            __m256i w = _mm256_loadu_si256((const __m256i *)(weights + b * block_stride + 32 * i));
            IN_REGISTER(w);
            __m256i low = _mm256_and_si256(w, nibble), high = _mm256_and_si256(_mm256_srli_epi16(w, 4), nibble);
            for (int32_t r = 0; r < rows; ++r) {
                counter[r][b] = _mm256_add_epi8(counter[r][b], _mm256_shuffle_epi8(first[r], low));
                counter[r][b] = _mm256_add_epi8(counter[r][b], _mm256_shuffle_epi8(second[r], high));
                IN_REGISTER(counter[r][b]);
            }
        }
    }
}

/* sums[r][b][0..15] = what they were, or `all` at first, - 2 * (low half + high half of the counters). */
INLINE void widen(__m256i counter[MOST_ROWS][MOST_BLOCKS], const int32_t rows, const int32_t blocks,
                  const int32_t at_first, __m256i all, int16_t *sums, int32_t padded)
{
    for (int32_t r = 0; r < rows; ++r) {
        for (int32_t b = 0; b < blocks; ++b) {
            __m256i *at = (__m256i *)(void *)(sums + r * padded + 16 * b);
            __m256i low = _mm256_cvtepu8_epi16(_mm256_castsi256_si128(counter[r][b]));
            __m256i high = _mm256_cvtepu8_epi16(_mm256_extracti128_si256(counter[r][b], 1));
            __m256i twice = _mm256_slli_epi16(_mm256_add_epi16(low, high), 1);
            _mm256_storeu_si256(at, _mm256_sub_epi16(at_first ? all : _mm256_loadu_si256(at), twice));
        }
    }
}

INLINE void tile(const kws_bgemm_args *args, const uint8_t *codes, int32_t block, const int32_t rows,
                 const int32_t blocks, int16_t *sums)
{
    const uint8_t (*table)[16] = args->planes == 2 ? kws_mismatch_two : kws_mismatch_one;
    int32_t bytes = kws_weight_bytes(args->inputs), padded = kws_padded_outputs(args->outputs), pairs = bytes / 2;
    const uint8_t *weights = args->weights + block * bytes * 16;
    const __m256i all = _mm256_set1_epi16((int16_t)((args->planes == 2 ? 3 : 1) * args->inputs));
    __m256i counter[MOST_ROWS][MOST_BLOCKS];
    int32_t count = pairs < PAIRS_BETWEEN_WIDENINGS ? pairs : PAIRS_BETWEEN_WIDENINGS;
    sums += 16 * block;
    count_chunk(table, codes, 2 * bytes, weights, 16 * bytes, count, rows, blocks, counter);
    widen(counter, rows, blocks, 1, all, sums, padded);
    for (int32_t i = count; i < pairs; i += count) {
        count = pairs - i < PAIRS_BETWEEN_WIDENINGS ? pairs - i : PAIRS_BETWEEN_WIDENINGS;
        count_chunk(table, codes + 4 * i, 2 * bytes, weights + 32 * i, 16 * bytes, count, rows, blocks, counter);
        widen(counter, rows, blocks, 0, all, sums, padded);
    }
}

INLINE void row_tile(const kws_bgemm_args *args, const uint8_t *codes, const int32_t rows, int16_t *sums)
{
    int32_t blocks = kws_padded_outputs(args->outputs) / 16, block = 0;
    if (rows == 1) {
        for (; block + 8 <= blocks; block += 8) {
            tile(args, codes, block, 1, 8, sums);
        }
    }
    for (; block + 4 <= blocks; block += 4) {
        tile(args, codes, block, rows, 4, sums);
    }
    for (; block + 2 <= blocks; block += 2) {
        tile(args, codes, block, rows, 2, sums);
    }
    if (block < blocks) {
        tile(args, codes, block, rows, 1, sums);
    }
}

void kws_bgemm_avx2(const kws_bgemm_args *args, const uint8_t *codes, int32_t rows, int16_t *sums)
{
    int32_t code_bytes = kws_code_bytes(args->inputs), padded = kws_padded_outputs(args->outputs), row = 0;
    for (; row + 2 <= rows; row += 2) {
        row_tile(args, codes + row * code_bytes, 2, sums + row * padded);
    }
    if (row < rows) {
        row_tile(args, codes + row * code_bytes, 1, sums + row * padded);
    }
}

/* 32 activations to 8 codes: each byte keeps its two bits at its place in the code, then VPMADDUBSW adds pairs and
 * VPMADDWD pairs of pairs; the four bytes of a code sit in one 32-bit lane. */
void kws_pack_avx2(const int8_t *q, int32_t rows, int32_t inputs, int32_t planes, uint8_t *codes)
{
    const __m256i place1 = _mm256_set1_epi32(0x08040201), place2 = _mm256_set1_epi32((int)0x80402010u);
    const __m256i two_planes = _mm256_set1_epi8(planes == 2 ? 2 : 0), zero = _mm256_setzero_si256();
    const __m256i ones8 = _mm256_set1_epi8(1), ones16 = _mm256_set1_epi16(1);
    const __m128i gather = _mm_setr_epi8(0, 4, 8, 12, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1);
    int32_t bytes = kws_code_bytes(inputs), whole = inputs / 32 * 32;
    for (int32_t row = 0; row < rows; ++row, q += inputs, codes += bytes) {
        for (int32_t i = 0; i < whole; i += 32) {
            __m256i v = _mm256_loadu_si256((const __m256i *)(q + i));
            __m256i b1 = _mm256_and_si256(_mm256_cmpgt_epi8(v, zero), place1);
            __m256i has2 =
                _mm256_cmpgt_epi8(_mm256_and_si256(v, two_planes), zero); /* bit 1 of q, see bgemm_scalar.c */
            __m256i bits = _mm256_or_si256(b1, _mm256_and_si256(has2, place2));
            __m256i fours = _mm256_madd_epi16(_mm256_maddubs_epi16(bits, ones8), ones16);
            uint32_t first = (uint32_t)_mm_cvtsi128_si32(_mm_shuffle_epi8(_mm256_castsi256_si128(fours), gather));
            uint32_t second = (uint32_t)_mm_cvtsi128_si32(_mm_shuffle_epi8(_mm256_extracti128_si256(fours, 1), gather));
            memcpy(codes + i / 4, &first, 4);
            memcpy(codes + i / 4 + 4, &second, 4);
        }
        if (whole < inputs) {
            kws_pack_scalar(q + whole, 1, inputs - whole, planes, codes + whole / 4);
        }
    }
}

KWS_TARGET_END
#endif
