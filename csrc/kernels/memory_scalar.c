/* memory_scalar.c - the memory convolution over time, in portable C. */
#include "declare.h"

void kws_memory_scalar(const int8_t *restrict weights, int32_t taps, const int8_t *restrict q, int32_t steps,
                          int32_t channels, int16_t *restrict sums)
{
    int32_t padded = kws_padded_outputs(channels);
    for (int32_t t = 0; t < steps; ++t, sums += padded) {
        int32_t first = t < taps / 2 ? taps / 2 - t : 0;
        int32_t last = steps - t + taps / 2 < taps ? steps - t + taps / 2 : taps;
        for (int32_t c = 0; c < channels; ++c) {
            sums[c] = 0;
        }
        for (int32_t j = first; j < last; ++j) {
            const int8_t *restrict w = weights + j * channels, *restrict column = q + (t + j - taps / 2) * channels;
            for (int32_t c = 0; c < channels; ++c) {
                sums[c] = (int16_t)(sums[c] + w[c] * column[c]);
            }
        }
    }
}
