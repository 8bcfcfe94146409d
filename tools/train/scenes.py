"""Clips and recordings to training samples: what may stand around a word, under it and in its place.

A sample is a window, some frames before it (the lead, a stream's past) and a margin on both sides, by which training
moves it. Commands are said by themselves: a word has its label where there is a pause before and after it, whatever was
said before that pause; the same word in running speech is `_unknown_`, and so is any other sound of a voice. Noise
without speech is `_silence_` at every level.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from scipy.fft import rfft

from kwsrt.frontend import FrontEnd

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
)

if TYPE_CHECKING:
    from .data import DataConfig

PAUSE = 0.35, 1.2  #: seconds of the pause before a word, and of that after it where something follows
RUNNING = 0.12  #: seconds that a word in running speech is away from what stands around it, at most
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
        noises: list[Array],
        speech: list[Array] | None = None,
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
        self.strength = config.strength

    # --- what is around and under a sound -----------------------------------------------------------------------------

    def noise(self, length: int, rng: np.random.Generator) -> Array:
        """A noise [length] of RMS 0.1: recorded, or now and then made."""
        if not self.noises or rng.random() < 0.25 * self.strength:
            return made_noise(length, rng)
        noise = random_cut(self.noises, length, rng)
        return np.asarray(noise * np.float32(0.1 / (np.sqrt(np.mean(noise * noise)) + 1e-5)))

    def finish(self, canvas: Array, loudness: float, rng: np.random.Generator, tempo: int = 0) -> Array:
        """Noise in half of the cases at 0 to 30 dB under `loudness`, gain, 16-bit rounding, features."""
        if self.noises and rng.random() < 0.5:
            under = rng.uniform(0, 12) if rng.random() < 0.4 else rng.uniform(8, 30)
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
        """A whole word by itself: changed, another tempo, start moved by up to 30 ms (crops move it further)."""
        tempo = int(rng.integers(len(self.frontends))) if rng.random() < 0.5 * self.strength else 0
        length, clip_length = self.lengths[tempo], len(clip)
        clip = self.changed(clip, rng)
        lead = self.leads[tempo]
        start = lead + (length - lead - min(len(clip), clip_length)) // 2 + int(rng.integers(-480, 481))
        loudness = levels(clip)[0]
        first, last = active_span(clip)
        canvas = self.surrounded(self.place(clip, start, length, rng), start + first, start + last, loudness, rng)
        return self.finish(self.overheard(canvas, loudness, rng), loudness, rng, tempo)

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
            at, size = int(rng.integers(0, RATE // 8)), int(rng.uniform(0.15, 0.7) * RATE)
            made = piece[quietest(piece, at, at + 2400) : quietest(piece, at + size, at + size + 2000)]
        elif kind < 0.65:
            made = clip[first:last][::-1]
        elif kind < 0.8 or not self.words:
            part = (last - first) * rng.uniform(0.25, 0.45)
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

    def cut(self, recordings: list[Array], rng: np.random.Generator) -> Array:
        """A second of continuous speech."""
        piece = self.changed(random_cut(recordings, self.lengths[0] * 5 // 4, rng), rng)[: self.lengths[0]]
        return self.finish(piece, levels(piece)[0], rng)

    def silence(self, rng: np.random.Generator) -> Array:
        """Noise without speech at any level, steady or in bursts, recorded or made; and almost digital silence."""
        kind, length, lead = rng.random(), self.lengths[0], self.leads[0]
        if kind < 0.06:
            return self.quantized(rng.standard_normal(length).astype(np.float32) * 10 ** rng.uniform(-7, -4))
        canvas = self.noise(length, rng)
        if kind > 0.8:
            canvas = canvas + self.noise(length, rng) * np.float32(10 ** (rng.uniform(-20, 0) / 20))
        if rng.random() < 0.3 * self.strength:
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
        if self.speech and lead and rng.random() < 0.2:  # what was said before the window is over
            end = lead - int(rng.uniform(0, 0.5) * RATE)
            sound = self.other(int(rng.integers(end // 4, end + 1)), 10 ** (rng.uniform(-45, -6) / 20), rng)[-end:]
            canvas[end - len(sound) : end] += sound
        return self.quantized(canvas)
