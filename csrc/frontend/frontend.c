/* frontend.c - see frontend.h. */
#include "frontend.h"

#include <string.h>

#include "../common/exact_math.h"
#include "../common/vec4.h"
#include "fft.h"

enum { ALIGNMENT = 64 };

static size_t aligned(size_t bytes) { return (bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT; }

static double hz_to_mel(double hz) { return 2595.0 / 2.30258509299404568402 * kws_log(1.0 + hz / 700.0); }

static double mel_to_hz(double mel) { return 700.0 * (kws_exp(mel * 2.30258509299404568402 / 2595.0) - 1.0); }

/* The triangle of a band: zero at `left`, 1 at `centre`, zero at `right`, all in Hz. */
typedef struct {
    double left, centre, right;
} triangle;

static triangle triangle_of(const kws_frontend_options *o, int32_t band)
{
    double low = hz_to_mel(o->fmin), step = (hz_to_mel(o->fmax) - low) / (double)(o->bins + 1);
    return (triangle){mel_to_hz(low + step * (double)band), mel_to_hz(low + step * (double)(band + 1)),
                      mel_to_hz(low + step * (double)(band + 2))};
}

static double bin_hz(const kws_frontend_options *o, int32_t bin)
{
    return (double)bin * (double)o->sample_rate / (double)o->n_fft;
}

/* First bin and number of bins strictly inside the triangle. */
static int32_t triangle_span(const kws_frontend_options *o, int32_t band, int32_t *first)
{
    triangle t = triangle_of(o, band);
    int32_t bin = 0, count = 0, last = o->n_fft / 2;
    while (bin <= last && bin_hz(o, bin) <= t.left) {
        ++bin;
    }
    *first = bin;
    while (bin + count <= last && bin_hz(o, bin + count) < t.right) {
        ++count;
    }
    return count;
}

/* Bands are summed four at a time. What a group of them has is padded with zero weights to whole vectors of the longest
 * triangle, the last group with bands of nothing, the spectrum with zeros to where the groups' sums end. Triangles have a
 * peak of 1/4, since kws_fft_power gives four times the power. */
enum { GROUP = 4 };

static int32_t groups_of(const kws_frontend_options *o) { return (o->bins + GROUP - 1) / GROUP; }

/* Bins that a group reads of each of its bands, from first[band] on. */
static int32_t group_span(const kws_frontend_options *o, int32_t group, int32_t first[GROUP])
{
    int32_t longest = 0;
    for (int32_t i = 0; i < GROUP; ++i) {
        int32_t band = GROUP * group + i, count = 0;
        first[i] = 0;
        if (band < o->bins) {
            count = triangle_span(o, band, &first[i]);
        }
        longest = count > longest ? count : longest;
    }
    return (longest + 3) / 4 * 4;
}

static int32_t triangles_size(const kws_frontend_options *o)
{
    int32_t total = 0, first[GROUP];
    for (int32_t group = 0; group < groups_of(o); ++group) {
        total += GROUP * group_span(o, group, first);
    }
    return total;
}

kws_status kws_frontend_check(const kws_frontend_options *o)
{
    int power_of_two = o->n_fft >= 32 && o->n_fft <= 8192 && (o->n_fft & (o->n_fft - 1)) == 0;
    int valid = power_of_two && o->sample_rate >= 4000 && o->sample_rate <= 192000 && o->window >= 16 &&
                o->window <= o->n_fft && o->hop >= 1 && o->hop <= 65536 && o->bins >= 1 && o->bins <= 256 &&
                o->n_mfcc >= 0 && o->n_mfcc <= o->bins && o->fmin >= 0.0 && o->fmin < o->fmax &&
                o->fmax <= 0.5 * (double)o->sample_rate && o->floor >= 1e-30f && o->floor <= 1e30f &&
                o->offset >= -1e6f && o->offset <= 1e6f && o->step >= 1e-6f && o->step <= 1e6f;
    if (!valid) {
        return KWS_ERROR_ARGUMENT;
    }
    for (int32_t band = 0, first; band < o->bins; ++band) {
        if (triangle_span(o, band, &first) == 0) {
            return KWS_ERROR_ARGUMENT;
        }
    }
    return KWS_OK;
}

size_t kws_frontend_buffer_size(const kws_frontend_options *o)
{
    return aligned(sizeof(float) * (size_t)o->window) + aligned(sizeof(float) * (size_t)kws_fft_table_size(o->n_fft)) +
           aligned(sizeof(int32_t) * (size_t)(GROUP * groups_of(o))) + aligned(sizeof(int32_t) * (size_t)groups_of(o)) +
           aligned(sizeof(float) * (size_t)triangles_size(o)) + aligned(sizeof(float) * (size_t)(o->n_mfcc * o->bins));
}

static void *take(char **cursor, size_t bytes)
{
    void *start = *cursor;
    *cursor += aligned(bytes);
    return start;
}

/* The weights in the order of their use: four bins of each band of a group, then the next four. Returns the bins that the
 * spectrum has to have. */
static int32_t init_triangles(const kws_frontend_options *o, int32_t *first_bin, int32_t *bin_count, float *triangles)
{
    int32_t end = o->n_fft / 2 + 1;
    for (int32_t group = 0; group < groups_of(o); ++group, first_bin += GROUP) {
        int32_t count = group_span(o, group, first_bin);
        *bin_count++ = count;
        for (int32_t i = 0; i < GROUP; ++i) {
            int32_t band = GROUP * group + i, first, inside = band < o->bins ? triangle_span(o, band, &first) : 0;
            triangle t = triangle_of(o, band);
            for (int32_t k = 0; k < count; ++k) {
                double hz = bin_hz(o, first_bin[i] + k);
                double rising = (hz - t.left) / (t.centre - t.left), falling = (t.right - hz) / (t.right - t.centre);
                triangles[k / 4 * 4 * GROUP + 4 * i + k % 4] =
                    k < inside ? (float)(0.25 * (rising < falling ? rising : falling)) : 0.0f;
            }
            end = first_bin[i] + count > end ? first_bin[i] + count : end;
        }
        triangles += GROUP * count;
    }
    return end;
}

static double square_root(double x) { return kws_exp(0.5 * kws_log(x)); }

static void init_dct(const kws_frontend_options *o, float *dct)
{
    for (int32_t k = 0; k < o->n_mfcc; ++k) {
        double scale = square_root((k == 0 ? 1.0 : 2.0) / (double)o->bins);
        for (int32_t i = 0; i < o->bins; ++i) {
            double cosine = kws_cos_turns((uint64_t)((2 * i + 1) * k), (uint64_t)(4 * o->bins));
            *dct++ = (float)(scale * cosine);
        }
    }
}

void kws_frontend_init(kws_frontend *frontend, const kws_frontend_options *options, int32_t portable, void *buffer)
{
    const kws_frontend_options o = *options;
    char *cursor = buffer;
    float *window = take(&cursor, sizeof(float) * (size_t)o.window);
    float *fft = take(&cursor, sizeof(float) * (size_t)kws_fft_table_size(o.n_fft));
    int32_t *first_bin = take(&cursor, sizeof(int32_t) * (size_t)(GROUP * groups_of(&o)));
    int32_t *bin_count = take(&cursor, sizeof(int32_t) * (size_t)groups_of(&o));
    float *triangles = take(&cursor, sizeof(float) * (size_t)triangles_size(&o));
    float *dct = take(&cursor, sizeof(float) * (size_t)(o.n_mfcc * o.bins));

    for (int32_t i = 0; i < o.window; ++i) {
        window[i] = (float)(0.5 - 0.5 * kws_cos_turns((uint64_t)i, (uint64_t)o.window));
    }
    kws_fft_init(o.n_fft, fft);
    int32_t spectrum = init_triangles(&o, first_bin, bin_count, triangles);
    init_dct(&o, dct);
    *frontend = (kws_frontend){.options = o,
                               .width = o.n_mfcc > 0 ? o.n_mfcc : o.bins,
                               .spectrum = spectrum,
                               .inverse_step = 1.0f / o.step,
                               .power = kws_fft_select(portable),
                               .window = window,
                               .fft = fft,
                               .first_bin = first_bin,
                               .bin_count = bin_count,
                               .triangles = triangles,
                               .dct = dct};
}

/* Scratch of one frame: the transform's arrays, the padded power spectrum, the log energies. */
static size_t scratch_floats(const kws_frontend *frontend)
{
    const kws_frontend_options *o = &frontend->options;
    return (size_t)kws_fft_scratch_size(o->n_fft) + (size_t)frontend->spectrum + (size_t)o->bins;
}

size_t kws_online_buffer_size(const kws_frontend *frontend)
{
    return aligned(sizeof(float) * (size_t)frontend->options.window) +
           aligned(sizeof(float) * scratch_floats(frontend));
}

void kws_online_init(kws_online *online, const kws_frontend *frontend, void *buffer)
{
    char *cursor = buffer;
    online->frontend = frontend;
    online->samples = take(&cursor, sizeof(float) * (size_t)frontend->options.window);
    online->scratch = take(&cursor, sizeof(float) * scratch_floats(frontend));
    memset(online->scratch, 0, sizeof(float) * scratch_floats(frontend));
    kws_online_reset(online);
}

void kws_online_reset(kws_online *online)
{
    online->filled = 0;
    online->skip = 0;
}

/* Drops what lies between two frames (hop > window), then says how many of n samples the buffer still takes. */
static size_t room(kws_online *online, size_t n, size_t *dropped)
{
    size_t skip = (size_t)online->skip, free_samples = (size_t)(online->frontend->options.window - online->filled);
    *dropped = skip < n ? skip : n;
    online->skip -= (int32_t)*dropped;
    return n - *dropped < free_samples ? n - *dropped : free_samples;
}

size_t kws_online_accept_f32(kws_online *online, const float *samples, size_t n)
{
    size_t dropped, count = room(online, n, &dropped);
    if (count > 0) {
        memcpy(online->samples + online->filled, samples + dropped, sizeof(float) * count);
    }
    online->filled += (int32_t)count;
    return dropped + count;
}

size_t kws_online_accept_s16(kws_online *online, const int16_t *samples, size_t n)
{
    size_t dropped, count = room(online, n, &dropped);
    const int16_t *restrict from = samples + dropped;
    float *restrict to = online->samples + online->filled;
#pragma GCC unroll 4
    for (size_t i = 0; i < count; ++i) {
        to[i] = (float)from[i] * (1.0f / 32768.0f);
    }
    online->filled += (int32_t)count;
    return dropped + count;
}

int32_t kws_online_ready(const kws_online *online) { return online->filled == online->frontend->options.window; }

/* max(sum over the triangle, floor) of a group's bands. Lane j adds the bins j, j + 4, j + 8 ... of the triangle; then
 * (lane 0 + lane 2) + (lane 1 + lane 3). The four sums do not wait for each other. */
static inline kws_vec4 group_energies(const float *power, const int32_t *first_bin, size_t count, const float *weights,
                                      kws_vec4 floor)
{
    const float *a = power + first_bin[0], *b = power + first_bin[1];
    const float *c = power + first_bin[2], *d = power + first_bin[3];
    kws_vec4 sum_a = vec4_splat(0.0f), sum_b = sum_a, sum_c = sum_a, sum_d = sum_a;
    for (size_t k = 0; k < count; k += 4, weights += 4 * GROUP) {
        sum_a += vec4_load(weights) * vec4_load(a + k);
        sum_b += vec4_load(weights + 4) * vec4_load(b + k);
        sum_c += vec4_load(weights + 8) * vec4_load(c + k);
        sum_d += vec4_load(weights + 12) * vec4_load(d + k);
    }
    kws_vec4 ab = VEC4_SHUFFLE(sum_a, sum_b, 0, 1, 4, 5) + VEC4_SHUFFLE(sum_a, sum_b, 2, 3, 6, 7);
    kws_vec4 cd = VEC4_SHUFFLE(sum_c, sum_d, 0, 1, 4, 5) + VEC4_SHUFFLE(sum_c, sum_d, 2, 3, 6, 7);
    kws_vec4 sums = VEC4_SHUFFLE(ab, cd, 0, 2, 4, 6) + VEC4_SHUFFLE(ab, cd, 1, 3, 5, 7);
    kws_ivec4 above = sums > floor;
    return (kws_vec4)((above & (kws_ivec4)sums) | (~above & (kws_ivec4)floor));
}

/* 10 log10 of every band's energy. */
static void log_mel(const kws_frontend *frontend, const float *power, float *energies)
{
    const float *weights = frontend->triangles;
    const kws_vec4 floor = vec4_splat(frontend->options.floor);
    int32_t bands = frontend->options.bins;
    for (int32_t band = 0, group = 0; band < bands; band += GROUP, ++group) {
        size_t count = (size_t)frontend->bin_count[group];
        kws_vec4 sums = group_energies(power, frontend->first_bin + band, count, weights, floor);
        memcpy(energies + band, &sums, sizeof(float) * (size_t)(bands - band < GROUP ? bands - band : GROUP));
        weights += GROUP * count;
    }
    kws_decibels(energies, bands);
}

static void cepstrum(const kws_frontend *frontend, const float *energies, float *frame)
{
    const float *row = frontend->dct;
    for (int32_t k = 0; k < frontend->width; ++k, row += frontend->options.bins) {
        double sum = 0.0;
        for (int32_t i = 0; i < frontend->options.bins; ++i) {
            sum += (double)row[i] * (double)energies[i];
        }
        frame[k] = (float)sum;
    }
}

static void advance(kws_online *online)
{
    int32_t window = online->frontend->options.window, hop = online->frontend->options.hop;
    int32_t kept = hop < window ? window - hop : 0;
    memmove(online->samples, online->samples + (window - kept), sizeof(float) * (size_t)kept);
    online->filled = kept;
    online->skip = hop > window ? hop - window : 0;
}

void kws_online_take(kws_online *online, float *frame)
{
    const kws_frontend *frontend = online->frontend;
    const kws_frontend_options *o = &frontend->options;
    float *power = online->scratch + kws_fft_scratch_size(o->n_fft), *energies = power + frontend->spectrum;
    frontend->power(o->n_fft, frontend->fft, online->samples, frontend->window, o->window, online->scratch, power);
    if (o->n_mfcc > 0) {
        log_mel(frontend, power, energies);
        cepstrum(frontend, energies, frame);
    } else {
        log_mel(frontend, power, frame);
    }
    advance(online);
}

void kws_frontend_quantize(const kws_frontend *frontend, const float *restrict frame, int8_t *restrict q)
{
    /* Adding and taking off 1.5 * 2^23 rounds to the nearest integer, ties to even, in the default rounding mode. */
    const float round_magic = 12582912.0f;
    const float offset = frontend->options.offset, inverse_step = frontend->inverse_step;
    const int32_t width = frontend->width;
    for (int32_t i = 0; i < width; ++i) {
        float scaled = (frame[i] - offset) * inverse_step;
        scaled = scaled < -127.0f ? -127.0f : scaled;
        scaled = scaled > 127.0f ? 127.0f : scaled;
        q[i] = (int8_t)((scaled + round_magic) - round_magic);
    }
}

kws_status kws_check_samples(const float *samples, size_t n, float limit)
{
    kws_status status = KWS_OK;
    for (size_t i = 0; i < n; ++i) {
        uint32_t bits;
        memcpy(&bits, &samples[i], sizeof bits);
        if ((bits & 0x7f800000u) == 0x7f800000u) {
            return KWS_ERROR_NOT_FINITE;
        }
        if (samples[i] > limit || samples[i] < -limit) {
            status = KWS_ERROR_TOO_LOUD;
        }
    }
    return status;
}
