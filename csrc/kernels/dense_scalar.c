/* dense_scalar.c - the classifier's product in portable C. The input is widened to int16 a block at a time: compilers
 * vectorise a sum of products with int16 (SMLAL), with int8 alone they do it badly. |sum| <= 128 * 127 * inputs, which
 * fits int32 up to 132,000 inputs. */
#include "declare.h"

enum { BLOCK = 256 };

void kws_dense_scalar(const int8_t *weights, const int8_t *q, int32_t inputs, int32_t outputs, int32_t *sums)
{
    int16_t wide[BLOCK];
    for (int32_t o = 0; o < outputs; ++o) {
        sums[o] = 0;
    }
    for (int32_t at = 0; at < inputs; at += BLOCK) {
        int32_t count = inputs - at < BLOCK ? inputs - at : BLOCK;
        for (int32_t i = 0; i < count; ++i) {
            wide[i] = q[at + i];
        }
        for (int32_t o = 0; o < outputs; ++o) {
            const int8_t *w = weights + (ptrdiff_t)o * inputs + at;
            int32_t sum = 0;
            for (int32_t i = 0; i < count; ++i) {
                sum += w[i] * wide[i];
            }
            sums[o] += sum;
        }
    }
}

void kws_to_int8_scalar(const float *restrict x, int32_t count, float inverse_scale, int8_t *restrict q)
{
    /* Adding and taking off 1.5 * 2^23 rounds to the nearest integer, ties to even, in the default rounding mode. */
    const float round_magic = 12582912.0f;
    for (int32_t i = 0; i < count; ++i) {
        float scaled = x[i] * inverse_scale;
        scaled = scaled < -127.0f ? -127.0f : scaled;
        scaled = scaled > 127.0f ? 127.0f : scaled;
        q[i] = (int8_t)((scaled + round_magic) - round_magic);
    }
}
