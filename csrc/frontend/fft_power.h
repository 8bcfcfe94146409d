/* fft_power.h - kws_fft_power for an instruction set: as wide as WIDEST (4 or 8) lanes where so many values lie side by
 * side or are brought there, which is all but the passes of very short transforms. Included by fft_portable.c and
 * fft_avx2.c, which name it POWER. Bits do not depend on WIDEST.
 */
#include <string.h>

#include "../common/vec4.h"
#include "../kernels/target.h"
#include "fft.h"

#define INLINE static inline __attribute__((always_inline))

#if WIDEST == 8
KWS_TARGET_BEGIN("avx2")
typedef float kws_vec8 __attribute__((vector_size(32)));
typedef int32_t kws_ivec8 __attribute__((vector_size(32)));
#if defined(__clang__) || __GNUC__ >= 12
#define VEC8_SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define VEC8_SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (kws_ivec8){__VA_ARGS__})
#endif
#define LANES 8
#define REVERSED(v) VEC8_SHUFFLE(v, v, 7, 6, 5, 4, 3, 2, 1, 0)
#define EVEN(a, b) VEC8_SHUFFLE(a, b, 0, 2, 4, 6, 8, 10, 12, 14)
#define ODD(a, b) VEC8_SHUFFLE(a, b, 1, 3, 5, 7, 9, 11, 13, 15)
#define LOW_PAIRS(a, b) VEC8_SHUFFLE(a, b, 0, 8, 1, 9, 4, 12, 5, 13)
#define HIGH_PAIRS(a, b) VEC8_SHUFFLE(a, b, 2, 10, 3, 11, 6, 14, 7, 15)
#include "fft_lanes.h"
#endif
#define LANES 4
#define REVERSED(v) vec4_reverse(v)
#define EVEN(a, b) VEC4_SHUFFLE(a, b, 0, 2, 4, 6)
#define ODD(a, b) VEC4_SHUFFLE(a, b, 1, 3, 5, 7)
#define LOW_PAIRS(a, b) VEC4_SHUFFLE(a, b, 0, 4, 1, 5)
#define HIGH_PAIRS(a, b) VEC4_SHUFFLE(a, b, 2, 6, 3, 7)
#include "fft_lanes.h"
#if WIDEST == 8
#define WIDE(name) name##8
#else
#define WIDE(name) name##4
#endif

#if WIDEST == 8
/* The second pass has blocks of four: lanes 0 to 3 are one, with its twiddle, and 4 to 7 the next one. */
#define HALVES(v, i) VEC8_SHUFFLE(v, v, i, i, i, i, i + 1, i + 1, i + 1, i + 1)

INLINE void two_blocks(int32_t p, int32_t q, const complex8 twiddles[4], const float *xr, const float *xi, float *yr,
                       float *yi)
{
    complex8 x[4], y[4];
    for (int32_t j = 0; j < 4; ++j) {
        x[j] = load8(xr, xi, 4 * (p + j * q));
    }
    butterflies8(x, twiddles, y);
    store_quads8(yr + 16 * p, (kws_vec8[]){y[0].r, y[1].r, y[2].r, y[3].r});
    store_quads8(yi + 16 * p, (kws_vec8[]){y[0].i, y[1].i, y[2].i, y[3].i});
}

INLINE void second_pass(int32_t length, const float *w, const float *xr, const float *xi, float *yr, float *yi)
{
    int32_t q = length / 4;
    if (q % 8 != 0) {
        later_pass4(length, 4, w, xr, xi, yr, yi);
        return;
    }
    for (int32_t p = 0; p < q; p += 8) {
        complex8 all[4], pairs[4][4];
        for (int32_t j = 1; j < 4; ++j) {
            all[j] = load8(w + 2 * (j - 1) * q, w + (2 * (j - 1) + 1) * q, p);
            pairs[0][j] = (complex8){HALVES(all[j].r, 0), HALVES(all[j].i, 0)};
            pairs[1][j] = (complex8){HALVES(all[j].r, 2), HALVES(all[j].i, 2)};
            pairs[2][j] = (complex8){HALVES(all[j].r, 4), HALVES(all[j].i, 4)};
            pairs[3][j] = (complex8){HALVES(all[j].r, 6), HALVES(all[j].i, 6)};
        }
        for (int32_t pair = 0; pair < 4; ++pair) {
            two_blocks(p + 2 * pair, q, pairs[pair], xr, xi, yr, yi);
        }
    }
}
#else
INLINE void second_pass(int32_t length, const float *w, const float *xr, const float *xi, float *yr, float *yi)
{
    later_pass4(length, 4, w, xr, xi, yr, yi);
}
#endif

void POWER(int32_t n, const float *table, const float *samples, const float *window, int32_t length, float *scratch,
           float *power)
{
    int32_t m = n / 2, stride = 4;
    float *a = scratch, *b = scratch + n;
    if (m / 4 < WIDEST) {
        first_pass4(m, table, samples, window, length, a, a + m, 0);
    } else if (length == n) {
        WIDE(first_pass)(m, table, samples, window, length, a, a + m, 1);
    } else {
        WIDE(first_pass)(m, table, samples, window, length, a, a + m, 0);
    }
    table += 6 * (m / 4);
    int32_t rest = m / 4;
    for (; rest >= 4 && rest != 8; rest /= 4, stride *= 4) {
        if (stride == 4) {
            second_pass(rest, table, a, a + m, b, b + m);
        } else {
            WIDE(later_pass)(rest, stride, table, a, a + m, b, b + m);
        }
        table += 6 * (rest / 4);
        float *swap = a;
        a = b;
        b = swap;
    }
    if (rest == 8) {
        if (stride == 4) {
            last_pass4(stride, a, a + m, b, b + m);
        } else {
            WIDE(last_pass)(stride, a, a + m, b, b + m);
        }
        a = b;
    }
    const float *zr = a, *zi = a + m, *cosine = table, *sine = table + n / 4 + 1;
    float dc = 2.0f * (zr[0] + zi[0]), nyquist = 2.0f * (zr[0] - zi[0]);
    power[0] = dc * dc;
    power[m] = nyquist * nyquist;
    WIDE(real_pass)(m, zr, zi, cosine, sine, power);
}
#if WIDEST == 8
KWS_TARGET_END
#endif
