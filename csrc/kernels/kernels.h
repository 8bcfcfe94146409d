/* kernels.h - the arithmetic of 1-bit layers, one table of functions an instruction set.
 *
 * An activation is q in {-1, +1} (one plane, q = b1) or q in {-3, -1, +1, +3} (two planes, q = 2*b1 + b2); a weight is
 * w in {-1, +1}. Every sum of products is an exact integer and every other operation is one rounded float operation
 * an element, so all instruction sets give the same bits. The scalar kernels are the specification.
 *
 * Packed forms
 *   codes    four activations a byte: bit i is b1 of activation i (1 = +1), bit 4 + i its b2 (0 with one plane).
 *            A row of `inputs` activations takes kws_code_bytes(inputs) bytes, zero beyond the last activation.
 *   weights  [outputs / 16, rounded up][weight bytes][16]: one vector register = 16 outputs x 8 inputs, bit i of a byte
 *            is input 8*byte + i (1 = +1), zero beyond the last input or output: no horizontal sum is ever needed.
 */
#ifndef KWS_KERNELS_H
#define KWS_KERNELS_H

#include <stddef.h>
#include <stdint.h>

enum {
    KWS_MAX_INPUTS = 8192,   /* 3 * inputs stays inside int16 */
    KWS_MOST_TAPS = 31,      /* of a memory: 3 * taps stays inside int8 */
    KWS_LARGEST_TOTAL = 255, /* of the magnitudes of an output's weights in the first convolution: 128 * it is int16 */
    KWS_OUTPUT_BLOCK = 16
};

static inline int32_t kws_weight_bytes(int32_t inputs) { return (inputs + 15) / 16 * 2; }
static inline int32_t kws_code_bytes(int32_t inputs) { return (inputs + 15) / 16 * 4; }
static inline int32_t kws_padded_outputs(int32_t outputs) { return (outputs + 15) / 16 * 16; }

/* The binary product of one layer. `weights` is in the order of the table's bgemm_pack. */
typedef struct {
    const uint8_t *weights;
    int32_t inputs, outputs;
    int32_t planes; /* 1 or 2 */
} kws_bgemm_args;

/* "Affine, PReLU, quantise" of the integer sum n as compares: step k is passed where n > above[k] or n < below[k] (a
 * negative slope bends y up again on the other side). q = -3 + 2 * (number of steps passed), and who passes one passes
 * those before it; one plane has one step, q = passed ? 1 : -1. */
typedef struct {
    const int16_t *above[3], *below[3]; /* [padded outputs] each; one plane uses the first */
    int32_t planes;
    int32_t
        last_alone; /* two planes, and every sum passes the first two steps, as behind a PReLU that is nowhere negative */
} kws_staircase;

/* y = a*n + b; y = y >= 0 ? y : slope*y; y += residual. Arrays of `outputs` floats. */
typedef struct {
    const float *a, *b, *slope;
} kws_epilogue;

/* d = x - threshold; b1 = d >= 0; b2 = d >= (b1 ? scale : -scale). */
typedef struct {
    const float *threshold; /* [channels] */
    float scale;
    int32_t planes;
} kws_quantizer;

/* One 2-D convolution of an int8 image, zero padded; `image` holds the padding: [height][width] int16, and one element
 * more that is read and not used. |sum of an output's weights| <= KWS_LARGEST_TOTAL keeps every sum inside int16. */
typedef struct {
    const int16_t *weights; /* [kernel*kernel][padded outputs] */
    int32_t width;          /* of the padded image */
    int32_t kernel, stride, outputs;
    int32_t out_height, out_width;
} kws_conv_args;

/* OP(name, arguments): every kernel of every instruction set is declared, dispatched and tested from these lines.
 *   bgemm_pack  rearranges the weights of the file for this instruction set; bgemm_packed_size says the bytes needed,
 *               0 when the kernel reads the file's own order
 *   bgemm       sums[row][o] = sum_i w[o][i] * q[row][i]; rows of padded outputs
 *   pack        codes from q
 *   levels      q from float activations
 *   staircase   codes from integer sums (rows of padded outputs)
 *   memory      sums[c] = sum_j w[j][c] * q[j][c]: one step of a memory, or of the taps of it that lie in the window
 *   affine      float activations from integer sums (rows of padded outputs); residual may be NULL
 *   affine_levels, affine_codes    the same, and what the quantiser makes of them, as q or as codes
 *   widen       wide[i] = q[i]
 *   conv        the first convolution: image to sums [out_height * out_width][padded outputs]
 *   to_int8     q = clip(rint(x * inverse_scale), -127, 127)
 *   add         sums[i] += more[i]
 *   dense       sums[o] = sum_i w[o][i] * q[i], int8 by int8, no q is -128
 */
#define KWS_OPS(OP)                                                                                                    \
    OP(size_t, bgemm_packed_size, (int32_t inputs, int32_t outputs))                                                   \
    OP(void, bgemm_pack, (const uint8_t *weights, int32_t inputs, int32_t outputs, uint8_t *packed))                   \
    OP(void, bgemm, (const kws_bgemm_args *args, const uint8_t *codes, int32_t rows, int16_t *sums))                   \
    OP(void, pack, (const int8_t *q, int32_t rows, int32_t inputs, int32_t planes, uint8_t *codes))                    \
    OP(void, levels, (const kws_quantizer *quantizer, const float *x, int32_t rows, int32_t channels, int8_t *q))      \
    OP(void, staircase,                                                                                                \
       (const kws_staircase *stairs, const int16_t *sums, int32_t rows, int32_t outputs, uint8_t *codes))              \
    OP(void, memory, (const int8_t *weights, const int8_t *q, int32_t taps, int32_t channels, int16_t *sums))          \
    OP(void, affine,                                                                                                   \
       (const kws_epilogue *epilogue, const int16_t *sums, const float *residual, int32_t rows, int32_t outputs,       \
        float *y))                                                                                                     \
    OP(void, affine_levels,                                                                                            \
       (const kws_epilogue *epilogue, const kws_quantizer *quantizer, const int16_t *sums, const float *residual,      \
        int32_t rows, int32_t outputs, float *y, int8_t *q))                                                           \
    OP(void, affine_codes,                                                                                             \
       (const kws_epilogue *epilogue, const kws_quantizer *quantizer, const int16_t *sums, const float *residual,      \
        int32_t rows, int32_t outputs, float *y, uint8_t *codes))                                                      \
    OP(void, widen, (const int8_t *q, int32_t count, int16_t *wide))                                                   \
    OP(void, conv, (const kws_conv_args *args, const int16_t *image, int16_t *sums))                                   \
    OP(void, to_int8, (const float *x, int32_t count, float inverse_scale, int8_t *q))                                 \
    OP(void, add, (const int16_t *more, int32_t count, int16_t *sums))                                                 \
    OP(void, dense, (const int8_t *weights, const int8_t *q, int32_t inputs, int32_t outputs, int32_t *sums))

/* ISA(name): the instruction sets of this architecture, best first. */
#if defined(__x86_64__)
#define KWS_ISAS(ISA) ISA(avx512) ISA(avx2) ISA(scalar)
#elif defined(__aarch64__)
#define KWS_ISAS(ISA) ISA(neon) ISA(scalar)
#else
#define KWS_ISAS(ISA) ISA(scalar)
#endif

/* Patches of a binary convolution: `rows` * `columns` of them, each `kernel` pieces of piece_bytes from neighbouring image
 * rows (row_bytes apart), zero up to patch_bytes; from one patch to the next x_bytes, from one row of them y_bytes. */
typedef struct {
    int32_t rows, columns, kernel, row_bytes, x_bytes, y_bytes, piece_bytes, patch_bytes;
} kws_patches;

void kws_gather_patches(const kws_patches *args, const uint8_t *image, uint8_t *patches);

typedef struct {
    const char *name;
    int32_t (*supported)(void); /* whether this CPU, and its operating system, run it */
#define KWS_MEMBER(type, op, arguments) type(*op) arguments;
    KWS_OPS(KWS_MEMBER)
#undef KWS_MEMBER
} kws_kernels;

/* The table of a name, NULL when this build or this CPU lacks it; the best that the CPU runs when name is NULL. */
const kws_kernels *kws_select_kernels(const char *name);

/* Name of the index-th table that this CPU runs, best first; NULL past the end. */
const char *kws_isa_name(int32_t index);

/* Mismatches of four weights (low nibble of the column) with the four activations of a code (the row), each activation
 * plane by its value: 2 for b1 and 1 for b2 with two planes. sum w*q = 3*inputs - 2*mismatches (one plane: 1*inputs). */
extern const uint8_t kws_mismatch_one[16][16];
extern const uint8_t kws_mismatch_two[256][16];

#endif
