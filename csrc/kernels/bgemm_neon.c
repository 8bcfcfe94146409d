/* bgemm_neon.c - the binary product by table lookup, for every aarch64.
 *
 * One register holds 16 outputs x 8 inputs of weights. Four inputs of one row, both planes, select a row of the
 * mismatch table; TBL then looks up 16 outputs at once:
 *
 *     for each weight byte: low = w & 15, high = w >> 4                     (shared by the rows of a tile)
 *         for each row:     counter += TBL(table[code of inputs 0..3], low)
 *                           counter += TBL(table[code of inputs 4..7], high)
 *
 * That is 4 operations for 16 x 8 x 2 bits and 0.5 for the nibbles (4 rows), where popcount needs 6 (EOR, CNT, ADD a plane).
 *
 *     instruction      A53 latency, issue     A55          A72
 *     TBL (1 reg)      2, 1 a cycle           2, 1         3, 1 (two pipes share it)
 *     ADD 16b          1, 1 a cycle           1, 1         3, 2
 *     LDR q            3, 1 a cycle           3, 1         5, 1
 *     (from llvm's scheduling models; a model, not a measurement)
 *
 * A tile is 4 rows x 4 blocks of 16 outputs: 16 counters, 4 tables, 8 nibble registers, so a table loaded once serves
 * 64 outputs, and a weight loaded once serves 4 rows.
 *
 * Overflow: a lookup is at most 12 (4 inputs x (2 + 1)); a byte counter takes 20 lookups, 240, between widenings:
 * 10 weight bytes = 80 inputs. The 16-bit sums hold 2 * 3 * KWS_MAX_INPUTS / 2 = 24,576 mismatches.
 */
#if defined(__aarch64__)
#include <arm_neon.h>

#include "declare.h"

enum { BYTES_BETWEEN_WIDENINGS = 10 };

#define INLINE static inline __attribute__((always_inline))

/* Mismatch counters of a chunk of at most 10 weight bytes; `rows` and `blocks` are constants after inlining. */
INLINE void count_chunk(const uint8_t (*table)[16], const uint8_t *codes, int32_t code_stride, const uint8_t *weights,
                        int32_t block_stride, int32_t bytes, const int32_t rows, const int32_t blocks,
                        uint8x16_t counter[4][4])
{
    const uint8x16_t nibble = vdupq_n_u8(15);
    for (int32_t r = 0; r < rows; ++r) {
        for (int32_t b = 0; b < blocks; ++b) {
            counter[r][b] = vdupq_n_u8(0);
        }
    }
    for (int32_t i = 0; i < bytes; ++i) {
        uint8x16_t low[4], high[4];
        for (int32_t b = 0; b < blocks; ++b) {
            uint8x16_t w = vld1q_u8(weights + b * block_stride + 16 * i);
            low[b] = vandq_u8(w, nibble);
            high[b] = vshrq_n_u8(w, 4);
        }
        for (int32_t r = 0; r < rows; ++r) {
            const uint8_t *code = codes + r * code_stride + 2 * i;
            uint8x16_t first = vld1q_u8(table[code[0]]), second = vld1q_u8(table[code[1]]);
            for (int32_t b = 0; b < blocks; ++b) {
                counter[r][b] = vaddq_u8(counter[r][b], vqtbl1q_u8(first, low[b]));
            }
            for (int32_t b = 0; b < blocks; ++b) {
                counter[r][b] = vaddq_u8(counter[r][b], vqtbl1q_u8(second, high[b]));
            }
        }
    }
}

/* sums[r][b][0..15] -= 2 * counters. */
INLINE void widen(uint8x16_t counter[4][4], const int32_t rows, const int32_t blocks, int16_t *sums, int32_t padded)
{
    for (int32_t r = 0; r < rows; ++r) {
        for (int32_t b = 0; b < blocks; ++b) {
            int16_t *at = sums + r * padded + 16 * b;
            uint8x16_t c = counter[r][b];
            uint16x8_t twice_low = vshll_n_u8(vget_low_u8(c), 1), twice_high = vshll_high_n_u8(c, 1);
            vst1q_s16(at, vsubq_s16(vld1q_s16(at), vreinterpretq_s16_u16(twice_low)));
            vst1q_s16(at + 8, vsubq_s16(vld1q_s16(at + 8), vreinterpretq_s16_u16(twice_high)));
        }
    }
}

INLINE void tile(const kws_bgemm_args *args, const uint8_t *codes, int32_t block, const int32_t rows,
                 const int32_t blocks, int16_t *sums)
{
    const uint8_t(*table)[16] = args->planes == 2 ? kws_mismatch_two : kws_mismatch_one;
    int32_t bytes = kws_weight_bytes(args->inputs), padded = kws_padded_outputs(args->outputs);
    const uint8_t *weights = args->weights + block * bytes * 16;
    const int16x8_t all = vdupq_n_s16((int16_t)((args->planes == 2 ? 3 : 1) * args->inputs));
    sums += 16 * block;
    for (int32_t r = 0; r < rows; ++r) {
        for (int32_t half = 0; half < 2 * blocks; ++half) {
            vst1q_s16(sums + r * padded + 8 * half, all);
        }
    }
    for (int32_t i = 0; i < bytes; i += BYTES_BETWEEN_WIDENINGS) {
        int32_t count = bytes - i < BYTES_BETWEEN_WIDENINGS ? bytes - i : BYTES_BETWEEN_WIDENINGS;
        uint8x16_t counter[4][4];
        count_chunk(table, codes + 2 * i, 2 * bytes, weights + 16 * i, 16 * bytes, count, rows, blocks, counter);
        widen(counter, rows, blocks, sums, padded);
    }
}

/* All blocks of 16 outputs for a tile of rows: four at a time, then one. */
INLINE void row_tile(const kws_bgemm_args *args, const uint8_t *codes, const int32_t rows, int16_t *sums)
{
    int32_t blocks = kws_padded_outputs(args->outputs) / 16, block = 0;
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

void kws_bgemm_neon(const kws_bgemm_args *args, const uint8_t *codes, int32_t rows, int16_t *sums)
{
    int32_t code_bytes = kws_code_bytes(args->inputs), padded = kws_padded_outputs(args->outputs), row = 0;
    for (; row + 4 <= rows; row += 4) {
        row_tile(args, codes + row * code_bytes, 4, sums + row * padded);
    }
    for (; row < rows; ++row) {
        row_tile(args, codes + row * code_bytes, 1, sums + row * padded);
    }
}

/* 16 activations to 4 codes: each lane keeps its two bits at its place in the code, then pairs are added twice. */
INLINE uint8x16_t placed_bits(int8x16_t q, int8x16_t two_planes)
{
    static const uint8_t place1[16] = {1, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8};
    static const uint8_t place2[16] = {16, 32, 64, 128, 16, 32, 64, 128, 16, 32, 64, 128, 16, 32, 64, 128};
    uint8x16_t b1 = vandq_u8(vcgtzq_s8(q), vld1q_u8(place1));
    uint8x16_t b2 = vandq_u8(vtstq_s8(q, two_planes), vld1q_u8(place2)); /* bit 1 of q, see bgemm_scalar.c */
    return vorrq_u8(b1, b2);
}

void kws_pack_neon(const int8_t *q, int32_t rows, int32_t inputs, int32_t planes, uint8_t *codes)
{
    int32_t bytes = kws_code_bytes(inputs), whole = inputs / 16 * 16;
    const int8x16_t two_planes = vdupq_n_s8(planes == 2 ? 2 : 0);
    for (int32_t row = 0; row < rows; ++row, q += inputs, codes += bytes) {
        for (int32_t i = 0; i < whole; i += 16) {
            uint8x16_t bits = placed_bits(vld1q_s8(q + i), two_planes);
            uint8x16_t pairs = vpaddq_u8(bits, bits), fours = vpaddq_u8(pairs, pairs);
            vst1q_lane_u32((uint32_t *)(void *)(codes + i / 4), vreinterpretq_u32_u8(fours), 0);
        }
        if (whole < inputs) {
            kws_pack_scalar(q + whole, 1, inputs - whole, planes, codes + whole / 4);
        }
    }
}
#endif
