"""C declarations of the network, for the stream that runs it."""
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t

from kwsrt.layers cimport (BinaryConv2d, BinaryLinear, InputConv2d, Kernels, Staircase, kws_classifier, kws_conv,
                           kws_input_conv, kws_kernels, kws_linear, kws_memory, kws_staircase)

cdef extern from "network/network.h" nogil:
    enum:
        KWS_MOST_LEVELS
        KWS_AUTO
        KWS_CONV_KERNEL
        KWS_CONV_STRIDE
        KWS_CONV_PAD
        KWS_STEP
    const float KWS_LEFT_OUT

    ctypedef struct kws_block:
        kws_memory memory
        kws_linear expand, project
        kws_staircase stairs

    ctypedef struct kws_level:
        int32_t count
        float clear
        kws_block *blocks
        kws_classifier classifier

    ctypedef struct kws_past:
        pass

    ctypedef struct kws_buffers:
        pass

    ctypedef struct kws_network:
        const kws_kernels *kernels
        int32_t causal, frames, bins, classes
        kws_input_conv conv1
        kws_staircase first_stairs
        kws_conv conv2
        kws_staircase second_stairs
        kws_linear fc1
        int32_t level_count
        kws_level levels[8]
        const int8_t *other
        int32_t steps

    void kws_network_init(kws_network *network)
    size_t kws_past_size(const kws_network *network)
    void kws_past_init(kws_past *past, const kws_network *network, void *memory)
    void kws_past_reset(kws_past *past)
    size_t kws_buffers_size(const kws_network *network)
    void kws_buffers_init(kws_buffers *buffers, const kws_network *network, void *memory)
    int32_t kws_network_decide(const kws_network *network, int32_t level, const int8_t *features, int32_t stride,
                               kws_past *past, const kws_buffers *buffers, float *scores)
    int32_t kws_network_parts(const kws_network *network, int32_t level)
    void kws_network_run_part(const kws_network *network, int32_t level, int32_t part, const int8_t *features,
                              kws_past *past, const kws_buffers *buffers, float *scores)


cdef class Source:
    """The memory of one source of decisions: its past, and the buffers of one decision. One thread at a time uses it."""
    cdef void *_memory
    cdef size_t size             # bytes
    cdef kws_past past
    cdef kws_buffers buffers

cdef class Network:
    cdef kws_network network
    cdef readonly Kernels kernels
    cdef readonly int32_t frames, bins, classes, stride
    cdef readonly bint causal
    cdef readonly tuple levels
    cdef dict _run_blocks        # numbers of the blocks that each level runs
    cdef dict _layers            # by name; keeps alive what the structs point into
    cdef object _kept
    cdef list _spare             # Sources of earlier runs

    cdef Source source(self)
