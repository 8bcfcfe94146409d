/* memory.c - the memory of an FSMN over a whole window. */
#include "layers.h"

kws_scratch_size kws_memory_scratch(const kws_memory *layer, int32_t steps)
{
    return (kws_scratch_size){steps * layer->channels, 1, steps * kws_padded_outputs(layer->channels)};
}

void kws_memory_sums(const kws_kernels *kernels, const kws_memory *layer, const int8_t *q, int32_t steps, int16_t *sums)
{
    int32_t channels = layer->channels, padded = kws_padded_outputs(channels), before = layer->before;
    for (int32_t t = 0; t < steps; ++t) {
        /* Taps before the first step and after the last one see nothing. */
        int32_t first = t < before ? before - t : 0, end = steps + before - t;
        int32_t last = end < layer->taps ? end : layer->taps;
        kernels->memory(layer->weights + first * channels, q + (t + first - before) * channels, last - first, channels,
                        sums + t * padded);
    }
}
