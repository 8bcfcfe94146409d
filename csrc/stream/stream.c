/* stream.c - frames into a history, and a decision whenever a window is complete. */
#include "stream.h"

#include <string.h>

#include "../common/exact_math.h"

/* Windows are read in place. The last frames move to the front of the history once in so many windows. */
enum { WINDOWS_HELD = 4 };

static size_t rounded(size_t size) { return (size + 63) / 64 * 64; }

static int32_t capacity_of(const kws_network *network) { return WINDOWS_HELD * network->frames; }

static size_t frames_size(const kws_network *network)
{
    size_t capacity = (size_t)capacity_of(network), bins = (size_t)network->bins;
    return rounded(capacity * bins) + rounded(capacity) + rounded(bins * sizeof(float));
}

size_t kws_stream_size(const kws_frontend *frontend, const kws_network *network)
{
    return rounded(kws_online_buffer_size(frontend)) + kws_past_size(network) + kws_buffers_size(network) +
           frames_size(network);
}

/* How a frame's features tell its loudness: the largest band, or of cepstra the first one, which is the mean of the bands
 * times the root of their number. */
static void set_loudness(kws_stream *stream, const kws_frontend_options *options)
{
    int32_t cepstra = options->n_mfcc > 0;
    double scale = cepstra ? __builtin_sqrt((double)options->bins) : 1.0;
    /* Under its Hann window a full-scale sine has this power in the bins of its main lobe. */
    double power = 0.375 * (double)options->window * (double)options->window / 4.0;
    stream->loudness_values = cepstra ? 1 : options->bins;
    stream->loudness_step = (double)options->step / scale;
    stream->loudness_offset = (double)options->offset / scale - 10.0 * (kws_log(power) / kws_log(10.0));
}

void kws_stream_init(kws_stream *stream, const kws_frontend *frontend, const kws_network *network, int32_t level,
                     int32_t stride, void *memory)
{
    char *at = memory;
    memset(stream, 0, sizeof *stream);
    stream->network = network;
    stream->level = level;
    stream->stride = stride;
    stream->silence = -1;
    stream->capacity = capacity_of(network);
    kws_online_init(&stream->online, frontend, at);
    at += rounded(kws_online_buffer_size(frontend));
    kws_past_init(&stream->past, network, at);
    at += kws_past_size(network);
    kws_buffers_init(&stream->buffers, network, at);
    at += kws_buffers_size(network);
    stream->history = (int8_t *)at;
    at += rounded((size_t)stream->capacity * (size_t)network->bins);
    stream->loudest = (int8_t *)at;
    at += rounded((size_t)stream->capacity);
    stream->frame = (float *)at;
    set_loudness(stream, &frontend->options);
    kws_stream_reset(stream);
}

void kws_stream_reset(kws_stream *stream)
{
    kws_online_reset(&stream->online);
    kws_past_reset(&stream->past);
    stream->held = 0;
    stream->frames_seen = 0;
    stream->decisions = 0;
}

int64_t kws_stream_window(const kws_stream *stream)
{
    const kws_frontend_options *options = &stream->online.frontend->options;
    return (int64_t)(stream->network->frames - 1) * options->hop + options->window;
}

size_t kws_stream_most(const kws_stream *stream, size_t n)
{
    /* Every hop completes at most one frame, and the first frame may be nearly there already. */
    return n / (size_t)stream->online.frontend->options.hop / (size_t)stream->stride + 2;
}

/* Takes the ready frame into the history; whether it completes a decision. */
static int32_t add_frame(kws_stream *stream)
{
    const kws_network *network = stream->network;
    int32_t bins = network->bins, kept = network->frames - 1;
    if (stream->held == stream->capacity) {
        int32_t first = stream->held - kept;
        memmove(stream->history, stream->history + first * bins, (size_t)(kept * bins));
        memmove(stream->loudest, stream->loudest + first, (size_t)kept);
        stream->held = kept;
    }
    int8_t *features = stream->history + stream->held * bins, largest;
    kws_online_take(&stream->online, stream->frame);
    kws_frontend_quantize(stream->online.frontend, stream->frame, features);
    largest = features[0];
    for (int32_t i = 1; i < stream->loudness_values; ++i) {
        largest = features[i] > largest ? features[i] : largest;
    }
    stream->loudest[stream->held++] = largest;
    int64_t past_first = ++stream->frames_seen - network->frames;
    return past_first >= 0 && past_first % stream->stride == 0;
}

static float in_db(const kws_stream *stream, int8_t loudest)
{
    return (float)(loudest * stream->loudness_step + stream->loudness_offset);
}

/* The loudest of the newest frames. */
static int8_t loudest_of(const kws_stream *stream, int32_t frames)
{
    int8_t largest = -128;
    for (int32_t i = stream->held - frames; i < stream->held; ++i) {
        largest = stream->loudest[i] > largest ? stream->loudest[i] : largest;
    }
    return largest;
}

static void write_levels(const kws_stream *stream, size_t made, int32_t fresh, float *levels)
{
    int32_t frames = stream->network->frames;
    const int8_t *loudest = stream->loudest + stream->held - frames;
    for (int32_t i = made == 0 ? 0 : frames - fresh; i < frames; ++i) {
        levels[made * (size_t)fresh + (size_t)i] = in_db(stream, loudest[i]);
    }
}

/* The decision of the window that ends now, as number `made` of this push. */
static void decide(kws_stream *stream, size_t made, const kws_decisions *out)
{
    const kws_network *network = stream->network;
    int32_t frames = network->frames, fresh = stream->stride < frames ? stream->stride : frames;
    int64_t stride = (int64_t)stream->stride * stream->online.frontend->options.hop;
    float *scores = out->values + made * (size_t)network->classes;
    out->ends[made] = stream->decisions++ * stride + kws_stream_window(stream);
    out->loudness[made] = in_db(stream, loudest_of(stream, fresh));
    write_levels(stream, made, fresh, out->levels);
    if (stream->silence >= 0 && in_db(stream, loudest_of(stream, frames)) < stream->gate) {
        memset(scores, 0, sizeof(float) * (size_t)network->classes);
        scores[stream->silence] = 1.0f;
        out->thin[made] = KWS_SKIPPED;
        kws_past_reset(&stream->past);
    } else {
        const int8_t *window = stream->history + (stream->held - frames) * network->bins;
        out->thin[made] = (int8_t)kws_network_decide(network, stream->level, window, stream->stride, &stream->past,
                                                     &stream->buffers, scores);
    }
}

/* Makes the decision that the samples so far complete, if there is one; the decisions made. */
static size_t advance(kws_stream *stream, size_t made, const kws_decisions *out)
{
    if (kws_online_ready(&stream->online) && add_frame(stream)) {
        decide(stream, made++, out);
    }
    return made;
}

size_t kws_stream_push_f32(kws_stream *stream, const float *samples, size_t n, const kws_decisions *out)
{
    size_t done = 0, made = 0;
    while (done < n) {
        done += kws_online_accept_f32(&stream->online, samples + done, n - done);
        made = advance(stream, made, out);
    }
    return made;
}

size_t kws_stream_push_s16(kws_stream *stream, const int16_t *samples, size_t n, const kws_decisions *out)
{
    size_t done = 0, made = 0;
    while (done < n) {
        done += kws_online_accept_s16(&stream->online, samples + done, n - done);
        made = advance(stream, made, out);
    }
    return made;
}
