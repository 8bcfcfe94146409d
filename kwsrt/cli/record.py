"""`kwsrt record`: the microphone into a WAV file."""

import argparse
import contextlib
import errno
import os
import struct
from pathlib import Path
from typing import Self

import numpy as np
from numpy.typing import NDArray

import kwsrt
from kwsrt.audio import as_int16
from kwsrt.cli.common import Parser, add_device_option, check_seconds
from kwsrt.cli.output import note
from kwsrt.errors import AudioError, OptionError

HELP = "record the microphone into a WAV file"
DESCRIPTION = """\
Records 16 kHz mono, as the models hear it, until it is interrupted (Ctrl-C) or --seconds have passed.
Beyond 4 GiB (37 hours) the file becomes an RF64 file, as the EBU defines them for long recordings.

examples:
  kwsrt record room.wav --seconds 10
  kwsrt record --device usb yes.wav
"""
RATE = 16000
# RIFF or RF64, size, WAVE; JUNK or ds64 with the sizes of a long file; fmt; data. The largest size of a WAV file.
HEADER = struct.Struct("<4sI4s4sI28s4sIHHIIHH4sI")
LARGEST = 0xFFFFFFFE


def add_arguments(parser: Parser) -> None:
    """The command's arguments."""
    parser.add_argument("file", type=Path, metavar="FILE", help="the WAV file; one that exists is left alone")
    add_device_option(parser)
    parser.add_argument("--seconds", type=float, metavar="N", help="stop after so many seconds")


def run(arguments: argparse.Namespace) -> int:
    """0."""
    check_seconds(arguments.seconds)
    most = None if arguments.seconds is None else round(arguments.seconds * RATE)
    with (
        kwsrt.microphone(arguments.device, sample_rate=RATE) as microphone,
        WavFile(arguments.file, RATE) as out,
        contextlib.suppress(KeyboardInterrupt),
    ):
        for chunk in microphone:
            out.write(as_int16(chunk)[: None if most is None else most - out.samples])
            if most is not None and out.samples >= most:
                break
    lost = f", audio lost {microphone.overflows} times" if microphone.overflows else ""
    note(f"{out.samples / RATE:.2f} s in {arguments.file}{lost}")
    return 0


class WavFile:
    """A new WAV file, 16-bit mono, that is valid at any moment: its header is brought up to date every second.

    Beyond 4 GiB, which is all that a WAV header can tell, it becomes an RF64 file (EBU Tech 3306).

    Attributes
    ----------
    samples : written so far.

    Raises
    ------
    AudioError : the file is there already, or cannot be made.
    """

    def __init__(self, path: Path, rate: int) -> None:
        self._path, self._rate, self.samples, self._told = path, rate, 0, 0
        try:
            self._file = path.open("xb", buffering=0)
        except OSError as error:
            raise AudioError(f"{path}: cannot write: {error.strerror or error}") from None
        try:
            self._tell()
        except OSError as error:
            self._file.close()
            path.unlink()
            raise AudioError(f"{path}: cannot write: {error.strerror or error}") from None

    def write(self, samples: NDArray[np.int16]) -> None:
        """Append samples (n,).

        Raises
        ------
        OptionError : they cannot be written, for example because the disk is full; what was written before is kept.
        """
        data = memoryview(samples.astype("<i2").tobytes())
        try:
            while data:
                data = data[self._file.write(data) :]
        except OSError as error:
            self._tell()
            raise OptionError(
                f"{self._path}: cannot write: {error.strerror or error}; {self.samples / self._rate:.2f} s are in it"
            ) from None
        self.samples += len(samples)
        if self.samples - self._told >= self._rate:
            self._tell()

    def _tell(self) -> None:
        """Write a header for what is in the file, of which half a sample may be the last."""
        size = max(0, self._file.seek(0, os.SEEK_END) - HEADER.size) // 2 * 2
        whole = HEADER.size - 8 + size
        if whole > LARGEST:
            kind, junk, extra = b"RF64", b"ds64", struct.pack("<QQQI", whole, size, size // 2, 0)
            told = told_data = 0xFFFFFFFF
        else:
            kind, junk, extra = b"RIFF", b"JUNK", bytes(28)
            told, told_data = whole, size
        header = HEADER.pack(
            kind,
            told,
            b"WAVE",
            junk,
            len(extra),
            extra,
            b"fmt ",
            16,
            1,
            1,
            self._rate,
            2 * self._rate,
            2,
            16,
            b"data",
            told_data,
        )
        self._file.seek(0)
        if self._file.write(header) != len(header):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        self._file.truncate(HEADER.size + size)
        self._file.seek(0, os.SEEK_END)
        self.samples = self._told = size // 2

    def close(self) -> None:
        """Bring the header up to date, and close the file."""
        if not self._file.closed:
            with self._file:
                self._tell()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
