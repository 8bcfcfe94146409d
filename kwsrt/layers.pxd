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

    int32_t kws_weight_bytes(int32_t inputs)
    int32_t kws_code_bytes(int32_t inputs)
    int32_t kws_padded_outputs(int32_t outputs)
    const kws_kernels *kws_select_kernels(const char *name)
    const char *kws_isa_name(int32_t index)


cdef extern from "layers/layers.h" nogil:
    ctypedef struct kws_scratch:
        int8_t *q
        uint8_t *codes
        int16_t *sums

    ctypedef struct kws_scratch_size:
        int32_t q, codes, sums

    ctypedef struct kws_linear:
        kws_bgemm_args product
        kws_quantizer quantizer
        kws_epilogue epilogue

    ctypedef struct kws_conv:
        kws_linear linear
        kws_patches patches
        int32_t height, width, channels, stride, pad_rows, pad_columns, out_height, out_width
        const int16_t *correction

    ctypedef struct kws_memory:
        const int8_t *weights
        int32_t taps, channels, before
        kws_quantizer quantizer
        kws_epilogue epilogue

    ctypedef struct kws_input_conv:
        kws_conv_args conv
        int32_t height, width, pad_rows, pad_columns
        kws_epilogue epilogue

    ctypedef struct kws_classifier:
        const int8_t *weights
        int32_t inputs, outputs
        float inverse_scale
        const float *a
        const float *b

    ctypedef struct kws_stair_numbers:
        float a, b, slope, threshold

    kws_scratch_size kws_linear_scratch(const kws_linear *layer, int32_t rows)
    void kws_linear_sums(const kws_kernels *kernels, const kws_linear *layer, const int8_t *q, int32_t rows,
                         kws_scratch scratch)
    kws_scratch_size kws_conv_scratch(const kws_conv *layer, int32_t out_rows)
    void kws_conv_store(const kws_conv *layer, const uint8_t *codes, int32_t first, int32_t rows, uint8_t *image)
    void kws_conv_sums(const kws_kernels *kernels, const kws_conv *layer, const uint8_t *image, int32_t first,
                       int32_t rows, kws_scratch scratch)
    kws_scratch_size kws_memory_scratch(const kws_memory *layer, int32_t steps)
    void kws_memory_sums(const kws_kernels *kernels, const kws_memory *layer, const int8_t *q, int32_t steps,
                         int16_t *sums)
    void kws_input_conv_sums(const kws_kernels *kernels, const kws_input_conv *layer, const int8_t *features,
                             int32_t first, int32_t rows, int16_t *image, int16_t *sums)
    void kws_classify(const kws_kernels *kernels, const kws_classifier *layer, const int8_t *q, int32_t *sums,
                      float *logits)
    void kws_find_step(const kws_stair_numbers *numbers, float limit, int32_t largest, int16_t *above, int16_t *below)


cdef class Kernels:
    cdef const kws_kernels *table

cdef class PackedWeights:
    cdef readonly Kernels kernels
    cdef readonly int inputs, outputs
    cdef readonly object file_order, data

cdef class BinaryLinear:
    cdef readonly Kernels kernels
    cdef kws_linear layer
    cdef object _kept

cdef class BinaryConv2d:
    cdef readonly Kernels kernels
    cdef kws_conv layer
    cdef object _kept

cdef class Memory:
    cdef readonly Kernels kernels
    cdef kws_memory layer
    cdef object _kept

cdef class InputConv2d:
    cdef readonly Kernels kernels
    cdef kws_input_conv layer
    cdef object _kept

cdef class Classifier:
    cdef readonly Kernels kernels
    cdef kws_classifier layer
    cdef object _kept

cdef class Staircase:
    cdef kws_staircase stairs
    cdef int32_t outputs
    cdef object _kept
