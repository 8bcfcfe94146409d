/* finish_neon.c - what follows an integer sum with NEON, 16 outputs at a time, in one pass: int16 sum to float (SXTL,
 * SCVTF), norm, PReLU, residual; then, while y is in registers, the quantiser:
 *
 *     n = (d >= -scale) + (d >= 0) + (d >= scale)      FCMGE gives -1 for true: the sum of the masks is -n
 *     q = -3 + 2 * n                                   one plane: n = (d >= 0), q = -1 + 2 * n
 *     b1 = n >= 2, b2 = n is odd                       one plane: b1 = n >= 1
 *
 * The masks are added as int32 and narrowed by UZP1 (-n fits a byte). Codes: each of 16 bytes keeps its two bits at
 * their place in the code (AND, ORR), and ADDP twice adds four neighbours. A staircase goes there straight
 * from the sums, by six compares of 8 int16; its steps stay in registers over the rows.
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
#pragma GCC optimize("no-schedule-insns")
#endif

#define INLINE static inline __attribute__((always_inline))

enum { FLOATS, LEVELS, CODES }; /* what is wanted of a sum */

static const uint8_t place1[16] = {1, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8, 1, 2, 4, 8};
static const uint8_t place2[16] = {16, 32, 64, 128, 16, 32, 64, 128, 16, 32, 64, 128, 16, 32, 64, 128};

/* -n of 4 activations. */
INLINE uint32x4_t steps4(float32x4_t x, float32x4_t threshold, float32x4_t scale, const int two)
{
    float32x4_t d = vsubq_f32(x, threshold);
    uint32x4_t n = vcgezq_f32(d);
    if (two) {
        n = vaddq_u32(vaddq_u32(n, vcgeq_f32(d, scale)), vcgeq_f32(d, vnegq_f32(scale)));
    }
    return n;
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

/* Bytes of all ones where b1 and b2 are set, as codes. */
INLINE void store_codes(uint8x16_t b1, uint8x16_t b2, uint8_t *codes)
{
    uint8x16_t bits = vorrq_u8(vandq_u8(b1, vld1q_u8(place1)), vandq_u8(b2, vld1q_u8(place2)));
    uint8x16_t pairs = vpaddq_u8(bits, bits), fours = vpaddq_u8(pairs, pairs);
    vst1q_lane_u32((uint32_t *)(void *)codes, vreinterpretq_u32_u8(fours), 0);
}

INLINE void store_steps_as_codes(uint8x16_t minus_n, const int two, uint8_t *codes)
{
    if (two) {
        uint8x16_t b1 = vcltq_s8(vreinterpretq_s8_u8(minus_n), vdupq_n_s8(-1));
        store_codes(b1, vtstq_u8(minus_n, vdupq_n_u8(1)), codes);
    } else {
        store_codes(minus_n, vdupq_n_u8(0), codes);
    }
}

/* What 4 outputs of every row have in common. */
typedef struct {
    float32x4_t a, b, slope, threshold;
} norm4;

INLINE norm4 load_norm(const kws_epilogue *e, const kws_quantizer *quantizer, int32_t o)
{
    norm4 n = {vld1q_f32(e->a + o), vld1q_f32(e->b + o), vld1q_f32(e->slope + o), vdupq_n_f32(0.0f)};
    if (quantizer != NULL) {
        n.threshold = vld1q_f32(quantizer->threshold + o);
    }
    return n;
}

/* prelu(a * n + b) + residual of 4 outputs. */
INLINE float32x4_t finish4(const norm4 *norm, int16x4_t sums, const float *residual, const int add, float *y)
{
    float32x4_t value = vaddq_f32(vmulq_f32(norm->a, vcvtq_f32_s32(vmovl_s16(sums))), norm->b);
    value = vbslq_f32(vcgezq_f32(value), value, vmulq_f32(norm->slope, value));
    if (add) {
        value = vaddq_f32(value, vld1q_f32(residual));
    }
    vst1q_f32(y, value);
    return value;
}

/* All rows, 16 outputs after the other: what the rows share stays in registers. The last three arguments are constants
 * after inlining. */
INLINE void finish(const kws_epilogue *e, const kws_quantizer *quantizer, const int16_t *sums, const float *residual,
                   int32_t rows, int32_t outputs, float *y, int8_t *q, uint8_t *codes, const int wanted,
                   const int add, const int two)
{
    int32_t padded = kws_padded_outputs(outputs), whole = outputs / 16 * 16;
    const float32x4_t scale = vdupq_n_f32(wanted != FLOATS ? quantizer->scale : 0.0f);
    for (int32_t o = 0; o < whole; o += 16) {
        const norm4 norm[4] = {load_norm(e, quantizer, o), load_norm(e, quantizer, o + 4),
                               load_norm(e, quantizer, o + 8), load_norm(e, quantizer, o + 12)};
        const int16_t *n = sums + o;
        const float *added = add ? residual + o : NULL;
        float *out = y + o;
        for (int32_t row = 0; row < rows; ++row, n += padded, out += outputs) {
            uint32x4_t passed[4];
            for (int32_t v = 0; v < 4; ++v) {
                float32x4_t x = finish4(&norm[v], vld1_s16(n + 4 * v), add ? added + 4 * v : NULL, add, out + 4 * v);
                if (wanted != FLOATS) {
                    passed[v] = steps4(x, norm[v].threshold, scale, two);
                }
            }
            if (wanted == LEVELS) {
                store_levels(narrow4(passed), two, q + row * outputs + o);
            } else if (wanted == CODES) {
                store_steps_as_codes(narrow4(passed), two, codes + (row * padded + o) / 4);
            }
            added = add ? added + outputs : NULL;
        }
    }
    for (int32_t row = 0; whole < outputs && row < rows; ++row) {
        finish_tail(e, quantizer, sums + row * padded, residual == NULL ? NULL : residual + row * outputs, whole, outputs,
                    y + row * outputs, q == NULL ? NULL : q + row * outputs,
                    codes == NULL ? NULL : codes + row * padded / 4);
    }
}

#define KWS_ISA_SUFFIX neon
#include "finish_variants.h"

INLINE void levels_row(const kws_quantizer *quantizer, const float *x, int32_t whole, const int two, int8_t *q)
{
    const float32x4_t scale = vdupq_n_f32(quantizer->scale);
    for (int32_t c = 0; c < whole; c += 16) {
        uint32x4_t passed[4];
        for (int32_t v = 0; v < 4; ++v) {
            float32x4_t threshold = vld1q_f32(quantizer->threshold + c + 4 * v);
            passed[v] = steps4(vld1q_f32(x + c + 4 * v), threshold, scale, two);
        }
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

/* Masks b1 and b2 of 8 outputs. */
INLINE void planes8(const int16_t *sums, const steps8 *s, const int two, uint16x8_t *b1, uint16x8_t *b2)
{
    int16x8_t n = vld1q_s16(sums);
    uint16x8_t first = passes(n, s, 0);
    *b1 = two ? passes(n, s, 1) : first;
    *b2 = two ? veorq_u16(veorq_u16(first, *b1), passes(n, s, 2)) : vdupq_n_u16(0);
}

INLINE uint8x16_t narrow2(uint16x8_t low, uint16x8_t high)
{
    return vuzp1q_u8(vreinterpretq_u8_u16(low), vreinterpretq_u8_u16(high));
}

INLINE void stairs_block(const kws_staircase *stairs, const int16_t *sums, int32_t rows, int32_t padded, int32_t o,
                         const int two, uint8_t *codes)
{
    const steps8 low = load_steps(stairs, two ? 3 : 1, o), high = load_steps(stairs, two ? 3 : 1, o + 8);
    for (int32_t row = 0; row < rows; ++row) {
        uint16x8_t b1[2], b2[2];
        planes8(sums + row * padded + o, &low, two, &b1[0], &b2[0]);
        planes8(sums + row * padded + o + 8, &high, two, &b1[1], &b2[1]);
        store_codes(narrow2(b1[0], b1[1]), narrow2(b2[0], b2[1]), codes + (row * padded + o) / 4);
    }
}

void kws_staircase_neon(const kws_staircase *stairs, const int16_t *sums, int32_t rows, int32_t outputs, uint8_t *codes)
{
    int32_t padded = kws_padded_outputs(outputs), whole = outputs / 16 * 16;
    for (int32_t o = 0; o < whole; o += 16) {
        if (stairs->planes == 2) {
            stairs_block(stairs, sums, rows, padded, o, 1, codes);
        } else {
            stairs_block(stairs, sums, rows, padded, o, 0, codes);
        }
    }
    for (int32_t row = 0; whole < outputs && row < rows; ++row) {
        staircase_tail(stairs, sums + row * padded, whole, outputs, codes + row * padded / 4);
    }
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
