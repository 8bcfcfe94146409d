/* parts.h - the parts of a decision that both kinds of network are made of. Internal to csrc/network. */
#ifndef KWS_PARTS_H
#define KWS_PARTS_H

#include "network.h"

/* Bytes of one step of fc1's input. */
static inline int32_t kws_stem_row(const kws_network *network) { return kws_code_bytes(network->fc1.product.inputs); }

/* Bytes that the memory of one block of a causal network keeps and has room for. */
static inline int32_t kws_column_bytes(const kws_network *network)
{
    return (network->taps - 1 + KWS_AT_ONCE) * network->width;
}

/* The quantiser of the memory of the block after the i-th that a level runs; NULL after the last. */
static inline const kws_quantizer *kws_next_quantizer(const kws_level *level, int32_t i)
{
    return i + 1 < level->count ? &level->blocks[i + 1].memory.quantizer : NULL;
}

/* Rows of conv1 from the features, as codes in past->codes. */
void kws_first_rows(const kws_network *network, const int8_t *features, int32_t first, int32_t rows,
                    const kws_past *past, const kws_buffers *buffers);

/* Rows of conv2 from past->codes, and what fc1 makes of each: x[first * width] and on. */
void kws_stem_rows(const kws_network *network, int32_t first, int32_t rows, const kws_past *past, float *x,
                   const kws_buffers *buffers);

/* A block from the sums of its memory in scratch.sums on: buffers->m = memory's output + x, buffers->x = project(expand(m))
 * + m. Where there is a next block, also q, what that block's memory takes. */
void kws_block_run(const kws_network *network, const kws_block *block, int32_t rows, const float *x,
                   const kws_quantizer *next, int8_t *q, const kws_buffers *buffers);
void kws_block_remember(const kws_network *network, const kws_block *block, int32_t rows, const float *x,
                        const kws_buffers *buffers);
void kws_block_expand(const kws_network *network, const kws_block *block, int32_t rows, const kws_buffers *buffers);
void kws_block_project(const kws_network *network, const kws_block *block, int32_t rows, const kws_quantizer *next,
                       int8_t *q, const kws_buffers *buffers);

/* Scores of a level from the quantised inputs of its classifier. */
void kws_finish(const kws_network *network, const kws_level *level, const int8_t *q, const kws_buffers *buffers,
                float *scores);

#endif
