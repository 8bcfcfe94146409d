/* finish_variants.h - affine, affine_levels and affine_codes of an instruction set, over its `finish`, which takes as
 * constants what is wanted of a sum, whether there is a residual, and whether there are two planes; and its staircase,
 * over `stairs_block`, which takes which steps are in question.
 *
 * Included by finish_<isa>.c behind both, with KWS_ISA_SUFFIX set.
 */

INLINE void dispatch(const kws_epilogue *e, const kws_quantizer *quantizer, const int16_t *sums, const float *residual,
                     int32_t rows, int32_t outputs, float *y, int8_t *q, uint8_t *codes, const int wanted)
{
    int32_t two = wanted != FLOATS && quantizer->planes == 2;
    if (residual != NULL && two) {
        finish(e, quantizer, sums, residual, rows, outputs, y, q, codes, wanted, 1, 1);
    } else if (residual != NULL) {
        finish(e, quantizer, sums, residual, rows, outputs, y, q, codes, wanted, 1, 0);
    } else if (two) {
        finish(e, quantizer, sums, residual, rows, outputs, y, q, codes, wanted, 0, 1);
    } else {
        finish(e, quantizer, sums, residual, rows, outputs, y, q, codes, wanted, 0, 0);
    }
}

void KWS_NAME(affine, KWS_ISA_SUFFIX)(const kws_epilogue *epilogue, const int16_t *sums, const float *residual,
                                      int32_t rows, int32_t outputs, float *y)
{
    dispatch(epilogue, NULL, sums, residual, rows, outputs, y, NULL, NULL, FLOATS);
}

void KWS_NAME(affine_levels, KWS_ISA_SUFFIX)(const kws_epilogue *epilogue, const kws_quantizer *quantizer,
                                             const int16_t *sums, const float *residual, int32_t rows, int32_t outputs,
                                             float *y, int8_t *q)
{
    dispatch(epilogue, quantizer, sums, residual, rows, outputs, y, q, NULL, LEVELS);
}

void KWS_NAME(affine_codes, KWS_ISA_SUFFIX)(const kws_epilogue *epilogue, const kws_quantizer *quantizer,
                                            const int16_t *sums, const float *residual, int32_t rows, int32_t outputs,
                                            float *y, uint8_t *codes)
{
    dispatch(epilogue, quantizer, sums, residual, rows, outputs, y, NULL, codes, CODES);
}

/* A staircase from output `o` on, a multiple of 16. */
INLINE void staircase_from(int32_t o, const kws_staircase *stairs, const int16_t *sums, int32_t rows, int32_t outputs,
                           uint8_t *codes)
{
    int32_t padded = kws_padded_outputs(outputs), whole = outputs / 16 * 16;
    for (; o < whole; o += 16) {
        if (stairs->last_alone) {
            stairs_block(stairs, sums, rows, padded, o, LAST_ALONE, codes);
        } else if (stairs->planes == 2) {
            stairs_block(stairs, sums, rows, padded, o, THREE, codes);
        } else {
            stairs_block(stairs, sums, rows, padded, o, ONE, codes);
        }
    }
    for (int32_t row = 0; whole < outputs && row < rows; ++row) {
        staircase_tail(stairs, sums + row * padded, whole, outputs, codes + row * padded / 4);
    }
}
