/* layers.h - the 1-bit packed layers: each is a struct that says where its numbers lie, and functions that run it.
 *
 * A layer quantises float activations to q (kernels.h says what that is), takes exact integer sums of q times weights of
 * +1 and -1, and ends with y = a*n + b, PReLU and, where there is one, a residual. The structs own nothing: weights and
 * numbers belong to the caller, and what a call works in is a kws_scratch, which the caller owns as well. Its arrays
 * have at least as many elements as the *_scratch functions say.
 *
 * Sources: BiFSMN (IJCAI 2022) and BiFSMNv2 (TNNLS 2023), with one scale per output channel and static activation scales.
 */
#ifndef KWS_LAYERS_H
#define KWS_LAYERS_H

#include "../kernels/kernels.h"

typedef struct {
    int8_t *q;      /* activations, quantised */
    uint8_t *codes; /* the same, packed */
    int16_t *sums;  /* integer sums, rows of padded outputs */
} kws_scratch;

typedef struct {
    int32_t q, codes, sums; /* elements */
} kws_scratch_size;

static inline int32_t kws_larger_int(int32_t a, int32_t b) { return a > b ? a : b; }

static inline kws_scratch_size kws_larger(kws_scratch_size a, kws_scratch_size b)
{
    return (kws_scratch_size){kws_larger_int(a.q, b.q), kws_larger_int(a.codes, b.codes),
                              kws_larger_int(a.sums, b.sums)};
}

/* --- linear: every output sees every input ---------------------------------------------------------------------- */

typedef struct {
    kws_bgemm_args product;
    kws_quantizer quantizer; /* of its inputs */
    kws_epilogue epilogue;
} kws_linear;

kws_scratch_size kws_linear_scratch(const kws_linear *layer, int32_t rows);

/* scratch.sums of `rows` rows of inputs q. */
void kws_linear_sums(const kws_kernels *kernels, const kws_linear *layer, const int8_t *q, int32_t rows,
                     kws_scratch scratch);

/* --- conv: a binary 2-D convolution over (height, width, channels) ------------------------------------------------ */

/* The patches are gathered as codes, four channels a byte, and go through the binary product. A code of zeros stands for
 * the lowest activation and not for nothing, so `correction` takes the padded taps out of the sums again. */
typedef struct {
    kws_linear linear;   /* inputs: kernel * kernel * channels */
    kws_patches patches; /* of one row of the output */
    int32_t height, width, channels, stride, pad_rows, pad_columns, out_height, out_width;
    const int16_t *correction; /* [positions][padded outputs] */
} kws_conv;

kws_scratch_size kws_conv_scratch(const kws_conv *layer, int32_t out_rows);

/* The padded input as codes is an image of rows of this many bytes, whose padding is zero. */
static inline int32_t kws_conv_image_row(const kws_conv *layer) { return layer->patches.row_bytes; }

/* Writes `rows` rows of codes (each pixel fills whole groups of 16 channels) into the image, from row `first` on. */
void kws_conv_store(const kws_conv *layer, const uint8_t *codes, int32_t first, int32_t rows, uint8_t *image);

/* scratch.sums of `rows` output rows from `first` on. */
void kws_conv_sums(const kws_kernels *kernels, const kws_conv *layer, const uint8_t *image, int32_t first, int32_t rows,
                   kws_scratch scratch);

/* Puts the codes of `pixels` pixels, each of which fills whole groups of 16 channels, side by side. */
void kws_close_up(const uint8_t *codes, int32_t pixels, int32_t channels, uint8_t *closed);

/* --- memory: a depthwise convolution over time -------------------------------------------------------------------- */

typedef struct {
    const int8_t *weights; /* [taps][channels], +1 or -1 */
    int32_t taps, channels;
    int32_t before; /* taps that see the past: taps / 2, of a causal network taps - 1 */
    kws_quantizer quantizer;
    kws_epilogue epilogue;
} kws_memory;

kws_scratch_size kws_memory_scratch(const kws_memory *layer, int32_t steps);

/* sums of `steps` steps of a window, outside of which there is nothing. */
void kws_memory_sums(const kws_kernels *kernels, const kws_memory *layer, const int8_t *q, int32_t steps,
                     int16_t *sums);

/* --- input convolution: int8 weights over the features ------------------------------------------------------------ */

typedef struct {
    kws_conv_args conv;
    int32_t height, width; /* of the features */
    int32_t pad_rows, pad_columns;
    kws_epilogue epilogue;
} kws_input_conv;

/* sums of `rows` output rows from `first` on. image: room for the padded features that they see,
 * ((rows - 1) * stride + kernel) * conv.width + 1 elements. */
void kws_input_conv_sums(const kws_kernels *kernels, const kws_input_conv *layer, const int8_t *features, int32_t first,
                         int32_t rows, int16_t *image, int16_t *sums);

/* --- classifier: int8 weights over int8 inputs -------------------------------------------------------------------- */

typedef struct {
    const int8_t *weights; /* [outputs][inputs] */
    int32_t inputs, outputs;
    float inverse_scale; /* of the inputs: q = clip(rint(x * inverse_scale), -127, 127) */
    const float *a, *b;
} kws_classifier;

/* logits[o] = a[o] * sum_i w[o][i] * q[i] + b[o]; `sums` is room for one int32 an output. */
void kws_classify(const kws_kernels *kernels, const kws_classifier *layer, const int8_t *q, int32_t *sums,
                  float *logits);

/* --- staircase: "affine, PReLU, quantise" as compares of the sums --------------------------------------------------- */

/* The steps of one output, for sums from -largest to largest, at most 32766: step k is passed where prelu(a*n + b) -
 * threshold >= limits[k], which is where n > above[k] or n < below[k]. Found by bisection on the very float operations
 * that the compares replace, so that the result is the same to the last bit. */
typedef struct {
    float a, b, slope, threshold;
} kws_stair_numbers;

void kws_find_step(const kws_stair_numbers *numbers, float limit, int32_t largest, int16_t *above, int16_t *below);

#endif
