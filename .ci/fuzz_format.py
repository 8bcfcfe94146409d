"""fuzz_format.py [SECONDS] [SEED]: damaged .kws files, their checksum made right, through parser, model and network.

Every file must be refused with ModelFileError or run. Anything else ends the program: another exception with the seed,
and the file in fuzz_failure.kws; a crash with the process. Run it under .ci/sanitize.sh to see what C does meanwhile.
"""

import copy
import json
import sys
import time
import zlib
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kwsrt import format as file_format
from kwsrt.errors import ModelFileError
from kwsrt.model import Model
from tests.models import make_model, sealed, taken_apart

SMALL = {
    "frontend": {"window": 64, "hop": 64, "n_fft": 64, "bins": 8, "fmax": 8000.0},
    "frames": 8,
    "bins": 8,
    "width": 8,
    "hidden": 8,
    "blocks": 2,
    "levels": {"full": [0, 1], "half": [1]},
}


# What a manifest should not hold, at any place of it.
HOSTILE = (
    None,
    True,
    -1,
    0,
    1.5,
    65536,
    10**9,
    1 << 63,
    1 << 64,
    10**400,
    float("nan"),
    float("inf"),
    1e-320,
    "",
    "auto",
    "..",
    "/x",
    "\x1b[2J",
    "\ud800",
    "x" * 101,
    [],
    {},
    [0],
    [[]],
    {"": 0},
    {"yes": 2},
    {"full": [0, 0]},
)


def mutated(data, rng):
    """The file with its manifest, its numbers (under their compression or on it) or its weights changed."""
    text, numbers, weights = taken_apart(data)
    match int(rng.integers(6)):
        case 5:
            text = zlib.compress(replaced(json.loads(zlib.decompress(text)), rng))
        case 0 | 1:
            text = zlib.compress(edited(zlib.decompress(text), rng))
        case 2:
            numbers = zlib.compress(edited(zlib.decompress(numbers), rng))
        case 3:
            numbers = edited(numbers, rng)
        case _:
            weights = edited(weights, rng)
    return sealed(text, numbers, bytes(-(64 + len(text) + len(numbers)) % 16) + weights)


def replaced(manifest, rng):
    """The manifest's text with a few of its values hostile, nested, or gone."""
    for _ in range(int(rng.integers(1, 4))):
        at = manifest
        while True:
            places = list(at) if isinstance(at, dict) else list(range(len(at)))
            if not places:
                break
            place = places[int(rng.integers(len(places)))]
            if isinstance(at[place], (dict, list)) and rng.integers(3):
                at = at[place]
                continue
            match int(rng.integers(8)):
                case 0:
                    del at[place]
                case 1:
                    for _ in range(int(rng.integers(1, 60))):
                        at[place] = [at[place]]
                case _:
                    at[place] = copy.deepcopy(HOSTILE[int(rng.integers(len(HOSTILE)))])
            break
    return json.dumps(manifest).encode()


def edited(part, rng):
    """A few bytes set, flipped, doubled, removed, or digits replaced."""
    part = bytearray(part)
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(len(part))) if part else 0
        match int(rng.integers(5)) if part else 2:
            case 0:
                part[at] = int(rng.integers(256))
            case 1:
                part[at] ^= 1 << int(rng.integers(8))
            case 2:
                part[at:at] = part[at : at + int(rng.integers(1, 9))]
            case 3:
                del part[at : at + int(rng.integers(1, 9))]
            case _:
                digits = [i for i, byte in enumerate(part) if chr(byte).isdigit()]
                if digits:
                    part[digits[int(rng.integers(len(digits)))]] = int(rng.choice(list(b"0123456789-e.")))
    return bytes(part)


def run(data):
    """Whether a file was taken for a model; its network runs then."""
    try:
        model = Model(file_format.parse(data))
    except ModelFileError:
        return False
    q = np.full((1, model.network.frames, model.network.bins), 50, np.int8)
    for level in model.thin_levels:
        model.network.run(q, level)
    model.verify()
    return True


def main():
    """Fuzz for SECONDS and say how many files were refused and how many ran."""
    seconds = float(sys.argv[1]) if len(sys.argv) > 1 else 10
    seed = int(sys.argv[2]) if len(sys.argv) > 2 else 0
    files, end, counts = [make_model(seed, planes, **SMALL) for planes in (1, 2)], time.monotonic() + seconds, [0, 0]
    while time.monotonic() < end:
        seed += 1
        rng = np.random.default_rng(seed)
        data = mutated(files[seed % 2], rng)
        try:
            counts[run(data)] += 1
        except Exception:
            Path("fuzz_failure.kws").write_bytes(data)
            print(f"seed {seed}: the file is in fuzz_failure.kws", file=sys.stderr)
            raise
    print(f"{counts[0]} files refused, {counts[1]} ran")


if __name__ == "__main__":
    main()
