/* frontend.h - from samples to log-mel or MFCC frames, and on to the network's int8 features.
 *
 * Two objects, both in memory that the caller owns:
 *   kws_frontend  the tables of one set of options; immutable, shared by any number of streams and threads
 *   kws_online    one stream's last samples; accept samples in pieces of any length, take a frame whenever one is ready
 * A whole recording takes the same way as a stream, so their frames are the same bits.
 *
 * Frame i covers samples [i*hop, i*hop + window). window[j] = 0.5 - 0.5 cos(2 pi j / window) (periodic Hann), zeros up
 * to n_fft, power spectrum, `bins` triangles of peak 1 equally spaced on the HTK mel scale from fmin to fmax,
 * 10 log10(max(energy, floor)); for MFCC an orthonormal DCT-II of that, of which the first n_mfcc are kept.
 */
#ifndef KWS_FRONTEND_H
#define KWS_FRONTEND_H

#include <stddef.h>
#include <stdint.h>

#include "../common/status.h"
#include "fft.h"

typedef struct {
    int32_t sample_rate; /* Hz, 4000 to 192000 */
    int32_t window;      /* samples in a frame, 16 to n_fft */
    int32_t hop;         /* samples between frames, 1 to 65536 */
    int32_t n_fft;       /* a power of two, 32 to 8192 */
    int32_t bins;        /* mel bands, 1 to 256 */
    int32_t n_mfcc;      /* 0: log-mel; else 1 to bins cepstral coefficients */
    double fmin, fmax;   /* Hz, 0 <= fmin < fmax <= sample_rate / 2 */
    float floor;         /* smallest energy, > 0 */
    float offset, step;  /* int8 feature = clip(rint((feature - offset) / step)) */
} kws_frontend_options;

typedef struct {
    kws_frontend_options options;
    int32_t width; /* values in a frame: n_mfcc, or bins */
    float inverse_step;
    kws_fft_function power;
    const float *window, *fft; /* [window], twiddles */
    int32_t spectrum;          /* bins of the power spectrum, with the zeros behind it */
    const int32_t *first_bin;  /* [bins, to a multiple of four] first FFT bin of each triangle */
    const int32_t *bin_count;  /* [bins / 4] of the longest of four triangles, a multiple of four */
    const float *triangles;    /* their weights, in the order of their use */
    const float *dct;          /* [n_mfcc][bins] */
} kws_frontend;

typedef struct {
    const kws_frontend *frontend;
    float *samples; /* [window] */
    float *scratch;
    int32_t filled; /* samples held, window when a frame is ready */
    int32_t skip;   /* samples to drop before the next frame, when hop > window */
} kws_online;

/* KWS_ERROR_ARGUMENT when an option is outside its range, or when a triangle would hold no FFT bin. */
kws_status kws_frontend_check(const kws_frontend_options *options);

/* Bytes for the tables of valid options; kws_frontend_init fills them and points `frontend` at them. `portable`: without
 * what only this CPU has; the frames are the same bits. */
size_t kws_frontend_buffer_size(const kws_frontend_options *options);
void kws_frontend_init(kws_frontend *frontend, const kws_frontend_options *options, int32_t portable, void *buffer);

/* Bytes for a stream's state; the buffers are 64-byte aligned by the caller. */
size_t kws_online_buffer_size(const kws_frontend *frontend);
void kws_online_init(kws_online *online, const kws_frontend *frontend, void *buffer);
void kws_online_reset(kws_online *online);

/* Takes up to n samples, stops when a frame is ready; the number taken. */
size_t kws_online_accept_f32(kws_online *online, const float *samples, size_t n);
size_t kws_online_accept_s16(kws_online *online, const int16_t *samples, size_t n);

/* Whether a frame is ready; kws_online_take writes it (frontend->width floats) and makes room for the next. */
int32_t kws_online_ready(const kws_online *online);
void kws_online_take(kws_online *online, float *frame);

/* q[i] = clip(rint((frame[i] - offset) / step), -127, 127). */
void kws_frontend_quantize(const kws_frontend *frontend, const float *frame, int8_t *q);

/* KWS_ERROR_NOT_FINITE for a NaN or infinity, KWS_ERROR_TOO_LOUD for a magnitude above `limit`, else KWS_OK. */
kws_status kws_check_samples(const float *samples, size_t n, float limit);

#endif
