/* network.h - a thinnable, 1-bit deep FSMN (BiFSMN, BiFSMNv2) from int8 features to scores.
 *
 * conv1 (int8) -> conv2 -> fc1 -> blocks of memory, expand, project -> classifier (int8) -> softmax. A thinning level
 * runs some of the blocks: all levels share every weight and have norms of their own inside the blocks.
 *
 * There are two kinds, and one interface to both, which kws_network_init chooses once:
 *   windowed  the network of the papers: convolutions and memories are padded at the ends of a window, so that every
 *             decision computes its whole window
 *   causal    memories look back and convolutions are not padded in time: what was computed of a step, four frames,
 *             stays as it is, and a decision computes only the steps that are new
 *
 * A kws_network is immutable once made and may serve any number of streams and threads. A stream's own state is a
 * kws_past; what one decision works in is a kws_buffers. All memory is the caller's: ask for the sizes first.
 */
#ifndef KWS_NETWORK_H
#define KWS_NETWORK_H

#include "../layers/layers.h"

enum {
    KWS_MOST_LEVELS = 8,
    KWS_AUTO = -1, /* the level "auto": the thinnest first, deeper ones unless it is clear that no keyword is heard */
    KWS_CONV_KERNEL = 5, /* of both convolutions */
    KWS_CONV_STRIDE = 2,
    KWS_CONV_PAD = 2,
    KWS_STEP = KWS_CONV_STRIDE * KWS_CONV_STRIDE, /* frames of a step */
    KWS_AT_ONCE = 4 /* steps that go together through the blocks of a causal network: the rows of bgemm_neon.c's tile */
};

/* kws_level.clear of a level that "auto" leaves out */
#define KWS_LEFT_OUT (-1.0f)

typedef struct {
    kws_memory memory;
    kws_linear expand, project;
    kws_staircase stairs; /* from the sums of expand to the codes of project */
} kws_block;

typedef struct {
    int32_t count; /* of its blocks */
    int32_t first; /* number of its first block among those of all levels */
    float clear;   /* score from which on "auto" runs no deeper level, or KWS_LEFT_OUT */
    kws_block *blocks;
    kws_classifier classifier;
} kws_level;

/* What one stream keeps of its earlier decisions. */
typedef struct {
    uint8_t *codes; /* output rows of conv1, as the padded image that conv2 reads */
    float *x;       /* [steps][width] what the blocks of all levels start from */
    /* The rest is a causal network's. */
    int32_t begun;                  /* whether the last decision was made, so that only new steps are computed */
    int64_t steps;                  /* steps that were taken since the first one */
    int64_t taken[KWS_MOST_LEVELS]; /* of them, those that each level has taken in */
    int8_t *columns;                /* of every block of every level, the quantised inputs of its memory */
    int8_t *ends;                   /* [levels][steps][width] the classifier's quantised inputs */
} kws_past;

/* What one decision works in. */
typedef struct {
    int16_t *image; /* features, widened and padded */
    float *x, *m;   /* a block's output, and the output of its memory */
    float *logits;
    uint8_t *closed; /* codes of fc1's input */
    int8_t *ends;    /* a windowed network's quantised inputs of the classifier */
    int32_t *classifier_sums;
    kws_scratch scratch;
} kws_buffers;

typedef struct kws_network kws_network;

/* A kind of network: `take` computes what all levels share of a window, `run` the scores of one level. */
typedef struct {
    void (*take)(const kws_network *network, const int8_t *features, int32_t stride, kws_past *past,
                 const kws_buffers *buffers);
    void (*run)(const kws_network *network, int32_t level, kws_past *past, const kws_buffers *buffers, float *scores);
} kws_network_kind;

struct kws_network {
    /* Set by the caller, before kws_network_init */
    const kws_kernels *kernels;
    int32_t causal;
    int32_t frames, bins, classes; /* of a window; of a frame; labels */
    kws_input_conv conv1;
    kws_staircase first_stairs; /* from the sums of conv1 to the codes of conv2 */
    kws_conv conv2;
    kws_staircase second_stairs; /* from the sums of conv2 to the codes of fc1 */
    kws_linear fc1;
    int32_t level_count;
    kws_level levels[KWS_MOST_LEVELS]; /* slowest first; `first` is set by kws_network_init */
    const int8_t *other;               /* [classes] whether it is no keyword */

    /* Set by kws_network_init */
    const kws_network_kind *kind;
    int32_t width, hidden, taps;
    int32_t steps;       /* that the classifier sees */
    int32_t block_count; /* of all levels together */
    int32_t stem_rows;   /* output rows of conv1 that the image of codes holds, without its padding */
    int32_t has_others;  /* whether a class is no keyword */
};

extern const kws_network_kind kws_windowed, kws_causal;

/* Derives the rest from the layers. `hidden` and `taps` are those of the blocks, 0 where there are none. */
void kws_network_init(kws_network *network);

/* Bytes of one stream's past, and of the buffers of a decision. The memory is 64-byte aligned. */
size_t kws_past_size(const kws_network *network);
void kws_past_init(kws_past *past, const kws_network *network, void *memory);
size_t kws_buffers_size(const kws_network *network);
void kws_buffers_init(kws_buffers *buffers, const kws_network *network, void *memory);

/* Forgets all decisions: the next one sees its window and nothing before it. */
void kws_past_reset(kws_past *past);

/* Scores of a window [frames][bins] that lies `stride` frames after the window of the last call with this past; the
 * level that gave them, which is `level` unless that is KWS_AUTO. */
int32_t kws_network_decide(const kws_network *network, int32_t level, const int8_t *features, int32_t stride,
                           kws_past *past, const kws_buffers *buffers, float *scores);

/* One part of a decision at a level, by itself, so that its time can be taken. Parts: 0 conv1; 1 conv2 and fc1; then of
 * each block memory, expand and project; the last one is the classifier. */
int32_t kws_network_parts(const kws_network *network, int32_t level);
void kws_network_run_part(const kws_network *network, int32_t level, int32_t part, const int8_t *features,
                          kws_past *past, const kws_buffers *buffers, float *scores);

#endif
