/* fft_avx2.c - the power spectrum eight lanes at a time, where AVX2 is. */
#if defined(__x86_64__)
#define WIDEST 8
#define POWER kws_fft_power_avx2
#include "fft_power.h"
#endif
