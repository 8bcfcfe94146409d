/* bgemm_neon.c - the binary product for every aarch64: by popcount for a single row, by table lookup for several.
 *
 * One register holds 16 outputs x 8 inputs of weights. A row alone, as one new step of a causal network is, counts bits, each
 * byte a counter of its own output:
 *
 *     for each weight byte: for each plane: counter[plane] += CNT(w ^ the row's 8 inputs of that plane)
 *
 * which is 6 operations for 16 x 8 x 2 bits. Of several rows, four inputs of each, both planes, select a row of the
 * mismatch table; TBL then looks up 16 outputs at once:
 *
 *     for each weight byte: low = w & 15, high = w >> 4                     (shared by the rows of a tile)
 *         for each row:     counter += TBL(table[code of inputs 0..3], low)
 *                           counter += TBL(table[code of inputs 4..7], high)
 *
 * That is 4 operations, and 0.5 for the nibbles with 4 rows; with one row 2, as many as by popcount, and the loads of its
 * table rows besides.
 *
 *     instruction      A53 latency, issue     A55          A72
 *     EOR, CNT, ADD    6, 1 a cycle           4, 1         3, 2
 *     TBL (1 reg)      6, 1 a cycle           4, 1         6, 1 in 1.5 cycles
 *     LDR q            4, 1 a cycle           3, 1         5, 1
 *     (llvm 14's scheduling models; models, not measurements. tools/bench/README.md has what they make of each variant)
 *
 * Tiles, by instructions for 8 inputs x 16 outputs x 1 row:
 *
 *     4 rows x 4 blocks of 16 outputs    6.1    lookups: 16 counters, 2 tables, 8 nibble registers; a table serves 64 outputs
 *     8 rows x 2 blocks                  6.7    lookups: for layers of 32 outputs, whose patches are many rows
 *     1 row x 8 blocks                   7.4    popcount: 16 counters, 4 pieces of the row, which serve 128 outputs
 *     1 row x 4 blocks                   9.0    lookups: what is left of a row
 *
 * Overflow: a lookup is at most 12 (4 inputs x (2 + 1)); a byte counter takes 20 lookups, 240, between widenings: 10 weight
 * bytes = 80 inputs. A popcount is at most 8: 30 bytes, 240. The 16-bit sums hold 2 * 3 * KWS_MAX_INPUTS / 2 = 24,576
 * mismatches.
 */
#if defined(__aarch64__)
#include <arm_neon.h>

#include "declare.h"

/* The order of the source is meant: gcc's first scheduler brings loads forward until registers run out, and spills. */
#if !defined(__clang__)
#pragma GCC optimize("no-schedule-insns,no-tree-ter")
#endif

enum { LOOKUP_BYTES = 10, POPCOUNT_BYTES = 30, MOST_ROWS = 8, MOST_BLOCKS = 4, POPCOUNT_BLOCKS = 8 };

#define INLINE static inline __attribute__((always_inline))

/* What a tile reads and writes; `rows` and `blocks` of the functions below are constants after inlining. */
typedef struct {
    const uint8x16_t *table;
    const uint8_t *codes, *weights;
    int16_t *sums;
    int32_t code_stride, block_stride, padded;
} tile_place;

/* Row `code` of the table, in one instruction: compilers shift apart. */
INLINE uint8x16_t table_row(const uint8x16_t *table, uint32_t code)
{
    uint8x16_t row;
    __asm__("ldr %q0, [%1, %w2, uxtw #4]" : "=w"(row) : "r"(table), "r"(code));
    return row;
}

/* Mismatch counters of a chunk of at most 10 weight bytes. The lookups of a row are added to each other during the next
 * row, and counted during the one after: on cores that issue in order nothing waits. */
INLINE void count_chunk(const tile_place *at, int32_t bytes, const int32_t rows, const int32_t blocks,
                        uint8x16_t counter[MOST_ROWS][MOST_BLOCKS])
{
    const uint8x16_t nibble = vdupq_n_u8(15);
    uint8x16_t found_low[MOST_BLOCKS], found_high[MOST_BLOCKS], found[MOST_BLOCKS];
    for (int32_t b = 0; b < blocks; ++b) {
        found_low[b] = found_high[b] = found[b] = vdupq_n_u8(0);
        for (int32_t r = 0; r < rows; ++r) {
            counter[r][b] = vdupq_n_u8(0);
        }
    }
    for (int32_t i = 0; i < bytes; ++i) {
        uint8x16_t low[MOST_BLOCKS], high[MOST_BLOCKS];
        for (int32_t b = 0; b < blocks; ++b) {
            uint8x16_t w = vld1q_u8(at->weights + b * at->block_stride + 16 * i);
            low[b] = vandq_u8(w, nibble);
            high[b] = vshrq_n_u8(w, 4);
        }
        for (int32_t r = 0; r < rows; ++r) {
            const int32_t before = (r + 2 * rows - 2) % rows;
            const uint8_t *code = at->codes + r * at->code_stride + 2 * i;
            uint8x16_t first = table_row(at->table, code[0]), second = table_row(at->table, code[1]);
            for (int32_t b = 0; b < blocks; ++b) {
                counter[before][b] = vaddq_u8(counter[before][b], found[b]);
            }
            for (int32_t b = 0; b < blocks; ++b) {
                found[b] = vaddq_u8(found_low[b], found_high[b]);
            }
            for (int32_t b = 0; b < blocks; ++b) {
                found_low[b] = vqtbl1q_u8(first, low[b]);
                found_high[b] = vqtbl1q_u8(second, high[b]);
            }
        }
    }
    const int32_t before = (2 * rows - 2) % rows;
    for (int32_t b = 0; b < blocks; ++b) {
        counter[before][b] = vaddq_u8(counter[before][b], found[b]);
        counter[rows - 1][b] = vaddq_u8(counter[rows - 1][b], vaddq_u8(found_low[b], found_high[b]));
    }
}

/* The two tiles that take almost all of the time, scheduled by hand: on cores that issue in order an add must not follow
 * the lookup or popcount at once, and compilers either wait there or spill.
 *
 * 4 rows x 4 blocks. v0-v15 counters (row r, block b: 4r + b), v16-v19 low and v20-v23 high nibbles of the blocks,
 * v24-v26 table rows in turns, v27-v30 lookups in flight, v31 the nibble mask. A step is a lookup and the add of the
 * lookup three steps before, which at the start is one of zeros. Table rows are loaded a row of the tile ahead; weights
 * and codes of the next byte at the end of the loop, of the last byte once more when there is none. */
/* Assembly reads best a step to a line. */
/* clang-format off */
#define LOOKUP(t, table, nibbles) "tbl v" #t ".16b, {v" #table ".16b}, v" #nibbles ".16b\n"
#define COUNT(counter, t) "add v" #counter ".16b, v" #counter ".16b, v" #t ".16b\n"
#define STEP(t, table, nibbles, counter, earlier) LOOKUP(t, table, nibbles) COUNT(counter, earlier)
#define CODE(to, row, byte) "ldrb " to ", [%[codes" #row "], %[at" #byte "]]\n"
#define TABLE(to, code) "ldr q" #to ", [%[table], " code ", uxtw #4]\n"
#define WEIGHTS(to, block) "ldr q" #to ", [%[weights" #block "], %[at]]\n"
#define HIGH(to, from) "ushr v" #to ".16b, v" #from ".16b, #4\n"
#define LOW(to, from) "and v" #to ".16b, v" #from ".16b, v31.16b\n"
#define ZERO(v) "movi v" #v ".16b, #0\n"
#define STORE(v, offset) "str q" #v ", [%[counters], #" #offset "]\n"

#define ROW(first, second, c0, c1, c2, c3, p1, p2, p3, a, b, c, d, e, f, g)                                            \
    STEP(27, first, 16, p1, 28) a STEP(28, first, 17, p2, 29) b STEP(29, first, 18, p3, 30) c                          \
    STEP(30, first, 19, c0, 27) d STEP(27, second, 20, c1, 28) STEP(28, second, 21, c2, 29) e                          \
    STEP(29, second, 22, c3, 30) f STEP(30, second, 23, c0, 27) g

INLINE void count_4_rows_4_blocks(const tile_place *place, int64_t bytes, uint8x16_t counter[MOST_ROWS][MOST_BLOCKS])
{
    const uint8_t *c = place->codes, *w = place->weights;
    int64_t at = 0, at0 = 0, at1 = 1, one = 1;
    __asm__ volatile(
        ZERO(0) ZERO(1) ZERO(2) ZERO(3) ZERO(4) ZERO(5) ZERO(6) ZERO(7) ZERO(8) ZERO(9) ZERO(10) ZERO(11) ZERO(12)
        ZERO(13) ZERO(14) ZERO(15) ZERO(28) ZERO(29) ZERO(30) "movi v31.16b, #15\n"
        CODE("w9", 0, 0) CODE("w10", 0, 1) WEIGHTS(16, 0) WEIGHTS(17, 1) WEIGHTS(18, 2) WEIGHTS(19, 3)
        TABLE(24, "w9") TABLE(25, "w10")
        HIGH(20, 16) HIGH(21, 17) HIGH(22, 18) HIGH(23, 19) LOW(16, 16) LOW(17, 17) LOW(18, 18) LOW(19, 19)
        "1:\n"
        ROW(24, 25, 0, 1, 2, 3, 13, 14, 15,
            CODE("w9", 1, 0), CODE("w10", 1, 1), TABLE(26, "w9"), , TABLE(24, "w10"), , )
        ROW(26, 24, 4, 5, 6, 7, 1, 2, 3,
            CODE("w9", 2, 0), CODE("w10", 2, 1), TABLE(25, "w9"), , TABLE(26, "w10"), , )
        ROW(25, 26, 8, 9, 10, 11, 5, 6, 7,
            CODE("w9", 3, 0), CODE("w10", 3, 1), TABLE(24, "w9"), , TABLE(25, "w10"), , )
        ROW(24, 25, 12, 13, 14, 15, 9, 10, 11,
            "subs %[bytes], %[bytes], #1\n", "csel %[one], %[one], xzr, ne\n",
            "add %[at0], %[at0], %[one], lsl #1\n add %[at1], %[at1], %[one], lsl #1\n",
            "add %[at], %[at], %[one], lsl #4\n" CODE("w9", 0, 0) CODE("w10", 0, 1),
            WEIGHTS(16, 0) TABLE(24, "w9"), WEIGHTS(17, 1), WEIGHTS(18, 2))
        WEIGHTS(19, 3) TABLE(25, "w10")
        HIGH(20, 16) HIGH(21, 17) HIGH(22, 18) HIGH(23, 19) LOW(16, 16) LOW(17, 17) LOW(18, 18) LOW(19, 19)
        "b.ne 1b\n"
        COUNT(13, 28) COUNT(14, 29) COUNT(15, 30)
        STORE(0, 0) STORE(1, 16) STORE(2, 32) STORE(3, 48) STORE(4, 64) STORE(5, 80) STORE(6, 96) STORE(7, 112)
        STORE(8, 128) STORE(9, 144) STORE(10, 160) STORE(11, 176) STORE(12, 192) STORE(13, 208) STORE(14, 224)
        STORE(15, 240)
        : [bytes] "+r"(bytes), [at] "+r"(at), [at0] "+r"(at0), [at1] "+r"(at1), [one] "+r"(one)
        : [table] "r"(place->table), [counters] "r"(counter), [weights0] "r"(w), [weights1] "r"(w + place->block_stride),
          [weights2] "r"(w + 2 * place->block_stride), [weights3] "r"(w + 3 * place->block_stride), [codes0] "r"(c),
          [codes1] "r"(c + place->code_stride), [codes2] "r"(c + 2 * place->code_stride),
          [codes3] "r"(c + 3 * place->code_stride)
        : "memory", "cc", "x9", "x10", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12",
          "v13", "v14", "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28",
          "v29", "v30", "v31");
}

/* 1 row x 8 blocks, two weight bytes at a time. v0-v7 counters of plane 1, v8-v15 of plane 2; v24-v27 the row's 8 inputs of
 * planes 1 and 2 for the first byte and for the second; v16-v19 and v20-v23, in turns, weights of a pair of blocks (first
 * byte and second, first byte and second), where what differs from plane 2 takes their place, what differs from plane 1
 * goes to v28-v31. A pair's counts of the second byte are added while the next pair's weights are compared. The last
 * pass loads weights of the first pair that lie behind this chunk, in the block after it, and uses them not. */
#define DIFFER(to, w, inputs) "eor v" #to ".16b, v" #w ".16b, v" #inputs ".16b\n"
#define ONES(v) "cnt v" #v ".16b, v" #v ".16b\n"
#define FETCH(to, block, byte) "ldr q" #to ", [%[weights" #block "], %[at" #byte "]]\n"
#define INPUTS "ld4r {v24.16b, v25.16b, v26.16b, v27.16b}, [%[inputs]]\n"
#define PAIR(a0, a1, b0, b1, next_a0, next_a1, next_b0, next_b1, next_a, next_b, one_a, one_b, two_a, two_b, before_a,  \
             before_b, before_two_a, before_two_b, at, inputs)                                                         \
    DIFFER(28, a0, 24) DIFFER(29, b0, 24) COUNT(before_a, 30) COUNT(before_b, 31) DIFFER(30, a1, 26)                    \
    DIFFER(31, b1, 26) COUNT(before_two_a, next_a1) COUNT(before_two_b, next_b1) at DIFFER(a0, a0, 25)                  \
    FETCH(next_a0, next_a, 0) DIFFER(b0, b0, 25) FETCH(next_a1, next_a, 1) DIFFER(a1, a1, 27)                          \
    FETCH(next_b0, next_b, 0) DIFFER(b1, b1, 27) FETCH(next_b1, next_b, 1) inputs                                      \
    ONES(28) ONES(29) ONES(a0) ONES(b0) ONES(30) ONES(31) ONES(a1) ONES(b1)                                            \
    COUNT(one_a, 28) COUNT(one_b, 29) COUNT(two_a, a0) COUNT(two_b, b0)

INLINE void count_1_row_8_blocks(const uint8_t *inputs, const uint8_t *weights, int64_t stride, int64_t bytes,
                                 uint8x16_t counter[2][POPCOUNT_BLOCKS])
{
    int64_t at0 = 0, at1 = 16;
    __asm__ volatile(
        ZERO(0) ZERO(1) ZERO(2) ZERO(3) ZERO(4) ZERO(5) ZERO(6) ZERO(7) ZERO(8) ZERO(9) ZERO(10) ZERO(11) ZERO(12)
        ZERO(13) ZERO(14) ZERO(15) ZERO(21) ZERO(23) ZERO(30) ZERO(31)
        INPUTS FETCH(16, 0, 0) FETCH(17, 0, 1) FETCH(18, 1, 0) FETCH(19, 1, 1)
        "1:\n"
        PAIR(16, 17, 18, 19, 20, 21, 22, 23, 2, 3, 0, 1, 8, 9, 6, 7, 14, 15, , )
        PAIR(20, 21, 22, 23, 16, 17, 18, 19, 4, 5, 2, 3, 10, 11, 0, 1, 8, 9, , )
        PAIR(16, 17, 18, 19, 20, 21, 22, 23, 6, 7, 4, 5, 12, 13, 2, 3, 10, 11, , )
        PAIR(20, 21, 22, 23, 16, 17, 18, 19, 0, 1, 6, 7, 14, 15, 4, 5, 12, 13,
             "add %[at0], %[at0], #32\n add %[at1], %[at1], #32\n add %[inputs], %[inputs], #4\n"
             "subs %[bytes], %[bytes], #2\n", INPUTS)
        "b.ne 1b\n"
        COUNT(6, 30) COUNT(7, 31) COUNT(14, 21) COUNT(15, 23)
        STORE(0, 0) STORE(1, 16) STORE(2, 32) STORE(3, 48) STORE(4, 64) STORE(5, 80) STORE(6, 96) STORE(7, 112)
        STORE(8, 128) STORE(9, 144) STORE(10, 160) STORE(11, 176) STORE(12, 192) STORE(13, 208) STORE(14, 224)
        STORE(15, 240)
        : [bytes] "+r"(bytes), [at0] "+r"(at0), [at1] "+r"(at1), [inputs] "+r"(inputs)
        : [counters] "r"(counter), [weights0] "r"(weights), [weights1] "r"(weights + stride),
          [weights2] "r"(weights + 2 * stride), [weights3] "r"(weights + 3 * stride),
          [weights4] "r"(weights + 4 * stride), [weights5] "r"(weights + 5 * stride),
          [weights6] "r"(weights + 6 * stride), [weights7] "r"(weights + 7 * stride)
        : "memory", "cc", "v0", "v1", "v2", "v3", "v4", "v5", "v6", "v7", "v8", "v9", "v10", "v11", "v12", "v13", "v14",
          "v15", "v16", "v17", "v18", "v19", "v20", "v21", "v22", "v23", "v24", "v25", "v26", "v27", "v28", "v29", "v30",
          "v31");
}
/* clang-format on */

INLINE void count(const tile_place *at, int32_t bytes, const int32_t rows, const int32_t blocks,
                  uint8x16_t counter[MOST_ROWS][MOST_BLOCKS])
{
    if (rows == 4 && blocks == 4) {
        count_4_rows_4_blocks(at, bytes, counter);
    } else {
        count_chunk(at, bytes, rows, blocks, counter);
    }
}

/* sums[r][b][0..15] = what they were, or `all` at first, - 2 * counters. */
INLINE void widen(const tile_place *at, uint8x16_t counter[MOST_ROWS][MOST_BLOCKS], const int32_t rows,
                  const int32_t blocks, const int32_t first, int16x8_t all)
{
    for (int32_t r = 0; r < rows; ++r) {
        for (int32_t b = 0; b < blocks; ++b) {
            int16_t *sums = at->sums + r * at->padded + 16 * b;
            uint8x16_t c = counter[r][b];
            int16x8_t twice_low = vreinterpretq_s16_u16(vshll_n_u8(vget_low_u8(c), 1));
            int16x8_t twice_high = vreinterpretq_s16_u16(vshll_high_n_u8(c, 1));
            vst1q_s16(sums, vsubq_s16(first ? all : vld1q_s16(sums), twice_low));
            vst1q_s16(sums + 8, vsubq_s16(first ? all : vld1q_s16(sums + 8), twice_high));
        }
    }
}

INLINE int32_t next_chunk(int32_t bytes) { return bytes < LOOKUP_BYTES ? bytes : LOOKUP_BYTES; }

INLINE void tile(const kws_bgemm_args *args, const uint8_t *codes, int32_t row, int32_t block, const int32_t rows,
                 const int32_t blocks, int16_t *sums)
{
    int32_t bytes = kws_weight_bytes(args->inputs), padded = kws_padded_outputs(args->outputs);
    tile_place at = {(const uint8x16_t *)(const void *)(args->planes == 2 ? kws_mismatch_two : kws_mismatch_one),
                     codes + row * 2 * bytes,
                     args->weights + block * bytes * 16,
                     sums + row * padded + 16 * block,
                     2 * bytes,
                     16 * bytes,
                     padded};
    const int16x8_t all = vdupq_n_s16((int16_t)((args->planes == 2 ? 3 : 1) * args->inputs));
    uint8x16_t counter[MOST_ROWS][MOST_BLOCKS];
    int32_t taken = next_chunk(bytes);
    count(&at, taken, rows, blocks, counter);
    widen(&at, counter, rows, blocks, 1, all);
    for (bytes -= taken; bytes > 0; bytes -= taken) {
        at.codes += 2 * taken;
        at.weights += 16 * taken;
        taken = next_chunk(bytes);
        count(&at, taken, rows, blocks, counter);
        widen(&at, counter, rows, blocks, 0, all);
    }
}

/* The codes of a row, `bytes` of them, as the planes' bytes: a pair of codes (two nibbles of plane 1 below two of plane 2) to
 * 8 inputs of plane 1 and the same of plane 2, by a swap of the two middle nibbles. */
INLINE void split_planes(const uint8_t *codes, int32_t bytes, uint8_t *planes)
{
    int32_t i = 0;
    for (; i + 16 <= bytes; i += 16) {
        uint16x8_t pairs = vreinterpretq_u16_u8(vld1q_u8(codes + i));
        uint16x8_t up = vandq_u16(vshlq_n_u16(pairs, 4), vdupq_n_u16(0x0f00));
        uint16x8_t down = vandq_u16(vshrq_n_u16(pairs, 4), vdupq_n_u16(0x00f0));
        uint16x8_t ends = vandq_u16(pairs, vdupq_n_u16(0xf00f));
        vst1q_u8(planes + i, vreinterpretq_u8_u16(vorrq_u16(ends, vorrq_u16(up, down))));
    }
    for (; i < bytes; i += 2) {
        planes[i] = (uint8_t)((codes[i] & 15) | codes[i + 1] << 4);
        planes[i + 1] = (uint8_t)(codes[i] >> 4 | (codes[i + 1] & 240));
    }
}

/* sums = what they were, or `all` at first, - 2 * mismatches, which plane 1 has twice where there are two. */
INLINE void widen_planes(uint8x16_t counter[2][POPCOUNT_BLOCKS], const int32_t planes, int32_t first, int16x8_t all,
                         int16_t *sums)
{
    for (int32_t b = 0; b < POPCOUNT_BLOCKS; ++b, sums += 16) {
        uint8x16_t one = counter[0][b], two = counter[1][b];
        uint16x8_t low = vshll_n_u8(vget_low_u8(one), 1), high = vshll_high_n_u8(one, 1);
        if (planes == 2) {
            low = vshlq_n_u16(vaddw_u8(low, vget_low_u8(two)), 1);
            high = vshlq_n_u16(vaddw_high_u8(high, two), 1);
        }
        vst1q_s16(sums, vsubq_s16(first ? all : vld1q_s16(sums), vreinterpretq_s16_u16(low)));
        vst1q_s16(sums + 8, vsubq_s16(first ? all : vld1q_s16(sums + 8), vreinterpretq_s16_u16(high)));
    }
}

/* Blocks block to block + 7 of a row, of which `inputs` are the planes' bytes. */
INLINE void popcount_tile(const kws_bgemm_args *args, const uint8_t *inputs, int32_t block, int16_t *sums)
{
    int32_t bytes = kws_weight_bytes(args->inputs), taken;
    const uint8_t *weights = args->weights + 16 * block * bytes;
    const int16x8_t all = vdupq_n_s16((int16_t)((args->planes == 2 ? 3 : 1) * args->inputs));
    uint8x16_t counter[2][POPCOUNT_BLOCKS];
    for (int32_t i = 0; i < bytes; i += taken) {
        taken = bytes - i < POPCOUNT_BYTES ? bytes - i : POPCOUNT_BYTES;
        count_1_row_8_blocks(inputs + 2 * i, weights + 16 * i, 16 * bytes, taken, counter);
        if (args->planes == 2) {
            widen_planes(counter, 2, i == 0, all, sums + 16 * block);
        } else {
            widen_planes(counter, 1, i == 0, all, sums + 16 * block);
        }
    }
}

/* Blocks `block` to `end` of one row. */
static void one_row(const kws_bgemm_args *args, const uint8_t *codes, int32_t row, int32_t block, int32_t end,
                    int16_t *sums)
{
    int32_t bytes = kws_code_bytes(args->inputs), padded = kws_padded_outputs(args->outputs);
    uint8_t planes[2 * KWS_MAX_INPUTS / 8 + 4]; /* the last four are read and not used */
    if (block + POPCOUNT_BLOCKS <= end) {
        split_planes(codes + row * bytes, bytes, planes);
    }
    for (; block + POPCOUNT_BLOCKS <= end; block += POPCOUNT_BLOCKS) {
        popcount_tile(args, planes, block, sums + row * padded);
    }
    for (; block + 4 <= end; block += 4) {
        tile(args, codes, row, block, 1, 4, sums);
    }
    for (; block < end; ++block) {
        tile(args, codes, row, block, 1, 1, sums);
    }
}

/* Four blocks at a time for four rows, what is left of them two at a time for eight rows; then single rows. */
void kws_bgemm_neon(const kws_bgemm_args *args, const uint8_t *codes, int32_t rows, int16_t *sums)
{
    int32_t blocks = kws_padded_outputs(args->outputs) / 16, wide = blocks / 4 * 4, row = 0;
    for (; row + 4 <= rows; row += 4) {
        for (int32_t block = 0; block < wide; block += 4) {
            tile(args, codes, row, block, 4, 4, sums);
        }
    }
    for (; row < rows; ++row) {
        one_row(args, codes, row, 0, wide, sums);
    }
    row = 0;
    for (; wide < blocks && row + 8 <= rows; row += 8) {
        int32_t block = wide;
        for (; block + 2 <= blocks; block += 2) {
            tile(args, codes, row, block, 8, 2, sums);
        }
        if (block < blocks) {
            tile(args, codes, row, block, 8, 1, sums);
        }
    }
    for (; wide < blocks && row < rows; ++row) {
        one_row(args, codes, row, wide, blocks, sums);
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
