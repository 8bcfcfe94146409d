"""Training: quantisers against their definition, the network, resuming, the checkpoint format."""

import math
import tomllib

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch")
sf = pytest.importorskip("soundfile", reason="training reads its clips with soundfile")
pytest.importorskip("scipy", reason="training changes the speed of clips with SciPy")

from tools.train import binarize, data, train  # noqa: E402
from tools.train.network import Network, default_config  # noqa: E402

CONFIG = """
labels = "yes,no,_unknown_,_silence_"
seed = 3
hidden = ["yes"]
[data]
suspects = ["dog"]
target = 4
unknown_target = 4
partials = 4
speech_cuts = 0
silence_cuts = 50
[[stage]]
name = "teacher"
planes = 0
epochs = 2
suspects_from = 0.5
samples = 32
batch = 16
settle = 2
[[stage]]
name = "binary"
planes = 2
init = "teacher"
epochs = 2
samples = 32
batch = 16
settle = 2
distil = 0.5
"""


@pytest.fixture(scope="module")
def clips(tmp_path_factory):
    """A folder in the layout of Speech Commands: tones for words, noise for noise."""
    root = tmp_path_factory.mktemp("clips")
    rng = np.random.default_rng(0)
    listed = []
    for number, word in enumerate(("yes", "no", "cat", "dog")):
        (root / word).mkdir()
        for clip in range(3):
            tone = np.sin(np.arange(14000) * 0.05 * (number + 1)) * np.hanning(14000)
            name = f"{word}/{clip:08x}_nohash_0.wav"
            sf.write(root / name, 0.3 * tone + 0.001 * rng.standard_normal(14000), 16000, subtype="PCM_16")
            listed += [name] if clip == 2 else []
    (root / "_background_noise_").mkdir()
    sf.write(root / "_background_noise_" / "hiss.wav", 0.01 * rng.standard_normal(160000), 16000, subtype="PCM_16")
    (root / "validation_list.txt").write_text("\n".join(listed))
    return root


def arguments(clips, out):
    return train.parse(
        ["x", "--data", str(clips), "--out", str(out), "--cache", str(out.parent / "cache"), "--workers=1"]
    )


def reference(x, t, s, planes):
    d = x - t
    b1 = np.where(d >= 0, 1, -1)
    if planes == 1:
        return np.float32(s) * b1
    b2 = np.where(np.where(b1 > 0, d >= s, d >= -s), 1, -1)
    return np.float32(s) / 2 * (2 * b1 + b2)


@pytest.mark.parametrize("planes", [1, 2])
def test_quantizer_is_the_definition(planes):
    rng = np.random.default_rng(planes)
    x = rng.standard_normal((50, 8)).astype(np.float32)
    t = rng.standard_normal(8).astype(np.float32)
    x[:3] = t  # exactly on the boundaries
    x[3:6] = t + np.float32(0.75)
    got = binarize.quantize_activation(torch.from_numpy(x), torch.from_numpy(t), torch.tensor(0.75), planes, "learned")
    assert np.array_equal(got.numpy(), reference(x, t, np.float32(0.75), planes).astype(np.float32))


@pytest.mark.parametrize("method", binarize.METHODS)
@pytest.mark.parametrize("planes", [1, 2])
def test_quantizer_gradients(planes, method):
    x = torch.tensor([[-9.0, -0.3], [0.2, 9.0]], requires_grad=True)
    t = torch.zeros(2, requires_grad=True)
    s = torch.tensor(0.5, requires_grad=True)
    binarize.quantize_activation(x, t, s, planes, method).sum().backward()
    assert x.grad.tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert t.grad.tolist() == [-1.0, -1.0]
    assert (s.grad is None) == (method == "ste")


def test_bad_quantizer_is_refused():
    with pytest.raises(ValueError, match="planes 3"):
        binarize.quantize_activation(torch.zeros(1), None, torch.tensor(1.0), 3, "learned")


def test_int8_rounds_and_clips():
    x = torch.tensor([0.26, -0.24, 1000.0, -1000.0])
    assert binarize.quantize_int8(x, torch.tensor(0.5)).tolist() == [0.5, 0.0, 63.5, -63.5]
    weight = torch.tensor([[1.27, -0.634], [0.0, 0.0]])
    assert torch.allclose(binarize.int8_weight(weight), torch.tensor([[1.27, -0.63], [0.0, 0.0]]))


@pytest.mark.parametrize("planes", [0, 1, 2])
def test_network(planes):
    torch.manual_seed(planes)
    model = Network(default_config(planes), 12)
    features = torch.randint(-127, 128, (8, 32, 32), dtype=torch.int8)
    if planes:
        model.calibrate(features)
    logits = model.train()(features)
    assert list(logits) == ["full", "half", "quarter"]
    assert logits["half"].shape == (8, 12)
    sum(v.square().mean() for v in logits.values()).backward()
    for name, parameter in model.named_parameters():
        assert parameter.grad is not None, name
        assert torch.isfinite(parameter.grad).all(), name
    layers = [model.conv2, model.fc1] + [m for b in model.blocks for m in (b.memory, b.expand, b.project)]
    for layer in layers:
        rows = layer.effective_weight().detach().flatten(1)
        two_valued = all(len(row.abs().unique()) == 1 for row in rows)
        assert two_valued == (planes > 0)
    names = set(model.state_dict())
    assert {"blocks.3.project.norm.quarter.running_var", "classifier.bias.half", "fc1.slope"} <= names
    assert ("blocks.0.project.act.threshold" in names, "blocks.0.project.act.scale" in names) == (False, planes > 0)
    assert "blocks.0.memory.norm.half.weight" not in names


def test_levels_alone_are_the_same():
    model = Network(default_config(2), 12).eval()
    features = torch.randint(-127, 128, (4, 32, 32), dtype=torch.int8)
    assert torch.equal(model(features)["half"], model(features, "half")["half"])


def test_training_resumes_identically(clips, tmp_path):
    config = tomllib.loads(CONFIG)
    whole = train.Run(config, arguments(clips, tmp_path / "whole"))
    paths = [whole.train(stage) for stage in whole.stages]
    assert (whole.out / "teacher.suspects.pt").exists()
    cut = train.Run(config, arguments(clips, tmp_path / "cut"))
    (cut.out / "teacher.pt").write_bytes(paths[0].read_bytes())
    real = cut.epoch

    def once(stage, model, teacher, optimizer, average, parts, epoch):
        if epoch == 1:
            raise KeyboardInterrupt
        return real(stage, model, teacher, optimizer, average, parts, epoch)

    cut.epoch = once
    with pytest.raises(KeyboardInterrupt):
        cut.train(cut.stages[1])
    cut.epoch = real
    again = torch.load(cut.train(cut.stages[1]), weights_only=True)
    saved = torch.load(paths[1], weights_only=True)
    assert saved["format"] == "kwsrt-checkpoint"
    assert saved["version"] == 1
    assert saved["labels"] == ["yes", "no", "_unknown_", "_silence_"]
    assert saved["network"]["planes"] == 2
    assert math.isfinite(saved["train"]["validation"]["full_balanced"])
    assert saved["train"]["epochs"] == 2
    assert all(torch.equal(value, again["state"][name]) for name, value in saved["state"].items())
    model, _ = train.load_model(paths[1])
    assert not model.training


def test_mix_adds_up(clips, tmp_path):
    run = train.Run(tomllib.loads(CONFIG), arguments(clips, tmp_path / "out"))
    parts = train.buckets(run.samples, run.labels, run.mix, None)
    assert abs(sum(share for _, share in parts) - 1) < 1e-9
    order = train.draw(parts, 1000, (1, 1))
    assert len(order) == 1000
    share = {label: float((run.samples.label[order] == i).mean()) for i, label in enumerate(run.labels)}
    assert abs(share["_unknown_"] - run.mix.unknown) < 0.01
    assert abs(share["yes"] - share["no"]) < 0.01


def test_labels():
    assert data.labels_of("12")[-2:] == ["_unknown_", "_silence_"]
    assert len(data.labels_of("12")) == 12
    assert len(data.labels_of("20")) == 20
    assert len(set(data.labels_of("35"))) == 35
    with pytest.raises(ValueError, match="two different labels"):
        data.labels_of("yes")


def test_speed_keeps_the_level():
    tone = np.sin(np.arange(16000) * 0.1).astype(np.float32)
    faster = data.change_speed(tone, 1.1)
    assert abs(len(faster) - 16000 / 1.1) < 2
    assert abs(np.sqrt((faster**2).mean()) - np.sqrt(0.5)) < 0.02
