/* parts.c - the first layers, a block, and the end of a network. */
#include "parts.h"

#include <string.h>

#include "../common/exact_math.h"

void kws_first_rows(const kws_network *network, const int8_t *features, int32_t first, int32_t rows,
                    const kws_past *past, const kws_buffers *buffers)
{
    const kws_conv *conv = &network->conv2;
    kws_scratch scratch = buffers->scratch;
    kws_input_conv_sums(network->kernels, &network->conv1, features, first, rows, buffers->image, scratch.sums);
    network->kernels->staircase(&network->first_stairs, scratch.sums, rows * conv->width, conv->channels,
                                scratch.codes);
    kws_conv_store(conv, scratch.codes, first, rows, past->codes);
}

void kws_stem_rows(const kws_network *network, int32_t first, int32_t rows, const kws_past *past, float *x,
                   const kws_buffers *buffers)
{
    const kws_conv *conv = &network->conv2;
    const kws_linear *fc1 = &network->fc1;
    kws_scratch scratch = buffers->scratch;
    int32_t bands = conv->out_width, outputs = conv->linear.product.outputs, row_bytes = kws_stem_row(network);
    int32_t row_codes = bands * kws_code_bytes(outputs);
    kws_conv_sums(network->kernels, conv, past->codes, first, rows, scratch);
    network->kernels->staircase(&network->second_stairs, scratch.sums, rows * bands, outputs, scratch.codes);
    memset(buffers->closed, 0, (size_t)(rows * row_bytes));
    for (int32_t i = 0; i < rows; ++i) {
        kws_close_up(scratch.codes + i * row_codes, bands, outputs, buffers->closed + i * row_bytes);
    }
    network->kernels->bgemm(&fc1->product, buffers->closed, rows, scratch.sums);
    network->kernels->affine(&fc1->epilogue, scratch.sums, NULL, rows, network->width, x + first * network->width);
}

void kws_block_remember(const kws_network *network, const kws_block *block, int32_t rows, const float *x,
                        const kws_buffers *buffers)
{
    network->kernels->affine_codes(&block->memory.epilogue, &block->expand.quantizer, buffers->scratch.sums, x, rows,
                                   network->width, buffers->m, buffers->scratch.codes);
}

void kws_block_expand(const kws_network *network, const kws_block *block, int32_t rows, const kws_buffers *buffers)
{
    kws_scratch scratch = buffers->scratch;
    network->kernels->bgemm(&block->expand.product, scratch.codes, rows, scratch.sums);
    network->kernels->staircase(&block->stairs, scratch.sums, rows, network->hidden, scratch.codes);
}

void kws_block_project(const kws_network *network, const kws_block *block, int32_t rows, const kws_quantizer *next,
                       int8_t *q, const kws_buffers *buffers)
{
    const kws_epilogue *epilogue = &block->project.epilogue;
    kws_scratch scratch = buffers->scratch;
    network->kernels->bgemm(&block->project.product, scratch.codes, rows, scratch.sums);
    if (next == NULL) {
        network->kernels->affine(epilogue, scratch.sums, buffers->m, rows, network->width, buffers->x);
    } else {
        network->kernels->affine_levels(epilogue, next, scratch.sums, buffers->m, rows, network->width, buffers->x, q);
    }
}

void kws_block_run(const kws_network *network, const kws_block *block, int32_t rows, const float *x,
                   const kws_quantizer *next, int8_t *q, const kws_buffers *buffers)
{
    kws_block_remember(network, block, rows, x, buffers);
    kws_block_expand(network, block, rows, buffers);
    kws_block_project(network, block, rows, next, q, buffers);
}

void kws_finish(const kws_network *network, const kws_level *level, const int8_t *q, const kws_buffers *buffers,
                float *scores)
{
    kws_classify(network->kernels, &level->classifier, q, buffers->classifier_sums, buffers->logits);
    kws_softmax(buffers->logits, network->classes, scores);
}
