"""The WAV family: what a file says of its samples, and the samples of its bytes.

RIFF, RIFX (big-endian), RF64 and BW64 (beyond 4 GiB), with PCM of 8 to 64 bits or floats. What recorders leave behind
when they are killed is read too: sizes of 0, sizes that stand for "unknown", and sizes that are larger than the file.
"""

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwsrt.errors import AudioError
from kwsrt.source import Source

PCM, FLOAT, EXTENSIBLE = 1, 3, 0xFFFE
ENCODINGS = {
    0x0002: "Microsoft ADPCM",
    0x0006: "A-law",
    0x0007: "mu-law",
    0x0010: "OKI ADPCM",
    0x0011: "IMA ADPCM",
    0x0014: "G.723 ADPCM",
    0x0016: "G.723 ADPCM",
    0x0020: "Yamaha ADPCM",
    0x0022: "TrueSpeech",
    0x0031: "GSM 6.10",
    0x0040: "G.721 ADPCM",
    0x0045: "G.726 ADPCM",
    0x0050: "MPEG",
    0x0055: "MP3",
    0x0064: "G.726 ADPCM",
    0x0065: "G.722 ADPCM",
    0x0092: "AC-3",
    0x00FF: "AAC",
    0x0160: "WMA",
    0x0161: "WMA",
    0x0162: "WMA",
    0x0270: "ATRAC3",
    0x028F: "G.722 ADPCM",
    0x1600: "AAC",
    0x1610: "AAC",
    0x2000: "AC-3",
    0x674F: "Ogg Vorbis",
    0xF1AC: "FLAC",
}
# What may follow a chunk. Some programs leave out the byte that pads a chunk of odd size.
KNOWN = (
    b"fmt ",
    b"data",
    b"fact",
    b"LIST",
    b"bext",
    b"JUNK",
    b"junk",
    b"id3 ",
    b"ID3 ",
    b"cue ",
    b"smpl",
    b"inst",
    b"PEAK",
    b"FLLR",
    b"PAD ",
    b"ds64",
    b"iXML",
    b"axml",
    b"chna",
    b"DISP",
    b"afsp",
    b"plst",
    b"labl",
    b"_PMX",
)
MOST_CHANNELS = 1024


@dataclass(frozen=True)
class Layout:
    """How samples lie in a WAV file.

    rate : Hz. encoding : PCM, FLOAT or another number of the format. width : bytes of a sample of one channel.
    order : "<" or ">", of its bytes. size : bytes of sound, None: all that follow.
    """

    channels: int
    rate: int
    encoding: int
    width: int
    order: str
    size: int | None

    @property
    def frames(self) -> int | None:
        """Samples of each channel, as far as the file says so."""
        return None if self.size is None else self.size // (self.channels * self.width)

    @property
    def name(self) -> str:
        """Of the encoding."""
        if self.encoding == PCM:
            return f"{8 * self.width}-bit PCM"
        if self.encoding == FLOAT:
            return f"{8 * self.width}-bit float"
        return ENCODINGS.get(self.encoding, f"an encoding of number {self.encoding:#06x}")

    @property
    def plain(self) -> bool:
        """Whether `decode` knows it."""
        return (self.encoding == PCM and self.width in (1, 2, 3, 4, 8)) or (
            self.encoding == FLOAT and self.width in (4, 8)
        )


def read_header(source: Source) -> Layout:
    """Take a file's bytes up to the first sample.

    Raises
    ------
    AudioError : no WAV file, or one that is damaged or ends before its sound.
    """

    def damaged(what: str) -> AudioError:
        return AudioError(f"{source.name}: damaged WAV file: {what}")

    family = source.take(4)
    source.take(4)  # the size of it all, which is often wrong and never needed
    if source.take(4) != b"WAVE":
        raise damaged(f"it begins with {family.decode('latin-1')}, and WAVE does not follow")
    endian = "big" if family == b"RIFX" else "little"
    form, large = b"", None
    while len(head := source.take(8)) == 8:
        chunk, size = head[:4], int.from_bytes(head[4:], endian)  # type: ignore[arg-type]
        if chunk == b"data":
            if not form:
                raise damaged("its sound comes before what says how to read it")
            if size or source.peek(4) not in KNOWN:
                return _layout(form, _sound(size, large, source, family), endian, damaged)
        if chunk == b"fmt " and not form:
            form = source.take(min(size, 40))
            source.skip(size - len(form))
        elif chunk == b"ds64":
            fields = source.take(min(size, 28))
            large = int.from_bytes(fields[8:16], "little") if len(fields) >= 16 else None
            source.skip(size - len(fields))
        else:
            source.skip(size)
        if size % 2 and source.peek(4) not in KNOWN:
            source.take(1)
    raise damaged("there is no sound in it" if form else "it ends within its header")


def _sound(size: int, large: int | None, source: Source, family: bytes) -> int | None:
    """Bytes of sound; None for all that follow."""
    if size == 0xFFFFFFFF and large is not None and family in (b"RF64", b"BW64"):
        return large if 0 < large < 1 << 62 else None
    # 0, and near 2 GiB or 4 GiB, is what programs write that do not know it yet; beyond 4 GiB it starts again at 0.
    unknown = size == 0 or size >= 0xFFFF0000 or 0x7FFF0000 <= size <= 0x80010000
    return None if unknown or (source.length or 0) > 1 << 32 else size


def _layout(form: bytes, size: int | None, endian: Any, damaged: Any) -> Layout:
    if len(form) < 16:
        raise damaged("it does not say how to read its sound")
    encoding, channels = (int.from_bytes(form[at : at + 2], endian) for at in (0, 2))
    rate = int.from_bytes(form[4:8], endian)
    align, bits = (int.from_bytes(form[at : at + 2], endian) for at in (12, 14))
    if encoding == EXTENSIBLE:
        if len(form) < 40:
            raise damaged("it does not say how to read its sound")
        encoding = int.from_bytes(form[24:28], endian) & 0xFFFF
    if not 1 <= channels <= MOST_CHANNELS:
        raise damaged(f"it says that it has {channels} channels")
    if encoding in (PCM, FLOAT) and not 1 <= bits <= 64:
        raise damaged(f"it says that its samples have {bits} bits")
    width = -(-bits // 8)
    # 24 bits may lie in 32, which only the size of a frame tells; they are the upper ones.
    if align % channels == 0 and width < align // channels <= 8:
        width = align // channels
    return Layout(channels, rate, encoding, width, ">" if endian == "big" else "<", size)


def decode(data: bytes, layout: Layout) -> NDArray[np.int16] | NDArray[np.float32]:
    """Whole frames as (n,) or (n, channels): int16 of 8 and 16 bits, else float32."""
    order, width = layout.order, layout.width
    if layout.encoding == FLOAT:
        samples: NDArray[Any] = np.frombuffer(data, f"{order}f{width}")
        with np.errstate(over="ignore"):
            samples = samples.astype(np.float32)
    elif width == 1:
        samples = (np.frombuffer(data, np.uint8).astype(np.int16) - 128) * 256
    elif width == 2:
        samples = np.frombuffer(data, f"{order}i2").astype(np.int16)
    else:
        if width == 3:
            filled = np.zeros((len(data) // 3, 4), np.uint8)
            filled[:, slice(1, 4) if order == "<" else slice(0, 3)] = np.frombuffer(data, np.uint8).reshape(-1, 3)
            whole = filled.reshape(-1).view(f"{order}i4")
        else:
            whole = np.frombuffer(data, f"{order}i{width}")
        samples = (whole / 2.0 ** (8 * whole.itemsize - 1)).astype(np.float32)
    return samples if layout.channels == 1 else samples.reshape(-1, layout.channels)
