"""What kwsrt takes besides time: bytes of model, package and stream; and the seconds to import and load it.

    DEST/run/bin/python -m tools.bench.footprint [WHEEL]        (any environment with kwsrt installed will do)
"""
import statistics
import subprocess
import sys
import time
from pathlib import Path

import kwsrt

ROUNDS = 9


def seconds(code: str) -> float:
    """Of a new Python that runs this code, from outside the checkout."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
    return time.perf_counter() - start


def float32_bytes(model: kwsrt.Model) -> int:
    """Of the network's weights, one float each."""
    n = model.manifest["network"]
    steps = n["steps"] if n.get("causal") else n["frames"] // 4
    block = n["taps"] * n["width"] + 2 * n["width"] * n["hidden"]
    stem = 25 * n["conv1"] + 25 * n["conv1"] * n["conv2"] + n["bins"] // 4 * n["conv2"] * n["width"]
    return 4 * int(stem + n["blocks"] * block + steps * n["width"] * len(model.labels))


def main() -> int:
    """0."""
    model = kwsrt.load()
    weights = float32_bytes(model)
    print(f"{model.name}: {model.size:,} bytes, {weights / model.size:.1f} times smaller than {weights:,} of float32")
    if len(sys.argv) > 1:
        print(f"wheel: {Path(sys.argv[1]).stat().st_size:,} bytes")
    folder = Path(kwsrt.__file__).parent
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    print(f"installed: {sum(path.stat().st_size for path in files):,} bytes in {folder}")
    print(f"a stream: {model.stream().memory:,} bytes")
    turns = [(seconds("import numpy"), seconds("import numpy, kwsrt; kwsrt.load()")) for _ in range(ROUNDS)]
    more = [ours - numpy for numpy, ours in turns]
    print(f"import and load: {statistics.median(more):.3f} s more than importing numpy "
          f"({min(more):.3f} to {max(more):.3f}, {ROUNDS} turns)")
    return 0


if __name__ == "__main__":
    sys.exit(main())
