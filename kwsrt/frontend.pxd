"""C declarations of the front end, for the modules that feed on its frames."""
from libc.stddef cimport size_t
from libc.stdint cimport int8_t, int16_t, int32_t

cdef extern from "frontend/frontend.h" nogil:
    ctypedef enum kws_status:
        KWS_OK
        KWS_ERROR_ARGUMENT
        KWS_ERROR_NOT_FINITE
        KWS_ERROR_TOO_LOUD

    ctypedef struct kws_frontend_options:
        int32_t sample_rate, window, hop, n_fft, bins, n_mfcc
        double fmin, fmax
        float floor, offset, step

    ctypedef struct kws_frontend:
        kws_frontend_options options
        int32_t width

    ctypedef struct kws_online:
        pass

    kws_status kws_frontend_check(const kws_frontend_options *options)
    size_t kws_frontend_buffer_size(const kws_frontend_options *options)
    void kws_frontend_init(kws_frontend *frontend, const kws_frontend_options *options, int32_t portable,
                           void *buffer)
    size_t kws_online_buffer_size(const kws_frontend *frontend)
    void kws_online_init(kws_online *online, const kws_frontend *frontend, void *buffer)
    void kws_online_reset(kws_online *online)
    size_t kws_online_accept_f32(kws_online *online, const float *samples, size_t n)
    size_t kws_online_accept_s16(kws_online *online, const int16_t *samples, size_t n)
    int32_t kws_online_ready(const kws_online *online)
    void kws_online_take(kws_online *online, float *frame)
    void kws_frontend_quantize(const kws_frontend *frontend, const float *frame, int8_t *q)
    kws_status kws_check_samples(const float *samples, size_t n, float limit)


cdef class FrontEnd:
    cdef kws_frontend plan
    cdef void *_tables


cdef class OnlineFrontEnd:
    cdef readonly FrontEnd frontend
    cdef kws_online state
    cdef int32_t _use            # FREE or IN_USE
    cdef void *_buffer
    cdef size_t size             # bytes

    cdef _frames_of(self, const void *samples, bint s16, size_t n)


cdef void *allocate(size_t size) except NULL
cdef bint open_samples(samples, Py_buffer *opened) except -1
