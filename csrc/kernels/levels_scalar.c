/* levels_scalar.c - floats to activation levels, in portable C. */
#include "declare.h"

void kws_levels_scalar(const kws_quantizer *quantizer, const float *restrict x, int32_t rows, int32_t channels,
                       int8_t *restrict q)
{
    const float *restrict threshold = quantizer->threshold;
    const float scale = quantizer->scale;
    const int two = quantizer->planes == 2;
    for (int32_t row = 0; row < rows; ++row, x += channels, q += channels) {
        if (two) {
            for (int32_t c = 0; c < channels; ++c) {
                float d = x[c] - threshold[c];
                q[c] = (int8_t)(-3 + 2 * ((d >= -scale) + (d >= 0.0f) + (d >= scale)));
            }
        } else {
            for (int32_t c = 0; c < channels; ++c) {
                q[c] = (int8_t)(-1 + 2 * (x[c] - threshold[c] >= 0.0f));
            }
        }
    }
}
