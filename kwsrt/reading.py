"""Recordings of any length, read once, front to back and in blocks: files, pipes and open binary files.

WAV files are read here, others by soundfile where it is installed. What can be read only once (a pipe, standard input)
is heard while it comes if it is WAV; of other formats, which cannot be read so, a temporary copy is made first.
"""

import os
import tempfile
from collections.abc import Callable, Iterator
from typing import Any, Self

import numpy as np
from numpy.typing import NDArray

from kwsrt.errors import AudioError
from kwsrt.source import Source, foreign, recognised, skip_id3
from kwsrt.wav import PCM, Layout, decode, read_header

Samples = NDArray[np.int16] | NDArray[np.float32]
BLOCK = 1 << 18  # bytes that are read at once, or as many as a pipe has
# Of a pipe with another format than WAV.
LONGEST_COPY = 1 << 32
RAW_RATE = 16000


class Recording:
    """A recording that is open: iterate over its blocks, once. Close it, or use it in a `with` statement.

    The blocks are (n,) int16 or float32, or (n, channels), as the file has them.

    Attributes
    ----------
    name : for messages. rate : Hz. channels : how many. frames : how many its header promises, None if it does not say.
    """

    def __init__(
        self,
        name: str,
        rate: int,
        channels: int,
        frames: int | None,
        blocks: Iterator[Samples],
        close: Callable[[], object],
    ) -> None:
        self.name, self.rate, self.channels, self.frames = name, rate, channels, frames
        self._blocks, self.close = blocks, close

    def __del__(self) -> None:
        self.close()

    def __iter__(self) -> Iterator[Samples]:
        return self._blocks

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()


def is_recording(given: object) -> bool:
    """Whether `open_recording` takes it: a path, or what has `read`."""
    return isinstance(given, (str, os.PathLike)) or callable(getattr(given, "read", None))


def open_recording(given: Any, name: str | None = None, *, raw: bool = False) -> Recording:
    """Open a recording, whatever it is.

    Parameters
    ----------
    given : a path, also of a pipe, or a binary file that is open for reading and stays open.
    name : for messages; by default the path. raw : whether what is no known format is taken for samples: 16 kHz,
        16 bits, little-endian, one channel.

    Raises
    ------
    AudioError : what is missing, damaged or no audio, or a format that needs soundfile.
    """
    source = Source(given, name)
    try:
        skip_id3(source)
        source.keep()
        kind = recognised(source)
        if kind == "WAV":
            layout = read_header(source)
            if layout.plain:
                source.forget()
                return Recording(
                    source.name, layout.rate, layout.channels, layout.frames, _wav_blocks(source, layout), source.close
                )
            kind = f"WAV with {layout.name}"
        elif kind is None and not raw and not source.peek(1):
            raise AudioError(f"{source.name}: the file is empty")
        elif kind is None and raw:
            source.forget()
            return Recording(source.name, RAW_RATE, 1, None, _raw_blocks(source), source.close)
        return _by_soundfile(source, kind)
    except BaseException:
        source.close()
        raise


def _wav_blocks(source: Source, layout: Layout) -> Iterator[Samples]:
    frame, left, kept = layout.channels * layout.width, layout.size, b""
    size = max(BLOCK // frame, 1) * frame
    while left is None or left > 0:
        data = source.some(size if left is None else min(size, left))
        if not data:
            break
        left = None if left is None else left - len(data)
        data = kept + data if kept else data
        whole = len(data) // frame * frame  # what a pipe brings may end in the middle of a frame
        kept = data[whole:]
        if whole:
            yield decode(data[:whole], layout)


def _raw_blocks(source: Source) -> Iterator[Samples]:
    layout = Layout(1, RAW_RATE, PCM, 2, "<", None)
    empty = True
    for block in _wav_blocks(source, layout):
        empty = False
        yield block
    if empty:
        raise AudioError(f"{source.name} is empty: expected an audio file, or raw 16 kHz 16-bit mono samples")


def _by_soundfile(source: Source, kind: str | None) -> Recording:
    """Open what soundfile reads, in place, or a copy of what can be read only once."""
    if foreign(kind):
        raise AudioError(f"{source.name}: {kind} is not read: convert it to WAV or FLAC")
    try:
        import soundfile
    except (ImportError, OSError):
        raise AudioError(
            f"{source.name}: not a WAV file; for FLAC, Ogg, Opus and MP3 run: pip install soundfile"
            if kind is None
            else f"{source.name}: {kind} is read with soundfile, run: pip install soundfile"
        ) from None

    class Forward(soundfile.SoundFile):  # type: ignore[misc]
        """A SoundFile that does not seek, which it would do after every block."""

        def seekable(self) -> bool:
            return False

    failures = (soundfile.SoundFileError, RuntimeError)
    descriptor, copy = source.descriptor(), None
    if descriptor is None:
        if kind is None:
            raise AudioError(f"{source.name}: no audio format that is known")
        copy = _copied(source, kind)
        descriptor = copy.fileno()
    try:
        file = Forward(descriptor, closefd=False)
    except failures as error:
        if copy:
            copy.close()
        what = "not an audio file that can be read" if kind is None else f"{kind} that cannot be read"
        raise AudioError(f"{source.name}: {what}{_reason(error)}") from None

    def blocks() -> Iterator[Samples]:
        size, done = max(1, BLOCK // (4 * file.channels)), 0
        while True:
            try:
                block: NDArray[np.float32] = file.read(size, dtype="float32")
            except failures as error:
                raise AudioError(
                    f"{source.name}: damaged after {done / file.samplerate:.2f} s{_reason(error)}"
                ) from None
            if not len(block):
                break
            done += len(block)
            yield block

    def close() -> None:
        file.close()
        source.close()
        if copy:
            copy.close()

    frames = file.frames if file.frames < 1 << 62 else None
    return Recording(source.name, file.samplerate, file.channels, frames, blocks(), close)


def _reason(error: Exception) -> str:
    """libsndfile's own words, in brackets."""
    said = getattr(error, "error_string", "").strip().rstrip(".")
    return f" ({said})" if said else ""


def _copied(source: Source, kind: str) -> Any:
    """The rest of a pipe in a temporary file, from its start."""
    source.restart()
    copy, size = tempfile.TemporaryFile(), 0  # noqa: SIM115 (closed with the recording)
    try:
        while data := source.some(BLOCK):
            size += len(data)
            if size > LONGEST_COPY:
                raise AudioError(
                    f"{source.name}: more than {LONGEST_COPY >> 30} GiB of {kind} from a pipe: pass the file itself"
                )
            copy.write(data)
        copy.seek(0)
    except BaseException as error:
        copy.close()
        if isinstance(error, OSError):
            raise AudioError(
                f"{source.name}: cannot copy it to {tempfile.gettempdir()}: {error.strerror or error}"
            ) from None
        raise
    return copy
