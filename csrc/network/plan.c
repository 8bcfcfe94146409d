/* plan.c - sizes that follow from the layers, and how a stream's memory is shared out. */
#include "parts.h"

#include <string.h>

static size_t rounded(size_t size) { return (size + 63) / 64 * 64; }

/* Memory that is shared out, and the bytes of it that are taken. Without memory (NULL) the same calls only measure. */
typedef struct {
    char *memory;
    size_t taken;
} kws_room;

/* `count` elements of `size` bytes, from a multiple of 64 on. */
static void *take(kws_room *room, int32_t count, size_t size)
{
    void *start = room->memory == NULL ? NULL : room->memory + room->taken;
    room->taken += rounded((size_t)count * size);
    return start;
}

void kws_network_init(kws_network *network)
{
    const kws_conv *conv = &network->conv2;
    network->kind = network->causal ? &kws_causal : &kws_windowed;
    network->width = network->fc1.product.outputs;
    network->steps = conv->out_height;
    network->stem_rows = network->causal ? KWS_CONV_KERNEL : conv->height;
    network->hidden = network->taps = network->block_count = network->has_others = 0;
    for (int32_t i = 0; i < network->level_count; ++i) {
        kws_level *level = &network->levels[i];
        level->first = network->block_count;
        network->block_count += level->count;
        if (level->count) {
            network->hidden = level->blocks[0].expand.product.outputs;
            network->taps = level->blocks[0].memory.taps;
        }
    }
    for (int32_t i = 0; i < network->classes; ++i) {
        network->has_others |= network->other[i];
    }
}

static size_t share_out_past(kws_past *past, const kws_network *network, void *memory)
{
    kws_room room = {memory, 0};
    int32_t of_window = network->steps * network->width, rows = network->stem_rows + 2 * network->conv2.pad_rows;
    past->codes = take(&room, rows * kws_conv_image_row(&network->conv2), 1);
    past->x = take(&room, of_window, sizeof *past->x);
    past->columns = take(&room, network->causal ? network->block_count * kws_column_bytes(network) : 0, 1);
    past->ends = take(&room, network->causal ? network->level_count * of_window : 0, 1);
    return room.taken;
}

size_t kws_past_size(const kws_network *network)
{
    kws_past past;
    return share_out_past(&past, network, NULL);
}

void kws_past_init(kws_past *past, const kws_network *network, void *memory)
{
    /* Nothing ever writes into the padding of the codes. */
    memset(memory, 0, kws_past_size(network));
    memset(past, 0, sizeof *past);
    share_out_past(past, network, memory);
}

void kws_past_reset(kws_past *past) { past->begun = 0; }

/* The largest of what any layer works in. */
static kws_scratch_size scratch_size(const kws_network *network)
{
    const kws_conv *conv = &network->conv2;
    int32_t steps = network->causal ? 1 : network->steps, rows = network->causal ? KWS_AT_ONCE : network->steps;
    int32_t pixels = network->stem_rows * conv->width;
    kws_scratch_size size = kws_larger(kws_conv_scratch(conv, steps), kws_linear_scratch(&network->fc1, steps));
    for (int32_t i = 0; i < network->level_count; ++i) {
        for (int32_t j = 0; j < network->levels[i].count; ++j) {
            const kws_block *block = &network->levels[i].blocks[j];
            size = kws_larger(size, kws_memory_scratch(&block->memory, rows));
            size = kws_larger(size, kws_linear_scratch(&block->expand, rows));
            size = kws_larger(size, kws_linear_scratch(&block->project, rows));
        }
    }
    /* Quantised floats are a window's at most: the first layers and the inside of a block go from sums to codes. */
    size.q = steps * network->width;
    return kws_larger(size, (kws_scratch_size){0, pixels * kws_code_bytes(conv->channels),
                                               pixels * kws_padded_outputs(conv->channels)});
}

static size_t share_out_buffers(kws_buffers *buffers, const kws_network *network, void *memory)
{
    kws_room room = {memory, 0};
    int32_t steps = network->causal ? 1 : network->steps, rows = network->causal ? KWS_AT_ONCE : network->steps;
    int32_t image_rows = KWS_CONV_STRIDE * (network->stem_rows - 1) + KWS_CONV_KERNEL;
    kws_scratch_size size = scratch_size(network);
    buffers->image = take(&room, image_rows * network->conv1.conv.width + 1, sizeof *buffers->image);
    buffers->x = take(&room, rows * network->width, sizeof *buffers->x);
    buffers->m = take(&room, rows * network->width, sizeof *buffers->m);
    buffers->logits = take(&room, network->classes, sizeof *buffers->logits);
    buffers->ends = take(&room, network->causal ? 0 : network->steps * network->width, 1);
    buffers->classifier_sums = take(&room, network->classes, sizeof *buffers->classifier_sums);
    buffers->scratch.q = take(&room, size.q, 1);
    buffers->scratch.codes = take(&room, size.codes, 1);
    buffers->closed = take(&room, steps * kws_stem_row(network), 1);
    buffers->scratch.sums = take(&room, size.sums, sizeof *buffers->scratch.sums);
    return room.taken;
}

size_t kws_buffers_size(const kws_network *network)
{
    kws_buffers buffers;
    return share_out_buffers(&buffers, network, NULL);
}

void kws_buffers_init(kws_buffers *buffers, const kws_network *network, void *memory)
{
    share_out_buffers(buffers, network, memory);
}
