"""Audio in: files, rates, channels, dtypes."""

import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

import kwsrt
from kwsrt import AudioError, audio

RATE = 16000


def sine(frequency, seconds=0.5, rate=RATE):
    """A sine of amplitude 0.5: float32 (n,)."""
    return (0.5 * np.sin(2 * np.pi * frequency * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("dtype", "scale", "offset", "read_as"),
    [
        (np.int16, 32767, 0, np.int16),
        (np.uint8, 127, 128, np.int16),
        (np.int32, 2**31 - 256, 0, np.float32),
        (np.float32, 1, 0, np.float32),
        (np.float64, 1, 0, np.float32),
    ],
)
@pytest.mark.parametrize("channels", [1, 2])
def test_wav_of_every_sample_type(tmp_path, dtype, scale, offset, read_as, channels):
    wave = sine(440) if channels == 1 else np.stack([sine(440), sine(1000)], axis=1)
    wavfile.write(tmp_path / "a.wav", 8000, (wave.astype(np.float64) * scale + offset).astype(dtype))
    samples, rate = audio.read(tmp_path / "a.wav")
    assert (rate, samples.dtype, samples.shape) == (8000, read_as, wave.shape)
    as_float = samples / 32768 if read_as == np.int16 else samples
    np.testing.assert_allclose(as_float, wave, atol=0.02 if dtype == np.uint8 else 2e-4)


@pytest.mark.parametrize("suffix", ["flac", "ogg"])
def test_other_formats_through_soundfile(tmp_path, suffix):
    soundfile = pytest.importorskip("soundfile", reason="soundfile is not installed")
    soundfile.write(tmp_path / f"a.{suffix}", sine(440), RATE)
    samples, rate = audio.read(str(tmp_path / f"a.{suffix}"))
    assert (rate, samples.dtype, samples.shape) == (RATE, np.float32, (8000,))
    assert abs(peak(samples, rate) - 440) < 3


def test_other_formats_without_soundfile_say_what_to_install(tmp_path, monkeypatch):
    (tmp_path / "a.flac").write_bytes(b"fLaC" + bytes(100))
    monkeypatch.setitem(sys.modules, "soundfile", None)
    with pytest.raises(AudioError, match="pip install soundfile"):
        audio.read(tmp_path / "a.flac")


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"hello",
        b"RIFF",
        bytes(1000),
        b"RIFF\x24\x00\x00\x00WAVE",
        b"RIFF\xff\xff\xff\xffWAVEfmt \x10\x00\x00\x00" + bytes(20),
    ],
)
def test_what_is_not_audio_is_refused(tmp_path, content):
    (tmp_path / "a.wav").write_bytes(content)
    with pytest.raises(AudioError, match=r"a\.wav: "):
        audio.read(tmp_path / "a.wav")


def test_missing_file_and_folder(tmp_path):
    with pytest.raises(AudioError, match="No such file"):
        audio.read(tmp_path / "none.wav")
    with pytest.raises(AudioError, match="directory"):
        audio.read(tmp_path)


def test_every_truncation_of_a_wav_is_refused_or_read_as_far_as_it_goes(tmp_path):
    wave = (sine(440, 0.01) * 32767).astype(np.int16)
    wavfile.write(tmp_path / "a.wav", RATE, wave)
    whole = (tmp_path / "a.wav").read_bytes()
    for size in range(len(whole)):
        (tmp_path / "cut.wav").write_bytes(whole[:size])
        if size < 44:  # the header
            with pytest.raises(AudioError):
                audio.read(tmp_path / "cut.wav")
        else:
            samples, rate = audio.read(tmp_path / "cut.wav")
            assert rate == RATE
            np.testing.assert_array_equal(samples, wave[: (size - 44) // 2])


@pytest.mark.parametrize("size", [0x7FFFFFFF, 0xFFFFFFFF])
def test_a_wav_that_was_piped_has_no_length_and_is_read(tmp_path, size):
    wavfile.write(tmp_path / "a.wav", RATE, np.arange(160, dtype=np.int16))
    piped = bytearray((tmp_path / "a.wav").read_bytes())
    piped[4:8] = piped[40:44] = size.to_bytes(4, "little")
    (tmp_path / "a.wav").write_bytes(piped)
    np.testing.assert_array_equal(audio.read(tmp_path / "a.wav")[0], np.arange(160))


@settings(max_examples=50, deadline=None)
@given(st.integers(0, 43), st.integers(0, 255))
def test_a_damaged_header_never_crashes(tmp_path_factory, position, value):
    path = tmp_path_factory.mktemp("damaged") / "a.wav"
    wavfile.write(path, RATE, (sine(440, 0.01) * 32767).astype(np.int16))
    damaged = bytearray(path.read_bytes())
    damaged[position] = value
    path.write_bytes(damaged)
    try:
        samples, rate = audio.read(path)
        audio.prepare(samples, rate, RATE)
    except AudioError:
        pass


# --- samples -------------------------------------------------------------------------------------------------------


def peak(samples, rate):
    """Frequency of the strongest line of the spectrum, Hz."""
    spectrum = np.abs(np.fft.rfft(samples * np.hanning(len(samples))))
    return spectrum.argmax() * rate / len(samples)


@pytest.mark.parametrize("samples", [np.arange(-5, 5, dtype=np.int16), sine(440)])
def test_mono_at_the_right_rate_is_handed_on_as_it_is(samples):
    prepared = audio.prepare(samples, RATE, RATE)
    assert prepared.dtype == samples.dtype
    np.testing.assert_array_equal(prepared, samples)
    np.testing.assert_array_equal(audio.prepare(samples[:, None], RATE, RATE), samples)
    np.testing.assert_array_equal(audio.prepare(np.repeat(samples, 2)[::2], float(RATE), RATE), samples)


def test_channels_are_averaged():
    left, right = sine(440), sine(1000)
    np.testing.assert_allclose(audio.prepare(np.stack([left, right], 1), RATE, RATE), (left + right) / 2, atol=1e-7)
    whole = np.array([[32767, -32768], [100, 300]], np.int16)
    np.testing.assert_allclose(audio.prepare(whole, RATE, RATE), [-0.5 / 32768, 200 / 32768])


@pytest.mark.parametrize("rate", [8000, 11025, 22050, 44100, 48000, 48000.0, 96000, np.int32(44100)])
@pytest.mark.parametrize("dtype", [np.int16, np.float32, np.float64])
def test_resampling_keeps_a_sine(rate, dtype):
    wave = sine(1234, 1.0, rate)
    prepared = audio.prepare((wave * 32767).astype(dtype) if dtype == np.int16 else wave.astype(dtype), rate, RATE)
    assert prepared.dtype == np.float32
    assert abs(len(prepared) - RATE) <= 1
    assert abs(peak(prepared, RATE) - 1234) < 1.1
    np.testing.assert_allclose(prepared[1000:-1000], sine(1234, 1.0)[1000 : len(prepared) - 1000], atol=5e-3)


def test_resampling_removes_what_the_new_rate_cannot_hold():
    assert np.abs(audio.prepare(sine(12000, 1.0, 48000), 48000, RATE)[500:-500]).max() < 5e-3


@pytest.mark.parametrize(
    ("samples", "said"),
    [
        (np.zeros(0, np.int16), "empty"),
        (np.zeros((0, 2), np.float32), "empty"),
        ([], "empty"),
        (np.zeros((2, 3, 4), np.int16), "shape"),
        (np.float32(1), "expected samples, got"),
        (np.zeros((2, 16000), np.int16), "transpose"),
        (np.zeros(9, np.uint8), "uint8"),
        (np.zeros(9, np.int32), "int32"),
        (np.zeros(9, np.float16), "float16"),
        (np.zeros(9, bool), "bool"),
        (np.zeros(9, complex), "complex"),
        (np.array(["a"]), "<U1"),
        ([1, 2, 3], "int64"),
        (np.array([0, np.nan], np.float32), "NaN"),
        (np.array([[0, 0], [np.inf, 0]]), "NaN or infinite"),
        (np.array([0, 1000.0]), "divide by 32768"),
        (np.array([[0, -1000.0]]), "divide by 32768"),
    ],
)
def test_unusable_samples_are_refused(samples, said):
    with pytest.raises(AudioError, match=said):
        audio.prepare(samples, RATE, RATE)
    with pytest.raises(AudioError, match=said):
        audio.prepare(samples, 44100, RATE)


@pytest.mark.parametrize(
    "rate", [0, -16000, 999, 1_000_001, float("nan"), float("inf"), "16000", None, True, 16 + 1j, 10**400, "9" * 5000]
)
def test_unusable_rates_are_refused(rate):
    with pytest.raises(AudioError, match="sample rate"):
        audio.prepare(sine(440), rate, RATE)


def test_detect_hears_files_arrays_and_chunks_alike(tmp_path, tiny):
    wave = np.random.default_rng(0).normal(0, 3000, 3 * RATE) * np.repeat([0, 1, 0.1, 1, 0, 1], RATE // 2)
    samples = wave.astype(np.int16)
    wavfile.write(tmp_path / "a.wav", RATE, samples)
    options = {"model": tiny, "threshold": 0.0, "patience": 1, "smoothing": 1, "refractory": 0.0}
    expected = list(kwsrt.detect(samples, **options))
    assert expected
    assert list(kwsrt.detect(tmp_path / "a.wav", **options)) == expected
    assert list(kwsrt.detect(str(tmp_path / "a.wav"), **options)) == expected
    assert list(kwsrt.detect((samples[i : i + 777] for i in range(0, len(samples), 777)), **options)) == expected
    assert list(kwsrt.detect(np.stack([samples, samples], 1), **options)) == expected
