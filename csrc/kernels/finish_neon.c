/* finish_neon.c - what follows an integer sum with NEON, 16 outputs at a time, in one pass: int16 sum to float (SXTL,
 * SCVTF), norm, PReLU, residual; then, while y is in registers, the quantiser:
 *
 *     n = (d >= -scale) + (d >= 0) + (d >= scale)      FCMGE gives -1 for true: the sum of the masks is -n
 *     q = -3 + 2 * n                                   one plane: n = (d >= 0), q = -1 + 2 * n
 *     b1 = n >= 2, b2 = n is odd                       one plane: b1 = n >= 1
 *
 * The masks are added as int32 and narrowed by UZP1 (-n fits a byte). Codes: each of 16 bytes keeps its two bits at
 * their place in the code (AND, ORR), and ADDP twice adds four neighbours. A staircase goes there straight
 * from the sums, by six compares of 8 int16, or by two where the last step is the only one in question; its steps stay in
 * registers over the rows.
 *
 * FCMGE, FADD, FMUL, UZP1, ADDP: A53 6 cycles, 1 a cycle; A55 4, 1; A72 5, 1, but UZP1 6, 1 in 1.5 cycles and ADDP 3, 2
 * a cycle (llvm 14's models). FADD and FMUL stay apart: FMLA would round once.
 */
#if defined(__aarch64__)
#include <arm_neon.h>

#include "declare.h"
#include "finish_tail.h"

/* gcc's first scheduler brings loads forward until registers run out, and spills. */
#if !defined(__clang__)
#pragma GCC optimize("no-schedule-insns,no-tree-ter")
#endif

#define INLINE static inline __attribute__((always_inline))
/* A statement for each of four vectors v. */
#define EACH(statement)                                                                                                \
    for (int32_t v = 0; v < 4; ++v) {                                                                                  \
        statement;                                                                                                     \
    }

enum { FLOATS, LEVELS, CODES }; /* what is wanted of a sum */

static const uint8_t place1[16] = {1, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8};
static const uint8_t place2[16] = {16, 32, 64, 128, 16, 32, 64, 128, 16, 32, 64, 128, 16, 32, 64, 128};

/* -n of 16 activations; operation by operation, so that a processor that runs in order waits for none. */
INLINE void steps16(const float32x4_t x[4], const float32x4_t threshold[4], float32x4_t scale, const int two,
                    uint32x4_t minus_n[4])
{
    float32x4_t d[4], minus_scale = vnegq_f32(scale);
    uint32x4_t high[4], low[4];
    EACH(d[v] = vsubq_f32(x[v], threshold[v]));
    EACH(minus_n[v] = vcgezq_f32(d[v]));
    if (two) {
        EACH(high[v] = vcgeq_f32(d[v], scale));
        EACH(low[v] = vcgeq_f32(d[v], minus_scale));
        EACH(minus_n[v] = vaddq_u32(minus_n[v], high[v]));
        EACH(minus_n[v] = vaddq_u32(minus_n[v], low[v]));
    }
}

/* The low bytes of 16 lanes of int32. */
INLINE uint8x16_t narrow4(const uint32x4_t v[4])
{
    uint16x8_t low = vuzp1q_u16(vreinterpretq_u16_u32(v[0]), vreinterpretq_u16_u32(v[1]));
    uint16x8_t high = vuzp1q_u16(vreinterpretq_u16_u32(v[2]), vreinterpretq_u16_u32(v[3]));
    return vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
}

INLINE void store_levels(uint8x16_t minus_n, const int two, int8_t *q)
{
    int8x16_t twice = vreinterpretq_s8_u8(vaddq_u8(minus_n, minus_n));
    vst1q_s8(q, vsubq_s8(vdupq_n_s8(two ? -3 : -1), twice));
}

/* Bytes of all ones where b1 and b2 are set, of 16 outputs of `count` rows, as codes, `apart` bytes from row to row. */
INLINE void store_codes(const uint8x16_t *b1, const uint8x16_t *b2, const int32_t count, int32_t apart, uint8_t *codes)
{
    const uint8x16_t one = vld1q_u8(place1), two = vld1q_u8(place2);
    uint8x16_t bits[4];
    for (int32_t r = 0; r < count; ++r) {
        bits[r] = vorrq_u8(vandq_u8(b1[r], one), vandq_u8(b2[r], two));
    }
    for (int32_t r = 0; r < count; ++r) {
        bits[r] = vpaddq_u8(bits[r], bits[r]);
    }
    for (int32_t r = 0; r < count; ++r) {
        bits[r] = vpaddq_u8(bits[r], bits[r]);
    }
    for (int32_t r = 0; r < count; ++r) {
        vst1q_lane_u32((uint32_t *)(void *)(codes + r * apart), vreinterpretq_u32_u8(bits[r]), 0);
    }
}

INLINE void store_steps_as_codes(uint8x16_t minus_n, const int two, uint8_t *codes)
{
    if (two) {
        uint8x16_t b1 = vcltq_s8(vreinterpretq_s8_u8(minus_n), vdupq_n_s8(-1));
        uint8x16_t b2 = vtstq_u8(minus_n, vdupq_n_u8(1));
        store_codes(&b1, &b2, 1, 0, codes);
    } else {
        uint8x16_t none = vdupq_n_u8(0);
        store_codes(&minus_n, &none, 1, 0, codes);
    }
}

/* What 16 outputs of every row have in common. */
typedef struct {
    float32x4_t a[4], b[4], slope[4], threshold[4];
} norm16;

INLINE norm16 load_norm(const kws_epilogue *e, const kws_quantizer *quantizer, int32_t o)
{
    norm16 n;
    EACH(n.a[v] = vld1q_f32(e->a + o + 4 * v));
    EACH(n.b[v] = vld1q_f32(e->b + o + 4 * v));
    EACH(n.slope[v] = vld1q_f32(e->slope + o + 4 * v));
    EACH(n.threshold[v] = quantizer != NULL ? vld1q_f32(quantizer->threshold + o + 4 * v) : vdupq_n_f32(0.0f));
    return n;
}

/* prelu(a * n + b) + residual of 16 outputs. */
INLINE void finish16(const norm16 *norm, const int16_t *sums, const float *residual, const int add, float32x4_t x[4])
{
    float32x4_t bent[4], added[4];
    if (add) {
        EACH(added[v] = vld1q_f32(residual + 4 * v));
    }
    int16x8_t low = vld1q_s16(sums), high = vld1q_s16(sums + 8);
    x[0] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(low)));
    x[1] = vcvtq_f32_s32(vmovl_high_s16(low));
    x[2] = vcvtq_f32_s32(vmovl_s16(vget_low_s16(high)));
    x[3] = vcvtq_f32_s32(vmovl_high_s16(high));
    EACH(x[v] = vmulq_f32(norm->a[v], x[v]));
    EACH(x[v] = vaddq_f32(x[v], norm->b[v]));
    EACH(bent[v] = vmulq_f32(norm->slope[v], x[v]));
    EACH(x[v] = vbslq_f32(vcgezq_f32(x[v]), x[v], bent[v]));
    if (add) {
        EACH(x[v] = vaddq_f32(x[v], added[v]));
    }
}

/* All rows, 16 outputs after the other: what the rows share stays in registers. The last three arguments are constants
 * after inlining. */
INLINE void finish(const kws_epilogue *e, const kws_quantizer *quantizer, const int16_t *sums, const float *residual,
                   int32_t rows, int32_t outputs, float *y, int8_t *q, uint8_t *codes, const int wanted, const int add,
                   const int two)
{
    int32_t padded = kws_padded_outputs(outputs), whole = outputs / 16 * 16;
    const float32x4_t scale = vdupq_n_f32(wanted != FLOATS ? quantizer->scale : 0.0f);
    for (int32_t o = 0; o < whole; o += 16) {
        const norm16 norm = load_norm(e, quantizer, o);
        const int16_t *n = sums + o;
        const float *added = add ? residual + o : NULL;
        float *out = y + o;
        for (int32_t row = 0; row < rows; ++row, n += padded, out += outputs) {
            float32x4_t x[4];
            uint32x4_t passed[4];
            finish16(&norm, n, added, add, x);
            if (wanted != FLOATS) {
                steps16(x, norm.threshold, scale, two, passed);
            }
            EACH(vst1q_f32(out + 4 * v, x[v]));
            if (wanted == LEVELS) {
                store_levels(narrow4(passed), two, q + row * outputs + o);
            } else if (wanted == CODES) {
                store_steps_as_codes(narrow4(passed), two, codes + (row * padded + o) / 4);
            }
            added = add ? added + outputs : NULL;
        }
    }
    for (int32_t row = 0; whole < outputs && row < rows; ++row) {
        finish_tail(e, quantizer, sums + row * padded, residual == NULL ? NULL : residual + row * outputs, whole,
                    outputs, y + row * outputs, q == NULL ? NULL : q + row * outputs,
                    codes == NULL ? NULL : codes + row * padded / 4);
    }
}

INLINE void levels_row(const kws_quantizer *quantizer, const float *x, int32_t whole, const int two, int8_t *q)
{
    const float32x4_t scale = vdupq_n_f32(quantizer->scale);
    for (int32_t c = 0; c < whole; c += 16) {
        float32x4_t values[4], threshold[4];
        uint32x4_t passed[4];
        EACH(values[v] = vld1q_f32(x + c + 4 * v));
        EACH(threshold[v] = vld1q_f32(quantizer->threshold + c + 4 * v));
        steps16(values, threshold, scale, two, passed);
        store_levels(narrow4(passed), two, q + c);
    }
}

void kws_levels_neon(const kws_quantizer *quantizer, const float *x, int32_t rows, int32_t channels, int8_t *q)
{
    int32_t whole = channels / 16 * 16;
    kws_quantizer rest = {quantizer->threshold + whole, quantizer->scale, quantizer->planes};
    for (int32_t i = 0; i < rows; ++i, x += channels, q += channels) {
        if (quantizer->planes == 2) {
            levels_row(quantizer, x, whole, 1, q);
        } else {
            levels_row(quantizer, x, whole, 0, q);
        }
        if (whole < channels) {
            kws_levels_scalar(&rest, x + whole, 1, channels - whole, q + whole);
        }
    }
}

/* Steps of 8 outputs. */
typedef struct {
    int16x8_t above[3], below[3];
} steps8;

INLINE steps8 load_steps(const kws_staircase *stairs, int32_t count, int32_t o)
{
    steps8 s;
    for (int32_t k = 0; k < 3; ++k) {
        s.above[k] = vld1q_s16(stairs->above[k < count ? k : 0] + o);
        s.below[k] = vld1q_s16(stairs->below[k < count ? k : 0] + o);
    }
    return s;
}

INLINE uint16x8_t passes(int16x8_t n, const steps8 *s, int32_t k)
{
    return vorrq_u16(vcgtq_s16(n, s->above[k]), vcgtq_s16(s->below[k], n));
}

INLINE uint8x16_t narrow2(uint16x8_t low, uint16x8_t high)
{
    return vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
}

/* Whether 16 sums pass step k, as bytes. */
INLINE uint8x16_t passes16(const int16_t *sums, const steps8 steps[2], int32_t k)
{
    return narrow2(passes(vld1q_s16(sums), &steps[0], k), passes(vld1q_s16(sums + 8), &steps[1], k));
}

/* Codes of `count` times 16 outputs, which don't wait for each other: of so many rows, the steps the same, or of so many
 * blocks of one row. */
INLINE void stairs_group(const int16_t *sums, int32_t apart, const steps8 *steps, const int32_t steps_apart,
                         const steps_kind kind, const int32_t count, int32_t codes_apart, uint8_t *codes)
{
    uint8x16_t first[4], b1[4], b2[4];
    for (int32_t g = 0; g < count; ++g) {
        const steps8 *own = steps + g * steps_apart;
        first[g] = kind == LAST_ALONE ? vdupq_n_u8(0xff) : passes16(sums + g * apart, own, 0);
        b1[g] = kind == THREE ? passes16(sums + g * apart, own, 1) : first[g];
        b2[g] = kind == ONE ? first[g] : passes16(sums + g * apart, own, 2);
    }
    for (int32_t g = 0; g < count; ++g) {
        b2[g] = veorq_u8(veorq_u8(first[g], b1[g]), b2[g]);
        b2[g] = kind == ONE ? vdupq_n_u8(0) : b2[g];
    }
    store_codes(b1, b2, count, codes_apart, codes);
}

INLINE void stairs_block(const kws_staircase *stairs, const int16_t *sums, int32_t rows, int32_t padded, int32_t o,
                         const steps_kind kind, uint8_t *codes)
{
    const int32_t known = kind == ONE ? 1 : 3;
    const steps8 steps[2] = {load_steps(stairs, known, o), load_steps(stairs, known, o + 8)};
    int32_t row = 0;
    for (; row + 4 <= rows; row += 4) {
        stairs_group(sums + row * padded + o, padded, steps, 0, kind, 4, padded / 4, codes + (row * padded + o) / 4);
    }
    for (; row < rows; ++row) {
        stairs_group(sums + row * padded + o, padded, steps, 0, kind, 1, 4, codes + (row * padded + o) / 4);
    }
}

/* One row, four blocks at a time: a step of a causal network. The number of outputs that this takes. */
INLINE int32_t stairs_row(const kws_staircase *stairs, const int16_t *sums, int32_t outputs, uint8_t *codes)
{
    int32_t o = 0;
    for (; o + 64 <= outputs; o += 64) {
        steps8 steps[8];
        for (int32_t i = 0; i < 8; ++i) {
            steps[i] = load_steps(stairs, 3, o + 8 * i);
        }
        stairs_group(sums + o, 16, steps, 2, LAST_ALONE, 4, 4, codes + o / 4);
    }
    return o;
}

#define KWS_ISA_SUFFIX neon
#include "finish_variants.h"

void kws_staircase_neon(const kws_staircase *stairs, const int16_t *sums, int32_t rows, int32_t outputs, uint8_t *codes)
{
    int32_t done = rows == 1 && stairs->last_alone ? stairs_row(stairs, sums, outputs, codes) : 0;
    staircase_from(done, stairs, sums, rows, outputs, codes);
}

void kws_add_neon(const int16_t *more, int32_t count, int16_t *sums)
{
    int32_t i = 0;
    for (; i + 8 <= count; i += 8) {
        vst1q_s16(sums + i, vaddq_s16(vld1q_s16(sums + i), vld1q_s16(more + i)));
    }
    kws_add_scalar(more + i, count - i, sums + i);
}
#endif
