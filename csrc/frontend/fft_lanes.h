/* fft_lanes.h - the passes of fft_power.h that work on LANES (4 or 8) neighbouring values at a time; included once for
 * each. A lane computes the same however many there are. */
#define LANED2(name, lanes) name##lanes
#define LANED1(name, lanes) LANED2(name, lanes)
#define LANED(name) LANED1(name, LANES)
#define vec LANED(kws_vec)
#define complex_vec LANED(complex)

typedef struct {
    vec r, i;
} complex_vec;

INLINE vec LANED(splat)(float x) { return x - (vec){0.0f}; }

INLINE vec LANED(load_real)(const float *at)
{
    vec v;
    memcpy(&v, at, sizeof v);
    return v;
}

INLINE void LANED(store_real)(float *at, vec v) { memcpy(at, &v, sizeof v); }

INLINE complex_vec LANED(load)(const float *r, const float *i, int32_t at)
{
    return (complex_vec){LANED(load_real)(r + at), LANED(load_real)(i + at)};
}

INLINE void LANED(store)(float *r, float *i, int32_t at, complex_vec v)
{
    LANED(store_real)(r + at, v.r);
    LANED(store_real)(i + at, v.i);
}

INLINE complex_vec LANED(sum)(complex_vec a, complex_vec b) { return (complex_vec){a.r + b.r, a.i + b.i}; }
INLINE complex_vec LANED(difference)(complex_vec a, complex_vec b) { return (complex_vec){a.r - b.r, a.i - b.i}; }
INLINE complex_vec LANED(times_minus_i)(complex_vec a) { return (complex_vec){a.i, -a.r}; }

INLINE complex_vec LANED(times)(complex_vec w, complex_vec x)
{
    return (complex_vec){w.r * x.r - w.i * x.i, w.r * x.i + w.i * x.r};
}

/* Radix-4 butterflies, one a lane: inputs x a quarter apart, outputs y of consecutive blocks, twiddles w[1..3]. */
INLINE void LANED(butterflies)(const complex_vec x[4], const complex_vec w[4], complex_vec y[4])
{
    complex_vec sum_ac = LANED(sum)(x[0], x[2]), dif_ac = LANED(difference)(x[0], x[2]);
    complex_vec sum_bd = LANED(sum)(x[1], x[3]), dif_bd = LANED(difference)(x[1], x[3]);
    y[0] = LANED(sum)(sum_ac, sum_bd);
    y[1] = LANED(times)(w[1], (complex_vec){dif_ac.r + dif_bd.i, dif_ac.i - dif_bd.r});
    y[2] = LANED(times)(w[2], LANED(difference)(sum_ac, sum_bd));
    y[3] = LANED(times)(w[3], (complex_vec){dif_ac.r - dif_bd.i, dif_ac.i + dif_bd.r});
}

/* Neighbouring samples under the window, two a lane, as complex numbers. */
INLINE complex_vec LANED(windowed)(const float *samples, const float *window, int32_t at)
{
    vec low = LANED(load_real)(samples + at) * LANED(load_real)(window + at);
    vec high = LANED(load_real)(samples + at + LANES) * LANED(load_real)(window + at + LANES);
    return (complex_vec){EVEN(low, high), ODD(low, high)};
}

/* The same, with zeros from `length` on. */
static __attribute__((noinline)) complex_vec LANED(windowed_end)(const float *samples, const float *window, int32_t at,
                                                                 int32_t length)
{
    float x[2 * LANES] = {0}, w[2 * LANES] = {0};
    for (int32_t i = 0; at + i < length && i < 2 * LANES; ++i) {
        x[i] = samples[at + i];
        w[i] = window[at + i];
    }
    return LANED(windowed)(x, w, 0);
}

/* Four lanes of y[0], of y[1], y[2] and y[3] side by side; of eight, then the other four of each. */
INLINE void LANED(store_quads)(float *at, const vec y[4])
{
#if LANES == 8
    for (int32_t i = 0; i < 4; i += 2) {
        LANED(store_real)(at + 4 * i, VEC8_SHUFFLE(y[i], y[i + 1], 0, 1, 2, 3, 8, 9, 10, 11));
        LANED(store_real)(at + 16 + 4 * i, VEC8_SHUFFLE(y[i], y[i + 1], 4, 5, 6, 7, 12, 13, 14, 15));
    }
#else
    for (int32_t i = 0; i < 4; ++i) {
        LANED(store_real)(at + 4 * i, y[i]);
    }
#endif
}

/* Lane l of y[0..3], one after the other, for l = 0, 1, 2 ... */
INLINE void LANED(store_columns)(float *at, const vec y[4])
{
    vec even_low = LOW_PAIRS(y[0], y[2]), even_high = HIGH_PAIRS(y[0], y[2]);
    vec odd_low = LOW_PAIRS(y[1], y[3]), odd_high = HIGH_PAIRS(y[1], y[3]);
    LANED(store_quads)(at, (vec[]){LOW_PAIRS(even_low, odd_low), HIGH_PAIRS(even_low, odd_low),
                                   LOW_PAIRS(even_high, odd_high), HIGH_PAIRS(even_high, odd_high)});
}

/* The first pass, from the samples, has blocks of one element: neighbouring butterflies differ in their twiddles, and
 * their outputs lie side by side. `whole`: the window is as long as the transform. */
INLINE void LANED(first_pass)(int32_t m, const float *table, const float *samples, const float *window, int32_t length,
                              float *yr, float *yi, const int whole)
{
    int32_t q = m / 4;
    for (int32_t p = 0; p < q; p += LANES) {
        complex_vec x[4], y[4], twiddles[4];
        for (int32_t j = 0; j < 4; ++j) {
            int32_t at = 2 * (p + j * q);
            x[j] = whole || at + 2 * LANES <= length ? LANED(windowed)(samples, window, at)
                                                     : LANED(windowed_end)(samples, window, at, length);
        }
        for (int32_t j = 1; j < 4; ++j) {
            twiddles[j] = LANED(load)(table + 2 * (j - 1) * q, table + (2 * (j - 1) + 1) * q, p);
        }
        LANED(butterflies)(x, twiddles, y);
        LANED(store_columns)(yr + 4 * p, (vec[]){y[0].r, y[1].r, y[2].r, y[3].r});
        LANED(store_columns)(yi + 4 * p, (vec[]){y[0].i, y[1].i, y[2].i, y[3].i});
    }
}

/* A pass behind the first: `stride` neighbours, a multiple of LANES, share a twiddle. */
INLINE void LANED(later_pass)(int32_t length, int32_t stride, const float *w, const float *xr, const float *xi,
                              float *yr, float *yi)
{
    int32_t q = length / 4, step = stride * q;
    for (int32_t p = 0; p < q; ++p) {
        complex_vec twiddles[4];
        for (int32_t j = 1; j < 4; ++j) {
            twiddles[j] =
                (complex_vec){LANED(splat)(w[2 * (j - 1) * q + p]), LANED(splat)(w[(2 * (j - 1) + 1) * q + p])};
        }
        for (int32_t s = 0; s < stride; s += LANES) {
            complex_vec x[4], y[4];
            for (int32_t j = 0; j < 4; ++j) {
                x[j] = LANED(load)(xr, xi, stride * p + s + j * step);
            }
            LANED(butterflies)(x, twiddles, y);
            for (int32_t j = 0; j < 4; ++j) {
                LANED(store)(yr, yi, 4 * stride * p + s + j * stride, y[j]);
            }
        }
    }
}

/* A transform of four. */
INLINE void LANED(fourier)(const complex_vec x[4], complex_vec y[4])
{
    complex_vec sum_ac = LANED(sum)(x[0], x[2]), dif_ac = LANED(difference)(x[0], x[2]);
    complex_vec sum_bd = LANED(sum)(x[1], x[3]), dif_bd = LANED(times_minus_i)(LANED(difference)(x[1], x[3]));
    y[0] = LANED(sum)(sum_ac, sum_bd);
    y[1] = LANED(sum)(dif_ac, dif_bd);
    y[2] = LANED(difference)(sum_ac, sum_bd);
    y[3] = LANED(difference)(dif_ac, dif_bd);
}

/* The last pass where log2 is odd: transforms of eight, of even and odd inputs, whose twiddles are 1, (1-i)/sqrt(2), -i
 * and (-1-i)/sqrt(2). */
INLINE void LANED(last_pass)(int32_t stride, const float *xr, const float *xi, float *yr, float *yi)
{
    const vec half = LANED(splat)(0.70710678118654752440f);
    for (int32_t s = 0; s < stride; s += LANES) {
        complex_vec even[4], odd[4], low[4], high[4];
        for (int32_t j = 0; j < 4; ++j) {
            even[j] = LANED(load)(xr, xi, s + 2 * j * stride);
            odd[j] = LANED(load)(xr, xi, s + (2 * j + 1) * stride);
        }
        LANED(fourier)(even, low);
        LANED(fourier)(odd, high);
        high[1] = (complex_vec){half * (high[1].r + high[1].i), half * (high[1].i - high[1].r)};
        high[2] = LANED(times_minus_i)(high[2]);
        high[3] = (complex_vec){half * (high[3].i - high[3].r), -(half * (high[3].r + high[3].i))};
        for (int32_t j = 0; j < 4; ++j) {
            LANED(store)(yr, yi, s + j * stride, LANED(sum)(low[j], high[j]));
            LANED(store)(yr, yi, s + (j + 4) * stride, LANED(difference)(low[j], high[j]));
        }
    }
}

/* LANES pairs k, m - k of the power spectrum. Spectra of the even (er, ei) and odd (or, oi) samples, doubled;
 * 2 X[k] = E + w*O, 2 X[m-k] = conj(E - w*O). */
INLINE void LANED(real_powers)(complex_vec low, complex_vec high, vec c, vec s, vec *low_power, vec *high_power)
{
    vec er = low.r + high.r, ei = low.i - high.i, or = low.i + high.i, oi = high.r - low.r;
    vec tr = c * or + s * oi, ti = c * oi - s * or;
    vec low_r = er + tr, low_i = ei + ti, high_r = er - tr, high_i = ei - ti;
    *low_power = low_r * low_r + low_i * low_i;
    *high_power = high_r * high_r + high_i * high_i;
}

/* The power spectrum, 8 pairs at a time: two vectors of four do not wait for each other. */
INLINE void LANED(real_pass)(int32_t m, const float *zr, const float *zi, const float *cosine, const float *sine,
                             float *restrict power)
{
    enum { VECTORS = 8 / LANES };
    for (int32_t k = 1; k <= m / 2; k += 8) {
        vec low[VECTORS], high[VECTORS];
        for (int32_t v = 0; v < VECTORS; ++v) {
            int32_t at = k + v * LANES, mirror = m - at - (LANES - 1);
            complex_vec ends = LANED(load)(zr, zi, mirror);
            ends = (complex_vec){REVERSED(ends.r), REVERSED(ends.i)};
            LANED(real_powers)(LANED(load)(zr, zi, at), ends, LANED(load_real)(cosine + at),
                               LANED(load_real)(sine + at), &low[v], &high[v]);
        }
        for (int32_t v = 0; v < VECTORS; ++v) {
            int32_t at = k + v * LANES, mirror = m - at - (LANES - 1);
            LANED(store_real)(power + at, low[v]);
            LANED(store_real)(power + mirror, REVERSED(high[v])); /* k = m/2 is both: this stays */
        }
    }
}

#undef REVERSED
#undef EVEN
#undef ODD
#undef LOW_PAIRS
#undef HIGH_PAIRS
#undef LANES
#undef vec
#undef complex_vec
#undef LANED
#undef LANED1
#undef LANED2
