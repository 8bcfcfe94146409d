"""Kokoro-82M's English voices as speakers, by the library kokoro-onnx (`pip install kokoro-onnx`); a second a clip.

The library's releases have the two files that it needs, the model (.onnx) and the voices (an .npz of style rows
[510, 1, 256] each, named af_..., am_..., bf_..., bm_... for American and British women and men). A mix of two voices'
rows is another speaker.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.signal import resample_poly

ENGLISH = ("af_", "am_", "bf_", "bm_")
HELD_OUT = 0.15  #: of the voices


@cache
def engine(model: Path, voices: Path) -> Any:
    """The library's voice engine. ImportError says what to install."""
    try:
        from kokoro_onnx import Kokoro
    except ImportError:
        raise ImportError("Kokoro's voices need the library kokoro-onnx: pip install kokoro-onnx") from None
    return Kokoro(str(model), str(voices))


@dataclass(frozen=True)
class Mix:
    """A speaker: the voice `first` with `share` of the voice `second`; the files of the engine."""

    model: Path
    voices: Path
    first: str
    second: str
    share: float

    @property
    def speaker(self) -> str:
        """Speaker id of eight hexadecimal digits; depends on the mix alone."""
        return hashlib.sha1(f"{self.first} {self.second} {self.share:.1f}".encode()).hexdigest()[:8]

    def saying(self, word: str, rng: np.random.Generator) -> Callable[[float], NDArray[np.float32]]:
        """What says a word, so many times faster than usual: samples at 16 kHz, without silence at the ends."""
        speed = rng.uniform(0.75, 1.3)
        kokoro = engine(self.model, self.voices)
        first, second = kokoro.get_voice_style(self.first), kokoro.get_voice_style(self.second)
        style = ((1 - self.share) * first + self.share * second).astype(np.float32)
        accent = "en-us" if self.first.startswith("a") else "en-gb"

        def speak(faster: float) -> NDArray[np.float32]:
            samples, rate = kokoro.create(word, voice=style, speed=min(2.0, speed * faster), lang=accent)
            divisor = np.gcd(rate, 16000)
            return np.asarray(resample_poly(samples, 16000 // divisor, rate // divisor), np.float32)

        return speak


def mixes(model: Path, voices: Path, count: int, rng: np.random.Generator) -> tuple[list[Mix], set[str]]:
    """`count` speakers, and the ids of those held out for validation: mixes of voices that no other speaker has."""
    with np.load(voices) as styles:
        names = [name for name in sorted(styles.files) if name.startswith(ENGLISH)]
    if len(names) < 4:
        raise ValueError(f"{voices}: fewer than four English voices")
    apart = max(1, round(HELD_OUT * len(names)))
    order = [names[i] for i in rng.permutation(len(names))]
    made: list[Mix] = []
    held: set[str] = set()
    for number in range(count):
        unseen = number < HELD_OUT * count
        first, second = rng.choice(order[:apart] if unseen else order[apart:], 2)
        made.append(Mix(model, voices, str(first), str(second), float(rng.integers(0, 6)) / 10))
        held |= {made[-1].speaker} if unseen else set()
    return made, held
