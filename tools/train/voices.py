"""Make a spoken-words dataset from synthetic voices, in the layout of Speech Commands.

    python -m tools.train.voices DEST [--words yes no ...] [--unknown bird dog ...] [--seed 1] [--per-word 140]
                                 [--kokoro MODEL.onnx VOICES.npz] [--judge MODEL.kws]

The voices are espeak-ng's, or with --kokoro the more natural ones of Kokoro-82M (kokoro.py). It

writes DEST/<word>/<voice>_nohash_<n>.wav (16 kHz, mono, int16, 16,000 samples each), DEST/validation_list.txt and an
empty DEST/testing_list.txt. A voice is an accent (en-gb, en-us, ...) with a variant (m1, f3, ...). Whole variants are
held out for validation, so neither a voice nor its timbre under another accent is on both sides. Needs the program
espeak-ng. The same seed, arguments and version of espeak-ng give the same files, byte for byte.
"""

from __future__ import annotations

import argparse
import hashlib
import io
import shutil
import subprocess
import sys
import wave
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from scipy.signal import fftconvolve, resample_poly

import kwsrt
from kwsrt import files
from kwsrt.cli.common import progress

from .kokoro import Mix, mixes
from .room import impulse_response

SAMPLE_RATE = 16_000
CLIP_SAMPLES = 16_000
LONGEST_WORD = 15_200  # samples a trimmed word may have: a longer one is said again, faster
FASTEST = 4  # times as fast as usual; what is too long even so is cut off
HELD_OUT = 0.15
SURE = 0.3  # score of its word that a clip needs where a model judges

KEYWORDS = ["yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go"]

# No word here sounds like a keyword (so no "know", "write" or "rite"), but many come close on purpose.
OTHER_WORDS = """
    zero one two three four five six seven eight nine ten eleven twelve hundred bird dog cat bed house happy
    marvin sheila wow tree forward backward visual follow learn goat gold goal ghost coat boat got glow grow toe
    going note nose none snow low show not now north nor new upper cup pup app sup uncle under us cut but dawn
    town gown brown dune done don't drown doubt lift laughed loft let leaf theft length less light rate ripe
    rice night bright ride wrong root an in of own John con honest often cough office awful half soft awe
    stopwatch step stock stoop top shop spot start staff yesterday yet yell guess chess mess dress yellow east
    the and that what where when who how this there here hello please thanks water window table chair music
    kitchen morning evening weather today tomorrow open close turn play call read find make take give help wait
    think question answer computer telephone city river mountain garden summer winter family friend doctor
    school paper letter number minute second money market coffee sugar butter orange apple red blue green black
    white
""".split()

ACCENTS = [
    "en-gb",
    "en-us",
    "en-gb-scotland",
    "en-gb-x-rp",
    "en-gb-x-gbclan",
    "en-gb-x-gbcwmd",
    "en-029",
    "en-us-nyc",
]

# Espeak-ng's whispering, croaking and robot variants are left out (nobody speaks like that to a device), and those
# that sound exactly like another one.
VARIANTS = """
    plain m1 m2 m3 m4 m5 m6 m7 m8 f1 f2 f3 f4 f5 klatt klatt2 klatt3 klatt4 Alex Alicia Andrea Andy Annie Denis
    Diogo Gene Henrique Hugo Lee Marco Mario Michael Mike Nguyen anika antonio aunty belinda benjamin boris
    david ed edward grandma grandpa gustave john linda marcelo max michel miguel norbert pablo paul pedro quincy
    rob robert sandro steph travis victor zac
""".split()


@dataclass(frozen=True)
class Voice:
    """An espeak-ng accent and variant: one speaker of the dataset."""

    accent: str
    variant: str

    @property
    def name(self) -> str:
        """What espeak-ng's option -v takes."""
        return self.accent if self.variant == "plain" else f"{self.accent}+{self.variant}"

    @property
    def speaker(self) -> str:
        """Speaker id of eight hexadecimal digits; depends on the voice's name alone."""
        return hashlib.sha1(self.name.encode()).hexdigest()[:8]

    def saying(self, word: str, rng: np.random.Generator) -> Callable[[float], NDArray[np.float32]]:
        """What says a word, so many times faster than usual: samples at 16 kHz, without silence at the ends."""
        speed, pitch = int(rng.integers(110, 201)), int(rng.integers(20, 81))
        return lambda faster: say(word, self.name, min(450, round(speed * faster)), pitch)


@dataclass(frozen=True)
class Clip:
    """One file to make: its word, its voice, its number among that voice's clips of the word, and its random seed."""

    word: str
    voice: Voice | Mix
    number: int
    seed: tuple[int, int]

    @property
    def path(self) -> str:
        """Path inside the dataset, with forward slashes, as the lists have it."""
        return f"{self.word}/{self.voice.speaker}_nohash_{self.number}.wav"


def say(text: str, voice: str, speed: int = 160, pitch: int = 50, amplitude: int = 40) -> NDArray[np.float32]:
    """Have espeak-ng say a text; returns float32 samples at 16 kHz with leading and trailing silence cut off.

    speed is in words per minute (80 to 450), pitch 0 to 99, amplitude 0 to 200. Raises FileNotFoundError where
    espeak-ng is missing and RuntimeError where it does not know the voice or makes no sound.
    """
    command = ["espeak-ng", "-v", voice, "-s", str(speed), "-p", str(pitch), "-a", str(amplitude), "--stdout", text]
    done = subprocess.run(command, capture_output=True, check=False)
    if done.returncode != 0 or not done.stdout:
        raise RuntimeError(f"espeak-ng failed for voice {voice}: {done.stderr.decode(errors='replace').strip()}")
    with wave.open(io.BytesIO(done.stdout)) as sound:
        rate = sound.getframerate()
        # Written to a pipe, the header's length is a placeholder: take what is there.
        raw = sound.readframes(len(done.stdout))
    samples = np.frombuffer(raw, "<i2").astype(np.float32) / np.float32(32768)
    divisor = np.gcd(rate, SAMPLE_RATE)
    samples = np.asarray(resample_poly(samples, SAMPLE_RATE // divisor, rate // divisor), np.float32)
    loud = np.flatnonzero(np.abs(samples) > 0.005 * np.abs(samples).max(initial=1e-3))
    if not loud.size:
        raise RuntimeError(f"espeak-ng made no sound for {text!r} with voice {voice}")
    margin = SAMPLE_RATE // 100
    samples = samples[max(loud[0] - margin, 0) : loud[-1] + margin].copy()
    fade = np.linspace(0, 1, margin // 2, dtype=np.float32)
    samples[: fade.size] *= fade
    samples[-fade.size :] *= fade[::-1]
    return samples


def room(samples: NDArray[np.float32], rng: np.random.Generator) -> NDArray[np.float32]:
    """Put samples into a small room: the direct sound and a decaying noise tail 8 to 20 dB below it, same length."""
    decay = rng.uniform(0.1, 0.35)  # seconds for 60 dB
    noise = rng.standard_normal(int(decay * SAMPLE_RATE))
    # the first wall is some way off
    tail = impulse_response(noise, SAMPLE_RATE, decay, SAMPLE_RATE // 500, rng.uniform(8, 20))
    return np.asarray(fftconvolve(samples, tail)[: samples.size], np.float32)


def make_clip(clip: Clip) -> NDArray[np.int16]:
    """Say a clip's word and place it near the middle of 16,000 int16 samples, at a level of -20 to -3 dBFS."""
    rng = np.random.default_rng(clip.seed)
    speak, faster = clip.voice.saying(clip.word, rng), 1.0
    samples = speak(faster)
    while samples.size > LONGEST_WORD:
        faster *= 1.1 * samples.size / LONGEST_WORD
        samples = speak(faster) if faster < FASTEST else samples[:LONGEST_WORD]
    spare = CLIP_SAMPLES - samples.size
    start = int(np.clip(spare // 2 + rng.integers(-2400, 2401), 0, spare))
    placed = np.zeros(CLIP_SAMPLES, np.float32)
    placed[start : start + samples.size] = samples
    if rng.random() < 1 / 3:
        placed = room(placed, rng)
    placed *= 10 ** (rng.uniform(-20, -3) / 20) / np.abs(placed).max()
    return np.rint(placed * 32767).astype(np.int16)


def write_wav(path: Path, samples: NDArray[np.int16], sample_rate: int = SAMPLE_RATE) -> None:
    """Write int16 samples, [n] mono or [n, channels], as a WAV file."""
    with wave.open(str(path), "wb") as sound:
        sound.setnchannels(1 if samples.ndim == 1 else samples.shape[1])
        sound.setsampwidth(2)
        sound.setframerate(sample_rate)
        sound.writeframes(samples.astype("<i2").tobytes())


def espeak(rng: np.random.Generator) -> tuple[list[Voice], set[str]]:
    """All of espeak-ng's voices, and the speaker ids held out for validation: all voices of 15 % of the variants."""
    voices = [Voice(accent, variant) for variant in VARIANTS for accent in ACCENTS]
    out = {str(v) for v in rng.choice(VARIANTS, round(HELD_OUT * len(VARIANTS)), replace=False)}
    return voices, {voice.speaker for voice in voices if voice.variant in out}


def plan(
    words: Sequence[str], unknown: Sequence[str], per_word: int, seed: int, kokoro: Sequence[Path] | None = None
) -> tuple[list[Clip], set[str]]:
    """Choose voices for every word, of espeak-ng, or of the files `kokoro` (model, voices).

    Each of `words` gets per_word clips, each of `unknown` 4 to 6. Returns the clips and the speaker ids held out for
    validation.
    """
    rng = np.random.default_rng(seed)
    voices: Sequence[Voice | Mix]
    voices, held = mixes(kokoro[0], kokoro[1], max(per_word, 40), rng) if kokoro else espeak(rng)
    clips: list[Clip] = []
    for word in dict.fromkeys([*words, *unknown]):
        count = per_word if word in words else int(rng.integers(4, 7))
        order = [rng.permutation(len(voices)) for _ in range(-(-count // len(voices)))]
        for place, index in enumerate(np.concatenate(order)[:count] if order else ()):
            clips.append(Clip(word, voices[index], place // len(voices), (seed, len(clips))))
    return clips, held


def make(clips: list[Clip], dest: Path, judge: kwsrt.Model | None, threads: int) -> list[Clip]:
    """Write the clips below `dest`, without those in which `judge` does not hear its word; the clips written."""
    kept = []
    dest.mkdir(parents=True, exist_ok=True)
    with ThreadPoolExecutor(threads) as pool:
        sounds = progress(pool.map(make_clip, clips), "clip", len(clips))
        for clip, samples in zip(clips, sounds, strict=True):
            if judge is None or clip.word not in judge.labels or sure(judge, samples, clip.word):
                (dest / clip.word).mkdir(parents=True, exist_ok=True)
                write_wav(dest / clip.path, samples)
                kept.append(clip)
    return kept


def sure(judge: kwsrt.Model, samples: NDArray[np.int16], word: str) -> bool:
    """Whether a model hears the word in a clip."""
    return judge.predict(samples, sample_rate=SAMPLE_RATE)[word] >= SURE


def main(argv: Sequence[str] | None = None) -> int:
    """Command line; returns the exit code (2: what makes the voices is missing, or DEST holds files already)."""
    parser = argparse.ArgumentParser(prog="python -m tools.train.voices", description=(__doc__ or "").split("\n")[0])
    parser.add_argument("dest", type=Path, metavar="DEST", help="folder to make; must not hold files yet")
    parser.add_argument("--words", nargs="+", default=KEYWORDS, help="keywords (default: the ten of Speech Commands)")
    parser.add_argument("--unknown", nargs="*", default=OTHER_WORDS, help="other words, 4 to 6 clips each")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--per-word", type=int, default=140, metavar="N", help="clips of each keyword (default 140)")
    parser.add_argument("--kokoro", nargs=2, type=Path, metavar=("MODEL.onnx", "VOICES.npz"),
                        help="say them with Kokoro's voices: the two files of the library kokoro-onnx")  # fmt: skip
    parser.add_argument("--judge", metavar="MODEL.kws",
                        help=f"leave out clips of this model's words to which it gives less than {SURE}")  # fmt: skip
    args = parser.parse_args(argv)
    if args.kokoro is None and shutil.which("espeak-ng") is None:
        print("error: espeak-ng is not installed (Debian: apt-get install espeak-ng)", file=sys.stderr)
        return 2
    if args.dest.exists() and (not args.dest.is_dir() or any(args.dest.iterdir())):
        print(f"error: {args.dest} is there already and not empty", file=sys.stderr)
        return 2
    try:
        judge = kwsrt.load(args.judge) if args.judge else None
        clips, held = plan(args.words, args.unknown, args.per_word, args.seed, args.kokoro)
        kept = make(clips, args.dest, judge, 1 if args.kokoro else 2)
    except (ImportError, OSError, RuntimeError, ValueError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 2
    if len(kept) < len(clips):
        print(f"{len(clips) - len(kept)} of {len(clips)} clips left out: not what they were to say")
    listed = sorted(clip.path for clip in kept if clip.voice.speaker in held)
    files.write(args.dest / "validation_list.txt", "".join(f"{path}\n" for path in listed))
    files.write(args.dest / "testing_list.txt", "")
    return 0


if __name__ == "__main__":
    sys.exit(main())
