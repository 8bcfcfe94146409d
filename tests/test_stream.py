"""Streams: however the audio is cut, the scores are those of the whole recording's windows, bit for bit."""

import copy
import pickle

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kwsrt
from kwsrt import format as file_format
from kwsrt.errors import AudioError, OptionError, ThinError
from kwsrt.model import Model
from kwsrt.network import Network
from kwsrt.stream import Stream
from tests.models import make_model
from tests.reference import same_bits

pytestmark = pytest.mark.arm

# A hop of 10 ms and windows of 16 frames: many decisions from little audio.
MODEL = Model(
    file_format.parse(
        make_model(
            7,
            frontend={"window": 400, "hop": 160, "n_fft": 512, "bins": 16},
            frames=16,
            bins=16,
            width=16,
            hidden=24,
            blocks=2,
            levels={"full": [0, 1], "half": [1]},
        )
    )
)
SKIPPING = Model(
    file_format.parse(
        make_model(
            8,
            frontend={"window": 256, "hop": 400, "n_fft": 256, "bins": 16},
            frames=8,
            bins=16,
            width=16,
            hidden=24,
            blocks=2,
            levels={"full": [0, 1], "half": [1]},
        )
    )
)


def recording(seconds, seed=0):
    rng = np.random.default_rng(seed)
    n = np.arange(int(16000 * seconds))
    noise = rng.normal(0, 1, len(n)) * (200 + 3000 * (n // 1700 % 3))
    return np.rint(noise + 4000 * np.sin(n * n / 3e5)).astype(np.int16)


def windows(model, samples, stride=2, thin="full"):
    """The scores of a recording's windows through the front end and the network, without a stream."""
    q, frames = model.frontend.quantized(samples), model.network.frames
    starts = range(0, len(q) - frames + 1, stride)
    return model.network.run(np.stack([q[i : i + frames] for i in starts]), thin)


FIELDS = ("values", "ends", "loudness", "thin")


def joined(parts):
    """The scores of consecutive pushes as those of one."""
    fields = [np.concatenate([getattr(part, name) for part in parts]) for name in FIELDS]
    return kwsrt.Scores(*fields, parts[0].window, parts[0].sample_rate)


def same(left, right):
    """Whether two Scores are the same, bit for bit."""
    return all(same_bits(getattr(left, name), getattr(right, name)) for name in FIELDS)


def pushed(stream, samples, lengths):
    """The scores of samples that are pushed in pieces of the given lengths, over and over."""
    scores, at = [], 0
    while at < len(samples):
        for length in lengths:
            scores.append(stream.push(samples[at : at + length]))
            at += length
    return joined(scores)


SAMPLES = recording(1.5)
LENGTHS = st.lists(
    st.integers(0, 4000) | st.sampled_from([1, 159, 160, 161, 320, 400, 480]), min_size=1, max_size=10
).filter(lambda lengths: sum(lengths) >= 40)


@pytest.mark.parametrize("model", [MODEL, SKIPPING], ids=["overlapping", "hop > window"])
@given(lengths=LENGTHS, stride=st.sampled_from([1, 2, 3, 7, 40]), thin=st.sampled_from(["full", "half"]))
@settings(max_examples=25, deadline=None)
def test_any_chunks(model, lengths, stride, thin):
    want = windows(model, SAMPLES, stride, thin)
    whole = model.stream(thin=thin, stride=stride).push(SAMPLES)
    assert same(pushed(model.stream(thin=thin, stride=stride), SAMPLES, lengths), whole)
    assert same_bits(whole.values, want)
    assert whole.ends.tolist() == [model.window + stride * model.frontend.hop * i for i in range(len(want))]


def test_sample_by_sample():
    samples = SAMPLES[:6000]
    assert same_bits(pushed(MODEL.stream(stride=1), samples, [1]).values, windows(MODEL, samples, 1))


@pytest.mark.parametrize("stride", [1, 2, 5])
def test_far_beyond_the_history(stride):
    # The history holds 4 * 16 frames: 12 s are 19 times as many.
    samples = recording(12, 3)
    want = windows(MODEL, samples, stride)
    stream = MODEL.stream(stride=stride)
    whole = stream.push(samples)
    assert same_bits(whole.values, want)
    assert stream.decisions == len(want)
    assert same(pushed(MODEL.stream(stride=stride), samples, [777, 1, 15000]), whole)


def test_equals_predict():
    stream = MODEL.stream(stride=3)
    scores = stream.push(SAMPLES).values
    assert stream.window == MODEL.window == 15 * 160 + 400
    assert stream.stride == 3 * 160
    for decision in range(0, len(scores), 7):
        start = decision * stream.stride
        assert list(MODEL.predict(SAMPLES[start : start + stream.window]).values()) == scores[decision].tolist()


def test_first_decision_comes_with_the_last_sample_of_the_window():
    stream = MODEL.stream()
    assert stream.push(SAMPLES[: stream.window - 1]).shape == (0, 4)
    assert stream.push(SAMPLES[stream.window - 1 : stream.window]).shape == (1, 4)
    assert stream.push(SAMPLES[stream.window : stream.window + stream.stride - 1]).shape == (0, 4)
    assert stream.push(SAMPLES[stream.window + stream.stride - 1 : stream.window + stream.stride]).shape == (1, 4)
    assert stream.decisions == 2


def test_int16_and_float_of_the_same_samples():
    want = MODEL.stream().push(SAMPLES)
    assert want.values.dtype == np.float32
    assert same(MODEL.stream().push(SAMPLES.astype(np.float32) / np.float32(32768)), want)
    assert same(MODEL.stream().push(SAMPLES / 32768.0), want)
    for raw in (SAMPLES.tobytes(), bytearray(SAMPLES.tobytes()), memoryview(SAMPLES.tobytes())):
        assert same(MODEL.stream().push(raw), want)
    mixed = MODEL.stream()
    parts = [mixed.push(SAMPLES[:5001]), mixed.push(SAMPLES[5001:9000] / 32768.0), mixed.push(SAMPLES[9000:].tobytes())]
    assert same(joined(parts), want)


def test_samples_may_lie_in_memory_anyhow():
    want = MODEL.stream().push(SAMPLES)
    shifted = np.frombuffer(b"x" + SAMPLES.tobytes(), np.int16, offset=1)
    assert not shifted.flags.aligned
    spread = np.zeros((len(SAMPLES), 2), np.int16)
    spread[:, 0] = SAMPLES
    fixed = SAMPLES.copy()
    fixed.flags.writeable = False
    floats = (SAMPLES / 32768.0).astype(np.float32)
    for samples in (
        shifted,
        spread[:, 0],
        fixed,
        SAMPLES[::-1].copy()[::-1],
        list(floats),
        np.frombuffer(b"x" + floats.tobytes(), np.float32, offset=1),
    ):
        assert same(MODEL.stream().push(samples), want)


def test_scores_made_by_hand():
    made = kwsrt.Scores([[0.25, 0.75], [1, 0]], [100, 200], [-30, -40], [0, -1], 100, 1000)
    assert (made.shape, len(made), made.window, made.sample_rate) == ((2, 2), 2, 100, 1000)
    assert [getattr(made, name).dtype for name in FIELDS] == [np.float32, np.int64, np.float32, np.int8]
    assert made.values.tolist() == [[0.25, 0.75], [1, 0]]
    assert made.times.tolist() == [0.1, 0.2]
    assert (made.loudness.tolist(), made.thin.tolist()) == ([-30, -40], [0, -1])
    for copied in (pickle.loads(pickle.dumps(made)), copy.deepcopy(made)):
        assert same(copied, made)
        assert (copied.window, copied.sample_rate) == (100, 1000)
        copied.values[0, 0] = 0
        assert made.values[0, 0] == 0.25
    row = [[1, 0]]
    for wrong in (
        (row, [1], [0], [0], 0, 1000),
        (row, [1], [0], [0], 1, 0),
        ([1, 0], [1], [0], [0], 1, 1),
        (row, [1, 2], [0], [0], 1, 1),
        (row, [1], [0, 0], [0], 1, 1),
        (row, [1], [0], [[0]], 1, 1),
        ([["x"]], [1], [0], [0], 1, 1),
        ([[1], [1, 0]], [1], [0], [0], 1, 1),
        (row, ["x"], [0], [0], 1, 1),
        (row, [1], [0], [0], "x", 1),
        (row, [1], [0], [0], 1, 1 << 40),
        (row, [1], [0], [0], 1.5, 1),
    ):
        with pytest.raises(kwsrt.OptionError):
            kwsrt.Scores(*wrong)


def test_a_detector_hears_what_the_arrays_hold():
    scores = MODEL.stream().push(SAMPLES)
    scores.values[...] = np.eye(4, dtype=np.float32)[0]
    assert [heard.label for heard in kwsrt.Detector(MODEL.labels).push(scores)] == [MODEL.labels[0]]


def test_scores_are_an_array_with_times():
    scores = MODEL.stream(stride=3).push(SAMPLES)
    assert scores.shape == (len(scores), 4)
    assert same_bits(np.asarray(scores), scores.values)
    assert same_bits(np.concatenate([scores, scores]), np.concatenate([scores.values] * 2))
    assert same_bits(np.stack(list(scores)), scores.values)
    assert same_bits(scores[2:4], scores.values[2:4])
    assert np.array_equal(scores.times, scores.ends / 16000)
    assert np.asarray(scores, np.float64).dtype == np.float64


def test_loudness_is_that_of_the_newest_frames():
    """A sine in the middle of a band, in steps of 6 dB, and a full-scale one that tells where 0 dB is."""
    length = 9600
    amplitudes = np.repeat([1.0, 0.5, 0.25, 0.125, 0.5, 1.0], length)
    sine = (amplitudes * np.sin(2 * np.pi * 1000 * np.arange(len(amplitudes)) / 16000)).astype(np.float32)
    model = kwsrt.load()
    scores = model.stream().push(np.concatenate([sine, sine]))
    ends = scores.ends % len(sine)
    heard = 3 * model.frontend.hop + model.frontend.window  # samples of the frames that are new to a decision
    for first in range(0, len(sine), length):
        held = scores.loudness[(ends >= first + heard) & (ends <= first + length)]
        assert len(held) > 1
        assert np.all(np.abs(held - 20 * np.log10(amplitudes[first])) < 2.5), first


# --- adaptive thinning and the gate ---------------------------------------------------------------------------------


@given(lengths=LENGTHS)
@settings(max_examples=10, deadline=None)
def test_auto_is_the_thinnest_level_that_is_clear(lengths):
    full, half = windows(MODEL, SAMPLES, 1, "full"), windows(MODEL, SAMPLES, 1, "half")
    clear = float(np.median(half.max(1)))  # a network that is not told otherwise takes all its classes for keywords
    network = Network(MODEL.manifest["network"], 4, MODEL.tensors, clear=clear)
    auto = pushed(Stream(MODEL.frontend, network, thin="auto", stride=1), SAMPLES, lengths)
    is_clear = half.max(1) >= np.float32(clear)
    assert 0.3 < is_clear.mean() < 0.7
    assert auto.thin.tolist() == is_clear.tolist()
    assert same_bits(auto.values, np.where(is_clear[:, None], half, full))
    q = MODEL.frontend.quantized(SAMPLES)
    assert same_bits(network.run(np.stack([q[i : i + 16] for i in range(len(auto))]), "auto"), auto.values)


def test_auto_runs_the_levels_that_the_model_names():
    def model(clear):
        return Model(
            file_format.parse(
                make_model(
                    7,
                    frontend={"window": 400, "hop": 160, "n_fft": 512, "bins": 16},
                    frames=16,
                    bins=16,
                    width=16,
                    hidden=24,
                    blocks=2,
                    levels={"full": [0, 1], "half": [1], "quarter": [0]},
                    manifest={"clear": clear},
                )
            )
        )

    def auto(clear):
        return model(clear).stream(thin="auto", stride=1).push(SAMPLES)

    def clearness(scores):
        return scores[:, 2:].sum(1)  # yes, no; _unknown_, _silence_

    full, half, quarter = (windows(model(0.5), SAMPLES, 1, level) for level in ("full", "half", "quarter"))
    sure, surer = float(np.quantile(clearness(quarter), 0.4)), float(np.quantile(clearness(half), 0.4))
    want = np.where(clearness(quarter) >= np.float32(sure), 2, np.where(clearness(half) >= np.float32(surer), 1, 0))
    assert set(want) == {0, 1, 2}
    scores = auto({"quarter": sure, "half": surer})
    assert scores.thin.tolist() == want.tolist()
    assert same_bits(scores.values, np.choose(want[:, None], [full, half, quarter]))
    assert auto({"half": surer}).thin.tolist() == np.where(clearness(half) >= np.float32(surer), 1, 0).tolist()
    assert set(auto({}).thin) == {0}
    assert set(auto(0).thin) == {2}


def test_gate_skips_windows_in_which_nothing_is_loud():
    rng = np.random.default_rng(1)
    noise = rng.normal(0, 1, 5 * 16000)
    noise = (noise / np.abs(noise).max() * np.repeat([1e-4, 1e-1, 1e-4, 1e-4, 1e-4], 16000)).astype(np.float32)
    plain, gated = MODEL.stream().push(noise), MODEL.stream(gate=-60).push(noise)
    assert same_bits(plain.loudness, gated.loudness)
    frames = MODEL.network.frames // 2
    loud = np.array([gated.loudness[max(0, i - frames + 1) : i + 1].max() >= -60 for i in range(len(gated))])
    late = np.arange(len(gated)) >= frames  # before that the window holds frames older than any decision's news
    assert same_bits(gated.thin[late], np.where(loud, 0, -1).astype(np.int8)[late])
    silent = gated.thin < 0
    assert 5 < silent.sum() < len(gated) - 5
    assert np.array_equal(gated.values[silent], np.tile(np.eye(4, dtype=np.float32)[3], (silent.sum(), 1)))
    assert same_bits(gated.values[~silent], plain.values[~silent])


@pytest.mark.parametrize(
    ("model", "gate", "said"), [(MODEL, "loud", "gate"), (MODEL, float("nan"), "gate"), (MODEL, True, "gate")]
)
def test_wrong_gates(model, gate, said):
    with pytest.raises(OptionError, match=said):
        model.stream(gate=gate)


def test_gate_needs_a_label_for_silence():
    with pytest.raises(OptionError, match="_silence_"):
        Stream(MODEL.frontend, MODEL.network, gate=-60)


def test_thin_may_change_between_pushes():
    stream, at, rows = MODEL.stream(stride=1), 0, []
    full, half = windows(MODEL, SAMPLES, 1, "full"), windows(MODEL, SAMPLES, 1, "half")
    assert not same_bits(full, half)
    want = []
    for index, length in enumerate([4000, 3000, 1, 500, 0, 7000, 9000]):
        stream.thin = ("full", "half")[index % 2]
        assert stream.thin == ("full", "half")[index % 2]
        scores = stream.push(SAMPLES[at : at + length])
        first = stream.decisions - len(scores)
        want.append((full, half)[index % 2][first : first + len(scores)])
        rows.append(scores)
        at += length
    assert stream.decisions > 100
    assert same_bits(np.concatenate(rows), np.concatenate(want))


def test_unknown_level():
    with pytest.raises(ThinError, match="full, half"):
        MODEL.stream(thin="third")
    stream = MODEL.stream(thin="half")
    with pytest.raises(ThinError):
        stream.thin = None
    assert stream.thin == "half"


@pytest.mark.parametrize("stride", [0, -1, -1000])
def test_stride_below_one(stride):
    with pytest.raises(OptionError, match="stride"):
        MODEL.stream(stride=stride)


def test_reset():
    stream, want = MODEL.stream(thin="half"), windows(MODEL, SAMPLES, 2, "half")
    stream.push(recording(0.77, 5))
    assert stream.decisions > 0
    stream.reset()
    assert (stream.decisions, stream.thin) == (0, "half")
    assert same_bits(stream.push(SAMPLES).values, want)


def test_reset_while_samples_are_skipped():
    stream = SKIPPING.stream(stride=1)
    stream.push(SAMPLES[:300])
    stream.reset()
    assert same_bits(stream.push(SAMPLES).values, windows(SKIPPING, SAMPLES, 1))


@pytest.mark.parametrize(
    "samples",
    [
        np.full(100, np.nan, np.float32),
        np.array([np.inf]),
        np.zeros((100, 2), np.int16),
        np.zeros(100, np.int32),
        np.full(100, 32767.0, np.float32),
        None,
        "yes",
        b"odd",
    ],
    ids=str,
)
def test_unusable_samples_leave_the_stream_as_it_was(samples):
    stream = MODEL.stream()
    rows = [stream.push(SAMPLES[:5000])]
    with pytest.raises(AudioError):
        stream.push(samples)
    assert stream.decisions == len(rows[0])
    rows.append(stream.push(SAMPLES[5000:]))
    assert same_bits(np.concatenate(rows), windows(MODEL, SAMPLES))


def test_nothing_pushed():
    stream = MODEL.stream()
    for nothing in (np.empty(0, np.int16), np.empty(0, np.float32), [], b""):
        assert stream.push(nothing).shape == (0, 4)


def test_many_streams_of_one_model():
    sources = [recording(1, seed) for seed in range(5)]
    streams = [MODEL.stream(thin=("full", "half")[index % 2], stride=1 + index) for index in range(5)]
    rows = [[] for _ in streams]
    for at in range(0, 16000, 1234):
        for index, stream in enumerate(streams):
            rows[index].append(stream.push(sources[index][at : at + 1234]))
    for index, source in enumerate(sources):
        want = windows(MODEL, source, 1 + index, ("full", "half")[index % 2])
        assert same_bits(np.concatenate(rows[index]), want)


def test_scores_are_the_callers():
    stream = MODEL.stream()
    first = stream.push(SAMPLES[:8000])
    kept = copy.deepcopy(first)
    stream.push(SAMPLES[8000:])
    assert same(first, kept)


# --- detect --------------------------------------------------------------------------------------------------------

# A random network hears something now and then if the threshold is the middle of its best scores.
DETECT = {
    "model": MODEL,
    "threshold": float(np.median(windows(MODEL, SAMPLES)[:, :2].max(1))),
    "refractory": 0.1,
    "patience": 1,
    "smoothing": 1,
}


@given(lengths=LENGTHS)
@settings(max_examples=10, deadline=None)
def test_detect_of_an_array_equals_detect_of_its_chunks(lengths):
    whole = list(kwsrt.detect(SAMPLES, **DETECT))
    assert whole
    chunks, at = [], 0
    while at < len(SAMPLES):
        for length in lengths:
            chunks.append(SAMPLES[at : at + length])
            at += length
    assert list(kwsrt.detect(iter(chunks), **DETECT)) == whole
    assert list(kwsrt.detect(chunks, **DETECT)) == whole  # a list of arrays is a list of chunks


def test_detect_of_more_than_one_piece():
    # An array is pushed in pieces of 10 s.
    samples = recording(21, 4)
    whole = list(kwsrt.detect(samples, **DETECT))
    assert whole[-1].time > 20
    assert list(kwsrt.detect((samples[i : i + 1000] for i in range(0, len(samples), 1000)), **DETECT)) == whole
    assert list(kwsrt.detect(samples / 32768.0, **DETECT)) == whole
    assert list(kwsrt.detect(np.stack([samples, samples], axis=1), **DETECT)) == whole
