/* bgemm_scalar.c - the binary product and the packing of activations: the specification of the other files.
 *
 * sum w*q = values*inputs - 2*mismatches, where a mismatch of plane b1 weighs 2 and one of b2 weighs 1 (values = 3), or
 * with one plane each weighs 1 (values = 1). Padding is zero in codes and weights, so it never mismatches.
 */
#include "declare.h"

#include <string.h>

size_t kws_bgemm_packed_size_scalar(int32_t inputs, int32_t outputs)
{
    (void)inputs;
    (void)outputs;
    return 0;
}

void kws_bgemm_pack_scalar(const uint8_t *weights, int32_t inputs, int32_t outputs, uint8_t *packed)
{
    (void)weights;
    (void)inputs;
    (void)outputs;
    (void)packed;
}

void kws_bgemm_scalar(const kws_bgemm_args *args, const uint8_t *codes, int32_t rows, int16_t *sums)
{
    const uint8_t (*mismatches)[16] = args->planes == 2 ? kws_mismatch_two : kws_mismatch_one;
    int32_t bytes = kws_weight_bytes(args->inputs), padded = kws_padded_outputs(args->outputs);
    int32_t all = (args->planes == 2 ? 3 : 1) * args->inputs;
    for (int32_t row = 0; row < rows; ++row, codes += 2 * bytes, sums += padded) {
        for (int32_t o = 0; o < padded; ++o) {
            const uint8_t *w = args->weights + (o / 16 * bytes * 16) + o % 16;
            int32_t mismatched = 0;
            for (int32_t i = 0; i < bytes; ++i) {
                mismatched += mismatches[codes[2 * i]][w[16 * i] & 15] + mismatches[codes[2 * i + 1]][w[16 * i] >> 4];
            }
            sums[o] = (int16_t)(all - 2 * mismatched);
        }
    }
}

void kws_pack_scalar(const int8_t *q, int32_t rows, int32_t inputs, int32_t planes, uint8_t *codes)
{
    int32_t bytes = kws_code_bytes(inputs);
    for (int32_t row = 0; row < rows; ++row, q += inputs, codes += bytes) {
        memset(codes, 0, (size_t)bytes);
        for (int32_t i = 0; i < inputs; ++i) {
            /* With two planes b2 is +1 for q = -1 and q = +3: bit 1 of q in two's complement. */
            uint32_t b1 = q[i] > 0, b2 = planes == 2 ? ((uint32_t)q[i] >> 1) & 1u : 0u;
            codes[i / 4] = (uint8_t)(codes[i / 4] | (b1 << (i % 4)) | (b2 << (4 + i % 4)));
        }
    }
}
