"""Make the repository's own recordings, with espeak-ng and numpy. From the repository's root:

    python -m tools.make_recordings tests/recordings

writes, the same each time (espeak-ng 1.51):

- commands.wav: eight keywords, 1.1 s apart, by three voices in turn, over quiet pink noise
- other_words.wav: sentences and words without any of the ten keywords, by the same voices
- noise.wav: white noise, pink noise, mains hum and clicks
- stereo_44100.wav: one keyword, in stereo at 44.1 kHz
- truth.json: for each file, the keywords in it with their start and end in seconds
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

from kwsrt import files
from tools.train.voices import SAMPLE_RATE, say, write_wav

VOICES = ("en-us", "en-gb", "en-us+f3")
COMMANDS = ("yes", "no", "stop", "go", "left", "right", "up", "down")
SENTENCES = (
    "The weather was beautiful yesterday.",
    "A happy bird is singing under the apple tree.",
    "seven",
    "window",
    "Marvin",
)
FLOOR = -55.0  # dBFS, of the noise under the voices


def pink(count: int, level: float, rng: np.random.Generator) -> NDArray[np.float32]:
    """Pink noise: `count` samples with a root mean square of `level` dBFS."""
    spectrum = np.fft.rfft(rng.standard_normal(count))
    noise = np.fft.irfft(spectrum / np.sqrt(np.maximum(np.arange(spectrum.size), 1)), count)
    return np.asarray(noise * 10 ** (level / 20) / np.sqrt(np.mean(noise**2)), np.float32)


def speech(text: str, turn: int) -> NDArray[np.float32]:
    """A text said by the voice whose turn it is, at a peak of -6 to -10 dBFS; float32 samples at 16 kHz."""
    samples = say(text, VOICES[turn % len(VOICES)], speed=140)
    return np.asarray(samples * 10 ** (-(6 + 2 * (turn % 3)) / 20) / np.abs(samples).max(), np.float32)


def to_int16(samples: NDArray[np.floating]) -> NDArray[np.int16]:
    """Samples in -1 to 1 as int16."""
    return np.asarray(np.rint(np.clip(samples, -1, 1) * 32767), np.int16)


def commands(rng: np.random.Generator) -> tuple[NDArray[np.float32], list[dict[str, object]]]:
    """The eight commands over a noise floor, and where each is."""
    sound = pink(round(9.2 * SAMPLE_RATE), FLOOR, rng)
    truth: list[dict[str, object]] = []
    for turn, word in enumerate(COMMANDS):
        samples = speech(word, turn)
        start = round((0.4 + 1.1 * turn) * SAMPLE_RATE)
        sound[start : start + samples.size] += samples
        end = start + samples.size
        truth.append({"word": word, "start": round(start / SAMPLE_RATE, 3), "end": round(end / SAMPLE_RATE, 3)})
    return sound, truth


def other_words(rng: np.random.Generator) -> NDArray[np.float32]:
    """The sentences and words, 0.25 s apart, over a noise floor."""
    gap = np.zeros(round(0.25 * SAMPLE_RATE), np.float32)
    parts = [gap]
    for turn, text in enumerate(SENTENCES):
        parts += [speech(text, turn), gap]
    sound = np.concatenate(parts)
    return sound + pink(sound.size, FLOOR, rng)


def noises(rng: np.random.Generator) -> NDArray[np.float32]:
    """One second each of white noise, pink noise, 50 Hz hum with overtones, and clicks, at about -25 dBFS."""
    time = np.arange(SAMPLE_RATE) / SAMPLE_RATE
    level = 10 ** (-25 / 20)
    overtones = np.array([[1], [2], [3], [5], [7]])
    hum = np.sum(np.sin(2 * np.pi * 50 * overtones * time) / overtones, axis=0)
    clicks = np.zeros(SAMPLE_RATE)
    for start in rng.integers(0, SAMPLE_RATE - 200, 12):
        clicks[start : start + 200] += rng.standard_normal(200) * np.exp(-np.arange(200) / rng.uniform(5, 40))
    parts = [level * rng.standard_normal(SAMPLE_RATE), pink(SAMPLE_RATE, -25, rng), level * hum, 4 * level * clicks]
    return np.concatenate(parts).astype(np.float32)


def stereo(rng: np.random.Generator) -> tuple[NDArray[np.float32], list[dict[str, object]]]:
    """The word "stop" at 44.1 kHz, [n, 2]: the right channel is quieter and 0.2 ms late. And where it is."""
    word = speech("stop", 0)
    sound = pink(round(1.5 * SAMPLE_RATE), FLOOR, rng)
    start = round(0.5 * SAMPLE_RATE)
    sound[start : start + word.size] += word
    left = resample_poly(sound, 441, 160).astype(np.float32)
    right = 0.7 * np.concatenate([np.zeros(9, np.float32), left[:-9]])
    return np.stack([left, right], axis=1), [
        {"word": "stop", "start": 0.5, "end": round((start + word.size) / SAMPLE_RATE, 3)}
    ]


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code (2: espeak-ng is missing)."""
    parser = argparse.ArgumentParser(prog="python -m tools.make_recordings", description="Make the test recordings.")
    parser.add_argument("dest", type=Path, metavar="DEST", help="folder to write into: tests/recordings")
    args = parser.parse_args(argv)
    if shutil.which("espeak-ng") is None:
        print("error: espeak-ng is not installed (Debian: apt-get install espeak-ng)", file=sys.stderr)
        return 2
    args.dest.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(1)
    spoken, where = commands(rng)
    write_wav(args.dest / "commands.wav", to_int16(spoken))
    write_wav(args.dest / "other_words.wav", to_int16(other_words(rng)))
    write_wav(args.dest / "noise.wav", to_int16(noises(rng)))
    both, where_stop = stereo(rng)
    write_wav(args.dest / "stereo_44100.wav", to_int16(both), 44_100)
    truth = {"commands.wav": where, "other_words.wav": [], "noise.wav": [], "stereo_44100.wav": where_stop}
    files.write(args.dest / "truth.json", json.dumps(truth, indent=1) + "\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
