/* fft.c - see fft.h. */
#include "fft.h"

#include "../common/exact_math.h"

/* Table: for the complex transform of m = n/2 points and every radix-4 pass of length `length`, the twiddles
 * w1, w2, w3 as (cos, -sin) planes of length/4 floats each; then cos and sin of k/n turns, k = 0 .. n/4, for the real pass. */
static int32_t passes_size(int32_t m)
{
    int32_t size = 0;
    for (int32_t length = m; length >= 4; length /= 4) {
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
    for (int32_t length = n / 2; length >= 4; length /= 4) {
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

/* One radix-4 butterfly: inputs a, b, c, d a quarter apart, outputs to consecutive blocks, twiddles (wr, wi)[1..3]. */
#define BUTTERFLY4(i0, i1, i2, i3, o0, o1, o2, o3, w1r, w1i, w2r, w2i, w3r, w3i)                                       \
    do {                                                                                                               \
        float sum_ac_r = xr[i0] + xr[i2], sum_ac_i = xi[i0] + xi[i2];                                                  \
        float dif_ac_r = xr[i0] - xr[i2], dif_ac_i = xi[i0] - xi[i2];                                                  \
        float sum_bd_r = xr[i1] + xr[i3], sum_bd_i = xi[i1] + xi[i3];                                                  \
        float dif_bd_r = xr[i1] - xr[i3], dif_bd_i = xi[i1] - xi[i3];                                                  \
        float r1 = dif_ac_r + dif_bd_i, m1 = dif_ac_i - dif_bd_r;                                                      \
        float r2 = sum_ac_r - sum_bd_r, m2 = sum_ac_i - sum_bd_i;                                                      \
        float r3 = dif_ac_r - dif_bd_i, m3 = dif_ac_i + dif_bd_r;                                                      \
        yr[o0] = sum_ac_r + sum_bd_r;                                                                                  \
        yi[o0] = sum_ac_i + sum_bd_i;                                                                                  \
        yr[o1] = (w1r) * r1 - (w1i) * m1;                                                                              \
        yi[o1] = (w1r) * m1 + (w1i) * r1;                                                                              \
        yr[o2] = (w2r) * r2 - (w2i) * m2;                                                                              \
        yi[o2] = (w2r) * m2 + (w2i) * r2;                                                                              \
        yr[o3] = (w3r) * r3 - (w3i) * m3;                                                                              \
        yi[o3] = (w3r) * m3 + (w3i) * r3;                                                                              \
    } while (0)

/* The first pass has blocks of one element: vectorise over the butterflies, which differ in their twiddles. */
static void first_pass(int32_t length, const float *restrict w, const float *restrict xr, const float *restrict xi,
                       float *restrict yr, float *restrict yi)
{
    int32_t q = length / 4;
    for (int32_t p = 0; p < q; ++p) {
        BUTTERFLY4(p, p + q, p + 2 * q, p + 3 * q, 4 * p, 4 * p + 1, 4 * p + 2, 4 * p + 3, w[p], w[q + p], w[2 * q + p],
                   w[3 * q + p], w[4 * q + p], w[5 * q + p]);
    }
}

/* Later passes: `stride` neighbours share a twiddle. */
static void later_pass(int32_t length, int32_t stride, const float *restrict w, const float *restrict xr,
                       const float *restrict xi, float *restrict yr, float *restrict yi)
{
    int32_t q = length / 4;
    for (int32_t p = 0; p < q; ++p) {
        float w1r = w[p], w1i = w[q + p], w2r = w[2 * q + p], w2i = w[3 * q + p], w3r = w[4 * q + p], w3i = w[5 * q + p];
        int32_t in = stride * p, out = 4 * stride * p, step = stride * q;
        for (int32_t s = 0; s < stride; ++s) {
            BUTTERFLY4(in + s, in + step + s, in + 2 * step + s, in + 3 * step + s, out + s, out + stride + s,
                       out + 2 * stride + s, out + 3 * stride + s, w1r, w1i, w2r, w2i, w3r, w3i);
        }
    }
}

static void last_pass_radix2(int32_t half, const float *restrict xr, const float *restrict xi, float *restrict yr,
                             float *restrict yi)
{
    for (int32_t s = 0; s < half; ++s) {
        yr[s] = xr[s] + xr[half + s];
        yi[s] = xi[s] + xi[half + s];
        yr[half + s] = xr[s] - xr[half + s];
        yi[half + s] = xi[s] - xi[half + s];
    }
}

/* Complex transform of m points from (a) to (b) and back; answers with the array that holds the result. */
static const float *complex_fft(int32_t m, const float *table, float *a, float *b)
{
    int32_t stride = 1, length = m;
    for (; length >= 4; length /= 4, stride *= 4) {
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
    if (length == 2) {
        last_pass_radix2(stride, a, a + m, b, b + m);
        a = b;
    }
    return a;
}

void kws_fft_power(int32_t n, const float *table, const float *signal, float *scratch, float *power)
{
    int32_t m = n / 2;
    float *a = scratch, *b = scratch + n;
    for (int32_t i = 0; i < m; ++i) {
        a[i] = signal[2 * i];
        a[m + i] = signal[2 * i + 1];
    }
    const float *zr = complex_fft(m, table, a, b), *zi = zr + m;
    const float *cosine = table + passes_size(m), *sine = cosine + n / 4 + 1;

    float dc = zr[0] + zi[0], nyquist = zr[0] - zi[0];
    power[0] = dc * dc;
    power[m] = nyquist * nyquist;
    for (int32_t k = 1; k <= m / 2; ++k) {
        /* Spectra of the even (er, ei) and odd (or, oi) samples; X[k] = E + w*O, X[m-k] = conj(E - w*O). */
        float er = 0.5f * (zr[k] + zr[m - k]), ei = 0.5f * (zi[k] - zi[m - k]);
        float or = 0.5f * (zi[k] + zi[m - k]), oi = 0.5f * (zr[m - k] - zr[k]);
        float tr = cosine[k] * or + sine[k] * oi, ti = cosine[k] * oi - sine[k] * or;
        float low_r = er + tr, low_i = ei + ti, high_r = er - tr, high_i = ei - ti;
        power[k] = low_r * low_r + low_i * low_i;
        power[m - k] = high_r * high_r + high_i * high_i;
    }
}
