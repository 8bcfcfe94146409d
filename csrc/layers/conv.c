/* conv.c - the binary 2-D convolution: gathers patches of codes and multiplies them as rows of a linear layer. */
#include "layers.h"

#include <string.h>

kws_scratch_size kws_conv_scratch(const kws_conv *layer, int32_t out_rows)
{
    return kws_linear_scratch(&layer->linear, out_rows * layer->out_width);
}

void kws_close_up(const uint8_t *codes, int32_t pixels, int32_t channels, uint8_t *closed)
{
    int32_t whole = kws_code_bytes(channels), used = channels / 4;
    if (whole == used) {
        memmove(closed, codes, (size_t)(pixels * used));
        return;
    }
    for (int32_t i = 0; i < pixels; ++i) {
        memmove(closed + i * used, codes + i * whole, (size_t)used);
    }
}

void kws_conv_store(const kws_conv *layer, const uint8_t *codes, int32_t first, int32_t rows, uint8_t *image)
{
    int32_t row_bytes = layer->patches.row_bytes, row_codes = layer->width * kws_code_bytes(layer->channels);
    uint8_t *inner = image + (layer->pad_rows + first) * row_bytes + layer->pad_columns * layer->channels / 4;
    for (int32_t row = 0; row < rows; ++row) {
        kws_close_up(codes + row * row_codes, layer->width, layer->channels, inner + row * row_bytes);
    }
}

void kws_conv_sums(const kws_kernels *kernels, const kws_conv *layer, const uint8_t *image, int32_t first, int32_t rows,
                   kws_scratch scratch)
{
    int32_t positions = rows * layer->out_width, padded = kws_padded_outputs(layer->linear.product.outputs);
    kws_patches patches = layer->patches;
    patches.rows = rows;
    kws_gather_patches(&patches, image + first * patches.y_bytes, scratch.codes);
    kernels->bgemm(&layer->linear.product, scratch.codes, positions, scratch.sums);
    kernels->add(layer->correction + first * layer->out_width * padded, positions * padded, scratch.sums);
}
