"""Add the class `_silence_` to a folder of Speech Commands clips: one-second cuts of its background noise.

    python -m tools.silence_clips CLIPS [--count 200] [--seed 1]

writes CLIPS/_silence_/<noise>_<n>.wav from the last fifth of every recording in CLIPS/_background_noise_, which
tools/train never trains on, each at a random gain from 0 to 1; the same clips for the same seed. The dataset itself
defines silence so, and `kwsrt eval` then sees all twelve classes.
"""

import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.io import wavfile

from kwsrt import audio
from kwsrt.clips import NOISE, clips_in
from kwsrt.errors import AudioError, KwsrtError

CLIP = 16000


def write_clips(recordings: list[Path], out: Path, count: int, seed: int) -> int:
    """Write clips of these recordings into the folder `out`; how many.

    Raises
    ------
    AudioError : no recording of more than five seconds, or one that cannot be used.
    """
    rng = np.random.default_rng(seed)
    ends = []
    for path in recordings:
        samples = audio.as_int16(audio.prepare(*audio.read(path), CLIP))
        if len(samples) // 5 > CLIP:
            ends.append((path.stem, samples[-(len(samples) // 5) :]))
    if not ends:
        raise AudioError(f"none of the {len(recordings)} noise recordings is longer than five seconds")
    out.mkdir(parents=True, exist_ok=True)
    for n in range(count):
        name, samples = ends[n % len(ends)]
        start = int(rng.integers(len(samples) - CLIP))
        cut = samples[start : start + CLIP] * rng.uniform()
        wavfile.write(out / f"{name}_{n:04d}.wav", CLIP, np.rint(cut).astype(np.int16))
    return count


def main() -> int:
    """The command; 0, or 2 after a one-line message."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--count", type=int, default=200)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    try:
        noises = clips_in(arguments.clips / NOISE)
        written = write_clips(noises, arguments.clips / "_silence_", arguments.count, arguments.seed)
    except (KwsrtError, OSError) as error:
        print("silence_clips: error:", *str(error).split(), file=sys.stderr)
        return 2
    print(f"{written} clips written to {arguments.clips / '_silence_'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
