/* fft.c - see fft.h. */
#include "fft.h"

#include "../common/exact_math.h"
#include "../common/vec4.h"

/* Table: for the complex transform of m = n/2 points and every radix-4 pass of length `length`, the twiddles
 * w1, w2, w3 as (cos, -sin) planes of length/4 floats each; then cos and sin of k/n turns, k = 0 .. n/4, for the real pass. */
static int32_t passes_size(int32_t m)
{
    int32_t size = 0;
    for (int32_t length = m; length >= 4 && length != 8; length /= 4) {
        size += 6 * (length / 4);
    }
    return size;
}

int32_t kws_fft_table_size(int32_t n)
{
    return passes_size(n / 2) + 2 * (n / 4 + 1);
}

int32_t kws_fft_scratch_size(int32_t n)
{
    return 2 * n; /* two complex arrays of n/2 points */
}

void kws_fft_init(int32_t n, float *table)
{
    for (int32_t length = n / 2; length >= 4 && length != 8; length /= 4) {
        int32_t quarter = length / 4;
        for (int32_t j = 1; j <= 3; ++j) {
            for (int32_t p = 0; p < quarter; ++p) {
                table[p] = (float)kws_cos_turns((uint64_t)(j * p), (uint64_t)length);
                table[quarter + p] = (float)-kws_sin_turns((uint64_t)(j * p), (uint64_t)length);
            }
            table += 2 * quarter;
        }
    }
    for (int32_t k = 0; k <= n / 4; ++k) {
        table[k] = (float)kws_cos_turns((uint64_t)k, (uint64_t)n);
        table[n / 4 + 1 + k] = (float)kws_sin_turns((uint64_t)k, (uint64_t)n);
    }
}

typedef struct {
    kws_vec4 r, i;
} complex4;

static inline complex4 load(const float *r, const float *i, int32_t at)
{
    return (complex4){vec4_load(r + at), vec4_load(i + at)};
}

static inline void store(float *r, float *i, int32_t at, complex4 v)
{
    vec4_store(r + at, v.r);
    vec4_store(i + at, v.i);
}

static inline complex4 times(complex4 w, complex4 x)
{
    return (complex4){w.r * x.r - w.i * x.i, w.r * x.i + w.i * x.r};
}

/* Four radix-4 butterflies, one a lane: inputs x a quarter apart, outputs y of consecutive blocks, twiddles w[1..3]. */
static inline void butterflies(const complex4 x[4], const complex4 w[4], complex4 y[4])
{
    complex4 sum_ac = {x[0].r + x[2].r, x[0].i + x[2].i}, dif_ac = {x[0].r - x[2].r, x[0].i - x[2].i};
    complex4 sum_bd = {x[1].r + x[3].r, x[1].i + x[3].i}, dif_bd = {x[1].r - x[3].r, x[1].i - x[3].i};
    y[0] = (complex4){sum_ac.r + sum_bd.r, sum_ac.i + sum_bd.i};
    y[1] = times(w[1], (complex4){dif_ac.r + dif_bd.i, dif_ac.i - dif_bd.r});
    y[2] = times(w[2], (complex4){sum_ac.r - sum_bd.r, sum_ac.i - sum_bd.i});
    y[3] = times(w[3], (complex4){dif_ac.r - dif_bd.i, dif_ac.i + dif_bd.r});
}

/* Rows to columns. */
static inline void transpose(kws_vec4 *a, kws_vec4 *b, kws_vec4 *c, kws_vec4 *d)
{
    kws_vec4 ac_low = VEC4_SHUFFLE(*a, *c, 0, 4, 1, 5), ac_high = VEC4_SHUFFLE(*a, *c, 2, 6, 3, 7);
    kws_vec4 bd_low = VEC4_SHUFFLE(*b, *d, 0, 4, 1, 5), bd_high = VEC4_SHUFFLE(*b, *d, 2, 6, 3, 7);
    *a = VEC4_SHUFFLE(ac_low, bd_low, 0, 4, 1, 5);
    *b = VEC4_SHUFFLE(ac_low, bd_low, 2, 6, 3, 7);
    *c = VEC4_SHUFFLE(ac_high, bd_high, 0, 4, 1, 5);
    *d = VEC4_SHUFFLE(ac_high, bd_high, 2, 6, 3, 7);
}

/* The first pass has blocks of one element: four neighbouring butterflies differ in their twiddles, and their outputs lie
 * side by side. */
static void first_pass(int32_t length, const float *w, const float *xr, const float *xi, float *yr, float *yi)
{
    int32_t q = length / 4;
    for (int32_t p = 0; p < q; p += 4) {
        complex4 x[4], y[4], twiddles[4];
        for (int32_t j = 0; j < 4; ++j) {
            x[j] = load(xr, xi, p + j * q);
        }
        for (int32_t j = 1; j < 4; ++j) {
            twiddles[j] = load(w + 2 * (j - 1) * q, w + (2 * (j - 1) + 1) * q, p);
        }
        butterflies(x, twiddles, y);
        transpose(&y[0].r, &y[1].r, &y[2].r, &y[3].r);
        transpose(&y[0].i, &y[1].i, &y[2].i, &y[3].i);
        for (int32_t j = 0; j < 4; ++j) {
            store(yr, yi, 4 * p + 4 * j, y[j]);
        }
    }
}

/* Later passes: `stride` neighbours, a multiple of four, share a twiddle. */
static void later_pass(int32_t length, int32_t stride, const float *w, const float *xr, const float *xi, float *yr,
                       float *yi)
{
    int32_t q = length / 4, step = stride * q;
    for (int32_t p = 0; p < q; ++p) {
        complex4 twiddles[4];
        for (int32_t j = 1; j < 4; ++j) {
            twiddles[j] = (complex4){vec4_splat(w[2 * (j - 1) * q + p]), vec4_splat(w[(2 * (j - 1) + 1) * q + p])};
        }
        for (int32_t s = 0; s < stride; s += 4) {
            complex4 x[4], y[4];
            for (int32_t j = 0; j < 4; ++j) {
                x[j] = load(xr, xi, stride * p + s + j * step);
            }
            butterflies(x, twiddles, y);
            for (int32_t j = 0; j < 4; ++j) {
                store(yr, yi, 4 * stride * p + s + j * stride, y[j]);
            }
        }
    }
}

static inline complex4 sum(complex4 a, complex4 b) { return (complex4){a.r + b.r, a.i + b.i}; }
static inline complex4 difference(complex4 a, complex4 b) { return (complex4){a.r - b.r, a.i - b.i}; }
static inline complex4 times_minus_i(complex4 a) { return (complex4){a.i, -a.r}; }

/* A transform of four. */
static inline void fourier4(const complex4 x[4], complex4 y[4])
{
    complex4 sum_ac = sum(x[0], x[2]), dif_ac = difference(x[0], x[2]);
    complex4 sum_bd = sum(x[1], x[3]), dif_bd = times_minus_i(difference(x[1], x[3]));
    y[0] = sum(sum_ac, sum_bd);
    y[1] = sum(dif_ac, dif_bd);
    y[2] = difference(sum_ac, sum_bd);
    y[3] = difference(dif_ac, dif_bd);
}

/* The last pass where log2 is odd: transforms of eight, of even and odd inputs, whose twiddles are 1, (1-i)/sqrt(2), -i
 * and (-1-i)/sqrt(2). */
static void last_pass_radix8(int32_t stride, const float *xr, const float *xi, float *yr, float *yi)
{
    const kws_vec4 half = vec4_splat(0.70710678118654752440f);
    for (int32_t s = 0; s < stride; s += 4) {
        complex4 even[4], odd[4], low[4], high[4];
        for (int32_t j = 0; j < 4; ++j) {
            even[j] = load(xr, xi, s + 2 * j * stride);
            odd[j] = load(xr, xi, s + (2 * j + 1) * stride);
        }
        fourier4(even, low);
        fourier4(odd, high);
        high[1] = (complex4){half * (high[1].r + high[1].i), half * (high[1].i - high[1].r)};
        high[2] = times_minus_i(high[2]);
        high[3] = (complex4){half * (high[3].i - high[3].r), -(half * (high[3].r + high[3].i))};
        for (int32_t j = 0; j < 4; ++j) {
            store(yr, yi, s + j * stride, sum(low[j], high[j]));
            store(yr, yi, s + (j + 4) * stride, difference(low[j], high[j]));
        }
    }
}

/* Complex transform of m points from (a) to (b) and back; answers with the array that holds the result. */
static const float *complex_fft(int32_t m, const float *table, float *a, float *b)
{
    int32_t stride = 1, length = m;
    for (; length >= 4 && length != 8; length /= 4, stride *= 4) {
        if (stride == 1) {
            first_pass(length, table, a, a + m, b, b + m);
        } else {
            later_pass(length, stride, table, a, a + m, b, b + m);
        }
        table += 6 * (length / 4);
        float *swap = a;
        a = b;
        b = swap;
    }
    if (length == 8) {
        last_pass_radix8(stride, a, a + m, b, b + m);
        a = b;
    }
    return a;
}

/* The windowed samples, the even ones to re and the odd ones to im, zeros up to m. */
static void apply_window(const float *samples, const float *window, int32_t length, int32_t m, float *re, float *im)
{
    int32_t i = 0;
    for (; i + 8 <= length; i += 8) {
        kws_vec4 low = vec4_load(samples + i) * vec4_load(window + i);
        kws_vec4 high = vec4_load(samples + i + 4) * vec4_load(window + i + 4);
        vec4_store(re + i / 2, VEC4_SHUFFLE(low, high, 0, 2, 4, 6));
        vec4_store(im + i / 2, VEC4_SHUFFLE(low, high, 1, 3, 5, 7));
    }
    for (; i < 2 * m; i += 2) {
        re[i / 2] = i < length ? samples[i] * window[i] : 0.0f;
        im[i / 2] = i + 1 < length ? samples[i + 1] * window[i + 1] : 0.0f;
    }
}

void kws_fft_power(int32_t n, const float *table, const float *samples, const float *window, int32_t length,
                   float *scratch, float *power)
{
    int32_t m = n / 2;
    float *a = scratch, *b = scratch + n;
    apply_window(samples, window, length, m, a, a + m);
    const float *zr = complex_fft(m, table, a, b), *zi = zr + m;
    const float *cosine = table + passes_size(m), *sine = cosine + n / 4 + 1;

    float dc = 2.0f * (zr[0] + zi[0]), nyquist = 2.0f * (zr[0] - zi[0]);
    power[0] = dc * dc;
    power[m] = nyquist * nyquist;
    for (int32_t k = 1; k <= m / 2; k += 4) {
        /* Four pairs k, m - k. Spectra of the even (er, ei) and odd (or, oi) samples, doubled; 2 X[k] = E + w*O,
         * 2 X[m-k] = conj(E - w*O). */
        complex4 low = load(zr, zi, k), high = load(zr, zi, m - k - 3);
        high = (complex4){vec4_reverse(high.r), vec4_reverse(high.i)};
        kws_vec4 er = low.r + high.r, ei = low.i - high.i, or = low.i + high.i, oi = high.r - low.r;
        kws_vec4 c = vec4_load(cosine + k), s = vec4_load(sine + k);
        kws_vec4 tr = c * or + s * oi, ti = c * oi - s * or;
        kws_vec4 low_r = er + tr, low_i = ei + ti, high_r = er - tr, high_i = ei - ti;
        vec4_store(power + k, low_r * low_r + low_i * low_i);
        vec4_store(power + m - k - 3, vec4_reverse(high_r * high_r + high_i * high_i)); /* k = m/2 is both: this stays */
    }
}
