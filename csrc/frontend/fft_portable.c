/* fft_portable.c - the power spectrum four lanes at a time: SSE2, NEON, or what the compiler makes of vec4.h elsewhere. */
#define WIDEST 4
#define POWER kws_fft_power_portable
#include "fft_power.h"
