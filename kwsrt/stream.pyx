# cython: cdivision=True
"""One audio source through a model: push samples in chunks of any length, get the scores of every decision."""
from cpython.buffer cimport PyBuffer_Release
from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t
from libc.string cimport memmove

from kwsrt.frontend cimport FrontEnd, OnlineFrontEnd, kws_frontend_options, open_samples
from kwsrt.guard cimport FREE, IN_USE, UNMADE, claim
from kwsrt.network cimport Network, Kept, Workspace
from kwsrt.scores cimport Decisions, Origin, Scores, first_of, room_for

import itertools
import math

import numpy as np

from kwsrt.arguments import number, shown, whole
from kwsrt.errors import OptionError, no_copy, not_free

LONGEST_STRIDE = 10000
cdef int8_t SKIPPED = -1
_numbers = itertools.count(1)          # which stream is which


cdef class Stream:
    """The state of one audio source: its last samples, its last frames, nothing of the model.

    A decision covers `window` samples and comes every `stride` samples; the first one when `window` samples have been
    pushed. Scores do not depend on how the samples were cut into chunks, to the last bit. Use one Stream a source, from
    one thread at a time; any number of them share a Model. A Stream cannot be copied or pickled: make a new one.

    Parameters
    ----------
    frontend : FrontEnd. network : Network. silence : index of the label that silence is. (Model.stream passes these.)
    thin : thinning level, or "auto"; may be changed between pushes through the attribute of the same name.
    stride : frames between decisions, 1 or more; of a causal network a multiple of 4. None: 2, of a causal network 4.
    gate : dB as in Scores.loudness: a window in which no frame reaches it is silence and costs nothing; None for never.

    Raises
    ------
    ThinError : an unknown level. OptionError : a stride that is no whole number from 1 to 10,000, a gate that is no
        number or for which the model lacks a label. UseError, of every method : another thread is in a push of this
        stream, or a subclass did not call super().__init__().
    """
    cdef OnlineFrontEnd _online
    cdef Network _network
    cdef Workspace _work
    cdef Kept _kept
    cdef int32_t _use                  # UNMADE, FREE or IN_USE
    cdef int32_t _level, _stride, _held, _capacity, _silence, _loudness_values, _hop, _window
    cdef int64_t _frames_seen, _decisions
    cdef bint _heard                   # whether anything was pushed
    cdef int8_t[:, ::1] _history
    cdef int8_t[::1] _loudest          # of each frame in the history, in steps of the features
    cdef float[::1] _frame
    cdef float _gate
    cdef double _loudness_step, _loudness_offset
    cdef Scores _made, _nothing        # what a push fills: room for as many decisions as the largest one so far

    def __init__(self, frontend, network, *, thin="full", stride=None, gate=None, silence=None):
        if self._use != UNMADE:  # its buffers may be in use
            raise OptionError("this Stream was made already: make a new one")
        self._use = IN_USE
        try:
            self._make(frontend, network, thin, stride, gate, silence)
        except BaseException:
            self._use = UNMADE
            raise
        self._use = FREE

    cdef _make(self, frontend, network, thin, stride, gate, silence):
        if not isinstance(frontend, FrontEnd) or not isinstance(network, Network):
            raise OptionError(f"frontend is {shown(frontend)}, network is {shown(network)}: "
                              "expected a FrontEnd and a Network; Model.stream passes these")
        cdef FrontEnd source = frontend
        cdef Network net = network
        if source.plan.width != net.bins:
            raise OptionError(f"a front end of {source.plan.width} values does not feed a network of {net.bins} bins")
        self._stride = net.stride if stride is None else whole(stride, "stride", 1, LONGEST_STRIDE)
        if net.causal and self._stride % net.stride:
            raise OptionError(f"stride is {self._stride} frames: this model decides every {net.stride} frames, or "
                              "every second, third ... of these")
        self._network, self._online = net, OnlineFrontEnd(source)
        self._level = net.level_index(thin)
        self._hop, self._window = source.plan.options.hop, source.plan.options.window
        self._set_loudness(source.plan.options)
        self._set_gate(gate, silence)
        self._work, self._kept = net.workspace(), net.kept()
        # Windows are read in place; the last frames move to the front once in three windows.
        self._capacity = 4 * net.frames
        self._history = np.zeros((self._capacity, net.bins), np.int8)
        self._loudest = np.zeros(self._capacity, np.int8)
        self._frame = np.zeros(net.bins, np.float32)
        cdef Origin origin = Origin(net.frames, min(self._stride, <int32_t>net.frames), self._hop, next(_numbers), 0)
        self._made = self._nothing = room_for(0, net.classes, self._samples(), source.plan.options.sample_rate, origin)
        self._forget()

    def __reduce__(self):
        raise no_copy(self, "make a new one, with Model.stream()")

    cdef int _check_made(self) except -1:
        if self._use == UNMADE:
            raise not_free(self, False)
        return 0

    cdef _set_loudness(self, kws_frontend_options options):
        """How a frame's features tell its loudness: by the largest of them, cepstra by the first, their mean."""
        cdef bint cepstra = options.n_mfcc > 0
        # Under its Hann window a full-scale sine has this power in the bins of its main lobe.
        sine = 10 * math.log10(0.375 * <double>options.window ** 2 / 4)
        scale = math.sqrt(options.bins) if cepstra else 1.0
        self._loudness_values = 1 if cepstra else options.bins
        self._loudness_step, self._loudness_offset = options.step / scale, options.offset / scale - sine

    cdef _set_gate(self, gate, silence):
        if gate is None:
            self._gate, self._silence = -INFINITY, -1
            return
        cdef double level = number(gate, "gate", what="dB below a full-scale sine, such as -70, or None")
        if silence is None:
            raise OptionError(f"gate is {shown(gate)}: a gate needs a model with the label _silence_")
        self._silence = whole(silence, "silence", 0, self._network.classes - 1)
        self._gate = (level - self._loudness_offset) / self._loudness_step

    @property
    def thin(self):
        """The thinning level of the next decision, or "auto"; assignable between pushes."""
        self._check_made()
        return "auto" if self._level < 0 else self._network.levels[self._level]

    @thin.setter
    def thin(self, value):
        self._check_made()
        cdef int32_t level = self._network.level_index(value)
        claim(self, &self._use)
        self._level, self._use = level, FREE

    @property
    def window(self):
        """Samples that one decision covers."""
        self._check_made()
        return self._samples()

    cdef int32_t _samples(self) noexcept nogil:
        return (self._network.frames - 1) * self._hop + self._window

    @property
    def stride(self):
        """Samples between two decisions."""
        self._check_made()
        return self._stride * self._hop

    @property
    def decisions(self):
        """Decisions made since the start or the last reset. Decision d covers samples d*stride to d*stride + window."""
        self._check_made()
        return self._decisions

    @property
    def memory(self):
        """Bytes that this source takes: its samples, its frames and the buffers of one inference."""
        self._check_made()
        return (self._online.size + self._work.size + self._kept.size + self._capacity * (self._network.bins + 1)
                + 4 * self._network.bins)

    def reset(self):
        """Forget all audio, as if the stream began anew."""
        claim(self, &self._use)
        self._forget()
        self._use = FREE

    cdef void _forget(self) noexcept nogil:
        self._online.forget()
        self._held = 0
        self._frames_seen = 0
        self._decisions = 0
        self._heard = False
        self._made.origin.epoch += 1
        self._kept.past.decisions = 0

    def finish(self):
        """Say that nothing follows: the decisions that the last samples need to be heard, as if silence came after them.

        The silence is a window long, so that each decision is made that hears any of the last samples: a word at the very
        end is heard, and audio shorter than a window, too. Then the stream begins anew, as after `reset`.

        Returns
        -------
        Scores, as of `push`; none where nothing was pushed.
        """
        self._check_made()
        if not self._heard:
            return self._nothing
        scores = self.push(np.zeros(self.window, np.int16))
        self.reset()
        return scores

    def push(self, samples):
        """Take a chunk and make the decisions that it completes.

        Parameters
        ----------
        samples : (n,) int16, or float32 within [-1, 1], or bytes (any buffer of bytes) of little-endian int16, at the
            front end's sample rate; n may be 0.

        Returns
        -------
        Scores of each decision, in order, with their times; often none.

        Raises
        ------
        AudioError : other dtypes or shapes, NaN or infinite samples, half a sample; the stream is unchanged.
        UseError : another thread is in a push of this stream.
        """
        cdef Py_buffer opened
        cdef bint s16 = open_samples(samples, &opened)  # which may run the caller's code, thus before the claim
        try:
            claim(self, &self._use)
            try:
                return self._push(opened.buf, s16, <size_t>opened.shape[0])
            finally:
                self._use = FREE
        finally:
            PyBuffer_Release(&opened)

    cdef Scores _push(self, const void *samples, bint s16, size_t n):
        # Every hop completes at most one frame, and the first frame may be nearly there already.
        cdef Py_ssize_t made, most = n // <size_t>self._hop // <size_t>self._stride + 2
        if most > self._made.count:
            self._made = room_for(most, self._made.labels, self._made.window, self._made.sample_rate,
                                  self._made.origin)
        with nogil:
            made = self._consume(samples, s16, n)
        self._heard = self._heard or n > 0
        return first_of(self._made, made) if made else self._nothing

    cdef Py_ssize_t _consume(self, const void *samples, bint s16, size_t n) noexcept nogil:
        cdef size_t done = 0
        cdef Py_ssize_t made = 0
        while done < n:
            if s16:
                done += self._online.accept_s16(<const int16_t *>samples + done, n - done)
            else:
                done += self._online.accept_f32(<const float *>samples + done, n - done)
            if self._online.ready() and self._add_frame():
                self._decide(made)
                made += 1
        return made

    cdef bint _add_frame(self) noexcept nogil:
        """Take the ready frame into the history; whether it completes a decision."""
        cdef int32_t i, kept = self._network.frames - 1
        cdef int8_t largest
        if self._held == self._capacity:
            memmove(&self._history[0, 0], &self._history[self._held - kept, 0], kept * self._network.bins)
            memmove(&self._loudest[0], &self._loudest[self._held - kept], kept)
            self._held = kept
        self._online.take_quantized(&self._frame[0], &self._history[self._held, 0])
        largest = self._history[self._held, 0]
        for i in range(1, self._loudness_values):
            largest = max(largest, self._history[self._held, i])
        self._loudest[self._held] = largest
        self._held += 1
        self._frames_seen += 1
        cdef int64_t past_first = self._frames_seen - self._network.frames
        return past_first >= 0 and past_first % self._stride == 0

    cdef int8_t _loudest_of(self, int32_t frames) noexcept nogil:
        """Of the newest frames."""
        cdef int8_t largest = -128
        cdef int32_t i
        for i in range(self._held - frames, self._held):
            largest = max(largest, self._loudest[i])
        return largest

    cdef float _in_db(self, int8_t loudest) noexcept nogil:
        return <float>(loudest * self._loudness_step + self._loudness_offset)

    cdef void _decide(self, Py_ssize_t made) noexcept nogil:
        """The decision of the window that ends now, as number `made` of this push."""
        cdef Decisions at = self._made.at
        cdef float *scores = at.values + made * self._network.classes
        cdef int32_t i, frames = self._network.frames, fresh = min(self._stride, frames)
        cdef int64_t stride = self._stride * self._hop
        at.ends[made] = self._decisions * stride + (frames - 1) * self._hop + self._window
        self._decisions += 1
        at.loudness[made] = self._in_db(self._loudest_of(fresh))
        for i in range(0 if made == 0 else frames - fresh, frames):
            at.levels[made * fresh + i] = self._in_db(self._loudest[self._held - frames + i])
        if self._silence >= 0 and self._loudest_of(frames) < self._gate:
            for i in range(self._network.classes):
                scores[i] = 0.0
            scores[self._silence] = 1.0
            at.thin[made] = SKIPPED
            self._kept.past.decisions = 0
        else:
            at.thin[made] = <int8_t>self._network.infer_next(
                self._level, &self._history[self._held - frames, 0], self._stride, &self._kept.past, &self._work.buffers,
                scores)
