"""C declarations of the scores, for the stream that writes them and the trigger that reads them."""
from libc.stdint cimport int8_t, int32_t, int64_t


# The decisions of a Scores, one after the other in each array.
cdef struct Decisions:
    int64_t *ends
    float *values                # `labels` of each
    float *loudness
    int8_t *thin

cdef class Scores:
    cdef readonly int32_t window, sample_rate
    cdef Py_ssize_t count, labels
    cdef Decisions at
    cdef object _memory          # what `at` points into
    cdef tuple _arrays           # the same as NumPy's, once somebody asked


cdef Scores room_for(Py_ssize_t count, Py_ssize_t labels, int32_t window, int32_t sample_rate)
cdef Scores first_of(Scores scores, Py_ssize_t count)
