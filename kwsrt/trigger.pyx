# cython: cdivision=True
"""When a keyword fires: the rule of kwsrt.decision.Detector, a decision at a time, in C."""
from libc.math cimport INFINITY
from libc.stdint cimport int32_t, int64_t
from libc.string cimport memmove

from kwsrt.guard cimport FREE, claim
from kwsrt.scores cimport Scores

import numpy as np

from kwsrt import place
from kwsrt.arguments import shown
from kwsrt.errors import OptionError, no_copy

# The score of a word has fallen when the word ended so many windows ago: what is heard then was said after it.
cdef double STALE = 0.9
# So many windows of loudness tell what is the background.
cdef int64_t KEPT = 2


cdef class Trigger:
    """The state of a Detector: the last scores, who leads since when, which labels are armed, what was reported last,
    and how loud the last two windows were.

    Parameters
    ----------
    limits : float64 (labels,), the thresholds; inf for labels that never fire. smoothing, patience : decisions, 1 or
        more. refractory, debounce : seconds. (Detector has checked them.)
    """
    cdef int32_t _use                  # FREE or IN_USE
    cdef int32_t _labels, _smoothing, _patience, _newest, _run, _leader, _highest
    cdef int64_t _stream, _epoch       # whose scores these are; stream 0: nobody knows
    cdef double _refractory, _debounce, _time
    cdef double[::1] _limits, _smooth, _last_over
    cdef double[:, ::1] _recent, _rose  # the last scores; between which decisions each became the highest, in seconds
    cdef char[::1] _armed
    cdef double[::1] _fired, _ended    # of each label's last detection: when, and the end of its sound
    cdef double _start, _end           # of the last detection
    cdef int64_t[:, ::1] _moments      # begin and end, in samples, and dB, of the last `_held` moments
    cdef float[::1] _levels
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
        self._rose = np.zeros((self._labels, 2))
        self._last_over, self._fired, self._ended = np.zeros((3, self._labels))
        self._armed = np.ones(self._labels, np.int8)
        self._moments, self._levels = np.zeros((64, 2), np.int64), np.zeros(64, np.float32)
        self._use = FREE
        self.reset()

    def __reduce__(self):
        raise no_copy(self, "make a new one")

    def reset(self):
        """Forget all scores and detections, and whose they were."""
        claim(self, &self._use)
        self._stream = self._epoch = 0
        self._begin_anew()
        self._use = FREE

    cdef void _begin_anew(self) noexcept nogil:
        cdef int32_t i, age
        for i in range(self._labels):
            for age in range(self._smoothing):
                self._recent[age, i] = 0.0
            self._last_over[i] = self._fired[i] = self._ended[i] = self._rose[i, 0] = -INFINITY
            self._rose[i, 1] = INFINITY
            self._armed[i] = 1
        self._newest, self._run, self._leader, self._highest, self._held = 0, 0, -1, -1, 0
        self._time = self._start = self._end = -INFINITY

    def push(self, scores):
        """Take the next decisions.

        Returns of each that fires (label, smoothed score, its time, start and end of the word); seconds.

        Raises
        ------
        OptionError : no Scores, of another number of labels, or from the midst of another stream. UseError : another
            thread is in this method.
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
        if scores.count and scores.origin.stream:
            self._follow(scores)
        fired = []
        cdef Py_ssize_t i
        cdef double time
        for i in range(scores.count):
            time = scores.at.ends[i] / <double>scores.sample_rate
            if time <= self._time:
                self._begin_anew()
            self._hear(scores, i)
            if self._update(scores, i, time) and self._find(scores, scores.at.ends[i]):
                fired.append((self._leader, self._smooth[self._leader], time, self._start, self._end))
        return fired

    cdef _follow(self, Scores scores):
        """Tell whether these scores go on where the last ones ended, by the stream that they are of."""
        cdef int64_t stream = scores.origin.stream, epoch = scores.origin.epoch
        if self._stream and stream != self._stream and scores.at.ends[0] != scores.window:
            raise OptionError("these scores are of another stream than those before: use one detector for each stream, or "
                              "reset() this one between two")
        if self._stream and (stream != self._stream or epoch != self._epoch):
            self._begin_anew()
        self._stream, self._epoch = stream, epoch

    cdef _hear(self, Scores scores, Py_ssize_t i):
        """Take in how loud the sound was that is new with a decision: frame by frame, or at least as a whole."""
        cdef int64_t frames = scores.origin.frames, hop = scores.origin.hop, now = scores.at.ends[i]
        cdef int64_t since = now - scores.window, last = since, missing
        cdef const float *level = scores.at.loudness + i
        if frames:
            # A frame tells of the moment in its middle, one hop long.
            now -= (scores.window - frames * hop) / 2
            since = last = now - frames * hop
            level = scores.at.levels + i * scores.origin.fresh + frames - 1
        if self._held:
            last = max(since, self._moments[self._held - 1, 1])
        if now <= last:  # scores made by hand, after those of a stream
            return
        if not frames:
            hop = now - last
        missing = (now - last) / hop
        if self._held + missing > self._levels.shape[0]:
            self._make_room(missing, scores.at.ends[i] - KEPT * scores.window)
        while missing > 0:
            missing -= 1
            self._moments[self._held, 0] = now - (missing + 1) * hop
            self._moments[self._held, 1] = now - missing * hop
            self._levels[self._held] = (level - missing)[0]
            self._held += 1

    cdef _make_room(self, int64_t count, int64_t since):
        """Room for so many more moments; those that ended by `since` may go."""
        cdef Py_ssize_t first = self._first_after(since), size
        self._held -= first
        memmove(&self._moments[0, 0], &self._moments[first, 0], self._held * 2 * sizeof(int64_t))
        memmove(&self._levels[0], &self._levels[first], self._held * sizeof(float))
        size = 2 * (self._held + count)
        if size > self._levels.shape[0]:
            self._moments, self._levels = np.resize(self._moments, (2 * size, 2)), np.resize(self._levels, 2 * size)

    cdef Py_ssize_t _first_after(self, int64_t since) noexcept nogil:
        """The first moment that ended after `since`, of those that are held."""
        cdef Py_ssize_t first = 0
        while first < self._held and self._moments[first, 1] <= since:
            first += 1
        return first

    cdef bint _update(self, Scores scores, Py_ssize_t decision, double time) noexcept nogil:
        """Take the scores of a decision; whether the leader may have been said just now."""
        cdef const float *values = scores.at.values + decision * scores.labels
        cdef int32_t i, best = 0, highest = 0
        self._average(values)
        for i in range(1, self._labels):
            if self._smooth[i] > self._smooth[best]:
                best = i
            if values[i] > values[highest]:
                highest = i
        if highest != self._highest:
            self._highest = highest
            self._rose[highest, 0], self._rose[highest, 1] = self._time, time
        self._time = time
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
        return (self._run >= self._patience and time - self._fired[best] >= self._refractory
                and (self._armed[best] or self._is_stale(best, scores)))

    cdef bint _find(self, Scores scores, int64_t now):
        """Find the leader's word in the sound; False where it is the one that was reported before."""
        cdef int32_t label = self._leader
        cdef double since = (now - scores.window) / <double>scores.sample_rate
        sound = place.sound(self._moments, self._levels, self._first_after(now - KEPT * scores.window), self._held,
                            scores.sample_rate)
        if self._armed[label]:
            start, end = place.word(sound, since, self._rose[label, 0], self._rose[label, 1], self._end)
            if end <= self._ended[label]:  # the score fell and rose again, but nothing was said since
                return False
        else:
            self._ended[label], piece = place.another(sound, since, self._ended[label])
            if piece is None or not self._is_stale(label, scores):
                return False
            start, end = piece.start, piece.end
        # One word after the other, whatever the sound says.
        self._start, self._end = max(start, self._start), max(end, self._end)
        self._armed[label] = 0
        self._fired[label], self._ended[label] = self._time, self._end
        return True

    cdef bint _is_stale(self, int32_t label, Scores scores) noexcept nogil:
        """Whether the word that this label was last reported for can no longer be why its score is high."""
        return self._time - self._ended[label] > STALE * scores.window / scores.sample_rate

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
