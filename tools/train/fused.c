/* The training network's element-wise passes, each one sweep over memory where PyTorch takes five to ten.
 *
 * Forward and backward of batch norm + PReLU + residual, of the activation quantisers, of the memory's depthwise
 * convolution and of the weight binarizer. fused.py compiles and calls this file and says what each function means;
 * network.py and binarize.py hold the same in PyTorch, which is the specification that the tests compare with.
 *
 * All arrays are contiguous float32, rows outermost, channels innermost and at most MOST_CHANNELS. One thread: the
 * processes of torchrun share the cores.
 */
#include <math.h>
#include <string.h>

#define MOST_CHANNELS 1024
#define ROWS_AT_ONCE 32

/* Mean and (biased) variance of each channel. The first row is subtracted from all so that a mean far from 0 costs no
 * digits of the variance; float sums over few rows, double sums over those. */
void norm_statistics(const float *restrict z, long rows, long channels, float *restrict mean, float *restrict var)
{
    double total[MOST_CHANNELS] = {0}, squares[MOST_CHANNELS] = {0};
    for (long first = 0; first < rows; first += ROWS_AT_ONCE) {
        float sum[MOST_CHANNELS], square[MOST_CHANNELS];
        memset(sum, 0, sizeof(float) * channels);
        memset(square, 0, sizeof(float) * channels);
        long last = first + ROWS_AT_ONCE < rows ? first + ROWS_AT_ONCE : rows;
        for (long r = first; r < last; r++)
            for (long c = 0; c < channels; c++) {
                float d = z[r * channels + c] - z[c];
                sum[c] += d;
                square[c] += d * d;
            }
        for (long c = 0; c < channels; c++) {
            total[c] += sum[c];
            squares[c] += square[c];
        }
    }
    for (long c = 0; c < channels; c++) {
        double m = total[c] / rows, v = squares[c] / rows - m * m;
        mean[c] = (float)(z[c] + m);
        var[c] = v > 0 ? (float)v : 0;
    }
}

/* y = prelu(z * factor + shift) + residual; residual may be NULL. */
void norm_act(const float *restrict z, long rows, long channels, const float *restrict factor,
              const float *restrict shift, const float *restrict slope, const float *restrict residual,
              float *restrict y)
{
    for (long r = 0; r < rows; r++) {
        long at = r * channels;
        for (long c = 0; c < channels; c++) {
            float u = z[at + c] * factor[c] + shift[c];
            y[at + c] = (u >= 0 ? u : slope[c] * u) + (residual ? residual[at + c] : 0.0f);
        }
    }
}

/* Gradients of norm_act where mean and variance are those of z itself (frozen: where they are constants).
 * The first sweep sums over the rows, the second spreads the sums. factor = weight / deviation. */
void norm_act_backward(const float *restrict grad, const float *restrict z, long rows, long channels,
                       const float *restrict mean, const float *restrict deviation, const float *restrict factor,
                       const float *restrict shift, const float *restrict slope, int frozen, float *restrict grad_z,
                       float *restrict grad_weight, float *restrict grad_bias, float *restrict grad_slope)
{
    double along[MOST_CHANNELS] = {0}, whole[MOST_CHANNELS] = {0}, below[MOST_CHANNELS] = {0};
    for (long first = 0; first < rows; first += ROWS_AT_ONCE) {
        float a[MOST_CHANNELS], w[MOST_CHANNELS], b[MOST_CHANNELS];
        memset(a, 0, sizeof(float) * channels);
        memset(w, 0, sizeof(float) * channels);
        memset(b, 0, sizeof(float) * channels);
        long last = first + ROWS_AT_ONCE < rows ? first + ROWS_AT_ONCE : rows;
        for (long r = first; r < last; r++)
            for (long c = 0; c < channels; c++) {
                float value = z[r * channels + c], g = grad[r * channels + c];
                float u = value * factor[c] + shift[c], inner = u >= 0 ? g : slope[c] * g;
                w[c] += inner;
                a[c] += inner * (value - mean[c]);
                b[c] += u >= 0 ? 0.0f : g * u;
            }
        for (long c = 0; c < channels; c++) {
            whole[c] += w[c];
            along[c] += a[c];
            below[c] += b[c];
        }
    }
    float constant[MOST_CHANNELS], linear[MOST_CHANNELS];
    for (long c = 0; c < channels; c++) {
        grad_weight[c] = (float)(along[c] / deviation[c]);
        grad_bias[c] = (float)whole[c];
        grad_slope[c] = (float)below[c];
        linear[c] = frozen ? 0 : (float)(along[c] / ((double)deviation[c] * deviation[c] * rows));
        constant[c] = frozen ? 0 : (float)(whole[c] / rows) - linear[c] * mean[c];
    }
    for (long r = 0; r < rows; r++) {
        long at = r * channels;
        for (long c = 0; c < channels; c++) {
            float value = z[at + c], g = grad[at + c];
            float inner = value * factor[c] + shift[c] >= 0 ? g : slope[c] * g;
            grad_z[at + c] = factor[c] * (inner - constant[c] - linear[c] * value);
        }
    }
}

static inline float level(float d, float scale, int planes)
{
    float q = d >= 0 ? 1.0f : -1.0f;
    return planes == 1 ? q : 0.5f * (q + (d >= scale ? 1.0f : -1.0f) + (d >= -scale ? 1.0f : -1.0f));
}

/* value = scale * level of x - threshold. */
void quantize(const float *restrict x, long rows, long channels, const float *restrict threshold, float scale,
              int planes, float *restrict value)
{
    for (long r = 0; r < rows; r++) {
        long at = r * channels;
        for (long c = 0; c < channels; c++)
            value[at + c] = scale * level(x[at + c] - threshold[c], scale, planes);
    }
}

/* Gradient of quantize: through where |x - threshold| < window; the scale's (not yet divided by the root of the number
 * of elements) is that of LSQ. grad_threshold [channels], returns the scale's. */
double quantize_backward(const float *restrict grad, const float *restrict x, long rows, long channels,
                         const float *restrict threshold, float scale, int planes, float window, float *restrict grad_x,
                         float *restrict grad_threshold)
{
    double total = 0;
    float inverse = 1 / scale;
    memset(grad_threshold, 0, sizeof(float) * channels);
    for (long r = 0; r < rows; r++) {
        long at = r * channels;
        float sum = 0;
        for (long c = 0; c < channels; c++) {
            float d = x[at + c] - threshold[c], g = grad[at + c];
            int inside = fabsf(d) < window;
            float through = inside ? g : 0.0f;
            grad_x[at + c] = through;
            grad_threshold[c] -= through;
            sum += g * level(d, scale, planes) - through * d * inverse;
        }
        total += sum;
    }
    return total;
}

static inline float clipped(float ratio)
{
    float q = rintf(ratio);
    return q > 127 ? 127 : q < -127 ? -127 : q;
}

/* value = scale * x / scale rounded to int8. */
void quantize_int8(const float *restrict x, long count, float scale, float *restrict value)
{
    float inverse = 1 / scale;
    for (long i = 0; i < count; i++)
        value[i] = clipped(x[i] * inverse) * scale;
}

/* Gradient of quantize_int8; returns the scale's, not yet divided as LSQ does. */
double quantize_int8_backward(const float *restrict grad, const float *restrict x, long count, float scale,
                              float *restrict grad_x)
{
    double total = 0;
    float inverse = 1 / scale;
    for (long first = 0; first < count; first += 1024) {
        float sum = 0;
        long last = first + 1024 < count ? first + 1024 : count;
        for (long i = first; i < last; i++) {
            float ratio = x[i] * inverse, through = fabsf(ratio) <= 127 ? grad[i] : 0.0f;
            grad_x[i] = through;
            sum += grad[i] * clipped(ratio) - through * ratio;
        }
        total += sum;
    }
    return total;
}

/* y[n, t, c] = sum over taps k of weight[k, c] * q[n, t + k - taps / 2, c], zeros outside. weight [taps, channels]. */
void remember(const float *restrict q, long clips, long steps, long channels, const float *restrict weight, long taps,
              float *restrict y)
{
    memset(y, 0, sizeof(float) * clips * steps * channels);
    for (long n = 0; n < clips; n++)
        for (long t = 0; t < steps; t++)
            for (long k = 0; k < taps; k++) {
                long from = t + k - taps / 2;
                if (from < 0 || from >= steps)
                    continue;
                const float *in = q + (n * steps + from) * channels, *w = weight + k * channels;
                float *out = y + (n * steps + t) * channels;
                for (long c = 0; c < channels; c++)
                    out[c] += w[c] * in[c];
            }
}

/* Gradients of remember; grad_weight [taps, channels]. */
void remember_backward(const float *restrict grad, const float *restrict q, long clips, long steps, long channels,
                       const float *restrict weight, long taps, float *restrict grad_q, float *restrict grad_weight)
{
    memset(grad_q, 0, sizeof(float) * clips * steps * channels);
    memset(grad_weight, 0, sizeof(float) * taps * channels);
    for (long n = 0; n < clips; n++)
        for (long t = 0; t < steps; t++)
            for (long k = 0; k < taps; k++) {
                long from = t + k - taps / 2;
                if (from < 0 || from >= steps)
                    continue;
                const float *in = q + (n * steps + from) * channels, *w = weight + k * channels;
                const float *g = grad + (n * steps + t) * channels;
                float *out = grad_q + (n * steps + from) * channels, *gw = grad_weight + k * channels;
                for (long c = 0; c < channels; c++) {
                    out[c] += w[c] * g[c];
                    gw[c] += g[c] * in[c];
                }
            }
}

/* out[o, i] = alpha[o] * sign(weight[o, i] - mean[o]), alpha the mean magnitude of the deviations; mean 0 if not
 * centred. */
void binarize_weight(const float *restrict weight, long outputs, long inputs, int centred, float *restrict mean,
                     float *restrict alpha, float *restrict out)
{
    for (long o = 0; o < outputs; o++) {
        const float *w = weight + o * inputs;
        float sum = 0, size = 0;
        for (long i = 0; i < inputs; i++)
            sum += w[i];
        float m = centred ? sum / inputs : 0;
        for (long i = 0; i < inputs; i++)
            size += fabsf(w[i] - m);
        float a = size / inputs;
        for (long i = 0; i < inputs; i++)
            out[o * inputs + i] = w[i] - m >= 0 ? a : -a;
        mean[o] = m;
        alpha[o] = a;
    }
}

/* Gradient of binarize_weight: straight through where the deviation is within `window` times alpha, then centred too. */
void binarize_weight_backward(const float *restrict grad, const float *restrict weight, long outputs, long inputs,
                              int centred, const float *restrict mean, const float *restrict alpha, float window,
                              float *restrict grad_weight)
{
    for (long o = 0; o < outputs; o++) {
        const float *w = weight + o * inputs, *g = grad + o * inputs;
        float *out = grad_weight + o * inputs, limit = window * alpha[o], m = mean[o], sum = 0;
        for (long i = 0; i < inputs; i++) {
            out[i] = fabsf(w[i] - m) <= limit ? g[i] : 0.0f;
            sum += out[i];
        }
        for (long i = 0; centred && i < inputs; i++)
            out[i] -= sum / inputs;
    }
}
