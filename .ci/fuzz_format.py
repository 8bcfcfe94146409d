"""fuzz_format.py [SECONDS] [SEED]: damaged .kws files, their checksum made right, through parser, model and network.

Every file must be refused with ModelFileError or run. Anything else ends the program: another exception with the seed,
and the file in fuzz_failure.kws; a crash with the process. Run it under .ci/sanitize.sh to see what C does meanwhile.
"""
import hashlib
import sys
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kwsrt import format as file_format
from kwsrt.errors import ModelFileError
from kwsrt.model import Model
from tests.models import make_model

SMALL = {"frontend": {"window": 64, "hop": 64, "n_fft": 64, "bins": 8, "fmax": 8000.0}, "frames": 8, "bins": 8,
         "width": 8, "hidden": 8, "blocks": 2, "levels": {"full": [0, 1], "half": [1]}}


def mutated(data, rng):
    """A few bytes set, flipped, doubled, removed or replaced; the manifest more often than the rest."""
    data = bytearray(data)
    manifest_end = 64 + int.from_bytes(data[12:16], "little")
    for _ in range(int(rng.integers(1, 6))):
        at = int(rng.integers(64, manifest_end if rng.random() < 0.5 else len(data)))
        match int(rng.integers(5)):
            case 0:
                data[at] = int(rng.integers(256))
            case 1:
                data[at] ^= 1 << int(rng.integers(8))
            case 2:
                data[at:at] = data[at:at + int(rng.integers(1, 9))]
            case 3:
                del data[at:at + int(rng.integers(1, 9))]
            case _:
                digits = [i for i in range(64, min(manifest_end, len(data))) if chr(data[i]).isdigit()]
                if digits:
                    data[digits[int(rng.integers(len(digits)))]] = int(rng.choice(list(b"0123456789-e.")))
        if len(data) < 65:
            break
    data[16:24] = len(data).to_bytes(8, "little")
    data[32:64] = hashlib.sha256(data[:32] + bytes(32) + data[64:]).digest()
    return bytes(data)


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
