"""Clips and recordings to training samples: what may stand around a word, under it and in its place.

A sample is a window, some frames before it (the lead, a stream's past) and a margin on both sides, by which training
moves it. Commands are said by themselves: a word has its label where there is a pause before and after it, whatever was
said before that pause; the same word in running speech is `_unknown_`, and so is any other sound of a voice. Noise
without speech is `_silence_` at every level.
"""

from __future__ import annotations

from collections.abc import Sequence
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
from scipy.fft import rfft

from kwsrt.frontend import FrontEnd

from .recordings import Recording
from .sounds import (
    RATE,
    Array,
    active_span,
    faded,
    filtered,
    levels,
    loud_cut,
    made_noise,
    microphone,
    quietest,
    random_cut,
    room,
    strange,
)

if TYPE_CHECKING:
    from .data import DataConfig

PAUSE = 0.35, 1.2  #: seconds of the pause before a word, and of that after it where something follows
RUNNING = 0.12  #: seconds that a word in running speech is away from what stands around it, at most
#: seconds of a window before and after a word, at least, where the word is not in the middle of its clip
EARLIEST, LATEST = 0.05, 0.2
MADE = 250  #: noises of four seconds that are made once, and cut like recordings
LOUDEST = -45, -3  #: dBFS of a sample's peak
SILENCES = -75, -6  #: dBFS of a noise


def tempi(hop: int) -> list[int]:
    """Hops from 7/8 to 9/8 of `hop`, itself first."""
    return [hop, *(round(hop * part / 16) for part in (14, 15, 17, 18))]


class Augmenter:
    """Makes features int8 [frames + 2 margin, bins] out of clips and recordings (see DataConfig).

    `noises` and `speech` are long recordings, `words` clips of words that may stand before and after another."""

    def __init__(
        self,
        config: DataConfig,
        noises: Sequence[Array | Recording],
        speech: Sequence[Array | Recording] | None = None,
        words: list[Array] | None = None,
    ):
        self.noises, self.speech, self.words, self.talk = noises, speech or [], words or [], config.talk
        window = config.frontend["window"]
        frames = config.span + 2 * config.margin
        #: hops of other lengths make a word slower or faster and leave its pitch alone; the first is the network's own
        self.frontends = [FrontEnd(**{**config.frontend, "hop": hop}) for hop in tempi(config.frontend["hop"])]
        #: samples of a canvas for each of them
        self.lengths = [(frames - 1) * frontend.hop + window for frontend in self.frontends]
        #: samples of the lead for each of them
        self.leads = [config.lead * frontend.hop for frontend in self.frontends]
        self.seen = (config.frames - 1) * config.frontend["hop"] + window
        self.strength, self.margin = config.strength, config.margin

    # --- what is around and under a sound -----------------------------------------------------------------------------

    @cached_property
    def made(self) -> list[Array]:
        """Noises that nobody recorded."""
        rng = np.random.default_rng(MADE)
        return [made_noise(4 * RATE, rng) for _ in range(MADE)]

    def noise(self, length: int, rng: np.random.Generator) -> Array:
        """A noise [length] of RMS 0.1: recorded, or now and then made; at its own speed or, as another, at another."""
        several = self.made if not self.noises or rng.random() < 0.3 * self.strength else self.noises
        if rng.random() < 0.5 * self.strength:
            speed = 2 ** rng.uniform(-0.8, 0.8)
            noise = filtered(random_cut(several, int(length * speed) + 400, rng), speed)[:length]
            noise = np.pad(noise, (0, length - len(noise)))
        else:
            noise = random_cut(several, length, rng)
        return np.asarray(noise * np.float32(0.1 / (np.sqrt(np.mean(noise * noise)) + 1e-5)))

    def finish(self, canvas: Array, loudness: float, rng: np.random.Generator, tempo: int = 0) -> Array:
        """Noise in half of the cases at 3 to 30 dB under `loudness`, gain, 16-bit rounding, features."""
        if self.noises and rng.random() < 0.5:
            under = rng.uniform(3, 30)
            canvas = canvas + self.noise(len(canvas), rng) * np.float32(10 * loudness * 10 ** (-under / 20))
        if rng.random() < 0.7:
            gain = 10 ** (rng.uniform(*LOUDEST) / 20) / (np.abs(canvas).max() + 1e-6)
            canvas = canvas * np.float32(min(gain, 1e3))
        elif rng.random() < 0.8:
            canvas = canvas * np.float32(10 ** (rng.uniform(-15, 6) / 20))
        return self.quantized(canvas, tempo)

    def quantized(self, canvas: Array, tempo: int = 0) -> Array:
        """Features of float32 samples as a 16-bit recording would give them."""
        return self.frontends[tempo].quantized(np.clip(np.rint(canvas * 32768), -32768, 32767).astype(np.int16))

    def overheard(self, canvas: Array, loudness: float, rng: np.random.Generator) -> Array:
        """In a part of the cases, somebody else's speech at 8 to 25 dB under `loudness`."""
        if not self.speech or not self.talk or rng.random() >= self.talk:
            return canvas
        speech = random_cut(self.speech, len(canvas), rng)
        return canvas + speech * np.float32(loudness / levels(speech)[0] * 10 ** (-rng.uniform(8, 25) / 20))

    def place(self, clip: Array, start: int, length: int, rng: np.random.Generator) -> Array:
        """Clip at `start` (may be negative) of a canvas whose rest is zeros or noise at the clip's floor."""
        canvas = np.zeros(length, np.float32)
        if self.noises and rng.random() < 0.65:
            floor = min(levels(clip)[1], 0.02)
            canvas = self.noise(length, rng) * np.float32(10 * floor * 10 ** (rng.uniform(-6, 6) / 20))
        first, last = max(0, start), min(length, start + len(clip))
        canvas[first:last] = clip[first - start : last - start]
        return canvas

    def other(self, length: int, loudness: float, rng: np.random.Generator) -> Array:
        """Something that was said at another time, -15 to 6 dB from `loudness`: a word, or speech of `length`."""
        if self.words and rng.random() < 0.5:
            word = self.words[rng.integers(len(self.words))]
            first, last = active_span(word)
            sound = word[max(0, first - 800) : last + 800]
        else:
            sound = random_cut(self.speech, length, rng)
        return faded(sound * np.float32(loudness / levels(sound)[0] * 10 ** (rng.uniform(-15, 6) / 20)))

    def surrounded(self, canvas: Array, first: int, last: int, loudness: float, rng: np.random.Generator) -> Array:
        """Add what was said before and after the sound from sample `first` to `last`, a pause away from it.

        Before it in half of the cases that have a lead, after it in a few."""
        if not self.speech or not self.leads[0]:
            return canvas
        if rng.random() < 0.5:
            end = first - int(rng.uniform(*PAUSE) * RATE)
            if end > 4000:
                sound = self.other(int(rng.integers(end // 4, end + 1)), loudness, rng)[-end:]
                canvas[end - len(sound) : end] += sound
        if rng.random() < 0.12:
            start = last + int(rng.uniform(*PAUSE) * RATE)
            if start < len(canvas):
                sound = self.other(len(canvas) - start, loudness, rng)[: len(canvas) - start]
                canvas[start : start + len(sound)] += sound
        return canvas

    def changed(self, clip: Array, rng: np.random.Generator) -> Array:
        """Random speed, microphone and room, each in a part of the cases that grows with `strength`."""
        speed = rng.uniform(0.88, 1.14) if rng.random() < 0.7 else 1.0
        response = microphone(rng) if rng.random() < 0.4 * self.strength else None
        tail = 0
        if rng.random() < 0.25 * self.strength:
            tail = RATE // 4
            impulse, colour = room(rng, tail), response

            def response(hertz: Array) -> Array:
                size = round(RATE / hertz[1])
                reflected = rfft(impulse, size)[: len(hertz)]
                return np.asarray(reflected if colour is None else reflected * colour(hertz))

        if speed == 1.0 and response is None:
            return clip
        return filtered(clip, speed, response, tail)

    # --- samples ------------------------------------------------------------------------------------------------------

    def word(self, clip: Array, rng: np.random.Generator) -> Array:
        """A whole word by itself: changed, another tempo, anywhere in the window that leaves it whole.

        In half of the cases that is the middle of its clip, moved by up to 30 ms (crops move it further); in some the
        clip is cut down to the word, so that what is around it has another floor."""
        tempo = int(rng.integers(len(self.frontends))) if rng.random() < 0.5 * self.strength else 0
        length, clip_length = self.lengths[tempo], len(clip)
        clip = self.changed(clip, rng)
        lead = self.leads[tempo]
        start = lead + (length - lead - min(len(clip), clip_length)) // 2 + int(rng.integers(-480, 481))
        loudness = levels(clip)[0]
        first, last = active_span(clip)
        if rng.random() < 0.5 * self.strength:
            hop = self.frontends[tempo].hop
            window, moved = lead + self.margin * hop, self.margin * hop
            earliest = window + moved + int(EARLIEST * RATE)
            latest = length - 2 * moved - int(LATEST * RATE) - (last - first)
            if earliest < latest:
                start = int(rng.integers(earliest, latest)) - first
        placed = self.place(clip, start, length, rng)
        if rng.random() < 0.4 * self.strength:
            ends = max(0, first - 960), last + 960
            placed = self.floor(length, rng)
            at = max(0, start + ends[0])
            word = faded(clip[ends[0] : ends[1]], 320)[: length - at]
            placed[at : at + len(word)] += word
        canvas = self.surrounded(placed, start + first, start + last, loudness, rng)
        return self.finish(self.overheard(canvas, loudness, rng), loudness, rng, tempo)

    def floor(self, length: int, rng: np.random.Generator) -> Array:
        """The hush of a room or of a microphone [length], -75 to -45 dBFS."""
        return self.noise(length, rng) * np.float32(10 * 10 ** (rng.uniform(-75, -45) / 20))

    def partial(self, clip: Array, rng: np.random.Generator) -> Array:
        """At most 35 % of a word (15 % at least), at the end or at the start of the window the network sees."""
        first, last = active_span(clip)
        visible = round((last - first) * rng.uniform(0.15, 0.35))
        lead = self.leads[0]
        edge = lead + (self.lengths[0] - lead - self.seen) // 2
        start = edge + self.seen - visible - first if rng.random() < 0.6 else edge + visible - last
        loudness = levels(clip)[0]
        placed = self.place(clip, start, self.lengths[0], rng)
        canvas = self.surrounded(placed, start + first, self.lengths[0], loudness, rng)
        return self.finish(self.overheard(canvas, loudness, rng), loudness, rng)

    def running(self, clip: Array, rng: np.random.Generator) -> Array:
        """A word within speech that goes on before it, after it, or, mostly, on both sides."""
        clip = self.changed(clip, rng)
        loudness, length, lead = levels(clip)[0], self.lengths[0], self.leads[0]
        first, last = active_span(clip)
        start = lead + (length - lead - len(clip)) // 2 + int(rng.integers(-480, 481))
        canvas = self.place(clip, start, length, rng)
        sides = rng.random()

        def speech(size: int, end: bool) -> Array:
            piece = loud_cut(self.speech, max(size, 3200), rng, end)
            return faded(piece * np.float32(loudness / levels(piece)[0] * 10 ** (rng.uniform(-6, 6) / 20)))

        until = start + first - int(rng.uniform(0, RUNNING) * RATE)
        if sides < 0.8 and until > 0:
            canvas[:until] += speech(until, True)[-until:]
        since = start + last + int(rng.uniform(0, RUNNING) * RATE)
        if (sides < 0.6 or sides >= 0.8) and since < length:
            canvas[since:] += speech(length - since, False)[: length - since]
        return self.finish(canvas, loudness, rng)

    def nonsense(self, clip: Array, rng: np.random.Generator) -> Array:
        """Said by itself, and no word: a piece of speech between two quiet places, a word backwards, the start or the
        end of a word, or the start of one and the end of another."""
        first, last = active_span(clip)
        kind, middle = rng.random(), (first + last) // 2
        if self.speech and kind < 0.5:
            piece = random_cut(self.speech, RATE, rng)
            at, size = int(rng.integers(0, RATE // 8)), int(rng.uniform(0.25, 0.75) * RATE)
            made = piece[quietest(piece, at, at + 2400) : quietest(piece, at + size, at + size + 2000)]
        elif kind < 0.65:
            made = clip[first:last][::-1]
        elif kind < 0.8 or not self.words:
            part = max((last - first) * rng.uniform(0.3, 0.5), 0.15 * RATE)
            made = clip[first : first + int(part)] if rng.random() < 0.5 else clip[last - int(part) : last]
        else:
            word = self.words[rng.integers(len(self.words))]
            start, end = active_span(word)
            rest = word[(start + end) // 2 : end] * np.float32(levels(clip)[0] / levels(word)[0])
            made = np.concatenate([faded(clip[first:middle]), faded(rest)])
        padded = np.zeros(max(RATE, len(made)), np.float32)
        at = (len(padded) - len(made)) // 2
        padded[at : at + len(made)] = faded(made, 320)
        return self.word(padded, rng)

    def cut(self, recordings: Sequence[Array | Recording], rng: np.random.Generator) -> Array:
        """A second of continuous speech, no pause that fills the window."""
        length, lead = self.lengths[0] * 5 // 4, self.leads[0]
        for _ in range(5):
            piece = random_cut(recordings, length, rng)
            if np.std(piece[lead : lead + self.seen]) > 0.2 * levels(piece)[0]:
                break
        piece = self.changed(piece, rng)[: self.lengths[0]]
        return self.finish(piece, levels(piece)[0], rng)

    def silence(self, rng: np.random.Generator) -> Array:
        """Noise without speech at any level, steady or in bursts, recorded or made; and almost digital silence."""
        kind, length, lead = rng.random(), self.lengths[0], self.leads[0]
        if kind < 0.06:
            return self.quantized(rng.standard_normal(length).astype(np.float32) * 10 ** rng.uniform(-7, -4))
        canvas = self.noise(length, rng)
        if kind > 0.8:
            canvas = canvas + self.noise(length, rng) * np.float32(10 ** (rng.uniform(-20, 0) / 20))
        if rng.random() < 0.6 * self.strength:
            canvas = strange(canvas, self.noise(length, rng), rng)
        if rng.random() < 0.4 * self.strength:
            canvas = filtered(canvas, 1.0, microphone(rng))[:length]
        if rng.random() < 0.35:  # of a noise that sets in or ends within the window, the rest is silent or much quieter
            size = int(rng.uniform(0.05, 1.1) * self.seen)
            at = lead + int(rng.uniform(-0.3, 1) * self.seen)
            rest = 0.0 if rng.random() < 0.5 else 10 ** (rng.uniform(-40, -10) / 20)
            burst = np.full(length, rest, np.float32)
            ends = slice(max(0, at), max(0, min(length, at + size)))
            sound = faded(np.ones(ends.stop - ends.start, np.float32), int(rng.integers(8, 1600)))
            burst[ends] = np.maximum(rest, sound)
            canvas = canvas * burst
        canvas = canvas * np.float32(10 ** (rng.uniform(*SILENCES) / 20) / max(levels(canvas)[0], 1e-4))
        if lead and rng.random() < 0.25:  # a second that is mirrored at its ends, as a clip is heard
            at = lead + self.margin * self.frontends[0].hop + (self.seen - RATE) // 2
            canvas[: at + RATE] = np.pad(canvas[at : at + RATE], (at, 0), "symmetric")
            canvas[at + RATE :] = canvas[at : at + RATE][::-1][: length - at - RATE]
        if self.speech and lead and rng.random() < 0.2:  # what was said before the window is over
            end = lead - int(rng.uniform(0, 0.5) * RATE)
            sound = self.other(int(rng.integers(end // 4, end + 1)), 10 ** (rng.uniform(-45, -6) / 20), rng)[-end:]
            canvas[end - len(sound) : end] += sound
        return self.quantized(canvas)
