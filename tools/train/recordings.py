"""Long recordings of which training wants short pieces: kept on disk, whatever their length, and never in memory."""

from __future__ import annotations

import os
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwsrt import audio
from kwsrt.errors import AudioWarning

Array = NDArray[Any]


class Copy:
    """The temporary file that recordings lie in one behind the other; it is gone when the last of them is."""

    def __init__(self, folder: Path):
        with tempfile.TemporaryFile(dir=folder) as file:
            self.descriptor = os.dup(file.fileno())

    def __del__(self) -> None:
        os.close(self.descriptor)

    def add(self, samples: Array) -> None:
        """Write float32 samples at the end."""
        data = memoryview(samples.tobytes())
        while data:
            data = data[os.write(self.descriptor, data) :]


class Recording:
    """A piece of a file of float32 samples. `recording[a:b]` reads them: float32 [b - a]."""

    def __init__(self, file: Copy, first: int, length: int):
        self._file, self._first, self._length = file, first, length

    def __len__(self) -> int:
        return self._length

    def __getitem__(self, wanted: slice) -> Array:
        start, end, step = wanted.indices(self._length)
        data, at = bytearray(), 4 * (self._first + start)
        # not by the file's own position, which processes share
        while len(data) < 4 * (end - start):
            got = os.pread(self._file.descriptor, 4 * (end - start) - len(data), at + len(data))
            if not got:
                raise EOFError("the temporary copy of the recordings was cut off")
            data += got
        return np.frombuffer(data, np.float32)[::step]

    def part(self, start: int, end: int) -> Recording:
        """Its samples from `start` to `end`, still unread."""
        return Recording(self._file, self._first + start, end - start)


def recordings_of(paths: Iterable[Path], rate: int, folder: Path) -> list[Recording]:
    """The recordings at `rate` Hz, channels averaged, in a temporary file below `folder`. AudioError names what cannot
    be used."""
    folder.mkdir(parents=True, exist_ok=True)
    file, found, end = Copy(folder), [], 0
    for path in paths:
        first = end
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", AudioWarning)  # `folders.faults` has shown it
            for piece in audio.pieces(path, rate):
                file.add(audio.as_float(piece))
                end += len(piece)
        found.append(Recording(file, first, end - first))
    return found
