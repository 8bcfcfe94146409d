"""When a keyword fires: the rule of kwsrt.decision.Detector, a decision at a time, in C."""
from libc.stdint cimport int32_t
from libc.string cimport memmove

from kwsrt.guard cimport FREE, claim
from kwsrt.scores cimport Scores

import numpy as np

from kwsrt.arguments import shown
from kwsrt.errors import OptionError, no_copy


cdef class Trigger:
    """The state of a Detector: the last scores, who leads since when, which labels are armed, and how loud the
    decisions of the last window were.

    Parameters
    ----------
    limits : float64 (labels,), the thresholds; inf for labels that never fire. smoothing, patience : decisions, 1 or
        more. refractory, debounce : seconds. (Detector has checked them.)
    """
    cdef int32_t _use                  # FREE or IN_USE
    cdef int32_t _labels, _smoothing, _patience, _newest, _run, _leader
    cdef double _refractory, _debounce, _last_fired
    cdef double[::1] _limits, _smooth, _last_over
    cdef double[:, ::1] _recent
    cdef char[::1] _armed
    cdef double[::1] _times            # seconds, and dB, of the last `_held` decisions
    cdef float[::1] _loudness
    cdef Py_ssize_t _held

    def __cinit__(self, limits, int32_t smoothing, int32_t patience, double refractory, double debounce):
        if np.ndim(limits) != 1 or np.size(limits) == 0 or smoothing < 1:
            raise OptionError(f"limits have shape {np.shape(limits)}, smoothing is {smoothing}: expected one limit a "
                              "label, and 1 decision or more")
        self._limits = np.array(limits, np.float64)
        self._labels = <int32_t>self._limits.shape[0]
        self._smoothing, self._patience = smoothing, patience
        self._refractory, self._debounce = refractory, debounce
        self._smooth = np.zeros(self._labels)
        self._recent = np.zeros((smoothing, self._labels))
        self._last_over = np.zeros(self._labels)
        self._armed = np.ones(self._labels, np.int8)
        self._times, self._loudness = np.zeros(64), np.zeros(64, np.float32)
        self._use = FREE
        self.reset()

    def __reduce__(self):
        raise no_copy(self, "make a new one")

    def reset(self):
        """Forget all scores and detections."""
        claim(self, &self._use)
        self._recent[:] = 0.0
        self._last_over[:] = -np.inf
        self._armed[:] = 1
        self._newest, self._run, self._leader, self._last_fired, self._held = 0, 0, -1, -np.inf, 0
        self._use = FREE

    def push(self, scores):
        """Take the next decisions.

        Returns of each that fires (label, smoothed score, times, loudness): seconds and dB of the decisions within the
        window before it, itself the last.

        Raises
        ------
        OptionError : no Scores, or of another number of labels. UseError : another thread is in this method.
        """
        if not isinstance(scores, Scores):
            raise OptionError(f"scores are {shown(scores)}: expected the Scores that Stream.push returns")
        claim(self, &self._use)
        try:
            return self._push(scores)
        finally:
            self._use = FREE

    cdef list _push(self, Scores scores):
        if scores.labels != self._labels:
            raise OptionError(f"scores of {scores.labels} labels, this detector has {self._labels}")
        fired = []
        cdef double window = scores.window / <double>scores.sample_rate
        cdef Py_ssize_t i, first
        for i in range(scores.count):
            self._remember(scores.at.ends[i] / <double>scores.sample_rate, scores.at.loudness[i], window)
            if self._update(scores.at.values + i * scores.labels, self._times[self._held - 1]):
                first = self._within(window)
                fired.append((self._leader, self._smooth[self._leader], np.array(self._times[first:self._held]),
                              np.array(self._loudness[first:self._held])))
        return fired

    cdef _remember(self, double time, float loudness, double window):
        """Note a decision's time and loudness; of the older ones, at least those of a window are kept."""
        cdef Py_ssize_t first
        if self._held and time <= self._times[self._held - 1]:  # the stream began anew
            self._held = 0
        if self._held == self._times.shape[0]:
            first = self._within(window)
            self._held -= first
            memmove(&self._times[0], &self._times[first], self._held * sizeof(double))
            memmove(&self._loudness[0], &self._loudness[first], self._held * sizeof(float))
            if 2 * self._held > self._times.shape[0]:
                self._times = np.resize(self._times, 4 * self._held)
                self._loudness = np.resize(self._loudness, 4 * self._held)
        self._times[self._held], self._loudness[self._held] = time, loudness
        self._held += 1

    cdef Py_ssize_t _within(self, double window) noexcept nogil:
        """The first decision that ended less than `window` seconds before the last one."""
        cdef Py_ssize_t first = 0
        while first < self._held - 1 and self._times[first] <= self._times[self._held - 1] - window:
            first += 1
        return first

    cdef bint _update(self, const float *scores, double time) noexcept nogil:
        cdef int32_t i, best = 0
        self._average(scores)
        for i in range(1, self._labels):
            if self._smooth[i] > self._smooth[best]:
                best = i
        for i in range(self._labels):
            if self._smooth[i] >= self._limits[i]:
                self._last_over[i] = time
            elif time - self._last_over[i] >= self._debounce:
                self._armed[i] = 1
        if self._smooth[best] < self._limits[best]:
            self._run, self._leader = 0, -1
            return False
        self._run = self._run + 1 if best == self._leader else 1
        self._leader = best
        if self._run < self._patience or not self._armed[best] or time - self._last_fired < self._refractory:
            return False
        self._armed[best] = 0
        self._last_fired = time
        return True

    cdef void _average(self, const float *scores) noexcept nogil:
        """The mean of the last decisions; what came before the first was 0."""
        cdef int32_t i, age, row
        for i in range(self._labels):
            self._recent[self._newest, i] = scores[i]
            self._smooth[i] = 0.0
        self._newest = (self._newest + 1) % self._smoothing
        for age in range(self._smoothing):
            row = (self._newest + age) % self._smoothing
            for i in range(self._labels):
                self._smooth[i] += self._recent[row, i]
        for i in range(self._labels):
            self._smooth[i] /= self._smoothing
