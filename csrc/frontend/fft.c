/* fft.c - see fft.h. */
#include "fft.h"

#include "../common/exact_math.h"

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

int32_t kws_fft_table_size(int32_t n) { return passes_size(n / 2) + 2 * (n / 4 + 1); }

int32_t kws_fft_scratch_size(int32_t n) { return 2 * n; /* two complex arrays of n/2 points */ }

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

#if defined(__x86_64__)
kws_fft_function kws_fft_select(int32_t portable)
{
    __builtin_cpu_init();
    return !portable && __builtin_cpu_supports("avx2") ? kws_fft_power_avx2 : kws_fft_power_portable;
}
#else
kws_fft_function kws_fft_select(int32_t portable)
{
    (void)portable;
    return kws_fft_power_portable;
}
#endif
