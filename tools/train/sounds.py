"""What is done to a waveform when samples are made: speed, microphones, rooms, cuts; and noises that nobody recorded.

Waveforms are float32 [n] at RATE, full scale 1.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.fft import irfft, next_fast_len, rfft, rfftfreq

from .recordings import Recording
from .room import impulse_response

Array = NDArray[Any]
RATE = 16000


def filtered(samples: Array, speed: float, response: Callable[[Array], Array] | None = None, tail: int = 0) -> Array:
    """Resampled by the FFT so that it plays `speed` times as fast (pitch moves too), and filtered on the way.

    `response` gives the complex gain at frequencies in Hz [bins], `tail` are zeros appended for it to ring into.
    float32 [n] -> [(n + tail)/speed]."""
    size = next_fast_len(len(samples) + tail, real=True)
    wanted = max(2, next_fast_len(round(size / speed), real=True))  # a prime number would take ten times as long
    spectrum = rfft(samples, size)[: wanted // 2 + 1]
    if response is not None:
        spectrum = spectrum * response(rfftfreq(size, 1 / RATE)[: len(spectrum)])
    length = round((len(samples) + tail) * wanted / size)
    return irfft(spectrum, wanted)[:length].astype(np.float32) * np.float32(wanted / size)


def microphone(rng: np.random.Generator) -> Callable[[Array], Array]:
    """The magnitude response of a cheap microphone: up to 8 dB up or down at random, smooth over octaves, in most
    cases without the lowest and in some without the highest frequencies."""
    octaves = np.linspace(np.log2(60), np.log2(8000), 8)
    gains = np.cumsum(rng.normal(0, 2.5, 8))
    gains -= gains.mean()
    low = rng.uniform(40, 250) if rng.random() < 0.7 else 0.0
    high = rng.uniform(3200, 7500) if rng.random() < 0.25 else 1e9

    grid = np.linspace(1, RATE / 2, 200)
    shelf = 10 ** (np.clip(np.interp(np.log2(grid), octaves, gains), -8, 8) / 20)
    shape = shelf / np.sqrt((1 + (low / grid) ** 4) * (1 + (grid / high) ** 8))
    return lambda hertz: np.interp(hertz, grid, shape)


def room(rng: np.random.Generator, length: int) -> Array:
    """Impulse response [length] of a room: the direct sound and, from 2 to 12 ms on, noise that falls by 60 dB in 0.1
    to 0.6 s and is 2 to 18 dB weaker than the direct sound in all."""
    decay = rng.uniform(0.1, 0.6)
    noise = rng.standard_normal(length)
    gap = int(rng.uniform(0.002, 0.012) * RATE)
    return impulse_response(noise, RATE, decay, gap, rng.uniform(2, 18)).astype(np.float32)


def levels(samples: Array) -> tuple[float, float]:
    """RMS of the loudest and of the quietest tenth of the 20 ms frames: a clip's speech and floor levels."""
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    if not len(frames):
        return 1e-4, 1e-4
    rms = np.sort(np.sqrt((frames * frames).mean(axis=1)))
    part = max(1, len(rms) // 10)
    return float(rms[-2 * part :].mean()) + 1e-5, float(rms[:part].mean()) + 1e-6


def active_span(samples: Array) -> tuple[int, int]:
    """First and last sample of the word by energy (within 20 dB of the loudest 20 ms frame)."""
    frames = samples[: len(samples) // 320 * 320].reshape(-1, 320)
    if not len(frames):
        return 0, len(samples)
    energy = (frames * frames).mean(axis=1)
    loud = np.flatnonzero(energy > energy.max() * 0.01)
    return (int(loud[0]) * 320, (int(loud[-1]) + 1) * 320) if len(loud) else (0, len(samples))


def tempi(hop: int) -> list[int]:
    """Hops from 7/8 to 9/8 of `hop`, itself first."""
    return [hop, *(round(hop * part / 16) for part in (14, 15, 17, 18))]


def random_cut(recordings: Sequence[Array | Recording], length: int, rng: np.random.Generator) -> Array:
    """A random piece, float32 [length], of a random recording (repeated where it is too short)."""
    recording = recordings[int(rng.integers(len(recordings)))]
    if len(recording) < length:
        recording = np.tile(recording[:], -(-length // max(1, len(recording))))
    start = int(rng.integers(len(recording) - length + 1))
    return recording[start : start + length]


def made_noise(length: int, rng: np.random.Generator) -> Array:
    """A noise without speech that nobody recorded, float32 [length] of RMS 0.1.

    Coloured or in a band, a hum, clicks, beeps, knocks, or noise that swells and fades."""
    kind = rng.integers(6)
    if kind == 0:
        made = coloured(length, rng)
    elif kind == 1:
        time = np.arange(length) / RATE
        pitch = rng.choice([50.0, 60.0, 100.0, 120.0, rng.uniform(40, 400)])
        numbers = np.arange(1, 1 + int(rng.integers(1, 12)))
        gains = rng.uniform(0.1, 1, len(numbers)) / numbers ** rng.uniform(0, 1.5)
        phases = rng.uniform(0, 2 * np.pi, len(numbers))
        made = (gains[:, None] * np.sin(2 * np.pi * pitch * numbers[:, None] * time + phases[:, None])).sum(0)
        made = made + coloured(length, rng) * rng.uniform(0, 5)
    elif kind == 2:
        made = np.zeros(length)
        made[rng.integers(0, length, 1 + rng.poisson(length / RATE * rng.uniform(0.5, 20)))] = 1
        size = int(rng.uniform(0.001, 0.05) * RATE)
        ring = rng.standard_normal(size) * np.exp(-np.arange(size) / size * rng.uniform(2, 6))
        made = irfft(rfft(made, 2 * length) * rfft(ring, 2 * length), 2 * length)[:length]
        made = made + coloured(length, rng) * np.abs(made).max() * rng.uniform(0, 0.1)
    elif kind == 3:
        made = knocks(length, rng) + 0.1 * coloured(length, rng) * rng.uniform(0, 0.3)
    elif kind == 4:
        points = int(length / RATE * rng.uniform(1, 30)) + 2
        swell = np.interp(np.arange(length), np.linspace(0, length, points), rng.uniform(-30, 0, points))
        made = coloured(length, rng) * 10 ** (swell / 20)
    else:
        time = np.arange(length) / RATE
        start, end = np.exp(rng.uniform(np.log(200), np.log(6000), 2))
        tone = np.sin(2 * np.pi * (start + (end - start) * rng.integers(2) * time / time[-1] / 2) * time)
        period, share = rng.uniform(0.1, 1.5), rng.uniform(0.1, 0.9)
        made = tone * ((time + rng.uniform(0, period)) % period < share * period) + 0.01 * coloured(length, rng)
    return np.asarray(made * (0.1 / (np.sqrt(np.mean(made * made)) + 1e-9)), np.float32)


def strange(noise: Array, other: Array, rng: np.random.Generator) -> Array:
    """A noise that is no longer what it was, [length]: backwards, in pieces of another order, with another spectrum, or
    as loud from moment to moment as `other` is."""
    length = len(noise)
    if rng.random() < 0.5:
        noise = noise[::-1]
    if rng.random() < 0.3:
        size = int(rng.uniform(0.03, 0.3) * RATE)
        pieces = [faded(noise[at : at + size], 40) for at in range(0, length, size)]
        noise = np.concatenate([pieces[i] for i in rng.permutation(len(pieces))])
    if rng.random() < 0.6:
        octaves, gains = np.linspace(np.log2(50), 13, 7), rng.uniform(-30, 0, 7)
        noise = filtered(
            noise, 1.0, lambda hertz: 10 ** (np.interp(np.log2(np.maximum(hertz, 1)), octaves, gains) / 20)
        )[:length]
    if rng.random() < 0.4:
        frames = np.sqrt((other[: length // 160 * 160].reshape(-1, 160) ** 2).mean(1))
        loudness = np.interp(np.arange(length), np.arange(len(frames)) * 160 + 80, frames / (frames.max() + 1e-6))
        noise = noise * loudness ** rng.uniform(0.7, 2)
    return np.asarray(noise, np.float32)


def knocks(length: int, rng: np.random.Generator) -> Array:
    """Things that are struck, put down or stepped on: bursts of noise and of a few tones that ring, [length]."""
    made = np.zeros(length)
    for _ in range(1 + rng.poisson(length / RATE * rng.uniform(0.3, 6))):
        size = int(rng.uniform(0.01, 0.35) * RATE)
        time = np.arange(size) / RATE
        tones = np.exp(rng.uniform(np.log(80), np.log(6000), int(rng.integers(1, 7))))
        decay = rng.uniform(3, 9) / size
        ring = sum(rng.uniform(0.1, 1) * np.sin(2 * np.pi * tone * time + rng.uniform(0, 6)) for tone in tones)
        sound = np.exp(-decay * np.arange(size)) * ring / len(tones)
        hiss = coloured(size, rng) * np.exp(-rng.uniform(3, 12) / size * np.arange(size))
        sound = sound + rng.uniform(0, 30) * hiss
        at, gain = int(rng.integers(0, length)), 10 ** (rng.uniform(-12, 0) / 20)
        made[at : at + size] += gain * sound[: length - at]
    return made


def coloured(length: int, rng: np.random.Generator) -> Array:
    """Noise whose spectrum falls by 0 to 6 dB an octave, in half of the cases within a band; RMS 0.1, [length]."""
    size = next_fast_len(length, real=True)
    hertz = rfftfreq(size, 1 / RATE)
    gain = np.maximum(hertz, 20) ** -rng.uniform(0, 1)
    if rng.random() < 0.5:
        low = np.exp(rng.uniform(np.log(50), np.log(4000)))
        gain = gain * ((hertz > low) & (hertz < low * rng.uniform(1.2, 4)) | (hertz < 1))
    spectrum = gain * (rng.standard_normal(len(hertz)) + 1j * rng.standard_normal(len(hertz)))
    made = irfft(spectrum, size)[:length]
    return np.asarray(made * (0.1 / (np.sqrt(np.mean(made * made)) + 1e-9)), np.float32)


def faded(piece: Array, samples: int = 80) -> Array:
    """A copy whose first and last `samples` come and go linearly: a cut without a click."""
    piece = piece.copy()
    samples = min(samples, len(piece) // 2)
    ramp = np.linspace(0, 1, samples, dtype=np.float32)
    piece[:samples] *= ramp
    piece[len(piece) - samples :] *= ramp[::-1]
    return piece


def quietest(samples: Array, first: int, last: int) -> int:
    """The sample between `first` and `last` around which 20 ms are quietest: where one sound may be parted from the
    next."""
    energy = np.add.reduceat(samples[first:last] ** 2, np.arange(0, max(1, last - first), 320))
    return first + 320 * int(energy[: max(1, len(energy) - 1)].argmin()) + 160


def loud_cut(recordings: Sequence[Array | Recording], length: int, rng: np.random.Generator, end: bool) -> Array:
    """A random piece [length] that is speech at its end (or start): of five, the one that is loudest there."""
    part = slice(-2400, None) if end else slice(0, 2400)
    pieces = [random_cut(recordings, length, rng) for _ in range(5)]
    return max(pieces, key=lambda piece: float(np.sum(piece[part] ** 2)) / (levels(piece)[0] ** 2))
