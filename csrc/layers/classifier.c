/* classifier.c - the last layer: an int8 product, scaled to logits. */
#include "layers.h"

void kws_classify(const kws_kernels *kernels, const kws_classifier *layer, const int8_t *q, int32_t *sums,
                  float *logits)
{
    kernels->dense(layer->weights, q, layer->inputs, layer->outputs, sums);
    for (int32_t o = 0; o < layer->outputs; ++o) {
        logits[o] = layer->a[o] * (float)sums[o];
        logits[o] = logits[o] + layer->b[o];
    }
}
