/* conv_scalar.c - the first convolution: the specification of the other files. */
#include "declare.h"

#include <string.h>

#include "conv_tiles.h"

static void tile(const kws_conv_args *args, const float *patch, int32_t block, int32_t columns, float *y)
{
    const float *a = args->epilogue.a + block, *b = args->epilogue.b + block, *slope = args->epilogue.slope + block;
    int32_t padded = kws_padded_outputs(args->outputs), count = outputs_in_block(args, block);
    for (int32_t c = 0; c < columns; ++c, patch += args->stride, y += args->outputs) {
        float sums[KWS_OUTPUT_BLOCK] = {0};
        const float *w = args->weights + block;
        for (int32_t i = 0; i < args->kernel; ++i) {
            for (int32_t j = 0; j < args->kernel; ++j, w += padded) {
                for (int32_t o = 0; o < KWS_OUTPUT_BLOCK; ++o) {
                    sums[o] += w[o] * patch[i * args->width + j];
                }
            }
        }
        for (int32_t o = 0; o < count; ++o) {
            float value = a[o] * sums[o] + b[o];
            float bent = slope[o] * value;
            y[block + o] = value >= 0.0f ? value : bent;
        }
    }
}
#define KWS_CONV_TILE tile

void kws_conv_scalar(const kws_conv_args *args, const float *image, float *y)
{
    KWS_CONV_WALK(args, image, y);
}
