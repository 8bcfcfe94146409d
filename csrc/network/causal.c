/* causal.c - the incremental network: each step of four frames is computed once.
 *
 * A step sees 13 frames: 5 output rows of conv1, of which the step before has left all but 2. Every block of every level
 * keeps what its memory sees of earlier steps, the `columns`; every level keeps the quantised inputs of its classifier,
 * the `ends`. A level that did not run for a while (another one was chosen, or "auto" did not need it) catches up when it
 * runs again, from the x of the steps that it missed. Where there is no past, at the beginning of a clip or a stream, the
 * columns are zeros: there is nothing.
 */
#include "parts.h"

#include <string.h>

/* The part of the columns that belongs to one level. */
static int8_t *columns_of(const kws_network *network, int32_t level, const kws_past *past)
{
    return past->columns + network->levels[level].first * kws_column_bytes(network);
}

static void forget(const kws_network *network, int32_t level, const kws_past *past)
{
    int32_t bytes = network->levels[level].count * kws_column_bytes(network);
    memset(columns_of(network, level, past), 0, (size_t)bytes);
}

/* What all levels share of one step: the newest row of x. */
static void take_step(const kws_network *network, const int8_t *features, kws_past *past, const kws_buffers *buffers)
{
    int32_t width = network->width, last = network->steps - 1, row_bytes = kws_conv_image_row(&network->conv2);
    int32_t held = past->steps ? KWS_CONV_KERNEL - KWS_CONV_STRIDE : 0;
    memmove(past->codes, past->codes + KWS_CONV_STRIDE * row_bytes, (size_t)(held * row_bytes));
    kws_first_rows(network, features, held, KWS_CONV_KERNEL - held, past, buffers);
    memmove(past->x, past->x + width, sizeof(float) * (size_t)(last * width));
    kws_stem_rows(network, 0, 1, past, past->x + last * width, buffers);
    past->steps += 1;
}

/* The steps of a window that the last one did not have; all of them, and nothing before, where there is a gap. */
static void take(const kws_network *network, const int8_t *features, int32_t stride, kws_past *past,
                 const kws_buffers *buffers)
{
    int32_t fresh = stride / KWS_STEP;
    if (!past->begun || stride % KWS_STEP || fresh > network->steps) {
        fresh = network->steps;
        past->steps = 0;
        for (int32_t level = 0; level < network->level_count; ++level) {
            forget(network, level, past);
            past->taken[level] = 0;
        }
    }
    for (int32_t i = network->steps - fresh; i < network->steps; ++i) {
        take_step(network, features + KWS_STEP * i * network->bins, past, buffers);
    }
    past->begun = 1;
}

/* `rows` steps, at most KWS_AT_ONCE, through a level's blocks, into the inputs of its classifier. */
static void take_columns(const kws_network *network, int32_t level, const float *x, int32_t rows, const kws_past *past,
                         const kws_buffers *buffers)
{
    const kws_kernels *kernels = network->kernels;
    const kws_level *chosen = &network->levels[level];
    int32_t width = network->width, padded = kws_padded_outputs(width), before = (network->taps - 1) * width;
    int8_t *columns = columns_of(network, level, past);
    if (chosen->count) {
        kernels->levels(&chosen->blocks[0].memory.quantizer, x, rows, width, columns + before);
    }
    for (int32_t i = 0; i < chosen->count; ++i) {
        const kws_block *block = &chosen->blocks[i];
        int8_t *next_columns = columns + kws_column_bytes(network);
        for (int32_t row = 0; row < rows; ++row) {
            kernels->memory(block->memory.weights, columns + row * width, network->taps, width,
                            buffers->scratch.sums + row * padded);
        }
        kws_block_run(network, block, rows, x, kws_next_quantizer(chosen, i), next_columns + before, buffers);
        memmove(columns, columns + rows * width, (size_t)before);
        columns = next_columns;
        x = buffers->x;
    }
    int8_t *ends = past->ends + level * network->steps * width;
    int32_t old = (network->steps - rows) * width;
    memmove(ends, ends + rows * width, (size_t)old);
    kernels->to_int8(x, rows * width, chosen->classifier.inverse_scale, ends + old);
}

/* Brings a level up to the newest step. One that has not run for longer than a window begins with the window. */
static void catch_up(const kws_network *network, int32_t level, kws_past *past, const kws_buffers *buffers)
{
    int64_t missing = past->steps - past->taken[level];
    if (missing > network->steps) {
        forget(network, level, past);
        missing = network->steps;
    }
    while (missing) {
        int32_t rows = missing < KWS_AT_ONCE ? (int32_t)missing : KWS_AT_ONCE;
        take_columns(network, level, past->x + (network->steps - missing) * network->width, rows, past, buffers);
        missing -= rows;
    }
    past->taken[level] = past->steps;
}

static void run(const kws_network *network, int32_t level, kws_past *past, const kws_buffers *buffers, float *scores)
{
    catch_up(network, level, past, buffers);
    kws_finish(network, &network->levels[level], past->ends + level * network->steps * network->width, buffers, scores);
}

const kws_network_kind kws_causal = {take, run};
