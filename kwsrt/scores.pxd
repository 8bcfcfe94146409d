"""C declarations of the scores, for the stream that writes them and the trigger that reads them."""
from libc.stdint cimport int8_t, int32_t, int64_t


cdef extern from "stream/stream.h" nogil:
    ctypedef struct kws_decisions:
        int64_t *ends
        float *values
        float *loudness
        float *levels
        int8_t *thin

# How the decisions of a stream lie in time: `frames` in a window, of which `fresh` are new with each decision, one every
# `hop` samples. Which stream it is, and how often it began anew. All 0 for scores that were made by hand.
cdef struct Origin:
    int32_t frames, fresh, hop
    int64_t stream, epoch

cdef class Scores:
    cdef readonly int32_t window, sample_rate
    cdef Py_ssize_t count, labels
    cdef Origin origin
    cdef kws_decisions at        # the decisions, one after the other in each array
    cdef object _memory          # what `at` points into
    cdef tuple _arrays           # the same as NumPy's, once somebody asked


cdef Scores room_for(Py_ssize_t count, Py_ssize_t labels, int32_t window, int32_t sample_rate, Origin origin)
cdef Scores first_of(Scores scores, Py_ssize_t count)
