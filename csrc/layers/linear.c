/* linear.c - the binary product of rows of activations. */
#include "layers.h"

kws_scratch_size kws_linear_scratch(const kws_linear *layer, int32_t rows)
{
    return (kws_scratch_size){rows * layer->product.inputs, rows * kws_code_bytes(layer->product.inputs),
                              rows * kws_padded_outputs(layer->product.outputs)};
}

void kws_linear_sums(const kws_kernels *kernels, const kws_linear *layer, const int8_t *q, int32_t rows,
                     kws_scratch scratch)
{
    kernels->pack(q, rows, layer->product.inputs, layer->product.planes, scratch.codes);
    kernels->bgemm(&layer->product, scratch.codes, rows, scratch.sums);
}
