"""Bytes of a recording, front to back, and what kind of file they are."""

import errno
import os
import stat
from typing import Any

from kwsrt.errors import AudioError

# What tells a file's format: its name, and bytes at a place.
MARKS: tuple[tuple[str, int, bytes], ...] = (
    ("WAV", 0, b"RIFF"),
    ("WAV", 0, b"RIFX"),
    ("WAV", 0, b"RF64"),
    ("WAV", 0, b"BW64"),
    ("FLAC", 0, b"fLaC"),
    ("Ogg", 0, b"OggS"),
    ("AIFF", 8, b"AIFF"),
    ("AIFF", 8, b"AIFC"),
    ("AU", 0, b".snd"),
    ("AU", 0, b"dns."),
    ("CAF", 0, b"caff"),
    ("W64", 0, b"riff\x2e\x91\xcf\x11"),
    ("IFF", 8, b"8SVX"),
    ("IFF", 8, b"16SV"),
    ("PAF", 0, b" paf"),
    ("PAF", 0, b"fap "),
    ("AVR", 0, b"2BIT"),
    ("XI", 0, b"Extended Instrument"),
    ("MAT", 0, b"MATLAB 5.0 MAT-file"),
    ("IRCAM", 0, b"\x64\xa3\x01\x00"),
    ("IRCAM", 0, b"\x64\xa3\x02\x00"),
    ("IRCAM", 0, b"\x64\xa3\x03\x00"),
    ("IRCAM", 0, b"\x00\x01\xa3\x64"),
    ("VOC", 0, b"Creative Voice"),
    ("NIST", 0, b"NIST_1A"),
    ("PVF", 0, b"PVF1"),
    ("ID3", 0, b"ID3\x02"),
    ("ID3", 0, b"ID3\x03"),
    ("ID3", 0, b"ID3\x04"),
)
# What soundfile does not read either.
FOREIGN: tuple[tuple[str, int, bytes], ...] = (
    ("MP4", 4, b"ftyp"),
    ("Matroska or WebM", 0, b"\x1a\x45\xdf\xa3"),
    ("ASF (WMA)", 0, b"\x30\x26\xb2\x75\x8e\x66"),
    ("AMR", 0, b"#!AMR"),
    ("WavPack", 0, b"wvpk"),
    ("Monkey's Audio", 0, b"MAC "),
    ("TTA", 0, b"TTA1"),
    ("DSD", 0, b"DSD "),
    ("DSD", 0, b"FRM8"),
    ("MIDI", 0, b"MThd"),
    ("Musepack", 0, b"MPCK"),
    ("MPEG transport stream", 0, b"\x47\x40\x00\x10"),
    ("Flash video", 0, b"FLV\x01"),
)
# Two MPEG frames and the start of the next: the longest have 1,729 bytes.
LOOK_AHEAD = 4096
# kbit/s by version (1, or 2 and 2.5) and layer. Nobody makes files of layer 1.
LONG = (32, 48, 56, 64, 80, 96, 112, 128, 160, 192, 224, 256, 320, 384)
SHORT = (8, 16, 24, 32, 40, 48, 56, 64, 80, 96, 112, 128, 144, 160)
BITRATES = {(1, 2): LONG, (1, 3): (32, 40, *LONG[1:-1]), (2, 2): SHORT, (2, 3): SHORT}
# What is kept of a header, for a format that soundfile has to read from the start.
LONGEST_HEADER = 1 << 24


class Source:
    """The bytes of a binary file, a pipe or whatever has `read`, once and front to back. Close it after use.

    Attributes
    ----------
    name : for messages. length : bytes of a regular file that was opened by its path, else None.

    Raises
    ------
    AudioError : from every method, what cannot be read.
    """

    def __init__(self, given: Any, name: str | None = None) -> None:
        self.length: int | None = None
        self._ahead = b""
        self._kept: bytearray | None = None
        self._owned = isinstance(given, (str, os.PathLike))
        if not self._owned:
            self.name = name or str(getattr(given, "name", "the open file"))
            self._file = given
            self._fetch = getattr(given, "read1", given.read)  # what is there, without waiting for more
            return
        self.name = name or os.fsdecode(given)
        try:
            self._file = open(given, "rb", buffering=0)  # noqa: SIM115 (closed by close)
            about = os.fstat(self._file.fileno())
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from None
        self._fetch = self._file.read
        if stat.S_ISREG(about.st_mode):
            self.length = about.st_size

    def __del__(self) -> None:
        self.close()

    def close(self) -> None:
        """Close the file if it was opened here."""
        if getattr(self, "_owned", False) and hasattr(self, "_file"):
            self._file.close()

    def some(self, most: int) -> bytes:
        """What is there, `most` bytes at most; waits for one byte at least. Empty at the end."""
        data = self._ahead[:most] or self._read(most)
        self._ahead = self._ahead[most:]
        if self._kept is not None:
            self._kept += data
            if len(self._kept) > LONGEST_HEADER:
                self._kept = None
        return data

    def take(self, count: int) -> bytes:
        """So many bytes, fewer at the end."""
        self.peek(count)
        return self.some(count) if self._ahead else b""

    def peek(self, count: int) -> bytes:
        """The next bytes, which stay; fewer at the end."""
        while len(self._ahead) < count and (data := self._read(count - len(self._ahead))):
            self._ahead += data
        return self._ahead[:count]

    def skip(self, count: int) -> None:
        """Leave out so many bytes."""
        while count > 0 and (data := self.some(min(count, 1 << 18))):
            count -= len(data)

    def keep(self) -> None:
        """Remember what is taken from here on, as far as a header may reach, for `restart`."""
        self._kept = bytearray()

    def restart(self) -> None:
        """Go back to where `keep` was called, and remember nothing more.

        Raises
        ------
        AudioError : too much has been taken since.
        """
        if self._kept is None:
            raise AudioError(f"{self.name}: a header of more than {LONGEST_HEADER >> 20} MiB in a pipe")
        self._ahead, self._kept = bytes(self._kept) + self._ahead, None

    def forget(self) -> None:
        """Remember nothing more."""
        self._kept = None

    def descriptor(self) -> int | None:
        """That of a regular file, at its start; None of everything that can be read only once."""
        if self.length is None:
            return None
        self._ahead = b""
        self._file.seek(0)
        return int(self._file.fileno())

    def _read(self, count: int) -> bytes:
        try:
            data = self._fetch(count)
        except (OSError, ValueError) as error:
            raise self._unreadable(error) from None
        if data is None:
            raise AudioError(f"{self.name}: cannot read: it is not ready (opened as non-blocking)")
        if not isinstance(data, (bytes, bytearray, memoryview)):
            raise AudioError(f'{self.name}: expected a file that was opened as binary ("rb")')
        return bytes(data)

    def _unreadable(self, error: Exception) -> AudioError:
        if isinstance(error, OSError) and error.errno == errno.EBADF:
            return AudioError(f"{self.name} is closed")
        return AudioError(f"{self.name}: cannot read: {getattr(error, 'strerror', None) or error}")


def skip_id3(source: Source) -> None:
    """Leave out a tag that stands before the sound, as MP3 and some WAV files have it."""
    while _marked(source.peek(4), MARKS) == "ID3":
        head = source.take(10)
        size = 0
        for byte in head[6:10]:
            size = size << 7 | byte & 0x7F
        source.skip(size + (10 if len(head) > 5 and head[5] & 0x10 else 0))


def recognised(source: Source) -> str | None:
    """The name of the format that a source begins with; None for one that is not known, such as raw samples."""
    start = source.peek(20)
    name = _marked(start, MARKS) or _marked(start, FOREIGN)
    if name is None and len(start) > 3 and start[0] == 0xFF and start[1] & 0xE0 == 0xE0:
        name = _mpeg(source.peek(LOOK_AHEAD))
    return name


def foreign(name: str | None) -> bool:
    """Whether a format is one that nothing here reads."""
    return name == "AAC" or any(name == each for each, _, _ in FOREIGN)


def _marked(start: bytes, marks: tuple[tuple[str, int, bytes], ...]) -> str | None:
    return next((name for name, at, mark in marks if start[at : at + len(mark)] == mark), None)


def _mpeg(data: bytes) -> str | None:
    """MP3 or AAC, if two frames of one kind lie one behind the other, and a third one unless the data end."""
    kind, at = _frame(data, 0)
    if kind is None or at >= len(data):
        return None
    for _ in range(2):
        following, length = _frame(data, at)
        if following != kind:
            return None
        at += length
        if at + 6 > len(data):
            break
    return kind[0]


def _frame(data: bytes, at: int) -> tuple[tuple[str, int, int] | None, int]:
    """What the frames of a stream have in common, and the bytes of the one that begins at `at`."""
    head = data[at : at + 6]
    if len(head) < 6 or head[0] != 0xFF or head[1] & 0xE0 != 0xE0:
        return None, 0
    if head[1] & 0xF6 == 0xF0:
        length = (head[3] & 3) << 11 | head[4] << 3 | head[5] >> 5
        return (("AAC", head[1], head[2] & 0xFC), length) if length > 7 else (None, 0)
    version, layer = head[1] >> 3 & 3, 4 - (head[1] >> 1 & 3)
    bitrate, rate, padding = head[2] >> 4, head[2] >> 2 & 3, head[2] >> 1 & 1
    if version == 1 or layer not in (2, 3) or rate == 3 or not 0 < bitrate < 15:
        return None, 0
    first = version == 3
    hertz = (44100, 48000, 32000)[rate] >> (0 if first else 1 if version == 2 else 2)
    bits = 1000 * BITRATES[1 if first else 2, layer][bitrate - 1]
    return ("MP3", head[1], rate), (72 if layer == 3 and not first else 144) * bits // hertz + padding
