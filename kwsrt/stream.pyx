# cython: cdivision=True
"""One audio source through a model: push samples in chunks of any length, get the scores of every decision."""
from libc.stddef cimport size_t
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t
from libc.string cimport memmove

from kwsrt.frontend cimport OnlineFrontEnd
from kwsrt.network cimport Network, Workspace

import numpy as np

from kwsrt.errors import OptionError
from kwsrt.frontend import check_samples

LONGEST_STRIDE = 10000


cdef class Stream:
    """The state of one audio source: its last samples, its last frames, nothing of the model.

    A decision covers `window` samples and comes every `stride` samples; the first one when `window` samples have been
    pushed. Scores do not depend on how the samples were cut into chunks, to the last bit. Use one Stream a source, from
    one thread at a time; any number of them share a Model.

    Parameters
    ----------
    frontend : FrontEnd. network : Network. (Model.stream passes both.)
    thin : thinning level, may be changed between pushes through the attribute of the same name.
    stride : frames between decisions, 1 or more.

    Raises
    ------
    ThinError : an unknown level. OptionError : a stride that is no int from 1 to 10,000.
    """
    cdef OnlineFrontEnd _online
    cdef Network _network
    cdef Workspace _work
    cdef int32_t _level, _stride, _held, _capacity
    cdef int64_t _frames_seen, _decisions
    cdef int8_t[:, ::1] _history
    cdef float[::1] _frame

    def __init__(self, frontend, Network network not None, *, thin="full", stride=2):
        if not (isinstance(stride, int) and 1 <= stride <= LONGEST_STRIDE):
            raise OptionError(f"stride must be 1 to {LONGEST_STRIDE} frames, got {stride!r}")
        if frontend.width != network.bins:
            raise OptionError(f"a front end of {frontend.width} values does not feed a network of {network.bins} bins")
        self._online = OnlineFrontEnd(frontend)
        self._network = network
        self._work = network.workspace()
        self._level = network.level_index(thin)
        self._stride = stride
        # Windows are read in place; the last frames move to the front once in three windows.
        self._capacity = 4 * network.frames
        self._history = np.zeros((self._capacity, network.bins), np.int8)
        self._frame = np.zeros(network.bins, np.float32)
        self.reset()

    @property
    def thin(self):
        """The thinning level of the next decision; assignable at any time."""
        return self._network.levels[self._level]

    @thin.setter
    def thin(self, value):
        self._level = self._network.level_index(value)

    @property
    def window(self):
        """Samples that one decision covers."""
        return (self._network.frames - 1) * self._online.frontend.hop + self._online.frontend.window

    @property
    def stride(self):
        """Samples between two decisions."""
        return self._stride * self._online.frontend.hop

    @property
    def decisions(self):
        """Decisions made since the start or the last reset. Decision d covers samples d*stride to d*stride + window."""
        return self._decisions

    def reset(self):
        """Forget all audio, as if the stream began anew."""
        self._online.reset()
        self._held = 0
        self._frames_seen = 0
        self._decisions = 0

    def push(self, samples):
        """Take a chunk and make the decisions that it completes.

        Parameters
        ----------
        samples : (n,) int16, or float32 within [-1, 1], at the front end's sample rate; n may be 0.

        Returns
        -------
        float32 (decisions, classes): the scores of each decision, in order; often (0, classes).

        Raises
        ------
        AudioError : other dtypes or shapes, NaN or infinite samples; the stream is unchanged.
        """
        array = check_samples(samples)
        cdef const int16_t[::1] s16
        cdef const float[::1] f32
        cdef const int16_t *s16_data = NULL
        cdef const float *f32_data = NULL
        cdef size_t n = <size_t>array.shape[0]
        if n == 0:
            return np.empty((0, self._network.classes), np.float32)
        if array.dtype == np.int16:
            s16 = array
            s16_data = &s16[0]
        else:
            f32 = array
            f32_data = &f32[0]
        # Every hop completes at most one frame, and the first frame may be nearly there already.
        most = n // <size_t>self._online.frontend.hop // <size_t>self._stride + 2
        scores = np.empty((most, self._network.classes), np.float32)
        cdef float[:, ::1] out = scores
        cdef Py_ssize_t made
        with nogil:
            made = self._consume(s16_data, f32_data, n, &out[0, 0])
        return scores[:made]

    cdef Py_ssize_t _consume(self, const int16_t *s16, const float *f32, size_t n, float *scores) noexcept nogil:
        cdef size_t done = 0
        cdef Py_ssize_t made = 0
        while done < n:
            if s16 != NULL:
                done += self._online.accept_s16(s16 + done, n - done)
            else:
                done += self._online.accept_f32(f32 + done, n - done)
            if self._online.ready() and self._add_frame():
                self._network.infer(self._level, &self._history[self._held - self._network.frames, 0],
                                    &self._work.buffers, scores)
                scores += self._network.classes
                made += 1
        self._decisions += made
        return made

    cdef bint _add_frame(self) noexcept nogil:
        """Take the ready frame into the history; whether it completes a decision."""
        cdef int32_t kept = self._network.frames - 1
        if self._held == self._capacity:
            memmove(&self._history[0, 0], &self._history[self._held - kept, 0], kept * self._network.bins)
            self._held = kept
        self._online.take_quantized(&self._frame[0], &self._history[self._held, 0])
        self._held += 1
        self._frames_seen += 1
        cdef int64_t past_first = self._frames_seen - self._network.frames
        return past_first >= 0 and past_first % self._stride == 0
