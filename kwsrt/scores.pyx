"""What a stream returns: scores with their place in time."""
from cpython.bytearray cimport PyByteArray_AsString, PyByteArray_FromStringAndSize
from libc.string cimport memcpy

import numpy as np

from kwsrt.arguments import LARGEST_INT, whole
from kwsrt.errors import OptionError, not_free


cdef class Scores:
    """The scores of consecutive decisions of one stream. NumPy takes it for the array `values`.

    The decisions lie in one piece of memory, which a Detector reads in place; arrays are made of it when asked for, so
    that a decision in which nothing is heard costs none.

    Attributes
    ----------
    values : float32 (decisions, labels), each row sums to 1; the rows are also what iterating over the object gives.
    ends : int64 (decisions,), the number of samples pushed since the start (or the last reset) at the end of each
        decision's window; the window begins `window` samples earlier.
    loudness : float32 (decisions,), dB: the loudest mel band (of an MFCC front end the mean of the bands) of the newest
        frames, those that the decision before did not cover, against a full-scale sine.
    thin : int8 (decisions,), the thinning level that gave the scores, an index into Model.thin_levels; -1 where the
        gate took the window for silence.
    window : samples. sample_rate : Hz.

    Raises
    ------
    OptionError : of one made by hand: no arrays of numbers, other shapes, a window or a sample rate below 1.
    """

    def __init__(self, values, ends, loudness, thin, window, sample_rate):
        if self._memory is not None:  # arrays point into it
            raise OptionError("these Scores were made already: make new ones")
        window, sample_rate = (whole(value, name, 1, LARGEST_INT)
                               for value, name in ((window, "window"), (sample_rate, "sample_rate")))
        try:
            values = np.asarray(values, np.float32)
            others = np.asarray(ends, np.int64), np.asarray(loudness, np.float32), np.asarray(thin, np.int8)
        except (TypeError, ValueError, OverflowError) as error:
            raise OptionError(f"scores are arrays of numbers: {error}") from None
        if values.ndim != 2 or any(array.shape != values.shape[:1] for array in others):
            raise OptionError("scores are (decisions, labels), with one end, loudness and thin a decision; got shapes "
                              + ", ".join(str(array.shape) for array in (values, *others)))
        cdef Origin unknown = Origin(0, 0, 0, 0, 0)
        _share_out(self, values.shape[0], values.shape[1], window, sample_rate, unknown)
        for mine, given in zip(_arrays_of(self), (values, *others)):
            mine[...] = given

    @property
    def values(self):
        return _arrays_of(self)[0]

    @property
    def ends(self):
        return _arrays_of(self)[1]

    @property
    def loudness(self):
        return _arrays_of(self)[2]

    @property
    def thin(self):
        return _arrays_of(self)[3]

    @property
    def shape(self):
        """(decisions, labels)."""
        return self.count, self.labels

    @property
    def times(self):
        """float64 (decisions,), `ends` in seconds."""
        return self.ends / self.sample_rate

    def __len__(self):
        return self.count

    def __iter__(self):
        return iter(self.values)

    def __getitem__(self, index):
        return self.values[index]

    def __array__(self, dtype=None, copy=None):
        array = np.asarray(self.values, dtype)
        return array.copy() if copy else array

    def __repr__(self):
        return f"<kwsrt.Scores: {self.count} decisions, {self.labels} labels>"

    def __reduce__(self):
        return _restored, (*_arrays_of(self), _frames_of(self), self.window, self.sample_rate, self.origin.frames,
                           self.origin.fresh, self.origin.hop)


def _restored(values, ends, loudness, thin, levels, window, sample_rate, frames, fresh, hop):
    """A copy of a stream's scores. Whose they are is left out: in another process that would be another stream."""
    cdef Scores scores = room_for(values.shape[0], values.shape[1], window, sample_rate,
                                  Origin(frames, fresh, hop, 0, 0))
    for mine, given in zip((*_arrays_of(scores), _frames_of(scores)), (values, ends, loudness, thin, levels)):
        mine[...] = given
    return scores


cdef Scores room_for(Py_ssize_t count, Py_ssize_t labels, int32_t window, int32_t sample_rate, Origin origin):
    """Scores of so many decisions, not yet made."""
    cdef Scores scores = Scores.__new__(Scores)
    _share_out(scores, count, labels, window, sample_rate, origin)
    return scores


cdef Scores first_of(Scores scores, Py_ssize_t count):
    """A copy of its first decisions."""
    cdef Scores first = room_for(count, scores.labels, scores.window, scores.sample_rate, scores.origin)
    memcpy(first.at.ends, scores.at.ends, count * sizeof(int64_t))
    memcpy(first.at.values, scores.at.values, count * scores.labels * sizeof(float))
    memcpy(first.at.loudness, scores.at.loudness, count * sizeof(float))
    memcpy(first.at.levels, scores.at.levels, _levels_of(count, scores.origin) * sizeof(float))
    memcpy(first.at.thin, scores.at.thin, count)
    return first


cdef Py_ssize_t _levels_of(Py_ssize_t count, Origin origin) noexcept:
    return origin.frames + (count - 1) * origin.fresh if count else 0


cdef _share_out(Scores scores, Py_ssize_t count, Py_ssize_t labels, int32_t window, int32_t sample_rate, Origin origin):
    cdef Py_ssize_t levels = _levels_of(count, origin)
    cdef Py_ssize_t size = count * (sizeof(int64_t) + (labels + 1) * sizeof(float) + 1) + levels * sizeof(float)
    scores._memory, scores._arrays, scores.origin = PyByteArray_FromStringAndSize(NULL, size), None, origin
    scores.count, scores.labels, scores.window, scores.sample_rate = count, labels, window, sample_rate
    scores.at.ends = <int64_t *>PyByteArray_AsString(scores._memory)
    scores.at.values = <float *>(scores.at.ends + count)
    scores.at.loudness = scores.at.values + count * labels
    scores.at.levels = scores.at.loudness + count
    scores.at.thin = <int8_t *>(scores.at.levels + levels)


cdef tuple _arrays_of(Scores scores):
    """values, ends, loudness and thin as arrays, made once."""
    cdef Py_ssize_t count = scores.count
    if scores._memory is None:
        raise not_free(scores, False)
    if scores._arrays is None:
        values = _array(scores, np.float32, scores.at.values, count * scores.labels).reshape(count, scores.labels)
        scores._arrays = (values, _array(scores, np.int64, scores.at.ends, count),
                          _array(scores, np.float32, scores.at.loudness, count),
                          _array(scores, np.int8, scores.at.thin, count))
    return scores._arrays


cdef _frames_of(Scores scores):
    return _array(scores, np.float32, scores.at.levels, _levels_of(scores.count, scores.origin))


cdef _array(Scores scores, dtype, const void *start, Py_ssize_t count):
    return np.frombuffer(scores._memory, dtype, count, <const char *>start - PyByteArray_AsString(scores._memory))
