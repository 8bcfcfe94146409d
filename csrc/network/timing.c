/* timing.c - the parts of a decision one by one, for whoever takes their time. */
#include "parts.h"

enum { OF_A_BLOCK = 3 };

int32_t kws_network_parts(const kws_network *network, int32_t level)
{
    return 2 + OF_A_BLOCK * network->levels[level].count + 1;
}

static void run_block_part(const kws_network *network, const kws_level *level, int32_t i, int32_t part,
                           const kws_past *past, const kws_buffers *buffers)
{
    const kws_block *block = &level->blocks[i];
    int32_t rows = network->causal ? 1 : network->steps;
    int8_t *q = network->causal ? past->columns : buffers->scratch.q;
    if (part == 1) {
        kws_block_expand(network, block, rows, buffers);
    } else if (part == 2) {
        kws_block_project(network, block, rows, kws_next_quantizer(level, i), q, buffers);
    } else {
        if (network->causal) {
            network->kernels->memory(block->memory.weights, q, network->taps, network->width, buffers->scratch.sums);
        } else {
            kws_memory_sums(network->kernels, &block->memory, q, rows, buffers->scratch.sums);
        }
        kws_block_remember(network, block, rows, past->x, buffers);
    }
}

void kws_network_run_part(const kws_network *network, int32_t level, int32_t part, const int8_t *features,
                          kws_past *past, const kws_buffers *buffers, float *scores)
{
    const kws_level *chosen = &network->levels[level];
    if (part == 0) { /* a new step computes two rows of conv1, the others are there */
        int32_t held = network->causal ? KWS_CONV_KERNEL - KWS_CONV_STRIDE : 0;
        kws_first_rows(network, features, held, network->causal ? KWS_CONV_STRIDE : network->conv2.height, past,
                       buffers);
    } else if (part == 1) {
        kws_stem_rows(network, 0, network->causal ? 1 : network->steps, past, past->x, buffers);
    } else if (part < kws_network_parts(network, level) - 1) {
        run_block_part(network, chosen, (part - 2) / OF_A_BLOCK, (part - 2) % OF_A_BLOCK, past, buffers);
    } else {
        int8_t *ends = network->causal ? past->ends : buffers->ends;
        int32_t inputs = network->causal ? network->width : chosen->classifier.inputs;
        network->kernels->to_int8(chosen->count ? buffers->x : past->x, inputs, chosen->classifier.inverse_scale, ends);
        kws_finish(network, chosen, ends, buffers, scores);
    }
}
