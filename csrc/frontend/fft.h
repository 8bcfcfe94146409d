/* fft.h - power spectrum of a windowed real signal, for the front end.
 *
 * A real transform of n points is a complex one of n/2 points (even samples real, odd samples imaginary) and one pass
 * that separates the two spectra. The complex transform is a Stockham radix-4 (the last pass is radix-8 where log2 is odd):
 * self-sorting, so every pass reads and writes consecutive floats, four or eight at a time, and what a lane computes does
 * not depend on how many there are.
 */
#ifndef KWS_FFT_H
#define KWS_FFT_H

#include <stdint.h>

/* Floats needed for the twiddle table of an n-point transform, and for the scratch of one call. */
int32_t kws_fft_table_size(int32_t n);
int32_t kws_fft_scratch_size(int32_t n);

/* Fills the table. n: a power of two, 32 to 8192. */
void kws_fft_init(int32_t n, float *table);

/* power[k] = 4 |X[k]|^2 (which saves a multiplication a value), k = 0 .. n/2, of samples[i] * window[i] for
 * i < length <= n, zeros from there on. scratch: kws_fft_scratch_size(n) floats. */
#define KWS_FFT_POWER(name)                                                                                            \
    void name(int32_t n, const float *table, const float *samples, const float *window, int32_t length,                \
              float *scratch, float *power)
KWS_FFT_POWER(kws_fft_power_portable);
KWS_FFT_POWER(kws_fft_power_avx2); /* x86-64 alone */
typedef KWS_FFT_POWER((*kws_fft_function));

/* The fastest that this CPU runs, or the portable one; they give the same bits. */
kws_fft_function kws_fft_select(int32_t portable);

#endif
