/* finish_tail.h - the outputs of a row that fill no whole register: every finish_<isa>.c leaves them to the specification,
 * as a row of its own. */
#ifndef KWS_FINISH_TAIL_H
#define KWS_FINISH_TAIL_H

#include "declare.h"

/* Which steps of a staircase are in question: the only one, all three, the last of three. */
typedef enum { ONE, THREE, LAST_ALONE } steps_kind;

static inline void finish_tail(const kws_epilogue *epilogue, const kws_quantizer *quantizer, const int16_t *sums,
                               const float *residual, int32_t first, int32_t outputs, float *y, int8_t *q,
                               uint8_t *codes)
{
    kws_epilogue e = {epilogue->a + first, epilogue->b + first, epilogue->slope + first};
    const float *added = residual == NULL ? NULL : residual + first;
    if (q == NULL && codes == NULL) {
        kws_affine_scalar(&e, sums + first, added, 1, outputs - first, y + first);
        return;
    }
    kws_quantizer rest = {quantizer->threshold + first, quantizer->scale, quantizer->planes};
    if (q != NULL) {
        kws_affine_levels_scalar(&e, &rest, sums + first, added, 1, outputs - first, y + first, q + first);
    } else {
        kws_affine_codes_scalar(&e, &rest, sums + first, added, 1, outputs - first, y + first, codes + first / 4);
    }
}

/* One row of a staircase from output `first` on, a multiple of 16. */
static inline void staircase_tail(const kws_staircase *stairs, const int16_t *sums, int32_t first, int32_t outputs,
                                  uint8_t *codes)
{
    kws_staircase rest = {.planes = stairs->planes};
    for (int32_t k = 0; k < (stairs->planes == 2 ? 3 : 1); ++k) {
        rest.above[k] = stairs->above[k] + first;
        rest.below[k] = stairs->below[k] + first;
    }
    kws_staircase_scalar(&rest, sums + first, 1, outputs - first, codes + first / 4);
}

#endif
