# cython: cdivision=True
"""One audio source through a model: push samples in chunks of any length, get the scores of every decision."""
from cpython.buffer cimport PyBuffer_Release
from libc.stddef cimport size_t
from libc.stdint cimport int16_t, int32_t, int64_t
from libc.stdlib cimport free

from kwsrt.frontend cimport FrontEnd, allocate, kws_frontend, kws_frontend_options, open_samples
from kwsrt.guard cimport FREE, IN_USE, UNMADE, claim
from kwsrt.network cimport KWS_AUTO, Network, kws_network
from kwsrt.scores cimport Origin, Scores, first_of, kws_decisions, room_for

import itertools

import numpy as np

from kwsrt.arguments import number, shown, whole
from kwsrt.errors import OptionError, no_copy, not_free

cdef extern from "stream/stream.h" nogil:
    ctypedef struct kws_stream:
        int32_t stride, level, silence
        double gate
        int64_t decisions

    size_t kws_stream_size(const kws_frontend *frontend, const kws_network *network)
    void kws_stream_init(kws_stream *stream, const kws_frontend *frontend, const kws_network *network, int32_t level,
                         int32_t stride, void *memory)
    void kws_stream_reset(kws_stream *stream)
    int64_t kws_stream_window(const kws_stream *stream)
    size_t kws_stream_most(const kws_stream *stream, size_t n)
    size_t kws_stream_push_f32(kws_stream *stream, const float *samples, size_t n, const kws_decisions *out)
    size_t kws_stream_push_s16(kws_stream *stream, const int16_t *samples, size_t n, const kws_decisions *out)

LONGEST_STRIDE = 10000
_numbers = itertools.count(1)  # which stream is which


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
    cdef FrontEnd _frontend
    cdef Network _network
    cdef kws_stream _state
    cdef void *_memory
    cdef size_t _size                  # bytes
    cdef int32_t _use                  # UNMADE, FREE or IN_USE
    cdef bint _heard                   # whether anything was pushed
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

    def __dealloc__(self):
        free(self._memory)

    cdef _make(self, frontend, network, thin, stride, gate, silence):
        if not isinstance(frontend, FrontEnd) or not isinstance(network, Network):
            raise OptionError(f"frontend is {shown(frontend)}, network is {shown(network)}: "
                              "expected a FrontEnd and a Network; Model.stream passes these")
        self._frontend, self._network = frontend, network
        cdef const kws_frontend *source = &self._frontend.plan
        cdef const kws_network *net = &self._network.network
        if source.width != net.bins:
            raise OptionError(f"a front end of {source.width} values does not feed a network of {net.bins} bins")
        cdef int32_t every = self._network.stride
        cdef int32_t frames = every if stride is None else whole(stride, "stride", 1, LONGEST_STRIDE)
        if net.causal and frames % every:
            raise OptionError(f"stride is {frames} frames: this model decides every {every} frames, or every second, "
                              "third ... of these")
        cdef int32_t level = self._network.level_index(thin)
        free(self._memory)  # of an __init__ that failed
        self._size = kws_stream_size(source, net)
        self._memory = allocate(self._size)
        kws_stream_init(&self._state, source, net, level, frames, self._memory)
        self._set_gate(gate, silence)
        cdef const kws_frontend_options *options = &source.options
        cdef Origin origin = Origin(net.frames, min(frames, net.frames), options.hop, next(_numbers), 0)
        self._made = self._nothing = room_for(0, net.classes, <int32_t>kws_stream_window(&self._state),
                                              options.sample_rate, origin)

    def __reduce__(self):
        raise no_copy(self, "make a new one, with Model.stream()")

    cdef int _check_made(self) except -1:
        if self._use == UNMADE:
            raise not_free(self, False)
        return 0

    cdef _set_gate(self, gate, silence):
        if gate is None:
            return
        self._state.gate = number(gate, "gate", what="dB below a full-scale sine, such as -70, or None")
        if silence is None:
            raise OptionError(f"gate is {shown(gate)}: a gate needs a model with the label _silence_")
        self._state.silence = whole(silence, "silence", 0, self._network.classes - 1)

    @property
    def thin(self):
        """The thinning level of the next decision, or "auto"; assignable between pushes."""
        self._check_made()
        return "auto" if self._state.level == KWS_AUTO else self._network.levels[self._state.level]

    @thin.setter
    def thin(self, value):
        self._check_made()
        cdef int32_t level = self._network.level_index(value)
        claim(self, &self._use)
        self._state.level, self._use = level, FREE

    @property
    def window(self):
        """Samples that one decision covers."""
        self._check_made()
        return kws_stream_window(&self._state)

    @property
    def stride(self):
        """Samples between two decisions."""
        self._check_made()
        return self._state.stride * self._frontend.plan.options.hop

    @property
    def decisions(self):
        """Decisions made since the start or the last reset. Decision d covers samples d*stride to d*stride + window."""
        self._check_made()
        return self._state.decisions

    @property
    def memory(self):
        """Bytes that this source takes: its samples, its frames and the buffers of one inference."""
        self._check_made()
        return self._size

    def reset(self):
        """Forget all audio, as if the stream began anew."""
        claim(self, &self._use)
        kws_stream_reset(&self._state)
        self._heard = False
        self._made.origin.epoch += 1
        self._use = FREE

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
        cdef size_t made, most = kws_stream_most(&self._state, n)
        if most > <size_t>self._made.count:
            self._made = room_for(most, self._made.labels, self._made.window, self._made.sample_rate,
                                  self._made.origin)
        with nogil:
            if s16:
                made = kws_stream_push_s16(&self._state, <const int16_t *>samples, n, &self._made.at)
            else:
                made = kws_stream_push_f32(&self._state, <const float *>samples, n, &self._made.at)
        self._heard = self._heard or n > 0
        return first_of(self._made, made) if made else self._nothing
