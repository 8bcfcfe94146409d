"""Model and load: what predict takes and refuses, thinning levels, and the vectors that a file carries."""

import numpy as np
import pytest

import kwsrt
from kwsrt import Detector
from kwsrt import format as file_format
from kwsrt.errors import AudioError, KwsrtError, ModelFileError, OptionError, ThinError
from kwsrt.layers import available_isas
from kwsrt.model import Model, bundled_models
from tests import reference
from tests.models import LABELS, make_model
from tests.reference import same_bits

pytestmark = pytest.mark.arm

DATA = make_model(12)
MODEL = Model(file_format.parse(DATA))
WINDOW = 31 * 480 + 1024


def clip(samples=16000, seed=0):
    rng = np.random.default_rng(seed)
    n = np.arange(samples)
    return np.rint(rng.normal(0, 400, samples) * (1 + n // 2000 % 4) + 5000 * np.sin(n * n / 3e5)).astype(np.int16)


def scores_of(window, model=MODEL, thin="full"):
    """{label: score} of exactly one window, by the front end and the network alone."""
    row = model.network.run(model.frontend.quantized(window)[None], thin)[0]
    return dict(zip(model.labels, row.tolist(), strict=True))


# --- load ----------------------------------------------------------------------------------------------------------


def test_load(tmp_path, tiny_model_path):
    model = kwsrt.load(tiny_model_path)
    assert model.predict(clip()) == kwsrt.load(str(tiny_model_path)).predict(clip())
    other_name = tmp_path / "model.bin"
    other_name.write_bytes(tiny_model_path.read_bytes())
    assert kwsrt.load(other_name).name == model.name == "tiny"


def test_what_a_model_says_of_itself():
    assert MODEL.labels == LABELS
    assert MODEL.thin_levels == ("full", "half", "quarter")
    assert (MODEL.sample_rate, MODEL.window, MODEL.size) == (16000, WINDOW, len(DATA))
    assert MODEL.checksum == DATA[32:64].hex()
    assert MODEL.isa in available_isas()
    assert MODEL.manifest["licence"] == "Apache-2.0"
    assert "tiny" in repr(MODEL)
    assert "4 labels" in repr(MODEL)


def test_no_such_model(tmp_path):
    for name in ("nothing", "nothing.kws", tmp_path / "nothing.kws", tmp_path, ""):
        with pytest.raises(ModelFileError):
            kwsrt.load(name)
    with pytest.raises(ModelFileError, match=r"no model 'twelve': expected the path of a \.kws file"):
        kwsrt.load("twelve")


def test_a_file_of_something_else(tmp_path):
    path = tmp_path / "song.kws"
    path.write_bytes(b"RIFF" + bytes(100))
    with pytest.raises(ModelFileError, match=r"song\.kws: not a kwsrt model file"):
        kwsrt.load(path)


def test_a_network_that_cannot_run_names_the_file(tmp_path):
    file = file_format.parse(DATA)
    path = tmp_path / "broken.kws"
    path.write_bytes(file_format.write(file.manifest, {**file.tensors, "scales": -file.tensors["scales"]}))
    with pytest.raises(ModelFileError, match=r"broken\.kws: .*scale"):
        kwsrt.load(path)


def test_a_front_end_of_another_width():
    file = file_format.parse(DATA)
    manifest = {**file.manifest, "frontend": {**file.manifest["frontend"], "bins": 24}}
    with pytest.raises(ModelFileError, match=r"values a frame, network\.bins"):
        Model(file_format.parse(file_format.write(manifest, file.tensors)))


def test_wrong_isa(monkeypatch):
    monkeypatch.setenv("KWSRT_ISA", "altivec")
    with pytest.raises(KwsrtError, match=r"altivec.*KWSRT_ISA.*this machine runs.*scalar"):
        Model(file_format.parse(DATA))


@pytest.mark.parametrize("isa", available_isas())
def test_forced_isa(monkeypatch, isa):
    monkeypatch.setenv("KWSRT_ISA", isa)
    forced = Model(file_format.parse(DATA))
    assert forced.isa == isa
    for thin in MODEL.thin_levels:
        assert forced.predict(clip(), thin=thin) == MODEL.predict(clip(), thin=thin)
    assert forced.verify() == 0.0


def test_bundled_models_load():
    models = bundled_models()
    if not models:
        pytest.skip("no model is bundled in this checkout")
    for name, path in models.items():
        model = kwsrt.load(name)
        assert model.verify() == 0.0
        assert model.size == path.stat().st_size < 87_040
        assert kwsrt.load(path).checksum == model.checksum


# --- predict -------------------------------------------------------------------------------------------------------


def test_scores():
    scores = MODEL.predict(clip())
    assert tuple(scores) == LABELS
    assert all(type(score) is float and 0 <= score <= 1 for score in scores.values())
    assert sum(scores.values()) == pytest.approx(1, abs=1e-6)
    assert scores != MODEL.predict(clip(seed=1))


def test_int16_and_float_of_the_same_clip():
    want = MODEL.predict(clip())
    assert MODEL.predict(clip().astype(np.float32) / np.float32(32768)) == want
    assert MODEL.predict(clip() / 32768.0) == want
    assert MODEL.predict(list(clip() / 32768.0)) == want


def test_one_window_is_taken_as_it_is():
    assert MODEL.predict(clip(WINDOW)) == scores_of(clip(WINDOW))


@pytest.mark.parametrize("longer", [1, 2, 96, 97, 5000, WINDOW // 2])
def test_longer_clips_are_cut_on_both_sides(longer):
    samples = clip(WINDOW + longer)
    assert MODEL.predict(samples) == scores_of(samples[longer // 2 : longer // 2 + WINDOW])


@pytest.mark.parametrize("missing", [1, 2, 3, 1000, 8001, WINDOW - 1])
def test_shorter_clips_are_mirrored_or_padded_on_both_sides(missing):
    samples = clip(WINDOW - missing)
    mode = "symmetric" if 4 * missing <= WINDOW else "constant"  # a clip that hardly fills a window lies in silence
    padded = np.pad(samples, (missing // 2, missing - missing // 2), mode=mode)
    assert MODEL.predict(samples) == scores_of(padded)
    assert MODEL.predict(samples / 32768.0) == scores_of(padded)


def test_too_long_clips():
    MODEL.predict(clip(WINDOW + WINDOW // 2))
    for samples in (WINDOW + WINDOW // 2 + 1, 160_000):
        with pytest.raises(AudioError, match=r"kwsrt\.detect"):
            MODEL.predict(clip(samples))


def test_channels():
    samples = clip()
    want = MODEL.predict(samples)
    assert MODEL.predict(samples[:, None]) == want
    for channels in (2, 4, 8):
        assert MODEL.predict(np.repeat(samples[:, None], channels, axis=1)) == want
    left = np.stack([samples, np.zeros_like(samples)], axis=1)
    assert MODEL.predict(left) == MODEL.predict((samples / 65536.0).astype(np.float32))
    assert MODEL.predict(left.astype(np.float32) / np.float32(32768)) == MODEL.predict(left)


def test_batches():
    clips = [clip(seed=seed) for seed in range(3)]
    want = [MODEL.predict(samples) for samples in clips]
    assert MODEL.predict(clips) == want
    assert MODEL.predict(tuple(clips)) == want
    assert MODEL.predict(np.stack(clips)) == want
    assert MODEL.predict(np.stack(clips)[:1]) == want[:1]
    assert MODEL.predict(np.stack(clips)[:, :, None]) == want
    assert MODEL.predict(np.repeat(np.stack(clips)[:, :, None], 2, axis=2)) == want
    assert MODEL.predict([*clips, clips[0][:, None], clips[1] / 32768.0]) == [*want, *want[:2]]
    assert MODEL.predict([clips[0][:9000], clips[1]]) == [MODEL.predict(clips[0][:9000]), want[1]]
    assert MODEL.predict(np.empty((0, 16000), np.int16)) == []
    assert MODEL.predict(clips, thin="half") == [MODEL.predict(samples, thin="half") for samples in clips]


def test_other_rates():
    pytest.importorskip("scipy.signal", reason="scipy resamples")
    from scipy.signal import resample_poly

    slow = clip(8000)
    fast = resample_poly(slow.astype(np.float32) / np.float32(32768), 2, 1).astype(np.float32)
    want = scores_of(fast[48 : 48 + WINDOW])
    assert MODEL.predict(slow, sample_rate=8000) == want
    assert MODEL.predict([slow, slow], sample_rate=8000) == [want, want]
    assert MODEL.predict(clip(), sample_rate=16000.0) == MODEL.predict(clip())
    for rate in (11025, 22050, 44100, 48000, 96000, 12345.6):
        assert sum(MODEL.predict(clip(int(rate)), sample_rate=rate).values()) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize(
    "rate", [0, -16000, 999, 1_000_001, float("nan"), float("inf"), "16000", True, [16000]], ids=str
)
def test_wrong_rates(rate):
    with pytest.raises(AudioError, match="sample rate"):
        MODEL.predict(clip(), sample_rate=rate)


@pytest.mark.parametrize(
    "samples",
    [
        [],
        np.empty(0, np.int16),
        np.empty((0, 2), np.float32),
        np.full(16000, np.nan, np.float32),
        np.zeros(16000, np.int32),
        np.append(np.zeros(15999, np.float32), np.inf),
        np.full(16000, 3000.0, np.float32),
        np.zeros(16000, np.uint8),
        np.zeros((2, 16000, 2, 2), np.int16),
        np.zeros(16000, bool),
        np.zeros(16000, np.complex64),
        "speech",
        None,
        3,
        b"123",
        [np.zeros(16000, np.int16), np.empty(0, np.int16)],
        [np.zeros(16000, np.int16), None],
        np.zeros((2, 16000), np.int64),
        [[0.0, np.nan], [0.0, 1.0]],
    ],
    ids=lambda value: type(value).__name__,
)
def test_unusable_clips(samples):
    with pytest.raises(AudioError):
        MODEL.predict(samples)


@pytest.mark.parametrize("thin", ["eighth", "", None, 1, "FULL"])
def test_unknown_level(thin):
    with pytest.raises(ThinError, match="this model has full, half, quarter"):
        MODEL.predict(clip(), thin=thin)


def test_levels_differ_and_store_nothing():
    want = {thin: Model(file_format.parse(DATA)).predict(clip(), thin=thin) for thin in MODEL.thin_levels}
    assert len({tuple(scores.values()) for scores in want.values()}) == 3
    for thin in ("half", "full", "quarter", "quarter", "full", "half"):
        assert MODEL.predict(clip(), thin=thin) == want[thin]
    assert MODEL.predict(clip()) == want["full"]


@pytest.mark.parametrize("thin", MODEL.thin_levels)
def test_stream_gives_the_scores_of_predict(thin):
    samples = clip(WINDOW + 5 * 960)
    for decision, row in enumerate(MODEL.stream(thin=thin).push(samples)):
        window = samples[decision * 960 : decision * 960 + WINDOW]
        assert MODEL.predict(window, thin=thin) == dict(zip(LABELS, row.tolist(), strict=True))


def test_scores_are_those_of_numpy():
    # From samples to scores: our frames, then the reference's network.
    file = file_format.parse(DATA)
    config, signs = file.manifest["network"], reference.unpack_all(file.manifest["network"], file.tensors)
    for seed in range(3):
        window = clip(WINDOW, seed)
        features = MODEL.frontend.features(window)
        np.testing.assert_allclose(features, reference.features(window, file.manifest["frontend"]), rtol=0, atol=1e-4)
        q = reference.quantize_features(features, file.manifest["frontend"])
        for thin in MODEL.thin_levels:
            want = reference.network_scores(config, file.tensors, signs, q, thin)
            assert same_bits(np.array(list(MODEL.predict(window, thin=thin).values()), np.float32), want)


# --- verify --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("planes", [1, 2])
def test_the_test_signal_gives_the_scores(planes):
    assert Model(file_format.parse(make_model(3, planes))).verify() == 0.0


def test_changed_scores_are_noticed():
    file, name = file_format.parse(DATA), "verify.scores"
    for at in (0, -1):
        changed = file.tensors[name].copy()
        changed.reshape(-1)[at] += np.float32(0.25)
        rewritten = file_format.parse(file_format.write(file.manifest, {**file.tensors, name: changed}))
        assert Model(rewritten).verify() == pytest.approx(0.25, abs=1e-6)
    last_bit = file.tensors[name].copy()
    last_bit.reshape(-1)[1] = np.nextafter(last_bit.reshape(-1)[1], np.float32(2))
    rewritten = file_format.parse(file_format.write(file.manifest, {**file.tensors, name: last_bit}))
    assert 0 < Model(rewritten).verify() < 1e-6


@pytest.mark.parametrize(
    "name", ["conv1.weight", "conv2.affine", "fc1.weight", "blocks.3.expand.affine.full", "classifier.weight"]
)
def test_changed_weights_are_noticed(name):
    file = file_format.parse(DATA)
    changed = file.tensors[name][::-1].copy()
    rewritten = file_format.parse(file_format.write(file.manifest, {**file.tensors, name: changed}))
    try:
        model = Model(rewritten)
    except ModelFileError:  # reversed blocks of weights may set bits in the padding
        return
    assert model.verify() > 1e-3


def test_a_changed_front_end_is_noticed():
    file = file_format.parse(DATA)
    manifest = {**file.manifest, "frontend": {**file.manifest["frontend"], "offset": 12.0}}
    assert Model(file_format.parse(file_format.write(manifest, file.tensors))).verify() > 1e-3


# --- detect's use of the model -------------------------------------------------------------------------------------


def test_detect_takes_a_model_or_its_path(tiny_model_path, tiny):
    want = list(kwsrt.detect(clip(40000), model=tiny, threshold=0.2))
    assert want
    assert list(kwsrt.detect(clip(40000), model=tiny_model_path, threshold=0.2)) == want
    assert list(kwsrt.detect(clip(40000), model=str(tiny_model_path), threshold=0.2)) == want
    with pytest.raises(ModelFileError):
        kwsrt.detect(clip(), model="nothing.kws")
    with pytest.raises(ThinError):
        kwsrt.detect(clip(), model=tiny, thin="eighth")
    with pytest.raises(OptionError):
        kwsrt.detect(clip(), model=tiny, stride=0)


@pytest.mark.parametrize(
    "clear",
    ["high", None, [0.5], 7, -1, True, float("nan"), {"eighth": 0.5}, {"half": 2}, {"half": {"half": 0}}],
    ids=str,
)
def test_a_cascade_in_the_file_that_is_none(clear):
    with pytest.raises(ModelFileError, match="clear"):
        file_format.parse(make_model(12, manifest={"clear": clear}))


@pytest.mark.parametrize("threshold", ["high", None, [0.5], 7, -1, float("nan")], ids=str)
def test_a_threshold_in_the_file_that_is_none(threshold):
    try:
        model = Model(file_format.parse(make_model(12, manifest={"threshold": threshold})))
    except ModelFileError:
        return
    with pytest.raises(KwsrtError):
        list(kwsrt.detect(clip(), model=model))


def test_a_model_declares_its_detectors():
    scores = Model(file_format.parse(DATA)).stream().push(clip(60000))
    labels = MODEL.labels
    for own in ({}, {"threshold": 0.2, "smoothing": 1, "patience": 2}):
        model = Model(file_format.parse(make_model(12, manifest=own)))
        settings = {"threshold": 0.8, "smoothing": 5, "patience": 3} | own
        assert {name: getattr(model, name) for name in settings} == settings
        assert model.detector().push(scores) == Detector(labels, **settings).push(scores)
        told = {"threshold": 0.1, "smoothing": 2, "patience": 1, "refractory": 0.0, "debounce": 0.1}
        assert model.detector(**told).push(scores) == Detector(labels, **told).push(scores)
        assert list(kwsrt.detect(clip(60000), model=model)) == list(kwsrt.detect(clip(60000), model=model, **settings))
