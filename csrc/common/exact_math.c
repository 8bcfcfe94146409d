/* exact_math.c - see exact_math.h. */
#include "exact_math.h"

#include <string.h>

#include "vec4.h"

static const double LN2_HIGH = 6.93147180369123816490e-01; /* low 32 bits zero: k * LN2_HIGH is exact for |k| < 2^20 */
static const double LN2_LOW = 1.90821492927058770002e-10;
static const double TAU = 6.28318530717958647693;
static const double RECIPROCAL_FACTORIALS[15] = {1.0,
                                                 1.0,
                                                 1.0 / 2.0,
                                                 1.0 / 6.0,
                                                 1.0 / 24.0,
                                                 1.0 / 120.0,
                                                 1.0 / 720.0,
                                                 1.0 / 5040.0,
                                                 1.0 / 40320.0,
                                                 1.0 / 362880.0,
                                                 1.0 / 3628800.0,
                                                 1.0 / 39916800.0,
                                                 1.0 / 479001600.0,
                                                 1.0 / 6227020800.0,
                                                 1.0 / 87178291200.0};

static double power_of_two(int32_t exponent)
{
    uint64_t bits = (uint64_t)(exponent + 1023) << 52;
    double value;
    memcpy(&value, &bits, sizeof value);
    return value;
}

double kws_log(double x)
{
    uint64_t bits;
    memcpy(&bits, &x, sizeof bits);
    int32_t exponent = (int32_t)(bits >> 52) - 1023;
    bits = (bits & 0x000fffffffffffffULL) | 0x3ff0000000000000ULL;
    double mantissa;
    memcpy(&mantissa, &bits, sizeof mantissa);
    if (mantissa > 1.41421356237309504880) {
        mantissa *= 0.5;
        exponent += 1;
    }
    /* log(m) = 2 atanh(f), f = (m-1)/(m+1), |f| < 0.1716: f^22/23 is below 2^-56. */
    double f = (mantissa - 1.0) / (mantissa + 1.0);
    double square = f * f;
    double series = 0.0;
    for (int32_t odd = 21; odd >= 3; odd -= 2) {
        series = (series + 1.0 / (double)odd) * square;
    }
    double log_mantissa = 2.0 * f + 2.0 * f * series;
    return (double)exponent * LN2_HIGH + ((double)exponent * LN2_LOW + log_mantissa);
}

double kws_exp(double x)
{
    x = x < -700.0 ? -700.0 : x > 700.0 ? 700.0 : x;
    double scaled = x * 1.44269504088896340736;
    int32_t k = (int32_t)(scaled < 0.0 ? scaled - 0.5 : scaled + 0.5);
    double r = (x - (double)k * LN2_HIGH) - (double)k * LN2_LOW;
    /* Taylor in Horner form by reciprocals of factorials, |r| < 0.347: the term after r^14/14! is below 2^-62. */
    double sum = 0.0;
    for (int32_t n = 14; n >= 0; --n) {
        sum = RECIPROCAL_FACTORIALS[n] + sum * r;
    }
    return sum * power_of_two(k);
}

/* Taylor series on [0, pi/4], where the angle is exact enough because the octant was taken off in integers. */
static double cos_octant(double angle)
{
    double square = angle * angle, sum = 1.0;
    for (int32_t n = 18; n >= 2; n -= 2) {
        sum = 1.0 - sum * square / (double)(n * (n - 1));
    }
    return sum;
}

static double sin_octant(double angle)
{
    double square = angle * angle, sum = 1.0;
    for (int32_t n = 19; n >= 3; n -= 2) {
        sum = 1.0 - sum * square / (double)(n * (n - 1));
    }
    return angle * sum;
}

double kws_cos_turns(uint64_t p, uint64_t q)
{
    p %= q;
    if (2 * p > q) {
        p = q - p; /* cos(-a) = cos(a) */
    }
    if (4 * p > q) {
        return -kws_cos_turns(q - 2 * p, 2 * q); /* cos(pi - a) = -cos(a), with half a turn as q/2 over q */
    }
    if (8 * p > q) {
        return sin_octant(TAU * (double)(q - 4 * p) / (double)(4 * q)); /* cos(pi/2 - a) = sin(a) */
    }
    return cos_octant(TAU * (double)p / (double)q);
}

double kws_sin_turns(uint64_t p, uint64_t q)
{
    return kws_cos_turns(4 * (p % q) + 3 * q, 4 * q); /* sin(a) = cos(a - pi/2) */
}

enum { DECIBELS_AT_ONCE = 4 }; /* vectors: enough for a processor that waits for each result in turn */

static void decibels(float *values)
{
    /* x = 2^e * (1 + t) with 1 + t from sqrt(1/2) to sqrt(2); 10 log10(1 + t) = t * P(t), where P is the polynomial of degree
     * 9 that leaves the smallest error (3.5e-9, weighted least squares, then rounded to float). */
    static const float P[10] = {4.342944622039795f,  -2.171471357345581f,  1.4476476907730103f, -1.0858417749404907f,
                                0.8687097430229187f, -0.7206443548202515f, 0.6149742007255554f, -0.5790424346923828f,
                                0.5671029686927795f, -0.33036890625953674f};
    const int32_t sqrt_half = 0x3f3504f3;
    kws_vec4 exponent[DECIBELS_AT_ONCE], t[DECIBELS_AT_ONCE], sum[DECIBELS_AT_ONCE];
    for (int32_t i = 0; i < DECIBELS_AT_ONCE; ++i) {
        kws_ivec4 bits = (kws_ivec4)vec4_load(values + 4 * i) - sqrt_half;
        exponent[i] = __builtin_convertvector(bits >> 23, kws_vec4);
        t[i] = (kws_vec4)((bits & 0x007fffff) + sqrt_half) - 1.0f;
        sum[i] = vec4_splat(P[9]);
    }
    for (int32_t k = 8; k >= 0; --k) {
        for (int32_t i = 0; i < DECIBELS_AT_ONCE; ++i) {
            sum[i] = sum[i] * t[i] + P[k];
        }
    }
    for (int32_t i = 0; i < DECIBELS_AT_ONCE; ++i) {
        vec4_store(values + 4 * i, exponent[i] * 3.0102999566398120f + sum[i] * t[i]);
    }
}

void kws_decibels(float *values, int32_t count)
{
    enum { AT_ONCE = 4 * DECIBELS_AT_ONCE };
    int32_t i = 0;
    for (; i + AT_ONCE <= count; i += AT_ONCE) {
        decibels(values + i);
    }
    if (i < count) {
        float rest[AT_ONCE] = {0};
        memcpy(rest, values + i, (size_t)(count - i) * sizeof(float));
        decibels(rest);
        memcpy(values + i, rest, (size_t)(count - i) * sizeof(float));
    }
}

void kws_softmax(const float *logits, int32_t count, float *scores)
{
    float peak = logits[0];
    for (int32_t i = 1; i < count; ++i) {
        peak = logits[i] > peak ? logits[i] : peak;
    }
    double sum = 0.0;
    for (int32_t i = 0; i < count; ++i) {
        double power = kws_exp((double)logits[i] - (double)peak);
        sum += power;
        scores[i] = (float)power;
    }
    double inverse = 1.0 / sum;
    for (int32_t i = 0; i < count; ++i) {
        scores[i] = (float)((double)scores[i] * inverse);
    }
}
