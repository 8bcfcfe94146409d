/* stream.h - one audio source through a model: samples in pieces of any length, decisions out.
 *
 * A decision covers a window of frames and comes every `stride` frames; the first one when the first window is complete.
 * Decisions do not depend on how the samples were cut into pieces, to the last bit. A kws_stream is used by one thread at
 * a time; any number of them share a front end and a network. All memory is the caller's, and nothing is allocated.
 */
#ifndef KWS_STREAM_H
#define KWS_STREAM_H

#include "../frontend/frontend.h"
#include "../network/network.h"

enum { KWS_SKIPPED = -1 /* level of a decision that the gate took for silence */ };

/* Where a push writes its decisions, one after the other in each array. */
typedef struct {
    int64_t *ends;   /* samples that were pushed, since the start or the last reset, at the end of the window */
    float *values;   /* scores, `classes` of each decision */
    float *loudness; /* dB against a full-scale sine, of the loudest of the frames that are new with the decision */
    float *levels; /* the same of each frame: of all in the window of the first decision, of the next ones of those that
                        are new, at most `stride` of each */
    int8_t *thin;  /* level that gave the scores, or KWS_SKIPPED */
} kws_decisions;

typedef struct {
    const kws_network *network;
    int32_t stride;    /* frames between decisions, 1 or more */
    int32_t level;     /* of the next decision, or KWS_AUTO; may be changed between pushes */
    int32_t silence;   /* class that a window is which the gate skips, -1: no gate */
    double gate;       /* dB: a window in which no frame reaches it is silence */
    int64_t decisions; /* since the start or the last reset */

    /* The rest is kws_stream's own. */
    kws_online online;
    kws_past past;
    kws_buffers buffers;
    int8_t *history;                       /* [capacity][bins] the newest frames; a window is read in place */
    int8_t *loudest;                       /* [capacity] of each frame, in steps of the features */
    float *frame;                          /* one frame before it is quantised */
    int32_t held, capacity;                /* frames in the history, and room for them */
    int32_t loudness_values;               /* features of a frame that tell its loudness */
    double loudness_step, loudness_offset; /* from features to dB */
    int64_t frames_seen;
} kws_stream;

/* Bytes of a stream's memory, which is 64-byte aligned. The front end's width is the network's `bins`. */
size_t kws_stream_size(const kws_frontend *frontend, const kws_network *network);

/* A stream without a gate; set `silence` and `gate` afterwards for one. */
void kws_stream_init(kws_stream *stream, const kws_frontend *frontend, const kws_network *network, int32_t level,
                     int32_t stride, void *memory);

/* Forgets all audio: the next sample is the first one. */
void kws_stream_reset(kws_stream *stream);

/* Samples that one decision covers. */
int64_t kws_stream_window(const kws_stream *stream);

/* The most decisions that n samples can complete: `out` has room for so many. */
size_t kws_stream_most(const kws_stream *stream, size_t n);

/* Takes n samples; the number of decisions that they completed. Floats are finite (kws_check_samples). */
size_t kws_stream_push_f32(kws_stream *stream, const float *samples, size_t n, const kws_decisions *out);
size_t kws_stream_push_s16(kws_stream *stream, const int16_t *samples, size_t n, const kws_decisions *out);

#endif
