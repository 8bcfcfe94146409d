/* exact_math.h - elementary functions that give the same bits on every machine.
 *
 * libm may differ in the last bit between C libraries and, through run-time dispatch, between CPUs. Scores are promised
 * to be bit-identical everywhere, so the few logarithms, exponentials and cosines that they depend on are computed here
 * from IEEE additions, multiplications and divisions in a fixed order. Build with -ffp-contract=off.
 *
 * Where not said otherwise they are doubles, with errors below 4 ulp: far under the rounding to float of every use.
 */
#ifndef KWS_EXACT_MATH_H
#define KWS_EXACT_MATH_H

#include <stdint.h>

/* Natural logarithm of a positive, finite, normal x. */
double kws_log(double x);

/* e to the power x, for -700 <= x <= 700 (clamped outside). */
double kws_exp(double x);

/* values[i] = 10 log10(values[i]) of positive, finite, normal floats, within 3e-7 + 1e-7 |result|. */
void kws_decibels(float *values, int32_t count);

/* Cosine and sine of p/q turns, that is of 2*pi*p/q, for q > 0 and any p >= 0. */
double kws_cos_turns(uint64_t p, uint64_t q);
double kws_sin_turns(uint64_t p, uint64_t q);

/* scores[i] = exp(logits[i] - max) / sum, for count >= 1 finite logits; the sum, of doubles, runs in index order. */
void kws_softmax(const float *logits, int32_t count, float *scores);

#endif
