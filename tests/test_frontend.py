"""The front end against its definition in NumPy; streams against whole recordings, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwsrt.errors import AudioError, OptionError
from kwsrt.frontend import FrontEnd, OnlineFrontEnd, check_samples
from tests import reference
from tests.reference import same_bits

pytestmark = pytest.mark.arm

OPTIONS = {
    "default": {},
    "25 ms": {"window": 400, "hop": 160, "n_fft": 512, "bins": 24, "fmin": 60.0, "fmax": 8000.0},
    "32 ms": {"window": 512, "hop": 160, "n_fft": 512, "bins": 20, "floor": 1e-10},
    "8 kHz": {"sample_rate": 8000, "window": 256, "hop": 80, "n_fft": 256, "bins": 16, "fmin": 100.0, "fmax": 4000.0},
    "long fft, hop > window": {"window": 300, "hop": 700, "n_fft": 2048, "bins": 64, "fmin": 0.0},
    "one band": {"window": 16, "hop": 1, "n_fft": 32, "bins": 1, "fmin": 0.0, "fmax": 8000.0},
    "mfcc 13": {"kind": "mfcc", "n_mfcc": 13},
    "mfcc all": {"kind": "mfcc", "n_mfcc": 24, "bins": 24, "window": 400, "hop": 160, "n_fft": 512},
}
COUNT = 6000


def signals():
    rng, n = np.random.default_rng(1), np.arange(COUNT)
    return {
        "noise": rng.integers(-3000, 3000, COUNT).astype(np.int16),
        "loud noise": rng.integers(-32768, 32768, COUNT).astype(np.int16),
        "last bit": rng.integers(-1, 2, COUNT).astype(np.int16),
        "float noise": rng.uniform(-1, 1, COUNT).astype(np.float32),
        "denormal": np.full(COUNT, 1e-42, np.float32),
        "silence": np.zeros(COUNT, np.int16),
        "impulse": np.where(n == 1500, 32767, 0).astype(np.int16),
        "impulses": np.where(n % 97 == 0, -32768, 0).astype(np.int16),
    }


def tones():
    n = np.arange(COUNT)
    return {
        "sine": np.rint(32767 * np.sin(2 * np.pi * 1000 / 16000 * n)).astype(np.int16),
        "between bins": np.sin(2 * np.pi * 440.3 / 16000 * n).astype(np.float32),
        "square": np.where(n // 40 % 2, 32767, -32768).astype(np.int16),
        "lowest": np.full(COUNT, -32768, np.int16),
        "highest": np.full(COUNT, 32767, np.int16),
        "nyquist": np.where(n % 2, 32767, -32768).astype(np.int16),
    }


SIGNALS, TONES = signals(), tones()


def build(options):
    whole = {**reference.FRONTEND, **options}
    return FrontEnd(**whole), whole


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
@pytest.mark.parametrize("signal", SIGNALS)
def test_equals_the_definition(options, signal):
    frontend, whole = build(options)
    got, want = frontend.features(SIGNALS[signal]), reference.features(SIGNALS[signal], whole)
    assert got.dtype == np.float32
    assert got.shape == want.shape == (1 + (COUNT - frontend.window) // frontend.hop, frontend.width)
    np.testing.assert_allclose(got, want, rtol=0, atol=1e-4)


@pytest.mark.parametrize("options", [o for o in OPTIONS.values() if "kind" not in o])
@pytest.mark.parametrize("signal", TONES)
def test_equals_the_definition_beside_a_loud_tone(options, signal):
    # A float32 transform leaves an error of about 2^-24 of the loudest amplitude in every bin. Where a band is so much
    # quieter that this shows, 1e-4 dB gives way to what that error makes of 10 log10(energy).
    frontend, whole = build(options)
    got, want = frontend.features(TONES[signal]), reference.features(TONES[signal], whole)
    hann = 0.5 - 0.5 * np.cos(2 * np.pi * np.arange(whole["window"]) / whole["window"])
    loudest = 20 * np.log10(hann.sum())
    error = 2.0**-23 * 10 ** ((loudest - want) / 20)
    assert (np.abs(got - want) <= 1e-4 + 10 / np.log(10) * (2 * error + error**2)).all()
    near = want > loudest - 60
    np.testing.assert_allclose(got[near], want[near], rtol=0, atol=2e-3)


@pytest.mark.parametrize("signal", TONES)
def test_mfcc_is_the_transform_of_the_log_mel(signal):
    mfcc, whole = build(OPTIONS["mfcc 13"])
    log_mel, _ = build({})
    bins, k = whole["bins"], np.arange(13)[:, None]
    dct = np.sqrt(2 / bins) * np.cos(np.pi * k * (2 * np.arange(bins) + 1) / (2 * bins))
    dct[0] /= np.sqrt(2)
    want = log_mel.features(TONES[signal]).astype(np.float64) @ dct.T
    np.testing.assert_allclose(mfcc.features(TONES[signal]), want, rtol=0, atol=1e-4)


def test_silence_is_the_floor():
    frontend, _ = build({"floor": 1e-7})
    assert frontend.features(np.zeros(5000, np.int16)) == pytest.approx(10 * np.log10(np.float32(1e-7)), abs=1e-5)


@given(
    log2=st.integers(5, 13), missing=st.integers(0, 16), seed=st.integers(0, 99), scale=st.sampled_from([1e-20, 1.0])
)
@settings(max_examples=60, deadline=None)
def test_all_widths_of_vectors_give_the_same_bits(log2, missing, seed, scale):
    """KWSRT_ISA=scalar takes the portable transform, anything else the widest of this CPU."""
    n_fft = 1 << log2
    options = {"window": max(16, n_fft - missing), "hop": n_fft, "n_fft": n_fft, "bins": 1, "fmin": 0.0, "fmax": 8000.0}
    samples = (scale * np.random.default_rng(seed).uniform(-1, 1, 2 * n_fft)).astype(np.float32)
    with pytest.MonkeyPatch.context() as patch:
        patch.delenv("KWSRT_ISA", raising=False)
        widest = FrontEnd(floor=1e-30, **options).features(samples)
        patch.setenv("KWSRT_ISA", "scalar")
        assert same_bits(FrontEnd(floor=1e-30, **options).features(samples), widest)


def cut(samples, lengths):
    """Pieces of the given lengths, over and over, until the samples are used up (a length of 0 is an empty piece)."""
    pieces, at = [], 0
    while at < len(samples):
        for length in lengths:
            pieces.append(samples[at : at + length])
            at += length
    return pieces


LENGTHS = st.lists(
    st.integers(0, 3000) | st.sampled_from([1, 159, 160, 479, 480, 481, 1023, 1024, 1025]), min_size=1, max_size=12
).filter(lambda lengths: sum(lengths) >= 20)


@pytest.mark.parametrize(
    "options",
    [OPTIONS["default"], OPTIONS["25 ms"], OPTIONS["long fft, hop > window"], OPTIONS["mfcc 13"]],
    ids=["default", "25 ms", "hop > window", "mfcc"],
)
@given(lengths=LENGTHS, signal=st.sampled_from(["noise", "float noise"]))
@settings(max_examples=25, deadline=None)
def test_streams_equal_the_whole_recording(options, lengths, signal):
    frontend, _ = build(options)
    online, samples = OnlineFrontEnd(frontend), SIGNALS[signal]
    frames = [online.accept(piece) for piece in cut(samples, lengths)]
    assert same_bits(np.concatenate(frames), frontend.features(samples))


@given(lengths=LENGTHS)
@settings(max_examples=10, deadline=None)
def test_dtypes_may_change_within_a_stream(lengths):
    frontend, _ = build({})
    online, samples = OnlineFrontEnd(frontend), SIGNALS["noise"]
    kinds = [samples, samples.astype(np.float32) / np.float32(32768), samples / 32768.0]
    frames, at = [], 0
    for index, piece in enumerate(cut(samples, lengths)):
        frames.append(online.accept(kinds[index % 3][at : at + len(piece)]))
        at += len(piece)
    assert same_bits(np.concatenate(frames), frontend.features(samples))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_int16_and_float_of_the_same_samples(options):
    frontend, _ = build(options)
    for samples in (SIGNALS["loud noise"], TONES["square"]):
        whole = frontend.features(samples)
        assert same_bits(frontend.features(samples.astype(np.float32) / np.float32(32768)), whole)
        assert same_bits(frontend.features(samples / 32768.0), whole)


def test_layout_of_the_samples_does_not_matter():
    frontend, _ = build({})
    samples = SIGNALS["noise"]
    whole = frontend.features(samples)
    assert same_bits(frontend.features(np.repeat(samples, 2)[::2]), whole)
    assert same_bits(frontend.features(samples[::-1][::-1]), whole)
    frozen = samples.copy()
    frozen.flags.writeable = False
    assert same_bits(frontend.features(frozen), whole)
    assert same_bits(frontend.features(list(samples / 32768.0)), whole)


def test_frame_i_depends_on_its_samples_alone():
    frontend, _ = build({})
    samples = SIGNALS["noise"]
    whole = frontend.features(samples)
    for i in (0, 3, len(whole) - 1):
        assert same_bits(frontend.features(samples[i * 480 : i * 480 + 1024])[0], whole[i])


@pytest.mark.parametrize(
    ("samples", "frames"), [(0, 0), (1, 0), (1023, 0), (1024, 1), (1503, 1), (1504, 2), (15904, 32)]
)
def test_number_of_frames(samples, frames):
    frontend, _ = build({})
    assert frontend.features(np.zeros(samples, np.int16)).shape == (frames, 32)
    assert frontend.quantized(np.zeros(samples, np.float32)).shape == (frames, 32)


def test_quantised_features():
    frontend, whole = build({})
    for samples in [*SIGNALS.values(), *TONES.values()]:
        assert same_bits(frontend.quantized(samples), reference.quantize_features(frontend.features(samples), whole))


def test_quantiser_rounds_to_even_and_clips():
    frontend, whole = build({"offset": -12.0, "step": 0.5})
    q = np.arange(-140, 140, 0.25)
    values = np.resize((q * 0.5 - 12.0).astype(np.float32), (len(q) // 32, 32))
    assert same_bits(frontend.quantize(values), reference.quantize_features(values, whole))
    ties = np.zeros((1, 32), np.float32) - 12.0
    ties[0, :6] += np.float32(0.5) * np.array([0.5, 1.5, 2.5, -0.5, -1.5, 1e6], np.float32)
    assert frontend.quantize(ties)[0, :6].tolist() == [0, 2, 2, 0, -2, 127]
    with pytest.raises(OptionError, match="shape"):
        frontend.quantize(np.zeros((3, 31), np.float32))


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
def test_options_round_trip(options):
    frontend, whole = build(options)
    again = FrontEnd(**frontend.options)
    assert again.options == frontend.options
    for key, value in whole.items():
        assert frontend.options[key] == (pytest.approx(value, rel=1e-6) if isinstance(value, float) else value)
    for name in ("sample_rate", "window", "hop"):
        assert getattr(frontend, name) == whole[name]
    assert frontend.width == (whole["n_mfcc"] or whole["bins"])
    assert same_bits(again.features(SIGNALS["noise"]), frontend.features(SIGNALS["noise"]))


@pytest.mark.parametrize(
    "options",
    [
        {"kind": "plp"},
        {"kind": None},
        {"kind": "mfcc"},
        {"kind": "log-mel", "n_mfcc": 13},
        {"kind": "mfcc", "n_mfcc": 33},
        {"kind": "mfcc", "n_mfcc": -1},
        {"sample_rate": 0},
        {"sample_rate": 3999},
        {"sample_rate": -16000},
        {"window": 0},
        {"window": 15},
        {"window": 1025},
        {"window": -1},
        {"hop": 0},
        {"hop": -480},
        {"hop": 65537},
        {"n_fft": 1000},
        {"n_fft": 0},
        {"n_fft": 16384},
        {"n_fft": -1024},
        {"bins": 0},
        {"bins": -1},
        {"bins": 257},
        {"bins": 64, "n_fft": 128, "window": 128},
        {"fmin": -1.0},
        {"fmin": 7600.0},
        {"fmax": 8001.0},
        {"fmin": float("nan")},
        {"fmax": float("nan")},
        {"fmax": float("inf")},
        {"floor": 0.0},
        {"floor": -1.0},
        {"floor": float("nan")},
        {"floor": float("inf")},
        {"step": 0.0},
        {"step": -0.5},
        {"step": float("nan")},
        {"offset": float("nan")},
        {"offset": float("-inf")},
    ],
    ids=str,
)
def test_options_outside_their_range(options):
    with pytest.raises(OptionError):
        build(options)


def test_unknown_options_and_types():
    with pytest.raises(TypeError):
        build({"dither": 1.0})
    with pytest.raises(OptionError):
        build({"window": "1024"})
    for name in ("sample_rate", "window", "hop", "bins"):
        with pytest.raises(OptionError):  # never cut off to an integer without a word
            build({name: reference.FRONTEND[name] + 0.5})
    with pytest.raises(OptionError):
        build({"window": 1 << 40})


UNUSABLE = {
    "NaN": np.array([0.0, np.nan], np.float32),
    "infinite": np.array([0.0, -np.inf], np.float32),
    "NaN float64": np.array([np.nan, 0.0]),
    "int16 as float": np.full(100, 3000.0, np.float32),
    "negative and loud": np.full(3, -9.0, np.float32),
    "int32": np.zeros(10, np.int32),
    "uint8": np.zeros(10, np.uint8),
    "bool": np.zeros(10, bool),
    "float16": np.zeros(10, np.float16),
    "complex": np.zeros(10, np.complex64),
    "text": np.array(["a", "b"]),
    "objects": np.array([None, 1.0], object),
    "two-dimensional": np.zeros((10, 2), np.int16),
    "a number": np.int16(3),
    "a list of int": [1, 2, 3],
    "None": None,
}


@pytest.mark.parametrize("samples", UNUSABLE.values(), ids=list(UNUSABLE))
def test_unusable_samples_leave_the_stream_as_it_was(samples):
    frontend, _ = build({})
    online, good = OnlineFrontEnd(frontend), SIGNALS["noise"]
    frames = [online.accept(good[:1300])]
    with pytest.raises(AudioError):
        online.accept(samples)
    with pytest.raises(AudioError):
        frontend.features(samples)
    frames.append(online.accept(good[1300:]))
    assert same_bits(np.concatenate(frames), frontend.features(good))


def test_float64_beyond_float32_is_infinite():
    with pytest.raises(AudioError):
        check_samples(np.array([0.0, 1e300]))


def test_messages_say_what_to_do():
    for samples, words in (
        (np.full(4, 300.0, np.float32), "divide by 32768"),
        (np.zeros((4, 2)), "mix channels down"),
        (np.zeros(4, np.int32), "pass int16, or float32"),
        (np.array([np.nan]), "NaN"),
    ):
        with pytest.raises(AudioError, match=words):
            check_samples(samples)


def test_samples_pass_unchanged():
    assert check_samples(SIGNALS["noise"]).dtype == np.int16
    assert check_samples(np.array([0.25, -8.0])).tolist() == [0.25, -8.0]
    assert check_samples(np.empty(0, np.float32)).shape == (0,)


def test_reset_forgets():
    frontend, _ = build({})
    online = OnlineFrontEnd(frontend)
    online.accept(SIGNALS["loud noise"][:1700])
    online.reset()
    assert same_bits(online.accept(SIGNALS["noise"]), frontend.features(SIGNALS["noise"]))


def test_two_streams_of_one_front_end():
    frontend, _ = build({})
    streams, sources = [OnlineFrontEnd(frontend) for _ in range(2)], (SIGNALS["noise"], SIGNALS["loud noise"])
    frames = [[], []]
    for at in range(0, COUNT, 333):
        for index in range(2):
            frames[index].append(streams[index].accept(sources[index][at : at + 333]))
    for index in range(2):
        assert same_bits(np.concatenate(frames[index]), frontend.features(sources[index]))
    with pytest.raises(TypeError):
        OnlineFrontEnd(None)
