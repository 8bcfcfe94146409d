/* memory_scalar.c - one step of a memory, in portable C. */
#include "declare.h"

void kws_memory_scalar(const int8_t *restrict weights, const int8_t *restrict q, int32_t taps, int32_t channels,
                       int16_t *restrict sums)
{
    for (int32_t c = 0; c < channels; ++c) {
        sums[c] = 0;
    }
    for (int32_t j = 0; j < taps; ++j, weights += channels, q += channels) {
        for (int32_t c = 0; c < channels; ++c) {
            sums[c] = (int16_t)(sums[c] + weights[c] * q[c]);
        }
    }
}
