"""C declarations of the network, for the stream that runs it."""
from libc.stdint cimport int8_t, int32_t

from kwsrt.layers cimport (BinaryConv2d, BinaryLinear, ClassifierLayer, InputConv2d, Kernels, LinearLayer, MemoryLayer,
                           Scratch, kws_kernels, kws_staircase)


cdef struct Block:
    MemoryLayer memory
    LinearLayer expand, project
    kws_staircase stairs
    bint fused                   # whether the hidden layer goes through the staircase

cdef struct Level:
    int32_t count
    Block *blocks
    ClassifierLayer classifier

# Every buffer of one inference.
cdef struct Buffers:
    float *image
    float *conv1
    float *conv2
    float *stem                  # what all levels start from
    float *x
    float *m
    float *hidden
    float *logits
    int8_t *classifier_q
    int32_t *classifier_sums
    Scratch scratch

cdef class Workspace:
    cdef void *_memory
    cdef size_t size             # bytes
    cdef Buffers buffers

cdef class Network:
    cdef readonly Kernels kernels
    cdef readonly int32_t frames, bins, classes
    cdef readonly tuple levels
    cdef dict _layers            # keeps alive what the structs of _levels point into
    cdef InputConv2d conv1
    cdef BinaryConv2d conv2
    cdef BinaryLinear fc1
    cdef Level *_levels
    cdef object _kept
    cdef int32_t _count, _steps, _width, _hidden
    cdef float _clear

    cdef Workspace workspace(self)
    cdef int32_t infer(self, int32_t level, const int8_t *features, Buffers *b, float *scores) noexcept nogil
    cdef void _run_stem(self, const int8_t *features, Buffers *b) noexcept nogil
    cdef void _run_level(self, int32_t level, Buffers *b, float *scores) noexcept nogil
    cdef inline void _run_block(self, const kws_kernels *k, const Block *block, const float *x, Buffers *b) noexcept nogil
