/* conv_scalar.c - the first convolution: the specification of the other files. */
#include "declare.h"

void kws_widen_scalar(const int8_t *restrict q, int32_t count, int16_t *restrict wide)
{
    for (int32_t i = 0; i < count; ++i) {
        wide[i] = q[i];
    }
}

void kws_conv_scalar(const kws_conv_args *args, const int16_t *image, int16_t *sums)
{
    int32_t padded = kws_padded_outputs(args->outputs);
    for (int32_t row = 0; row < args->out_height; ++row) {
        for (int32_t column = 0; column < args->out_width; ++column, sums += padded) {
            const int16_t *patch = image + (row * args->width + column) * args->stride, *w = args->weights;
            for (int32_t o = 0; o < padded; ++o) {
                sums[o] = 0;
            }
            for (int32_t i = 0; i < args->kernel; ++i) {
                for (int32_t j = 0; j < args->kernel; ++j, w += padded) {
                    for (int32_t o = 0; o < padded; ++o) {
                        sums[o] = (int16_t)(sums[o] + w[o] * patch[i * args->width + j]);
                    }
                }
            }
        }
    }
}
