/* finish_scalar.c - what follows an integer sum: norm, PReLU, residual, quantiser and packing, in one pass over the
 * outputs. The specification of the other files. */
#include "declare.h"

#include <string.h>

static int8_t level(float x, float threshold, float scale, int32_t planes)
{
    float d = x - threshold;
    return (int8_t)(planes == 2 ? -3 + 2 * ((d >= -scale) + (d >= 0.0f) + (d >= scale)) : -1 + 2 * (d >= 0.0f));
}

void kws_levels_scalar(const kws_quantizer *quantizer, const float *x, int32_t rows, int32_t channels, int8_t *q)
{
    for (int32_t row = 0; row < rows; ++row, x += channels, q += channels) {
        for (int32_t c = 0; c < channels; ++c) {
            q[c] = level(x[c], quantizer->threshold[c], quantizer->scale, quantizer->planes);
        }
    }
}

void kws_staircase_scalar(const kws_staircase *stairs, const int16_t *sums, int32_t rows, int32_t outputs,
                          uint8_t *codes)
{
    int32_t padded = kws_padded_outputs(outputs), bytes = kws_code_bytes(outputs), steps = stairs->planes == 2 ? 3 : 1;
    for (int32_t row = 0; row < rows; ++row, sums += padded, codes += bytes) {
        memset(codes, 0, (size_t)bytes);
        for (int32_t o = 0; o < outputs; ++o) {
            int32_t passed = 0;
            for (int32_t k = 0; k < steps; ++k) {
                passed += sums[o] > stairs->above[k][o] || sums[o] < stairs->below[k][o];
            }
            /* 0 to 3 steps passed are q = -3, -1, 1, 3, that is (b1, b2) = (-, -), (-, +), (+, -), (+, +). */
            int32_t code = stairs->planes == 2 ? passed >> 1 | (passed & 1) << 4 : passed;
            codes[o / 4] = (uint8_t)(codes[o / 4] | code << o % 4);
        }
    }
}

void kws_affine_scalar(const kws_epilogue *epilogue, const int16_t *sums, const float *residual, int32_t rows,
                       int32_t outputs, float *y)
{
    int32_t padded = kws_padded_outputs(outputs);
    for (int32_t row = 0; row < rows; ++row, sums += padded, y += outputs) {
        for (int32_t o = 0; o < outputs; ++o) {
            float value = epilogue->a[o] * (float)sums[o] + epilogue->b[o];
            float bent = epilogue->slope[o] * value;
            y[o] = value >= 0.0f ? value : bent;
            if (residual != NULL) {
                y[o] += residual[row * outputs + o];
            }
        }
    }
}

void kws_affine_levels_scalar(const kws_epilogue *epilogue, const kws_quantizer *quantizer, const int16_t *sums,
                              const float *residual, int32_t rows, int32_t outputs, float *y, int8_t *q)
{
    kws_affine_scalar(epilogue, sums, residual, rows, outputs, y);
    kws_levels_scalar(quantizer, y, rows, outputs, q);
}

void kws_affine_codes_scalar(const kws_epilogue *epilogue, const kws_quantizer *quantizer, const int16_t *sums,
                             const float *residual, int32_t rows, int32_t outputs, float *y, uint8_t *codes)
{
    kws_affine_scalar(epilogue, sums, residual, rows, outputs, y);
    int32_t bytes = kws_code_bytes(outputs);
    for (int32_t row = 0; row < rows; ++row, y += outputs, codes += bytes) {
        for (int32_t o = 0; o < outputs; o += KWS_OUTPUT_BLOCK) {
            int8_t q[KWS_OUTPUT_BLOCK];
            int32_t count = outputs - o < KWS_OUTPUT_BLOCK ? outputs - o : KWS_OUTPUT_BLOCK;
            for (int32_t i = 0; i < count; ++i) {
                q[i] = level(y[o + i], quantizer->threshold[o + i], quantizer->scale, quantizer->planes);
            }
            kws_pack_scalar(q, 1, count, quantizer->planes, codes + o / 4);
        }
    }
}

void kws_add_scalar(const int16_t *restrict more, int32_t count, int16_t *restrict sums)
{
    for (int32_t i = 0; i < count; ++i) {
        sums[i] = (int16_t)(sums[i] + more[i]);
    }
}
