"""C declarations of the network, for the stream that runs it."""
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t, uint8_t

from kwsrt.layers cimport (BinaryConv2d, BinaryLinear, ClassifierLayer, InputConv2d, Kernels, LinearLayer, MemoryLayer,
                           Scratch, Staircase, kws_kernels, kws_quantizer, kws_staircase)


cdef enum:
    MOST_LEVELS = 8

cdef struct Block:
    MemoryLayer memory
    LinearLayer expand, project
    kws_staircase stairs         # from the sums of expand to the codes of project

cdef struct Level:
    int32_t count
    int32_t first                # its first block among those of all levels
    float clear                  # score from which on "auto" runs no deeper level; LEFT_OUT: it does not run this one
    Block *blocks
    ClassifierLayer classifier

# What one stream keeps of earlier decisions.
cdef struct Past:
    int64_t decisions            # that were made one after the other, without a gap
    uint8_t *codes               # output rows of the first convolution: the padded image that the second one takes
    float *x[2]                  # what all levels start from: of the last two windows, or (causal) of the last steps
    # the rest is a causal network's
    int64_t steps                # since the first
    int64_t taken[MOST_LEVELS]   # steps that each level has taken in
    int8_t *columns              # of every block of every level, the quantised inputs of its memory
    int8_t *ends                 # of every level, the classifier's quantised inputs

# Every buffer of one inference.
cdef struct Buffers:
    int16_t *image               # the padded features
    float *x
    float *m
    float *logits
    uint8_t *closed              # codes of the fully connected layer's input
    int8_t *classifier_q
    int32_t *classifier_sums
    Scratch scratch

cdef class Kept:
    cdef void *_memory
    cdef size_t size             # bytes
    cdef Past past

cdef class Workspace:
    cdef void *_memory
    cdef size_t size             # bytes
    cdef Buffers buffers

cdef class Network:
    cdef readonly Kernels kernels
    cdef readonly int32_t frames, bins, classes, stride
    cdef readonly bint causal
    cdef readonly tuple levels
    cdef dict _run_blocks        # numbers of the blocks that each level runs
    cdef dict _layers            # keeps alive what the structs of _levels point into
    cdef InputConv2d conv1
    cdef BinaryConv2d conv2
    cdef Staircase first_stairs, second_stairs  # to the codes of conv2, and of fc1
    cdef BinaryLinear fc1
    cdef Level *_levels
    cdef object _kept
    cdef list _spare             # memory of earlier runs
    cdef int32_t _code_row, _code_rows  # bytes of a row of Past.codes, and how many there are
    cdef int8_t[::1] _other      # of every class, whether it is no keyword
    cdef bint _others            # whether there are such
    cdef int32_t _count, _blocks, _steps, _width, _hidden, _taps

    cdef Workspace workspace(self)
    cdef Kept kept(self)
    cdef int32_t infer(self, int32_t level, const int8_t *features, Past *past, Buffers *b, float *scores) noexcept nogil
    cdef int32_t infer_next(self, int32_t level, const int8_t *features, int32_t stride, Past *past, Buffers *b,
                            float *scores) noexcept nogil
    cdef int32_t _stem_row(self) noexcept nogil
    cdef float _clearness(self, const float *scores) noexcept nogil
    cdef void _take_window(self, const int8_t *features, int32_t stride, Past *past, Buffers *b) noexcept nogil
    cdef void _first_rows(self, const int8_t *features, int32_t first, int32_t rows, Past *past, Buffers *b) noexcept nogil
    cdef void _stem_rows(self, int32_t first, int32_t rows, const Past *past, float *x, Buffers *b) noexcept nogil
    cdef void _take_steps(self, const int8_t *features, int32_t stride, Past *past, Buffers *b) noexcept nogil
    cdef void _take_step(self, const int8_t *features, Past *past, Buffers *b) noexcept nogil
    cdef void _forget(self, int32_t level, Past *past) noexcept nogil
    cdef void _catch_up(self, int32_t level, Past *past, Buffers *b) noexcept nogil
    cdef void _take_columns(self, int32_t level, const float *x, int32_t rows, Past *past, Buffers *b) noexcept nogil
    cdef int32_t _column_bytes(self) noexcept nogil
    cdef void _run_level(self, int32_t level, Past *past, Buffers *b, float *scores) noexcept nogil
    cdef inline void _transform(self, const kws_kernels *k, const Block *block, int32_t rows, const float *x,
                                const kws_quantizer *next_quantizer, int8_t *q, Buffers *b) noexcept nogil
    cdef inline void _expand(self, const kws_kernels *k, const Block *block, int32_t rows, Scratch s) noexcept nogil
    cdef inline void _project(self, const kws_kernels *k, const Block *block, int32_t rows,
                              const kws_quantizer *next_quantizer, int8_t *q, Buffers *b) noexcept nogil
