"""Recordings in blocks: every kind of WAV, pipes, other formats from standard input, channels, and little memory."""

import array
import contextlib
import io
import os
import struct
import sys
import threading
import tracemalloc
import warnings

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

import kwsrt
from kwsrt import AudioError, AudioWarning, audio, mixing
from kwsrt.cli import main
from kwsrt.reading import open_recording
from kwsrt.source import Source, recognised

RATE = 16000
RNG = np.random.default_rng(5)
SAMPLES = RNG.integers(-30000, 30000, 3001).astype(np.int16)
EASY = {"threshold": 0.0, "patience": 1, "smoothing": 1, "refractory": 0.0}


def chunk(name, data, order="<"):
    return name + struct.pack(f"{order}I", len(data)) + data + b"\0" * (len(data) % 2)


def form(encoding=1, channels=1, bits=16, align=None, rate=RATE, order="<", more=b""):
    align = align or channels * bits // 8
    fields = struct.pack(f"{order}HHIIHH", encoding, channels, rate, rate * align, align, bits)
    return chunk(b"fmt ", fields + more, order)


def extensible(encoding, bits):
    guid = struct.pack("<H", encoding) + bytes.fromhex("000000001000800000aa00389b71")
    return struct.pack("<HHI", 22, bits, 4) + guid


def wav(*chunks, size=None, family=b"RIFF", order="<"):
    inside = b"WAVE" + b"".join(chunks)
    return family + struct.pack(f"{order}I", len(inside) if size is None else size) + inside


WIDE = SAMPLES.astype("<i4") << 16
DATA = chunk(b"data", SAMPLES.astype("<i2").tobytes())
UNSIZED = SAMPLES.astype("<i2").tobytes()
DS64 = chunk(b"ds64", struct.pack("<QQQI", 0, 2 * len(SAMPLES), len(SAMPLES), 0))
FORMS = {
    "plain": wav(form(), DATA),
    "killed recorder": wav(form(), b"data\0\0\0\0" + UNSIZED, size=0),
    "killed recorder, RIFF of 36": wav(form(), b"data\0\0\0\0" + UNSIZED, size=36),
    "piped by ffmpeg": wav(
        form(), chunk(b"LIST", b"INFOISFT\x0e\0\0\0Lavf60.16.100\0"), b"data\xff\xff\xff\xff" + UNSIZED, size=0xFFFFFFFF
    ),
    "piped by sox": wav(form(), b"data" + struct.pack("<I", 0x7FFFF000) + UNSIZED),
    "piped by arecord": wav(form(), b"data" + struct.pack("<I", 0x80000000) + UNSIZED),
    "RIFF too small": wav(form(), DATA, size=36),
    "an empty data chunk before": wav(form(), chunk(b"data", b""), DATA),
    "odd chunk": wav(form(), chunk(b"LIST", b"INFOabc"), DATA),
    "odd chunk without padding": wav(form(), chunk(b"LIST", b"INFOabc")[:-1], DATA),
    "chunks around": wav(chunk(b"JUNK", bytes(28)), form(), chunk(b"fact", bytes(4)), DATA, chunk(b"id3 ", b"x" * 101)),
    "ID3 before": b"ID3\x03\0\0\0\0\0\x0a" + bytes(10) + wav(form(), DATA),
    "wrong alignment": wav(form(align=7), DATA),
    "extensible": wav(form(0xFFFE, more=extensible(1, 16)), DATA),
    "12 bits in 16": wav(form(bits=12, align=2), DATA),
    "24 bits": wav(form(bits=24), chunk(b"data", WIDE.view("u1").reshape(-1, 4)[:, 1:].tobytes())),
    "24 bits in 32": wav(form(bits=24, align=4), chunk(b"data", WIDE.tobytes())),
    "24 bits in 32, extensible": wav(form(0xFFFE, bits=32, more=extensible(1, 24)), chunk(b"data", WIDE.tobytes())),
    "32 bits": wav(form(bits=32), chunk(b"data", WIDE.tobytes())),
    "64 bits": wav(form(bits=64), chunk(b"data", (SAMPLES.astype("<i8") << 48).tobytes())),
    "float32": wav(form(3, bits=32), chunk(b"data", (SAMPLES / 32768).astype("<f4").tobytes())),
    "float64": wav(form(3, bits=64), chunk(b"data", (SAMPLES / 32768).astype("<f8").tobytes())),
    "RIFX": wav(form(order=">"), chunk(b"data", SAMPLES.astype(">i2").tobytes(), ">"), family=b"RIFX", order=">"),
    "RIFX, 24 bits": wav(
        form(bits=24, order=">"),
        chunk(b"data", WIDE.astype(">i4").view("u1").reshape(-1, 4)[:, :3].tobytes(), ">"),
        family=b"RIFX",
        order=">",
    ),
    "RIFX, float32": wav(
        form(3, bits=32, order=">"),
        chunk(b"data", (SAMPLES / 32768).astype(">f4").tobytes(), ">"),
        family=b"RIFX",
        order=">",
    ),
    "RF64": wav(
        DS64, form(), b"data\xff\xff\xff\xff" + UNSIZED + chunk(b"LIST", bytes(20)), size=0xFFFFFFFF, family=b"RF64"
    ),
    "RF64 without size": wav(chunk(b"ds64", bytes(28)), form(), b"data\xff\xff\xff\xff" + UNSIZED, family=b"RF64"),
    "72 channels": wav(form(channels=72), chunk(b"data", np.repeat(SAMPLES[:, None], 72, 1).astype("<i2").tobytes())),
}


def as_float(samples):
    return samples / 32768 if samples.dtype == np.int16 else samples


@pytest.mark.parametrize("name", FORMS)
def test_wav_as_found_in_the_wild(tmp_path, name):
    (tmp_path / "a.wav").write_bytes(FORMS[name])
    samples, rate = audio.read(tmp_path / "a.wav")
    assert rate == RATE
    for one in samples.T if samples.ndim == 2 else [samples]:
        np.testing.assert_array_equal(as_float(one), SAMPLES / 32768)
    heard = audio.load(tmp_path / "a.wav", RATE)  # no warning either
    np.testing.assert_allclose(as_float(heard), SAMPLES / 32768, atol=1e-6)
    dropping = Dropping(FORMS[name], [1])
    np.testing.assert_array_equal(audio.load(dropping, RATE), heard)


class Dropping:
    """A pipe that brings a few bytes at a time."""

    def __init__(self, data, sizes):
        self.data, self.sizes, self.at, self.turn = data, sizes, 0, 0

    def read(self, most):
        size = min(most, self.sizes[self.turn % len(self.sizes)])
        self.turn, self.at = self.turn + 1, self.at + size
        return self.data[self.at - size : self.at]


@given(
    st.sampled_from(["plain", "RF64", "RIFX", "24 bits", "72 channels", "piped by ffmpeg"]),
    st.lists(st.integers(1, 4000), min_size=1, max_size=5),
)
@settings(max_examples=30, deadline=None)
def test_however_a_pipe_brings_it(name, sizes):
    want = audio.load(io.BytesIO(FORMS[name]), RATE)
    np.testing.assert_array_equal(audio.load(Dropping(FORMS[name], sizes), RATE), want)


@given(st.integers(0, 90), st.integers(0, 255), st.sampled_from(sorted(FORMS)))
@settings(max_examples=100, deadline=None)
def test_damage_never_crashes(position, value, name):
    damaged = bytearray(FORMS[name])
    damaged[position] = value
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", AudioWarning)
        with contextlib.suppress(AudioError):
            audio.load(io.BytesIO(damaged), RATE)


@pytest.mark.parametrize(
    ("encoding", "said"),
    [(6, "A-law"), (7, "mu-law"), (2, "ADPCM"), (0x11, "IMA ADPCM"), (0x31, "GSM"), (0x55, "MP3"), (0x1234, "0x1234")],
)
def test_encodings_are_named_where_soundfile_is_missing(tmp_path, monkeypatch, encoding, said):
    monkeypatch.setitem(sys.modules, "soundfile", None)
    (tmp_path / "a.wav").write_bytes(wav(form(encoding, bits=8), DATA))
    for given_ in (tmp_path / "a.wav", io.BytesIO((tmp_path / "a.wav").read_bytes())):
        with pytest.raises(AudioError, match=f"{said}.*pip install soundfile"):
            audio.read(given_)


@pytest.mark.parametrize(
    ("channels", "bits", "rate", "said"),
    [(0, 16, RATE, "0 channels"), (5000, 16, RATE, "5000 channels"), (1, 0, RATE, "0 bits"), (1, 16, 0, "sample rate")],
)
def test_headers_that_cannot_be(tmp_path, channels, bits, rate, said):
    (tmp_path / "a.wav").write_bytes(wav(form(1, channels, bits, 2, rate), DATA))
    with pytest.raises(AudioError, match=rf"a\.wav: .*{said}"):
        audio.load(tmp_path / "a.wav", RATE)


def test_what_is_cut_off_is_heard_and_said(tmp_path):
    (tmp_path / "a.wav").write_bytes(FORMS["plain"][:4045])
    with pytest.warns(AudioWarning, match=r"a\.wav: cut off: it ends after 0\.12 s, its header says 0\.19 s"):
        np.testing.assert_array_equal(audio.load(tmp_path / "a.wav", RATE), SAMPLES[:2000])


# --- pipes and standard input --------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recording(tmp_path_factory):
    """Four seconds of noise in bursts, in which the tiny model hears something."""
    path = tmp_path_factory.mktemp("recordings") / "a.wav"
    noise = RNG.normal(0, 3000, 4 * RATE) * np.repeat([0, 1, 0.1, 1, 0, 1, 0.3, 1], RATE // 2)
    wavfile.write(path, RATE, noise.astype(np.int16))
    return path


def test_a_pipe_is_read_once(tmp_path, tiny, recording):
    want = list(kwsrt.detect(recording, model=tiny, **EASY))
    assert want
    os.mkfifo(tmp_path / "pipe.wav")
    writer = threading.Thread(target=lambda: (tmp_path / "pipe.wav").write_bytes(recording.read_bytes()))
    writer.start()
    assert list(kwsrt.detect(tmp_path / "pipe.wav", model=tiny, **EASY)) == want
    writer.join()
    with recording.open("rb") as file:
        assert list(kwsrt.detect(file, model=tiny, **EASY)) == want


def test_detections_come_while_it_is_read(tiny, recording):
    data = Dropping(recording.read_bytes() + bytes(200 * RATE), [4000])
    assert next(kwsrt.detect(data, model=tiny, **EASY))
    assert data.at < 5 * 2 * RATE


def standard_input(monkeypatch, data, sizes=(2, 1, 7, 5000)):
    file = Dropping(data, sizes)
    monkeypatch.setattr(sys, "stdin", type("Stdin", (), {"buffer": file, "fileno": lambda self: 0})())


@pytest.mark.parametrize(
    ("kind", "encoding"),
    [
        ("RF64", "PCM_16"),
        ("AIFF", "PCM_16"),
        ("AU", "PCM_16"),
        ("CAF", "PCM_16"),
        ("W64", "PCM_16"),
        ("FLAC", "PCM_16"),
        ("MP3", "MPEG_LAYER_III"),
        ("OGG", "VORBIS"),
        ("WAV", "ULAW"),
        ("WAV", "IMA_ADPCM"),
        ("WAV", "PCM_24"),
        ("SVX", "PCM_16"),
        ("PAF", "PCM_16"),
        ("AVR", "PCM_16"),
        ("IRCAM", "PCM_16"),
        ("MAT5", "PCM_16"),
        ("VOC", "PCM_16"),
        ("NIST", "PCM_16"),
        ("PVF", "PCM_16"),
    ],
)
def test_standard_input_takes_any_audio(capsys, monkeypatch, tmp_path, tiny_model_path, recording, kind, encoding):
    soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")
    path = tmp_path / "a.bin"
    soundfile.write(path, wavfile.read(recording)[1], RATE, format=kind, subtype=encoding)
    command = ["--model", str(tiny_model_path), "--threshold", "0", "--patience", "1", "--json"]
    assert main(["detect", str(path), *command]) == 0
    want = capsys.readouterr().out
    assert want
    standard_input(monkeypatch, path.read_bytes())
    assert main(["detect", "-", *command]) == 0
    assert capsys.readouterr() == (want.replace(str(path), "-"), "")
    monkeypatch.setitem(sys.modules, "soundfile", None)
    standard_input(monkeypatch, path.read_bytes())
    if kind != "RF64" and encoding != "PCM_24":
        assert main(["detect", "-", *command]) == 2
        out, err = capsys.readouterr()
        assert (out, err.count("\n")) == ("", 1)
        assert {"OGG": "Ogg", "WAV": "WAV with ", "SVX": "IFF", "MAT5": "MAT"}.get(kind, kind) in err


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"\0\0\0\x20ftypM4A " + bytes(99), "MP4"),
        (b"\x1a\x45\xdf\xa3" + bytes(99), "WebM"),
        (b"#!AMR\n" + bytes(99), "AMR"),
        (b"RIFF\x24\0\0\0AVI LIST" + bytes(99), "WAVE"),
        (b"", "empty"),
    ],
)
def test_standard_input_that_nothing_reads(capsys, monkeypatch, tiny_model_path, data, said):
    standard_input(monkeypatch, data)
    assert main(["detect", "-", "--model", str(tiny_model_path)]) == 2
    assert said in capsys.readouterr().err


@given(st.integers(0, 10_000), st.sampled_from([1, 10, 300, 3000, 30000]))
@settings(max_examples=100, deadline=None)
def test_samples_are_no_container(seed, loudness):
    raw = np.random.default_rng(seed).normal(-0.5, loudness, 4000).clip(-32768, 32767).astype("<i2")
    raw[0] = [-1025, -1281, -3073, -3585, -1][seed % 5]  # as MP3 and AAC begin
    assert recognised(Source(io.BytesIO(raw.tobytes()))) is None
    assert open_recording(io.BytesIO(raw.tobytes()), raw=True).rate == RATE


# --- channels ------------------------------------------------------------------------------------------------------


def test_a_channel_can_be_chosen(tmp_path, tiny, recording):
    words = wavfile.read(recording)[1]
    both = np.stack([words[::-1], words], 1)
    wavfile.write(tmp_path / "two.wav", RATE, both)
    want = list(kwsrt.detect(recording, model=tiny, **EASY))
    for number in (1, np.int64(1)):
        for given_ in (tmp_path / "two.wav", both, [both[:999], both[999:]], iter([both[:5], both[5:]])):
            assert list(kwsrt.detect(given_, model=tiny, channel=number, **EASY)) == want
    assert tiny.predict(both[:RATE], channel=1) == tiny.predict(words[:RATE])
    assert tiny.predict([both[:RATE]], channel=1) == [tiny.predict(words[:RATE])]
    assert list(kwsrt.detect(recording, model=tiny, channel=0, **EASY)) == want
    for bad in (2, -1, 0.0, "left", True):
        with pytest.raises(AudioError, match="channel"):
            list(kwsrt.detect(tmp_path / "two.wav", model=tiny, channel=bad))
        with pytest.raises(AudioError, match="channel"):
            tiny.predict(both[:RATE], channel=bad)


@pytest.mark.parametrize(
    ("opposite", "warns"), [(-1.0, True), (-0.85, True), (-0.75, False), (0.0, False), (1.0, False)]
)
@pytest.mark.parametrize("seconds", [1, 8])
def test_channels_that_cancel_are_told_once(tmp_path, tiny, opposite, warns, seconds):
    one = RNG.normal(0, 0.1, seconds * RATE).astype(np.float32)
    both = np.stack([one, np.float32(opposite) * one], 1)
    wavfile.write(tmp_path / "two.wav", RATE, both)
    for given_ in (tmp_path / "two.wav", both, (both[start : start + 999] for start in range(0, len(both), 999))):
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always")
            list(kwsrt.detect(given_, model=tiny))
        assert [each.category for each in caught] == [AudioWarning] * warns
        assert all("channels cancel each other" in str(each.message) for each in caught)
    list(kwsrt.detect(tmp_path / "two.wav", model=tiny, channel=0))
    if seconds == 1 and warns:
        with pytest.warns(AudioWarning, match="channel=0"):
            tiny.predict(both)


def test_commands_take_a_channel_and_show_warnings(capsys, tmp_path, tiny_model_path):
    one = RNG.normal(0, 3000, 3 * RATE).astype(np.int16)
    (tmp_path / "yes").mkdir()
    path = tmp_path / "yes" / "two.wav"
    wavfile.write(path, RATE, np.stack([one, -one], 1)[:RATE])
    wavfile.write(tmp_path / "long.wav", RATE, np.stack([one, -one], 1))
    for command in (
        ["detect", str(path)],
        ["eval", str(tmp_path)],
        ["simulate", str(tmp_path / "long.wav")],
        ["simulate", str(tmp_path / "long.wav"), str(path), "--processes", "2"],
        ["threshold", str(tmp_path / "long.wav"), "--rate", "1e6"],
    ):
        assert main([*command, "--model", str(tiny_model_path), "--json"]) == 0
        err = capsys.readouterr().err
        recordings = sum(part.endswith("wav") for part in command) or 1
        assert err.count("kwsrt: warning: ") == err.count("channels cancel each other") == err.count("\n") == recordings
        assert main([*command, "--model", str(tiny_model_path), "--json", "--channel", "1"]) == 0
        assert capsys.readouterr().err == ""
        assert main([*command, "--model", str(tiny_model_path), "--json", "--channel", "2"]) == 2
        assert "channel is 2: there are 2, 0 to 1" in capsys.readouterr().err
        for wrong in ("-1", "left", "1.0", "9" * 5000):
            with pytest.raises(SystemExit, match="2"):
                main([*command, "--channel", wrong])
            err = capsys.readouterr().err
            assert err.startswith("kwsrt: error: argument --channel: expected the number of a channel")
            assert err.count("\n") == 1


# --- memory --------------------------------------------------------------------------------------------------------


def test_length_takes_no_memory(tmp_path, tiny):
    path, second = tmp_path / "a.wav", RNG.integers(-300, 300, (48000, 2)).astype(np.int16)
    peaks = []
    for seconds in (10, 60):
        wavfile.write(path, 48000, np.tile(second, (seconds, 1)))
        tracemalloc.start()
        list(kwsrt.detect(path, model=tiny))
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert peaks[1] < peaks[0] + 500_000


@pytest.mark.parametrize("rate", [RATE, 44100, 48000])
def test_blocks_are_the_whole_file(tmp_path, rate):
    samples = RNG.normal(0, 3000, (7 * rate, 2)).astype(np.int16)
    wavfile.write(tmp_path / "a.wav", rate, samples)
    whole = audio.prepare(samples, rate, RATE)
    parts = list(audio.pieces(tmp_path / "a.wav", RATE))
    assert len(parts) >= 2
    assert np.concatenate(parts).tobytes() == whole.tobytes()


@given(st.lists(st.integers(1, 90_000), min_size=1, max_size=6), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_words_are_mixed_into_pieces_as_into_the_whole(sizes, seed):
    rng = np.random.default_rng(seed)
    background = rng.normal(0, 0.01, sum(sizes)).astype(np.float32)
    words = [(label, rng.normal(0, 0.1, size).astype(np.float32)) for label, size in (("yes", 16000), ("no", 32000))]
    clips = lambda: iter(words * 99)  # noqa: E731
    want, expected = mixing.mixed(background, clips(), RATE, 10, np.random.default_rng(seed))
    placed = []
    pieces = np.split(background, np.cumsum(sizes)[:-1])
    got = list(mixing.mixed_in(pieces, len(background), clips(), RATE, 10, np.random.default_rng(seed), placed))
    got = np.concatenate(got)
    assert (got / max(1.0, float(np.abs(got).max()))).astype(np.float32).tobytes() == want.tobytes()
    assert placed == expected


# --- memory of samples ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "make",
    [
        bytes,
        bytearray,
        memoryview,
        lambda raw: memoryview(raw).cast("h"),
        lambda raw: array.array("h", raw),
        lambda raw: array.array("B", raw),
    ],
)
def test_memory_is_16_bit_samples(tiny, recording, make):
    words = wavfile.read(recording)[1]
    want = list(kwsrt.detect(words, model=tiny, **EASY))
    raw = words.tobytes()
    assert list(kwsrt.detect(make(raw), model=tiny, **EASY)) == want
    assert list(kwsrt.detect([make(raw[:30000]), make(raw[30000:])], model=tiny, **EASY)) == want
    clip = make(raw[: 2 * RATE])
    assert tiny.predict(clip) == tiny.predict(words[:RATE])
    assert tiny.predict([clip, clip]) == 2 * [tiny.predict(words[:RATE])]
