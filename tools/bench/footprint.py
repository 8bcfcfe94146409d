"""What kwsrt takes besides time: bytes of model, package and stream; and the seconds to import and load it.

DEST/run/bin/python -m tools.bench.footprint [WHEEL]        (any environment with kwsrt installed will do)
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

import kwsrt
from tools.convert import weight_counts

ROUNDS = 9


def seconds(code: str) -> float:
    """Of a new Python that runs this code, from outside the checkout."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-c", code], check=True, cwd="/")
    return time.perf_counter() - start


def main() -> int:
    """0."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.footprint",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("wheel", type=Path, nargs="?", help="whose size to print, too")
    wheel = parser.parse_args().wheel
    model = kwsrt.load()
    weights = 4 * sum(weight_counts(model.manifest["network"], len(model.labels)).values())
    print(f"{model.name}: {model.size:,} bytes, {weights / model.size:.1f} times smaller than {weights:,} of float32")
    if wheel:
        print(f"wheel: {wheel.stat().st_size:,} bytes")
    folder = Path(kwsrt.__file__).parent
    files = [path for path in folder.rglob("*") if path.is_file() and path.suffix != ".pyc"]
    print(f"installed: {sum(path.stat().st_size for path in files):,} bytes in {folder}")
    print(f"a stream: {model.stream().memory:,} bytes")
    turns = [(seconds("import numpy"), seconds("import numpy, kwsrt; kwsrt.load()")) for _ in range(ROUNDS)]
    more = [ours - numpy for numpy, ours in turns]
    print(
        f"import and load: {statistics.median(more):.3f} s more than importing numpy "
        f"({min(more):.3f} to {max(more):.3f}, {ROUNDS} turns)"
    )
    return 0


if __name__ == "__main__":
    sys.exit(main())
