/* input_conv.c - the first convolution, over rows of int8 features. */
#include "layers.h"

#include <string.h>

void kws_input_conv_sums(const kws_kernels *kernels, const kws_input_conv *layer, const int8_t *features, int32_t first,
                         int32_t rows, int16_t *image, int16_t *sums)
{
    kws_conv_args args = layer->conv;
    int32_t top = first * args.stride - layer->pad_rows, used = (rows - 1) * args.stride + args.kernel;
    int32_t below = layer->height - top;
    args.out_height = rows;
    memset(image, 0, sizeof *image * (size_t)(used * args.width + 1));
    for (int32_t i = top < 0 ? -top : 0; i < (used < below ? used : below); ++i) {
        kernels->widen(features + (top + i) * layer->width, layer->width, image + i * args.width + layer->pad_columns);
    }
    kernels->conv(&args, image, sums);
}
