# cython: cdivision=True
"""One audio source through a model: push samples in chunks of any length, get the scores of every decision."""
from cpython.buffer cimport PyBuffer_Release
from libc.math cimport INFINITY
from libc.stddef cimport size_t
from libc.stdint cimport int8_t, int16_t, int32_t, int64_t
from libc.string cimport memmove

from kwsrt.frontend cimport OnlineFrontEnd, open_samples
from kwsrt.network cimport Network, Source, kws_network_decide, kws_past_reset
from kwsrt.scores cimport Decisions, Scores, first_of, room_for

import math

import numpy as np

from kwsrt.errors import OptionError

LONGEST_STRIDE = 10000
cdef int8_t SKIPPED = -1


cdef class Stream:
    """The state of one audio source: its last samples, its last frames, nothing of the model.

    A decision covers `window` samples and comes every `stride` samples; the first one when `window` samples have been
    pushed. Scores do not depend on how the samples were cut into chunks, to the last bit. Use one Stream a source, from
    one thread at a time; any number of them share a Model.

    Parameters
    ----------
    frontend : FrontEnd. network : Network. silence : index of the label that silence is. (Model.stream passes these.)
    thin : thinning level, or "auto"; may be changed between pushes through the attribute of the same name.
    stride : frames between decisions, 1 or more; of a causal network a multiple of 4. None: 2, of a causal network 4.
    gate : dB as in Scores.loudness: a window in which no frame reaches it is silence and costs nothing; None for never.

    Raises
    ------
    ThinError : an unknown level. OptionError : a stride that is no int from 1 to 10,000, a gate that is no number or for
        which the model lacks a label.
    """
    cdef OnlineFrontEnd _online
    cdef Network _network
    cdef Source _source
    cdef int32_t _level, _stride, _held, _capacity, _silence, _loudness_values, _hop, _window
    cdef int64_t _frames_seen, _decisions
    cdef int8_t[:, ::1] _history
    cdef int8_t[::1] _loudest          # of each frame in the history, in steps of the features
    cdef float[::1] _frame
    cdef float _gate
    cdef double _loudness_step, _loudness_offset
    cdef Scores _made, _nothing        # what a push fills: room for as many decisions as the largest one so far

    def __init__(self, frontend, Network network not None, *, thin="full", stride=None, gate=None, silence=None):
        if stride is None:
            stride = network.stride
        if not (isinstance(stride, int) and 1 <= stride <= LONGEST_STRIDE):
            raise OptionError(f"stride must be 1 to {LONGEST_STRIDE} frames, got {stride!r}")
        if network.causal and stride % network.stride:
            raise OptionError(f"this model decides every {network.stride} frames, or every second, third ... of these, "
                              f"got a stride of {stride}")
        if frontend.width != network.bins:
            raise OptionError(f"a front end of {frontend.width} values does not feed a network of {network.bins} bins")
        self._online = OnlineFrontEnd(frontend)
        self._network = network
        self._source = network.source()
        self._level = network.level_index(thin)
        self._stride, self._hop, self._window = stride, frontend.hop, frontend.window
        # Windows are read in place; the last frames move to the front once in three windows.
        self._capacity = 4 * network.frames
        self._history = np.zeros((self._capacity, network.bins), np.int8)
        self._loudest = np.zeros(self._capacity, np.int8)
        self._frame = np.zeros(network.bins, np.float32)
        self._set_loudness(frontend.options)
        self._set_gate(gate, silence)
        self._made = self._nothing = room_for(0, network.classes, <int32_t>self.window, frontend.sample_rate)
        self.reset()

    def _set_loudness(self, options):
        """How a frame's features tell its loudness: by the largest of them, cepstra by the first, their mean."""
        cdef bint cepstra = options["n_mfcc"] > 0
        # Under its Hann window a full-scale sine has this power in the bins of its main lobe.
        sine = 10 * math.log10(0.375 * options["window"] ** 2 / 4)
        scale = math.sqrt(options["bins"]) if cepstra else 1.0
        self._loudness_values = 1 if cepstra else options["bins"]
        self._loudness_step, self._loudness_offset = options["step"] / scale, options["offset"] / scale - sine

    def _set_gate(self, gate, silence):
        if gate is None:
            self._gate, self._silence = -INFINITY, -1
            return
        if isinstance(gate, bool) or not isinstance(gate, (int, float, np.floating)) or not math.isfinite(gate):
            raise OptionError(f"gate {gate!r}: expected dB below a full-scale sine, such as -70, or None")
        if silence is None:
            raise OptionError("a gate needs a model with the label _silence_")
        self._gate, self._silence = (gate - self._loudness_offset) / self._loudness_step, silence

    @property
    def thin(self):
        """The thinning level of the next decision, or "auto"; assignable at any time."""
        return "auto" if self._level < 0 else self._network.levels[self._level]

    @thin.setter
    def thin(self, value):
        self._level = self._network.level_index(value)

    @property
    def window(self):
        """Samples that one decision covers."""
        return (self._network.frames - 1) * self._hop + self._window

    @property
    def stride(self):
        """Samples between two decisions."""
        return self._stride * self._hop

    @property
    def decisions(self):
        """Decisions made since the start or the last reset. Decision d covers samples d*stride to d*stride + window."""
        return self._decisions

    @property
    def memory(self):
        """Bytes that this source takes: its samples, its frames and the buffers of one inference."""
        return (self._online.size + self._source.size + self._capacity * (self._network.bins + 1)
                + 4 * self._network.bins)

    def reset(self):
        """Forget all audio, as if the stream began anew."""
        self._online.reset()
        self._held = 0
        self._frames_seen = 0
        self._decisions = 0
        kws_past_reset(&self._source.past)

    def push(self, samples):
        """Take a chunk and make the decisions that it completes.

        Parameters
        ----------
        samples : (n,) int16, or float32 within [-1, 1], or bytes of little-endian int16, at the front end's sample
            rate; n may be 0.

        Returns
        -------
        Scores of each decision, in order, with their times; often none.

        Raises
        ------
        AudioError : other dtypes or shapes, NaN or infinite samples, half a sample; the stream is unchanged.
        """
        cdef Py_buffer opened
        cdef bint s16 = open_samples(samples, &opened)
        cdef size_t n = <size_t>opened.shape[0]
        # Every hop completes at most one frame, and the first frame may be nearly there already.
        cdef Py_ssize_t made, most = n // <size_t>self._hop // <size_t>self._stride + 2
        if most > self._made.count:
            self._made = room_for(most, self._made.labels, self._made.window, self._made.sample_rate)
        with nogil:
            made = self._consume(opened.buf, s16, n)
        PyBuffer_Release(&opened)
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

    cdef void _decide(self, Py_ssize_t made) noexcept nogil:
        """The decision of the window that ends now, as number `made` of this push."""
        cdef Decisions at = self._made.at
        cdef float *scores = at.values + made * self._network.classes
        cdef int32_t i, frames = self._network.frames
        cdef int64_t stride = self._stride * self._hop
        at.ends[made] = self._decisions * stride + (frames - 1) * self._hop + self._window
        self._decisions += 1
        at.loudness[made] = <float>(self._loudest_of(min(self._stride, frames)) * self._loudness_step
                                    + self._loudness_offset)
        if self._silence >= 0 and self._loudest_of(frames) < self._gate:
            for i in range(self._network.classes):
                scores[i] = 0.0
            scores[self._silence] = 1.0
            at.thin[made] = SKIPPED
            kws_past_reset(&self._source.past)
        else:
            at.thin[made] = <int8_t>kws_network_decide(
                &self._network.network, self._level, &self._history[self._held - frames, 0], self._stride,
                &self._source.past, &self._source.buffers, scores)
