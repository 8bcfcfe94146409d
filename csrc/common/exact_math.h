/* exact_math.h - elementary functions that give the same bits on every machine.
 *
 * libm may differ in the last bit between C libraries and, through run-time dispatch, between CPUs. Scores are promised
 * to be bit-identical everywhere, so the few logarithms, exponentials and cosines that they depend on are computed here
 * from IEEE double additions, multiplications and divisions in a fixed order. Build with -ffp-contract=off.
 *
 * All errors are below 4 ulp of a double: far under the rounding to float that follows every use.
 */
#ifndef KWS_EXACT_MATH_H
#define KWS_EXACT_MATH_H

#include <stdint.h>

/* Natural logarithm of a positive, finite, normal x. */
double kws_log(double x);

/* e to the power x, for -700 <= x <= 700 (clamped outside). */
double kws_exp(double x);

/* Cosine and sine of p/q turns, that is of 2*pi*p/q, for q > 0 and any p >= 0. */
double kws_cos_turns(uint64_t p, uint64_t q);
double kws_sin_turns(uint64_t p, uint64_t q);

/* scores[i] = exp(logits[i] - max) / sum, for count >= 1 finite logits; the sum runs in index order. */
void kws_softmax(const float *logits, int32_t count, float *scores);

#endif
