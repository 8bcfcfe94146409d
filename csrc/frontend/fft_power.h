/* fft_power.h - kws_fft_power for an instruction set: as wide as WIDEST (4 or 8) lanes where so many values lie side by
 * side, which is all but the first two passes. Included by fft_portable.c and fft_avx2.c, which name it POWER. Bits do not
 * depend on WIDEST.
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
#define LANES 8
#if defined(__clang__) || __GNUC__ >= 12
#define REVERSED(v) __builtin_shufflevector(v, v, 7, 6, 5, 4, 3, 2, 1, 0)
#else
#define REVERSED(v) __builtin_shuffle(v, (kws_ivec8){7, 6, 5, 4, 3, 2, 1, 0})
#endif
#include "fft_lanes.h"
#endif
#define LANES 4
#define REVERSED(v) vec4_reverse(v)
#include "fft_lanes.h"
#if WIDEST == 8
#define WIDE(name) name##8
#else
#define WIDE(name) name##4
#endif

/* Rows to columns. */
INLINE void transpose(kws_vec4 *a, kws_vec4 *b, kws_vec4 *c, kws_vec4 *d)
{
    kws_vec4 ac_low = VEC4_SHUFFLE(*a, *c, 0, 4, 1, 5), ac_high = VEC4_SHUFFLE(*a, *c, 2, 6, 3, 7);
    kws_vec4 bd_low = VEC4_SHUFFLE(*b, *d, 0, 4, 1, 5), bd_high = VEC4_SHUFFLE(*b, *d, 2, 6, 3, 7);
    *a = VEC4_SHUFFLE(ac_low, bd_low, 0, 4, 1, 5);
    *b = VEC4_SHUFFLE(ac_low, bd_low, 2, 6, 3, 7);
    *c = VEC4_SHUFFLE(ac_high, bd_high, 0, 4, 1, 5);
    *d = VEC4_SHUFFLE(ac_high, bd_high, 2, 6, 3, 7);
}

/* Eight neighbouring samples under the window as four complex numbers. */
INLINE complex4 windowed(const float *samples, const float *window, int32_t at)
{
    kws_vec4 low = load_real4(samples + at) * load_real4(window + at);
    kws_vec4 high = load_real4(samples + at + 4) * load_real4(window + at + 4);
    return (complex4){VEC4_SHUFFLE(low, high, 0, 2, 4, 6), VEC4_SHUFFLE(low, high, 1, 3, 5, 7)};
}

/* The same, with zeros from `length` on. */
static __attribute__((noinline)) complex4 windowed_end(const float *samples, const float *window, int32_t at,
                                                       int32_t length)
{
    float x[8] = {0}, w[8] = {0};
    for (int32_t i = 0; at + i < length && i < 8; ++i) {
        x[i] = samples[at + i];
        w[i] = window[at + i];
    }
    return windowed(x, w, 0);
}

/* The first pass, from the samples, has blocks of one element: four neighbouring butterflies differ in their twiddles, and
 * their outputs lie side by side. `whole`: the window is as long as the transform. */
INLINE void first_pass(int32_t m, const float *table, const float *samples, const float *window, int32_t length,
                       float *yr, float *yi, const int whole)
{
    int32_t q = m / 4;
    for (int32_t p = 0; p < q; p += 4) {
        complex4 x[4], y[4], twiddles[4];
        for (int32_t j = 0; j < 4; ++j) {
            int32_t at = 2 * (p + j * q);
            x[j] = whole || at + 8 <= length ? windowed(samples, window, at)
                                             : windowed_end(samples, window, at, length);
        }
        for (int32_t j = 1; j < 4; ++j) {
            twiddles[j] = load4(table + 2 * (j - 1) * q, table + (2 * (j - 1) + 1) * q, p);
        }
        butterflies4(x, twiddles, y);
        transpose(&y[0].r, &y[1].r, &y[2].r, &y[3].r);
        transpose(&y[0].i, &y[1].i, &y[2].i, &y[3].i);
        for (int32_t j = 0; j < 4; ++j) {
            store4(yr, yi, 4 * p + 4 * j, y[j]);
        }
    }
}

void POWER(int32_t n, const float *table, const float *samples, const float *window, int32_t length, float *scratch,
           float *power)
{
    int32_t m = n / 2, stride = 4;
    float *a = scratch, *b = scratch + n;
    if (length == n) {
        first_pass(m, table, samples, window, length, a, a + m, 1);
    } else {
        first_pass(m, table, samples, window, length, a, a + m, 0);
    }
    table += 6 * (m / 4);
    int32_t rest = m / 4;
    for (; rest >= 4 && rest != 8; rest /= 4, stride *= 4) {
        if (stride == 4) {
            later_pass4(rest, stride, table, a, a + m, b, b + m);
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
