"""Words and noises put together: streams of single words with pauses, and noise at a wanted level."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from .material import RATE, Clip, Noise, Samples

#: seconds without a word between two words, drawn evenly from these bounds
PAUSE = (0.6, 2.5)
#: RMS of the words of a stream, dB below full scale, drawn evenly from these bounds
LEVEL = (-38.0, -20.0)
#: RMS of what a microphone hears in a quiet room, dB below full scale
FLOOR = -65.0
#: words of a stream: two minutes or so
WORDS = 60
#: clips of one word that are used, so that no word outweighs the others
CLIPS_PER_WORD = 110
#: a clip whose loudest part is no more than so many dB above its quietest holds no word that one could hear
LEAST_CONTRAST = 15.0
#: seconds kept around a word's sound, and of these faded
MARGIN, FADE = 0.06, 0.02


@dataclass(frozen=True)
class Said:
    """A word in a stream, in seconds, and who said it."""

    label: str
    start: float
    end: float
    speaker: str


@dataclass(frozen=True)
class Scene:
    """A stream to be heard: its name, its samples (int16), what was said in it, all of it told."""

    name: str
    samples: NDArray[np.int16]
    said: tuple[Said, ...]


@dataclass(frozen=True)
class Word:
    """A clip cut down to its word: samples, and where in them (samples) the word's sound begins and ends."""

    clip: Clip
    samples: Samples
    start: int
    end: int

    @property
    def level(self) -> float:
        """RMS of the word's sound, dB below full scale."""
        return decibels(self.samples[self.start : self.end])


def decibels(samples: Samples) -> float:
    """RMS, dB below full scale; -120 of silence."""
    return float(10 * np.log10(np.square(samples, dtype=np.float64).mean() + 1e-12))


def gain(decibels_more: float) -> np.float32:
    """The factor that makes a sound so many dB louder."""
    return np.float32(10 ** (decibels_more / 20))


def as_int16(samples: Samples) -> NDArray[np.int16]:
    """As a recorder would write them: rounded, and cut off where they are too loud."""
    rounded: NDArray[np.int16] = np.clip(np.rint(samples * 32768), -32768, 32767).astype(np.int16)
    return rounded


def trimmed(clip: Clip) -> Word | None:
    """The word of a clip, found by energy; None where nothing stands out by LEAST_CONTRAST.

    The word is what is within 30 dB of the loudest 30 ms, and above three tenths of the way from the clip's floor to
    them."""
    size = RATE // 100
    power = np.square(clip.samples[: len(clip.samples) // size * size].reshape(-1, size), dtype=np.float64).mean(1)
    if len(power) < 10:
        return None
    level = 10 * np.log10(np.convolve(power, np.ones(3) / 3, "same") + 1e-12)
    peak, floor = level.max(), np.quantile(level, 0.1)
    if peak - floor < LEAST_CONTRAST:
        return None
    loud = np.flatnonzero(level >= max(peak - 30, floor + 0.3 * (peak - floor)))
    margin, fade = int(MARGIN * RATE), int(FADE * RATE)
    start, end = int(loud[0]) * size, int(loud[-1] + 1) * size
    first, last = max(0, start - margin), min(len(clip.samples), end + margin)
    samples = clip.samples[first:last].copy()
    slope = np.sin(np.linspace(0, np.pi / 2, fade, dtype=np.float32)) ** 2
    samples[:fade] *= slope
    samples[-fade:] *= slope[::-1]
    return Word(clip, samples, start - first, end - first)


def chosen(clips: Sequence[Clip], per_word: int = CLIPS_PER_WORD, seed: int = 1) -> tuple[list[Word], int]:
    """At most `per_word` words of each kind in a random order, and how many clips held none that stands out."""
    random, taken, silent = np.random.default_rng(seed), dict.fromkeys({clip.word for clip in clips}, 0), 0
    words = []
    for index in random.permutation(len(clips)):
        clip = clips[index]
        if taken[clip.word] == per_word:
            continue
        if (word := trimmed(clip)) is None:
            silent += 1
            continue
        taken[clip.word] += 1
        words.append(word)
    return words, silent


def pink(length: int, random: np.random.Generator) -> Samples:
    """Noise with as much power in each octave, RMS 1."""
    size = next_fast_len(length, real=True)
    spectrum = rfft(random.standard_normal(size).astype(np.float32))
    spectrum[1:] /= np.sqrt(np.arange(1, len(spectrum), dtype=np.float32))
    spectrum[: max(1, size * 20 // RATE)] = 0
    sound = irfft(spectrum, size)[:length]
    return np.asarray(sound / (sound.std() + 1e-12), np.float32)


def bed(recordings: Sequence[Noise], length: int, random: np.random.Generator) -> Samples:
    """`length` samples of noise, RMS 1: recordings in a random order, equally loud, without their silent tenths."""
    pieces: list[Samples] = []
    slope = np.linspace(0, 1, RATE // 100, dtype=np.float32)
    while sum(map(len, pieces)) < length:
        for index in random.permutation(len(recordings)):
            sound, size = recordings[index].samples, RATE // 10
            tenths = sound[: len(sound) // size * size].reshape(-1, size)
            power = np.square(tenths, dtype=np.float64).mean(1)
            piece = tenths[power > max(1e-8, power.max(initial=0) * 1e-5)].reshape(-1)
            if len(piece) > 2 * len(slope):
                piece = piece / np.float32(np.sqrt(np.square(piece, dtype=np.float64).mean()))
                piece[: len(slope)] *= slope
                piece[-len(slope) :] *= slope[::-1]
                pieces.append(piece)
        if not pieces:
            raise ValueError("no noise recording holds any sound")
    sound = np.concatenate(pieces)
    start = int(random.integers(len(sound) - length + 1))
    return sound[start : start + length]


def streams(words: Sequence[Word], noises: Sequence[Noise], snr: float | None, seed: int = 1) -> Iterator[Scene]:
    """The words, in their order, in streams of WORDS words, with pauses and over noise.

    All words of a stream are equally loud, and its noise is of one class; `snr` dB lie between them, and in any case
    there is the floor of a quiet room; None is that floor alone. Words, pauses and levels are the same for the same
    seed, whatever the noise."""
    kinds = sorted({noise.kind for noise in noises})
    for number, first in enumerate(range(0, len(words), WORDS)):
        random = np.random.default_rng((seed, number))
        part, level, at = words[first : first + WORDS], random.uniform(*LEVEL), 1.0
        starts = []
        for word in part:
            starts.append(round(at * RATE))
            at += (word.end - word.start) / RATE + random.uniform(*PAUSE)
        length = round((at + 1) * RATE)
        sound = pink(length, random) * gain(FLOOR)
        kind = "quiet"
        if snr is not None:
            kind = kinds[number % len(kinds)]
            recordings = [noise for noise in noises if noise.kind == kind]
            sound += bed(recordings, length, random) * gain(level - snr)
        said = []
        for word, start in zip(part, starts, strict=True):
            begin = start - word.start
            sound[begin : begin + len(word.samples)] += word.samples * gain(level - word.level)
            end = start + word.end - word.start
            said.append(Said(word.clip.word, start / RATE, end / RATE, word.clip.speaker))
        yield Scene(f"{number}: {kind}", as_int16(sound), tuple(said))


def generated(seed: int = 1) -> list[Noise]:
    """Noises made here, ten seconds each: white, pink, brown, hum of the mains, and noise an octave wide."""
    random, length = np.random.default_rng(seed), 10 * RATE
    time = np.arange(length) / RATE
    white = random.standard_normal(length)
    spectrum, hertz = rfft(random.standard_normal(length)), rfftfreq(length, 1 / RATE)
    made = {"white": white, "pink": pink(length, random).astype(np.float64),
            "brown": irfft(spectrum / np.maximum(hertz, 20), length)}  # fmt: skip
    for mains in (50, 60):
        parts = [np.sin(2 * np.pi * (mains * n * time + random.uniform())) / n for n in range(1, 12)]
        made[f"hum {mains} Hz"] = np.sum(parts, axis=0) + 0.02 * white
    for low in (125, 250, 500, 1000, 2000, 4000):
        made[f"{low} to {2 * low} Hz"] = irfft(spectrum * ((hertz >= low) & (hertz < 2 * low)), length)
    return [Noise(name, name, np.asarray(sound / sound.std() / 8, np.float32)) for name, sound in made.items()]


def windows(noise: Noise, most: int = 12) -> list[Samples]:
    """Up to `most` pieces of a second each, evenly spread over a recording, RMS 1; none that is 30 dB below its
    loudest second, or silent."""
    seconds = [noise.samples[start : start + RATE] for start in range(0, len(noise.samples) - RATE + 1, RATE)]
    levels = [decibels(second) for second in seconds]
    limit = max(-75.0, max(levels, default=0.0) - 30)
    loud = [second * gain(-level) for second, level in zip(seconds, levels, strict=True) if level >= limit]
    return loud[:: max(1, -(-len(loud) // most))]
