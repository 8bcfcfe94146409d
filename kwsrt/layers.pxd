"""C declarations of the layers: the kernels, and each layer as a struct and a function that needs no Python to run."""
from libc.stddef cimport size_t
from libc.stdint cimport int8_t, int16_t, int32_t, uint8_t

cdef extern from "kernels/kernels.h" nogil:
    enum:
        KWS_MAX_INPUTS
        KWS_MOST_TAPS
        KWS_LARGEST_TOTAL

    ctypedef struct kws_bgemm_args:
        const uint8_t *weights
        int32_t inputs, outputs, planes

    ctypedef struct kws_staircase:
        const int16_t *above[3]
        const int16_t *below[3]
        int32_t planes, last_alone

    ctypedef struct kws_epilogue:
        const float *a
        const float *b
        const float *slope

    ctypedef struct kws_quantizer:
        const float *threshold
        float scale
        int32_t planes

    ctypedef struct kws_conv_args:
        const int16_t *weights
        int32_t width, kernel, stride, outputs, out_height, out_width

    ctypedef struct kws_patches:
        int32_t rows, columns, kernel, row_bytes, x_bytes, y_bytes, piece_bytes, patch_bytes

    ctypedef struct kws_kernels:
        const char *name
        size_t (*bgemm_packed_size)(int32_t inputs, int32_t outputs) noexcept nogil
        void (*bgemm_pack)(const uint8_t *weights, int32_t inputs, int32_t outputs, uint8_t *packed) noexcept nogil
        void (*bgemm)(const kws_bgemm_args *args, const uint8_t *codes, int32_t rows, int16_t *sums) noexcept nogil
        void (*pack)(const int8_t *q, int32_t rows, int32_t inputs, int32_t planes, uint8_t *codes) noexcept nogil
        void (*levels)(const kws_quantizer *quantizer, const float *x, int32_t rows, int32_t channels,
                       int8_t *q) noexcept nogil
        void (*staircase)(const kws_staircase *stairs, const int16_t *sums, int32_t rows, int32_t outputs,
                          uint8_t *codes) noexcept nogil
        void (*memory)(const int8_t *weights, const int8_t *q, int32_t taps, int32_t channels,
                       int16_t *sums) noexcept nogil
        void (*affine)(const kws_epilogue *epilogue, const int16_t *sums, const float *residual, int32_t rows,
                       int32_t outputs, float *y) noexcept nogil
        void (*affine_levels)(const kws_epilogue *epilogue, const kws_quantizer *quantizer, const int16_t *sums,
                              const float *residual, int32_t rows, int32_t outputs, float *y,
                              int8_t *q) noexcept nogil
        void (*affine_codes)(const kws_epilogue *epilogue, const kws_quantizer *quantizer, const int16_t *sums,
                             const float *residual, int32_t rows, int32_t outputs, float *y,
                             uint8_t *codes) noexcept nogil
        void (*widen)(const int8_t *q, int32_t count, int16_t *wide) noexcept nogil
        void (*conv)(const kws_conv_args *args, const int16_t *image, int16_t *sums) noexcept nogil
        void (*to_int8)(const float *x, int32_t count, float inverse_scale, int8_t *q) noexcept nogil
        void (*add)(const int16_t *more, int32_t count, int16_t *sums) noexcept nogil
        void (*dense)(const int8_t *weights, const int8_t *q, int32_t inputs, int32_t outputs,
                      int32_t *sums) noexcept nogil

    void kws_gather_patches(const kws_patches *args, const uint8_t *image, uint8_t *patches)
    int32_t kws_weight_bytes(int32_t inputs)
    int32_t kws_code_bytes(int32_t inputs)
    int32_t kws_padded_outputs(int32_t outputs)
    const kws_kernels *kws_select_kernels(const char *name)
    const char *kws_isa_name(int32_t index)


# Working memory of a layer, owned by the caller; each array is as large as the layer's *_scratch function says.
cdef struct Scratch:
    int8_t *q
    uint8_t *codes
    int16_t *sums

# Elements of each array of a Scratch.
cdef struct ScratchSize:
    int32_t q, codes, sums

cdef struct LinearLayer:
    kws_bgemm_args product
    kws_quantizer quantizer
    kws_epilogue epilogue

cdef struct ConvLayer:
    LinearLayer linear           # inputs: kernel * kernel * channels
    kws_patches patches          # of one row of the output
    int32_t height, width, channels, stride, pad_rows, pad_columns, out_height, out_width
    const int16_t *correction    # [positions][padded outputs]: takes the padded taps out of the sum

cdef struct MemoryLayer:
    const int8_t *weights        # [taps][channels], +1 or -1
    int32_t taps, channels
    int32_t before               # taps that see the past
    kws_quantizer quantizer
    kws_epilogue epilogue

cdef struct InputLayer:
    kws_conv_args conv
    int32_t height, width        # of the unpadded image
    int32_t pad_rows, pad_columns
    kws_epilogue epilogue        # padded to 16 outputs

cdef struct ClassifierLayer:
    const int8_t *weights        # [outputs][inputs]
    int32_t inputs, outputs
    float inverse_scale
    const float *a
    const float *b

cdef class Kernels:
    cdef const kws_kernels *table

cdef class PackedWeights:
    cdef readonly Kernels kernels
    cdef readonly int inputs, outputs
    cdef readonly object file_order, data

cdef class BinaryLinear:
    cdef readonly Kernels kernels
    cdef LinearLayer layer
    cdef object _kept

cdef class BinaryConv2d:
    cdef readonly Kernels kernels
    cdef ConvLayer layer
    cdef object _kept

cdef class Memory:
    cdef readonly Kernels kernels
    cdef MemoryLayer layer
    cdef object _kept

cdef class InputConv2d:
    cdef readonly Kernels kernels
    cdef InputLayer layer
    cdef object _kept

cdef class Classifier:
    cdef readonly Kernels kernels
    cdef ClassifierLayer layer
    cdef object _kept

cdef class Staircase:
    cdef kws_staircase stairs
    cdef int32_t outputs
    cdef object _kept

cdef void linear_product(const kws_kernels *k, const LinearLayer *layer, const int8_t *q, int32_t rows,
                         Scratch scratch) noexcept nogil
# Sums of output rows of a convolution, `rows` of them from `first` on: of the network's input, from its features; or of
# the next, from an image of codes: rows of conv_image_row bytes, of which conv_store fills those from `first` on.
cdef void input_rows(const kws_kernels *k, const InputLayer *layer, const int8_t *features, int32_t first, int32_t rows,
                     int16_t *image, int16_t *sums) noexcept nogil
cdef int32_t conv_image_row(const ConvLayer *layer) noexcept nogil
cdef void conv_store(const ConvLayer *layer, const uint8_t *codes, int32_t first, int32_t rows,
                     uint8_t *image) noexcept nogil
cdef void conv_rows(const kws_kernels *k, const ConvLayer *layer, const uint8_t *image, int32_t first, int32_t rows,
                    Scratch scratch) noexcept nogil
# Codes of `pixels` pixels, each of which fills whole groups of 16 channels, side by side.
cdef void close_up(const uint8_t *codes, int32_t pixels, int32_t channels, uint8_t *closed) noexcept nogil
cdef void memory_sums(const kws_kernels *k, const MemoryLayer *layer, const int8_t *q, int32_t steps,
                      int16_t *sums) noexcept nogil
cdef void classifier_run(const kws_kernels *k, const ClassifierLayer *layer, const float *x, int8_t *q, int32_t *sums,
                         float *logits) noexcept nogil
cdef void classifier_sums(const kws_kernels *k, const ClassifierLayer *layer, const int8_t *q, int32_t *sums,
                          float *logits) noexcept nogil
cdef void softmax(const float *logits, int32_t count, float *scores) noexcept nogil
cdef ScratchSize linear_scratch(const LinearLayer *layer, int32_t rows) noexcept nogil
cdef ScratchSize conv_scratch(const ConvLayer *layer, int32_t out_rows) noexcept nogil
cdef ScratchSize memory_scratch(const MemoryLayer *layer, int32_t steps) noexcept nogil
cdef ScratchSize larger(ScratchSize a, ScratchSize b) noexcept nogil
