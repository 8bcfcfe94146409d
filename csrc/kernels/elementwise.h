/* elementwise.h - the kernels whose result does not depend on how they are vectorised, written once in portable C.
 *
 * Included by elementwise_<isa>.c, after declare.h and with KWS_ISA_SUFFIX set: the compiler vectorises the same source
 * for that instruction set. Integer sums and sums of integer-valued floats below 2^24 are exact in any order;
 * everything else is one rounded operation an element (-ffp-contract=off).
 */
#define KWS_FUNCTION(op) KWS_NAME(op, KWS_ISA_SUFFIX)

void KWS_FUNCTION(staircase)(const kws_staircase *stairs, const int16_t *restrict sums, int32_t rows, int32_t outputs,
                             int8_t *restrict q)
{
    const int16_t *restrict sign = stairs->sign;
    const int16_t *restrict step0 = stairs->steps[0], *restrict step1 = stairs->steps[1];
    const int16_t *restrict step2 = stairs->steps[2];
    int32_t padded = kws_padded_outputs(outputs);
    for (int32_t row = 0; row < rows; ++row, sums += padded, q += outputs) {
        if (stairs->planes == 2) {
            for (int32_t o = 0; o < outputs; ++o) {
                int16_t n = (int16_t)(sums[o] * sign[o]);
                q[o] = (int8_t)(-3 + 2 * ((n >= step0[o]) + (n >= step1[o]) + (n >= step2[o])));
            }
        } else {
            for (int32_t o = 0; o < outputs; ++o) {
                int16_t n = (int16_t)(sums[o] * sign[o]);
                q[o] = (int8_t)(-1 + 2 * (n >= step0[o]));
            }
        }
    }
}

void KWS_FUNCTION(affine)(const kws_epilogue *epilogue, const int16_t *restrict sums, const float *restrict residual,
                          int32_t rows, int32_t outputs, float *restrict y)
{
    const float *restrict a = epilogue->a, *restrict b = epilogue->b, *restrict slope = epilogue->slope;
    int32_t padded = kws_padded_outputs(outputs);
    for (int32_t row = 0; row < rows; ++row, sums += padded, y += outputs) {
        for (int32_t o = 0; o < outputs; ++o) {
            float value = a[o] * (float)sums[o] + b[o];
            float bent = slope[o] * value;
            y[o] = value >= 0.0f ? value : bent;
        }
        if (residual != NULL) {
            for (int32_t o = 0; o < outputs; ++o) {
                y[o] += residual[o];
            }
            residual += outputs;
        }
    }
}

void KWS_FUNCTION(to_int8)(const float *restrict x, int32_t count, float inverse_scale, int8_t *restrict q)
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

void KWS_FUNCTION(add)(const int16_t *restrict more, int32_t count, int16_t *restrict sums)
{
    for (int32_t i = 0; i < count; ++i) {
        sums[i] = (int16_t)(sums[i] + more[i]);
    }
}
