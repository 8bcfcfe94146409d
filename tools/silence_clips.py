"""Add the class `_silence_` to a folder of Speech Commands clips: one-second cuts of its background noise.

    python -m tools.silence_clips CLIPS [--count 200] [--seed 1]

writes CLIPS/_silence_/<noise>_<n>.wav from the last fifth of every CLIPS/_background_noise_/*.wav (which tools/train
never trains on), each at a random gain from 0 to 1; the same clips for the same seed. The dataset itself defines
silence so, and `kwsrt eval` then sees all twelve classes.
"""
import argparse
import sys
from pathlib import Path

import numpy as np
from scipy.io import wavfile

CLIP = 16000


def write_clips(folder: Path, count: int, seed: int) -> int:
    """Write the clips; how many.

    Raises
    ------
    FileNotFoundError : no noise of a second or more in the folder.
    """
    rng = np.random.default_rng(seed)
    noises = [(path.stem, wavfile.read(path)[1]) for path in sorted((folder / "_background_noise_").glob("*.wav"))]
    ends = [(name, samples[-(len(samples) // 5):]) for name, samples in noises if len(samples) // 5 > CLIP]
    if not ends:
        raise FileNotFoundError(f"{folder}/_background_noise_ holds no noise of five seconds or more")
    out = folder / "_silence_"
    out.mkdir(exist_ok=True)
    for n in range(count):
        name, samples = ends[n % len(ends)]
        start = int(rng.integers(len(samples) - CLIP))
        cut = samples[start:start + CLIP] * rng.uniform()
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
        written = write_clips(arguments.clips, arguments.count, arguments.seed)
    except (OSError, ValueError) as error:
        print(f"silence_clips: error: {error}", file=sys.stderr)
        return 2
    print(f"{written} clips written to {arguments.clips / '_silence_'}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
