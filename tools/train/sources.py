"""Write the sources of recordings that were joined end to end as WAV files of their own.

    python -m tools.train.sources LIST.csv DEST

LIST.csv has a line a source: file (relative to a folder above the list), source, and either start_sample and samples or
index (of a source as long as all the others of its file). Training wants each noise as a file with a name of its own.
"""

from __future__ import annotations

import argparse
import csv
import sys
from pathlib import Path

import numpy as np
import soundfile as sf

RATE = 16000
SLOT = 80000  #: samples of a source that a list names by its index


def main(argv: list[str] | None = None) -> int:
    """Write the files; names begin with the name of the file that they come from."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("listed", type=Path, metavar="LIST.csv")
    parser.add_argument("dest", type=Path, metavar="DEST")
    arguments = parser.parse_args(argv)
    listed, dest = arguments.listed, arguments.dest
    dest.mkdir(parents=True, exist_ok=True)
    samples, name = np.zeros(0, np.int16), ""
    with listed.open(newline="") as lines:
        for row in csv.DictReader(lines):
            if row["file"] != name:
                name = row["file"]
                path = next(folder / name for folder in listed.resolve().parents if (folder / name).exists())
                samples = sf.read(path, dtype="int16")[0]
            start = int(row.get("start_sample") or int(row["index"]) * SLOT)
            piece = samples[start : start + int(row.get("samples") or SLOT)]
            sf.write(dest / f"{Path(row['source']).stem}.wav", piece, RATE, subtype="PCM_16")
    return 0


if __name__ == "__main__":
    sys.exit(main())
