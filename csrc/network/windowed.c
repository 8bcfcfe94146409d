/* windowed.c - the network of the papers: every decision computes its whole window. */
#include "parts.h"

static void take(const kws_network *network, const int8_t *features, int32_t stride, kws_past *past,
                 const kws_buffers *buffers)
{
    (void)stride;
    kws_first_rows(network, features, 0, network->conv2.height, past, buffers);
    kws_stem_rows(network, 0, network->steps, past, past->x, buffers);
}

static void run(const kws_network *network, int32_t level, kws_past *past, const kws_buffers *buffers, float *scores)
{
    const kws_kernels *kernels = network->kernels;
    const kws_level *chosen = &network->levels[level];
    const float *x = past->x;
    int8_t *q = buffers->scratch.q;
    if (chosen->count) {
        kernels->levels(&chosen->blocks[0].memory.quantizer, x, network->steps, network->width, q);
    }
    for (int32_t i = 0; i < chosen->count; ++i) {
        kws_memory_sums(kernels, &chosen->blocks[i].memory, q, network->steps, buffers->scratch.sums);
        kws_block_run(network, &chosen->blocks[i], network->steps, x, kws_next_quantizer(chosen, i), q, buffers);
        x = buffers->x;
    }
    kernels->to_int8(x, chosen->classifier.inputs, chosen->classifier.inverse_scale, buffers->ends);
    kws_finish(network, chosen, buffers->ends, buffers, scores);
}

const kws_network_kind kws_windowed = {take, run};
