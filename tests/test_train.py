"""Training: quantisers against their definition, the network, resuming, the checkpoint format."""

import dataclasses
import math
import re
import shutil
import subprocess
import sys
import tomllib
import tracemalloc
import types
from pathlib import Path

import numpy as np
import pytest

torch = pytest.importorskip("torch", reason="training needs PyTorch")
sf = pytest.importorskip("soundfile", reason="training reads its clips with soundfile")
pytest.importorskip("scipy", reason="training changes the speed of clips with SciPy")

import kwsrt  # noqa: E402
from kwsrt import audio, layout, numbers  # noqa: E402
from kwsrt.clips import find_clips  # noqa: E402
from kwsrt.evaluation import hear, speaker_of, summary  # noqa: E402
from kwsrt.frontend import FrontEnd  # noqa: E402
from tools import folding  # noqa: E402
from tools.checkpoint_reader import read_checkpoint  # noqa: E402
from tools.train import (  # noqa: E402
    binarize,
    data,
    distil,
    evaluate,
    folders,
    fused,
    measure,
    recipe,
    rounding,
    sampling,
    sounds,
    table,
    train,
)
from tools.train.network import Network, default_config, norm_act, remember  # noqa: E402
from tools.train.recordings import recordings_of  # noqa: E402
from tools.train.ship import evaluation_list  # noqa: E402

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
teachers = ["teacher"]
[[stage]]
name = "tuned"
planes = 2
init = "binary"
weights = "frozen"
spread = 0.5
epochs = 1
samples = 32
batch = 16
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


def arguments(clips, out, *more):
    return train.parse(
        ["x", "--data", str(clips), "--out", str(out), "--cache", str(out.parent / "cache"), "--workers=1", *more]
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


def test_dual_scales():
    x = torch.tensor([[-9.0, -0.3], [0.2, 0.9]], requires_grad=True)
    t, s, r = torch.zeros(2, requires_grad=True), torch.tensor(0.5), torch.tensor(0.25)
    same = binarize.quantize_activation(x, t, s, 2, "learned")
    assert torch.equal(binarize.quantize_dual(x, t, s, r), same)
    s, r = s.requires_grad_(), torch.tensor(0.1, requires_grad=True)
    y = binarize.quantize_dual(x, t, s, r)
    assert torch.allclose(y, torch.tensor([[-0.6, -0.4], [0.4, 0.6]]))
    y.sum().backward()
    assert x.grad.tolist() == [[0.0, 1.0], [1.0, 0.0]]
    assert (s.grad.item(), r.grad.item()) == (0.0, 0.0)


@pytest.mark.parametrize("method", binarize.METHODS[:2])
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


def test_weights_of_the_ends():
    weight = torch.tensor([[1.27, -0.634], [0.0, 0.0]])
    assert torch.allclose(binarize.classifier_weight(weight, 8), torch.tensor([[1.27, -0.63], [0.0, 0.0]]))
    latent = torch.randn(6, 1000, generator=torch.Generator().manual_seed(1))
    four_bits = binarize.classifier_weight(latent, 4)
    for row in four_bits:
        assert len(row.unique()) == 15
    assert (four_bits - latent).square().mean() < 0.02
    kernels = torch.randn(8, 1, 5, 5, generator=torch.Generator().manual_seed(2))
    for row in binarize.input_weight(kernels).flatten(1):
        # Whole numbers of one scale, int16 for every sum of them with int8 features.
        scale, values, error = folding.multiples(row[None].double().numpy(), None)
        assert error.max() < 1e-3
        assert 200 < np.abs(values).sum() <= binarize.LARGEST_TOTAL == layout.LARGEST_TOTAL
        assert np.abs(values).max() == round(float(row.abs().max() / scale[0]))


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


@pytest.mark.parametrize("planes", [0, 2])
def test_a_causal_network_knows_no_future(planes):
    torch.manual_seed(planes)
    settings = {"causal": True, "steps": 8, "frames": 41}
    model = Network({**default_config(planes), **settings}, 12)
    features = torch.randint(-127, 128, (3, 41 + 16, 32), dtype=torch.int8)
    if planes:
        model.calibrate(features)
    model.eval()
    shown, changed, short = ({} for _ in range(3))
    logits = model(features, hidden=shown)
    later = features.clone()
    later[:, 41:] += 1  # step 7 sees frames 28 to 40
    model(later, hidden=changed)
    model(features[:, :41], hidden=short)
    for level, blocks in shown.items():
        assert blocks[-1].shape == (3, 12, 128)
        assert torch.equal(blocks[-1][:, :8], changed[level][-1][:, :8])
        assert not torch.equal(blocks[-1][:, 8], changed[level][-1][:, 8])
        assert torch.allclose(blocks[-1][:, :8], short[level][-1], atol=1e-4)
    assert all(values.shape == (3, 12) for values in logits.values())
    assert torch.equal(model(features, "half")["half"], logits["half"])


def test_causal_memory_is_a_sum_over_the_past():
    torch.manual_seed(1)
    q, weight = torch.randn(2, 7, 5), torch.randn(5, 3)
    got = remember(q, weight, causal=True)
    padded = torch.cat([torch.zeros(2, 2, 5), q], 1)
    want = sum(padded[:, tap : tap + 7] * weight[:, tap] for tap in range(3))
    assert torch.allclose(got, want, atol=1e-6)


def fused_cases():
    """{name: (function of tensors, the tensors)}; every element-wise pass that fused.c takes over."""
    random = torch.Generator().manual_seed(5)

    def normal(*shape):
        return torch.randn(*shape, generator=random)

    z, residual, channels = 3 * normal(70, 8, 24) + 50, normal(70, 8, 24), [normal(24) for _ in range(4)]
    running = normal(24), normal(24).square() + 0.5
    cases = {
        f"norm_act {training} {slopes}": (
            lambda z, w, b, s, r, t=training: norm_act(z, (w, b, *running), s, r, t)[0],
            [z, channels[0], channels[1], channels[2][:slopes], residual],
        )
        for training in (True, False)
        for slopes in (1, 24)
    }
    cases["norm_act alone"] = (lambda z, w, b, s: norm_act(z, (w, b, *running), s, None, True)[0], [z, *channels[:3]])
    for planes in (1, 2):
        for method in binarize.METHODS[:2]:
            cases[f"quantize {planes} {method}"] = (
                lambda x, t, s, p=planes, m=method: binarize.quantize_activation(x, t, s, p, m),
                [residual, channels[3], torch.tensor(0.7)],
            )
    cases["no threshold"] = (
        lambda x, s: binarize.quantize_activation(x, None, s, 2, "learned"),
        [residual, torch.tensor(0.7)],
    )
    cases["int8"] = (binarize.quantize_int8, [residual * 100, torch.tensor(0.7)])
    cases["remember"] = (remember, [residual, normal(24, 5)])
    weight = normal(16, 24, 5, 5)
    weight[0, 0, 0, 0] = 30  # beyond the window of the gradient
    cases["weight"] = (binarize.binarize_weight, [weight])
    cases["weight as it is"] = (lambda w: binarize.binarize_weight(w, False), [weight])
    return cases


@pytest.mark.skipif(fused.library() is None, reason="no C compiler for tools/train/fused.c")
@pytest.mark.parametrize("name", fused_cases())
def test_fused_passes_are_those_of_pytorch(name, monkeypatch):
    function, inputs = fused_cases()[name]
    results = []
    for use in (True, False):
        if not use:
            monkeypatch.setattr(fused, "usable", lambda x: False)
        leaves = [value.clone().requires_grad_() for value in inputs]
        y = function(*leaves)
        y.backward(torch.randn(y.shape, generator=torch.Generator().manual_seed(1)))
        results.append([y.detach(), *(leaf.grad for leaf in leaves)])
    for quick, plain in zip(*results, strict=True):
        assert (quick is None) == (plain is None)
        if plain is not None:
            torch.testing.assert_close(quick, plain, rtol=1e-4, atol=1e-4 * plain.abs().max().item())


def test_fused_passes_leave_subnormal_numbers_alone():
    """Of the rest of the process, whose results kwsrt promises to the last bit."""
    code = "import numpy as np; from tools.train import fused; fused.library(); print(2 * np.float32(1e-40))"
    root = Path(__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", code], cwd=root, capture_output=True, text=True)
    assert float(done.stdout or 0) > 0, done.stderr


def test_levels_can_share_their_norms():
    model = Network({**default_config(2), "shared_norms": True}, 12)
    assert "blocks.3.project.norm.running_var" in model.state_dict()
    features = torch.randint(-127, 128, (4, 32, 32), dtype=torch.int8)
    assert torch.isfinite(model.train()(features, parts={"half": 0.5})["quarter"]).all()
    assert len(model(features, parts={"half": 0.5})["half"]) == 2


def test_table_of_runs(clips, tmp_path, capsys):
    for seed in (1, 2):
        run = train.Run(tomllib.loads(CONFIG), arguments(clips, tmp_path / f"seed{seed}"))
        run.seed = seed
        run.train(run.stages[0])
        run.train(run.stages[1])
    assert table.main([str(tmp_path / "seed1"), str(tmp_path / "seed2")]) == 0
    lines = [[cell.strip() for cell in line.split("|")[1:-1]] for line in capsys.readouterr().out.splitlines()]
    assert [line[0] for line in lines[2:]] == ["teacher", "binary"]
    found = [torch.load(tmp_path / f"seed{seed}" / "binary.pt", weights_only=True)["train"] for seed in (1, 2)]
    mean = sum(train["validation"]["full"] for train in found) / 2
    assert lines[3][2].startswith(f"{100 * mean:.2f} (")
    assert lines[3][6:8] == ["2", "2 x 32"]
    assert len({len(line) for line in lines}) == 1


def test_levels_alone_are_the_same():
    model = Network(default_config(2), 12).eval()
    features = torch.randint(-127, 128, (4, 32, 32), dtype=torch.int8)
    assert torch.equal(model(features)["half"], model(features, "half")["half"])


def test_a_stage_may_add_a_level(clips, tmp_path):
    """It starts as a copy of the thinnest that was there; all others stay as they are."""
    config = tomllib.loads(CONFIG)
    levels = {**default_config(2)["levels"], "eighth": [7]}
    config["stage"][2]["network"] = {"levels": levels}
    run = train.Run(config, arguments(clips, tmp_path / "out"))
    for stage in run.stages[:2]:
        run.train(stage)
    before, after = train.load_model(run.out / "binary.pt", "cpu")[0], run.start(run.stages[2])
    features = torch.randint(-127, 128, (2, 32, 32), dtype=torch.int8)
    was, now = before.eval()(features), after.eval()(features)
    assert list(now) == ["full", "half", "quarter", "eighth"]
    assert all(torch.equal(was[level], now[level]) for level in was)
    state = after.state_dict()
    assert torch.equal(state["blocks.7.memory.norm.eighth.weight"], state["blocks.7.memory.norm.quarter.weight"])
    assert torch.equal(state["classifier.bias.eighth"], state["classifier.bias.quarter"])
    assert not any(".eighth" in name for name in state if "blocks.3." in name)


def test_training_resumes_identically(clips, tmp_path):
    config = tomllib.loads(CONFIG)
    whole = train.Run(config, arguments(clips, tmp_path / "whole"))
    paths = [whole.train(stage) for stage in whole.stages]
    assert (whole.out / "teacher.suspects.pt").exists()
    cut = train.Run(config, arguments(clips, tmp_path / "cut"))
    (cut.out / "teacher.pt").write_bytes(paths[0].read_bytes())
    real = cut.epoch

    def once(stage, model, teacher, optimizer, average, parts, epoch, grids):
        if epoch == 1:
            raise KeyboardInterrupt
        return real(stage, model, teacher, optimizer, average, parts, epoch, grids)

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


def test_training_ends_in_a_model_and_its_card(clips, tmp_path, capsys):
    pytest.importorskip("matplotlib", reason="cards have pictures")
    config, packed = tmp_path / "small.toml", tmp_path / "small.kws"
    config.write_text(CONFIG)
    options = [str(config), "--data", str(clips), "--out", str(tmp_path / "out"), "--workers=1", "--threads=1"]
    negative = next((clips / "_background_noise_").iterdir())
    more = ["--speech", *[str(negative)] * 4, "--ship", str(packed)]
    assert train.main(options + more) == 0
    model = kwsrt.load(packed)
    assert model.labels == ("yes", "no", "_unknown_", "_silence_")
    card = packed.with_suffix(".md").read_text()
    assert model.checksum in card
    assert f"{negative.name}" in card
    listed = tmp_path / "out" / "evaluation_list.txt"
    assert len(listed.read_text().splitlines()) == 4 + 200
    outcomes = [hear(model, path, label, "full") for path, label in find_clips(clips, listed, model.labels)]
    assert f"**{summary(outcomes, model.labels)['accuracy']:.2%}**" in card
    checkpoint = tmp_path / "out" / "tuned.pt"
    capsys.readouterr()
    assert evaluate.main([str(clips), str(checkpoint)]) == 0
    everything = [hear(model, path, label, "full") for path, label in find_clips(clips, None, model.labels)]
    share = summary(everything, model.labels)["accuracy"]
    assert capsys.readouterr().out.startswith(f"{checkpoint}: full {share:.2%}, half")
    assert evaluate.main([str(clips), str(checkpoint.with_name("teacher.pt")), str(checkpoint)]) == 0
    of_teacher, of_tuned = capsys.readouterr().out.splitlines()
    assert "below" not in of_teacher
    teacher_share = float(of_teacher.split(": full ")[1].split("%")[0])
    below = float(of_tuned.split(f": full {share:.2%} (")[1].split(" below")[0])
    assert below == pytest.approx(teacher_share - 100 * share, abs=0.011)
    assert packed.with_suffix(".png").read_bytes().startswith(b"\x89PNG")


def test_config_takes_other_values_from_the_command_line(clips, tmp_path):
    """Here another front end, of other sizes and cepstra, through all stages."""
    config = tmp_path / "small.toml"
    config.write_text(CONFIG)
    options = [str(config), "--data", str(clips), "--out", str(tmp_path / "out"), "--workers=1", "--threads=1"]
    cepstral = ['data.frontend.kind="mfcc"', "data.frontend.n_mfcc=20", "data.frontend.hop=320", "data.frames=48"]
    assert train.main([*options, "--set", *cepstral, "mix.silence=0.25"]) == 0
    saved = torch.load(tmp_path / "out" / "tuned.pt", weights_only=True)
    assert saved["frontend"] == {**data.DEFAULT_FRONTEND, "kind": "mfcc", "n_mfcc": 20, "hop": 320}
    assert saved["network"]["frames"] == 48
    assert saved["network"]["bins"] == 20
    assert saved["train"]["recipe"]["mix"]["silence"] == 0.25
    with pytest.raises(SystemExit, match="2"):
        train.parse([*options, "--set", "mix.silence"])


def test_a_louder_voice_is_the_same_in_cepstra():
    """Level and tilt of an augmented sample are what a filter of the sound would do, whatever the features."""
    options = {**data.DEFAULT_FRONTEND, "kind": "mfcc", "n_mfcc": 20, "step": 1.5, "floor": 1e-12}
    frontend = FrontEnd(**options)
    sound = np.random.default_rng(0).standard_normal(16000).astype(np.float32)
    difference = frontend.features(sound) - frontend.features(sound * np.float32(10 ** (-3 / 20)))
    basis = sampling.cepstra(options)
    expected = torch.full((32,), 6.0) @ basis * options["step"]
    np.testing.assert_allclose(difference, np.broadcast_to(expected, difference.shape), atol=2e-3)
    assert sampling.cepstra(data.DEFAULT_FRONTEND) is None
    same = torch.zeros(64, 32, 20, dtype=torch.int8)
    moved = sampling.augment(same, torch.zeros(64), 32, torch.Generator().manual_seed(1), basis)
    assert torch.equal(moved, moved[:, :1].expand_as(moved))
    assert moved[:, 0, :2].abs().amax(0).min() > 2
    assert not moved[:, 0, 2::2].any()  # a straight line over the bands has no even cosines but the level


def test_two_processes_train_one_network(clips, tmp_path):
    """Under torchrun: both go through all stages, one writes, and the weights are finite and trained by both."""
    config = tmp_path / "small.toml"
    config.write_text(CONFIG)
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    command += ["-m", "tools.train.train", str(config), "--data", str(clips), "--out", str(tmp_path / "out")]
    command += ["--cache", str(tmp_path / "cache"), "--workers=1", "--threads=1"]
    done = subprocess.run(command, cwd=Path(__file__).parent.parent, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("binary epoch 2/2") == 1  # one process talks
    saved = torch.load(tmp_path / "out" / "binary.pt", weights_only=True)
    assert saved["train"]["processes"] == 2
    assert all(torch.isfinite(value).all() for value in saved["state"].values())
    alone = train.Run(tomllib.loads(CONFIG), arguments(clips, tmp_path / "alone"))
    start = alone.start(alone.stages[0]).state_dict()
    teacher = torch.load(tmp_path / "out" / "teacher.pt", weights_only=True)["state"]
    assert not torch.equal(teacher["conv2.weight"], start["conv2.weight"])


def test_haar_is_that_of_pywavelets():
    pywt = pytest.importorskip("pywt", reason="PyWavelets is the witness")
    x = np.random.default_rng(1).standard_normal((3, 8, 16)).astype(np.float32)
    low, high = distil.haar(torch.from_numpy(x))
    for clip in range(3):
        approximation, details = pywt.dwt2(x[clip].astype(np.float64), "haar")
        np.testing.assert_allclose(low[clip], approximation, atol=1e-6)
        np.testing.assert_allclose(high[clip], np.stack(details), atol=1e-6)


@pytest.mark.parametrize("method", ["hed", "fid"])
def test_distillation_of_hidden_layers(method):
    torch.manual_seed(1)
    teacher = [torch.randn(4, 8, 16) for _ in range(3)]
    student = [x.clone().requires_grad_() for x in teacher]
    assert distil.hidden_loss(student, teacher, method).item() == 0
    assert distil.hidden_loss([-3 * x for x in teacher], teacher, method).item() < 1e-9  # strength and sign are free
    loss = distil.hidden_loss([x + torch.randn_like(x) for x in student], teacher, method)
    loss.backward()
    assert loss.item() > 0.01
    assert all(x.grad.abs().max() > 0 for x in student)
    flat = [x + 5 for x in teacher]  # a constant is in the low part alone
    assert (distil.hidden_loss(flat, teacher, method).item() > 0.01) == (method == "fid")
    with pytest.raises(ValueError, match="'mid'"):
        distil.hidden_loss(student, teacher, "mid")


def test_temperature_is_found():
    random = np.random.default_rng(2)
    logits = random.standard_normal((20000, 5))
    shares = np.exp(logits) / np.exp(logits).sum(1, keepdims=True)
    label = torch.from_numpy(np.array([random.choice(5, p=row) for row in shares]))
    assert abs(measure.fit_temperature([torch.from_numpy(logits * 2.5)], label) - 2.5) < 0.1


def test_mixup_keeps_the_heavier_label():
    x, label = torch.arange(8.0)[:, None, None].expand(8, 4, 4) * 100, torch.arange(8) % 4
    same, target = sampling.mixed(x, label, 4, 0.0, np.random.default_rng(1))
    assert same is x
    assert torch.equal(target.argmax(1), label)
    blend, target = sampling.mixed(x, label, 4, 0.4, np.random.default_rng(1))
    assert torch.equal(target.argmax(1), label)
    assert torch.allclose(target.sum(1), torch.ones(8))
    share = target[torch.arange(8), label]
    expected = torch.round(share * x[:, 0, 0] + (1 - share) * x.roll(1, 0)[:, 0, 0])
    assert torch.allclose(blend[:, 0, 0], expected, atol=1.01)


def test_digital_silence_leaves_the_word_alone():
    frontend = data.DEFAULT_FRONTEND
    quiet = data.silent_frame(frontend)
    assert quiet.tolist() == FrontEnd(**frontend).quantized(np.zeros(2048, np.int16))[0].tolist()
    x, random = torch.ones(400, 73, 32), torch.Generator().manual_seed(1)
    heard = sampling.hushed(x, torch.from_numpy(quiet).float(), 0.25, random)
    silent = (heard != 1).all(2)
    assert torch.equal(silent, (heard == torch.from_numpy(quiet)).all(2))
    begins, ends = silent[:, 0], silent[:, -1]
    assert 70 < begins.sum() < 130
    assert 50 < ends.sum() < 110  # of lengths below one frame nothing is seen
    assert not silent[:, 73 - sampling.OPEN : 73 - sampling.EDGE].any()
    assert silent[:, 73 - sampling.OPEN - 2].any()
    assert torch.equal((silent[:, 1:] != silent[:, :-1]).sum(1), begins.int() + ends)  # one piece each
    assert torch.equal(sampling.hushed(x, torch.zeros(32), 0.0, random), x)


def test_a_stage_weighs_its_levels():
    logits = {"full": torch.tensor([[0.0, 0.0]]), "quarter": torch.tensor([[2.0, 0.0]])}
    target = torch.tensor([[1.0, 0.0]])
    parts = [torch.nn.functional.cross_entropy(values, target) for values in logits.values()]
    for weigh, quarter in (({}, recipe.LEVEL_WEIGHTS["quarter"]), ({"quarter": 0.75}, 0.75)):
        stage = recipe.Stage("any", 2, 1, weigh=weigh)
        assert torch.allclose(recipe.loss_of(logits, target, None, stage), parts[0] + quarter * parts[1])


def test_a_stage_may_start_from_the_mean_of_several(clips, tmp_path):
    run = train.Run(tomllib.loads(CONFIG), arguments(clips, tmp_path / "out"))
    saved = torch.load(run.train(run.stages[0]), weights_only=True)
    state = saved["state"]
    moved = {name: values + 0.5 if values.is_floating_point() else values for name, values in state.items()}
    torch.save({**saved, "state": moved}, run.out / "moved.pt")
    mean = run.start(dataclasses.replace(run.stages[0], init=["teacher", "moved"])).state_dict()
    for name, values in state.items():
        assert torch.allclose(mean[name], values + 0.25 if values.is_floating_point() else values), name
    with pytest.raises(ValueError, match="no mean"):
        train.mean_of([state, {}])


def test_tuning_leaves_the_signs_alone(clips, tmp_path):
    run = train.Run(tomllib.loads(CONFIG), arguments(clips, tmp_path / "out"))
    before, after = [torch.load(run.train(stage), weights_only=True)["state"] for stage in run.stages][1:]
    assert torch.equal(before["blocks.1.expand.weight"], after["blocks.1.expand.weight"])
    assert not torch.equal(before["blocks.1.memory.norm.full.weight"], after["blocks.1.memory.norm.full.weight"])
    assert not torch.equal(before["blocks.1.memory.act.threshold"], after["blocks.1.memory.act.threshold"])
    assert after["blocks.1.memory.norm.full.running_mean"].abs().max() == 0  # as rounding leaves it


def test_coarse_numbers_are_those_of_the_file(clips, tmp_path):
    """A stage with `spread` leaves numbers that are few bits in the file, and one `a` for all levels."""
    run = train.Run(tomllib.loads(CONFIG), arguments(clips, tmp_path / "out"))
    *_, path = [run.train(stage) for stage in run.stages]
    loaded = read_checkpoint(path)
    tensors, _ = folding.fold(folding.build_network(loaded), loaded["network"], rebinarize=False)
    tensors["verify.scores"] = np.zeros((3, 4), np.float32)
    specs = [spec for spec in layout.tensor_specs(loaded["network"], 4) if not spec.is_binary]
    for name, row in numbers._rows(specs, tensors):
        exponent, multiples = numbers._multiples(row, name.rpartition(".")[2])
        assert exponent != numbers.RAW, name
        assert np.abs(multiples - np.median(multiples)).mean() < 12, name
    full, quarter = (tensors[f"blocks.7.expand.affine.{level}"] for level in ("full", "quarter"))
    assert np.array_equal(full[0], quarter[0])
    assert not np.array_equal(full[1], quarter[1])


def test_rounding_lasts_for_a_pass_alone():
    torch.manual_seed(1)
    network = Network(default_config(2), 4)
    network.calibrate(torch.randint(-40, 40, (8, 32, 32)).float())
    grids = rounding.grids_of(network, 0.5)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    with rounding.rounded(network, grids):
        inside = {name: value.clone() for name, value in network.state_dict().items()}
        network(torch.randint(-40, 40, (8, 32, 32)).float())["full"].sum().backward()
    changed = [name for name in before if not torch.equal(before[name], inside[name])]
    assert {name.rpartition(".")[2] for name in changed} == {"slope", "threshold", "weight", "bias"}
    assert not any(name.endswith("weight") and "norm" not in name for name in changed)
    after = network.state_dict()
    assert all(torch.equal(before[name], after[name]) for name in before if "running" not in name)
    assert network.blocks[7].expand.slope.grad is not None


def test_a_word_lies_in_the_window_behind_the_lead():
    """With nothing else to hear, all that is loud is within the frames behind the lead."""
    config = data.DataConfig(lead=32, frames=41, strength=0.0)
    augmenter = data.Augmenter(config, [], [])
    clip = (0.3 * np.sin(np.arange(12000) * 0.3)).astype(np.float32)
    rng = np.random.default_rng(2)
    floor = augmenter.quantized(np.zeros(augmenter.lengths[0], np.float32)).max()
    for _ in range(20):
        features = augmenter.word(clip, rng)
        assert features.shape == (32 + 41 + 8, 32)
        loud = np.flatnonzero(features.max(1) > floor + 60)
        assert 36 <= loud[0] < loud[-1] < 36 + 41
        assert abs((loud[0] + loud[-1]) / 2 - (36 + 20)) < 6
    before = data.Augmenter(config, [], [rng.standard_normal(160000).astype(np.float32)])
    heard = np.array([before.word(clip, rng).max(1) > floor + 30 for _ in range(40)])
    assert 8 < heard[:, :20].any(1).sum() < 32
    assert data.DataConfig().key("recorded") == data.DataConfig(lead=0, talk=0.0).key("recorded")
    assert data.DataConfig().key("recorded") != data.DataConfig(lead=4).key("recorded")


def test_mix_adds_up(clips, tmp_path):
    run = train.Run(tomllib.loads(CONFIG), arguments(clips, tmp_path / "out"))
    parts = sampling.buckets(run.samples, run.labels, run.mix, None)
    assert abs(sum(share for _, share in parts) - 1) < 1e-9
    order = sampling.draw(parts, 1000, (1, 1))
    assert len(order) == 1000
    share = {label: float((run.samples.label[order] == i).mean()) for i, label in enumerate(run.labels)}
    assert abs(share["_unknown_"] - run.mix.unknown) < 0.01
    assert abs(share["yes"] - share["no"]) < 0.01


def test_hard_cuts_are_a_bucket_of_their_own(clips, tmp_path, monkeypatch):
    """What the miner takes for a keyword in long recordings is judged once and drawn as often as the mix says."""
    (tmp_path / "speech").mkdir()
    for number, samples in enumerate(np.random.default_rng(5).normal(0, 0.1, (2, 5 * 16000))):
        sf.write(tmp_path / "speech" / f"{number}.flac", samples, 16000)
    config = train.merged(tomllib.loads(CONFIG), {"data": {"speech_cuts": 100}, "mix": {"hard": 0.5}})
    config["stage"][1]["miner"] = "teacher"
    run = train.Run(config, arguments(clips, tmp_path / "out", "--speech", str(tmp_path / "speech")))
    run.train(run.stages[0])
    assert run.hard(run.stages[0]) is None
    unknown = run.labels.index("_unknown_")
    cuts = np.flatnonzero((run.samples.group == data.GROUPS.index("long")) & (run.samples.label == unknown))
    keyword = run.probabilities(train.load_model(run.out / "teacher.pt", "cpu")[0], cuts)[:, :2].sum(1)
    monkeypatch.setattr(train, "HARD_PROBABILITY", np.sort(keyword)[50])
    hard = run.hard(run.stages[1])
    assert 0 < hard.sum() <= 50
    assert set(np.flatnonzero(hard)) == set(cuts[keyword >= np.sort(keyword)[50]])
    monkeypatch.setattr(train, "HARD_PROBABILITY", 2.0)
    assert np.array_equal(run.hard(run.stages[1]), hard)
    parts = sampling.buckets(run.samples, run.labels, run.mix, None, hard)
    drawn = sampling.draw(parts, 1000, (1, 1))
    assert abs((run.samples.label[drawn] == unknown).mean() - run.mix.unknown) < 0.01
    assert abs(hard[drawn].sum() / (run.samples.label[drawn] == unknown).sum() - run.mix.hard) < 0.05


def refused(capsys, clips, out, *more):
    """The one line with which training refuses a folder, before it makes anything."""
    options = ["--data", str(clips), "--out", str(out), "--labels", "yes,no,_unknown_,_silence_", "--workers=1"]
    assert train.main(["kws12", *options, "--stage", "none", *more]) == 2
    line = capsys.readouterr().err.splitlines()[-1]
    assert line.startswith("train: error: ")
    assert not list(out.glob("cache/*/features.npy"))
    return line


def test_folders_that_cannot_be_trained_on_are_refused(clips, tmp_path, capsys):
    """By name, in one line, before features are made."""
    copy, out = tmp_path / "clips", tmp_path / "out"
    assert "/nowhere: no such folder" in refused(capsys, "/nowhere", out)
    without = refused(capsys, clips, out, "--labels", "hello,no")
    assert "label hello; its folders with clips: cat, dog, no, yes" in without
    for option in ("--voices", "--speech", "--noise"):
        assert "/nowhere" in refused(capsys, clips, out, option, "/nowhere")
    copy.mkdir()
    assert f"{copy}: no clips found" in refused(capsys, copy, out)
    assert f"{copy}: no recordings found" in refused(capsys, clips, out, "--noise", str(copy))
    shutil.copytree(clips, copy, dirs_exist_ok=True)
    for path in (copy / "yes").iterdir():
        path.rename(path.with_suffix(".m4a"))
    assert "label yes; 3 cannot be used" in refused(capsys, copy, out)
    for path in (copy / "yes").iterdir():
        path.rename(path.with_suffix(".wav")).write_bytes(b"")
    assert re.search(r"label yes; 3 cannot be used, such as .*yes/.*_0.wav: ", refused(capsys, copy, out))
    (copy / "validation_list.txt").write_text("yes/other.wav\n")
    assert "validation_list.txt names no clip" in refused(capsys, copy, out)
    (copy / "validation_list.txt").write_text("\n".join(f"no/{path.name}" for path in (copy / "no").iterdir()))
    shutil.rmtree(copy / "yes")
    shutil.copytree(clips / "yes", copy / "yes")
    assert "label no; all 3 of them are in other splits (validation)" in refused(capsys, copy, out)
    assert train.main(["kws13", "--data", str(clips), "--out", str(out)]) == 2
    assert "no config kws13; there are ablation" in capsys.readouterr().err
    assert "[data] of the config has no setting x" in refused(capsys, clips, out, "--set", "data.x=1")
    assert "/nowhere" in refused(capsys, clips, out, "--ship", "/nowhere/words.kws")
    assert "ends in .kws" in refused(capsys, clips, out, "--ship", str(tmp_path / "words.bin"))


def test_broken_clips_are_left_out_by_name(clips, tmp_path, capsys, caplog):
    """What lies beside the user's clips is no clip; what cannot be used is reported, and the rest is trained on."""
    copy, out = tmp_path / "clips", tmp_path / "out"
    shutil.copytree(clips, copy)
    nan, empty, damaged = (copy / "yes" / f"{name}.wav" for name in ("nan", "empty", "damaged"))
    sf.write(nan, np.full(16000, np.nan), 16000, subtype="FLOAT")
    sf.write(empty, np.zeros(0), 16000)
    damaged.write_bytes(b"RIFF\xff\0\0\0WAVE" + bytes(20))
    (copy / "no" / "talk.m4a").write_bytes(b"\0")
    noise = copy / "_background_noise_" / "nan.wav"
    sf.write(noise, np.full(16000, np.nan), 16000, subtype="FLOAT")
    for other in ("yes/._a.wav", "yes/.DS_Store", "yes/notes.txt", "__MACOSX/a.wav", ".cache/a.wav"):
        (copy / other).parent.mkdir(exist_ok=True)
        (copy / other).write_bytes(b"\0\5\26\7")
    config = tmp_path / "small.toml"
    config.write_text(CONFIG)
    options = [str(config), "--data", str(copy), "--out", str(out), "--workers=1", "--stage", "none"]
    for _ in range(2):  # the second time from the cache
        caplog.clear()
        with caplog.at_level("INFO", "train"):
            assert train.main(options) == 1
        lines = [record.getMessage() for record in caplog.records]
        assert lines[-1].startswith("5 recordings were left out, such as ")
        bad = {nan: "NaN", empty: "empty", damaged: "WAV", noise: "NaN", copy / "no" / "talk.m4a": "m4a"}
        for path, why in bad.items():
            assert any(line.startswith(f"left out: {path}: ") and why in line for line in lines), path
    same = train.Run(tomllib.loads(CONFIG), arguments(clips, tmp_path / "good" / "out"))
    left = train.Run(tomllib.loads(CONFIG), train.parse(options))
    assert np.array_equal(same.samples.features, left.samples.features)
    assert np.array_equal(same.validation["recorded"].features, left.validation["recorded"].features)


def test_clips_of_every_suffix_are_taken(clips, tmp_path):
    """Those that `kwsrt eval` takes; a list names a clip whatever it has become."""
    (tmp_path / "copy").mkdir()
    for path in clips.glob("*/*.wav"):
        target = tmp_path / "copy" / path.relative_to(clips)
        target.parent.mkdir(exist_ok=True)
        if path.parent.name in ("yes", "_background_noise_"):
            shutil.copy(path, target.with_suffix(".WAV"))
        else:
            sf.write(target.with_suffix(".flac"), *sf.read(path, dtype="int16"))
    listed = (clips / "validation_list.txt").read_text().replace("/", "\\").replace("\n", "\r\n")
    (tmp_path / "copy" / "validation_list.txt").write_bytes(b"\xef\xbb\xbf" + listed.encode())
    runs = [train.Run(tomllib.loads(CONFIG), arguments(folder, tmp_path / folder.name / "out"))
            for folder in (clips, tmp_path / "copy")]  # fmt: skip
    assert np.array_equal(runs[0].samples.features, runs[1].samples.features)
    assert np.array_equal(runs[0].samples.label, runs[1].samples.label)
    assert np.array_equal(runs[0].validation["recorded"].features, runs[1].validation["recorded"].features)


def made_folder(root, speakers, words=("yes", "no", "cat")):
    """Empty files: {word: names} of a folder of clips."""
    for word in words:
        (root / word).mkdir(parents=True)
        for speaker in speakers:
            (root / word / speaker).touch()
    return root


def test_without_a_list_speakers_are_split(tmp_path):
    names = [f"{number:03}_nohash_{take}.wav" for number in range(150) for take in range(2)]
    splits = folders.scan(made_folder(tmp_path / "a", names))
    speakers = {split: {speaker_of(path) for _, path in clips} for split, clips in splits.items()}
    assert not speakers["training"] & speakers["validation"]
    assert 8 <= len(speakers["validation"]) <= 25
    assert not splits["testing"]
    names += [f"x{number}_nohash_0.wav" for number in range(50)]
    more = folders.scan(made_folder(tmp_path / "b", names))
    assert speakers["validation"] <= {speaker_of(path) for _, path in more["validation"]}
    assert speakers["training"] <= {speaker_of(path) for _, path in more["training"]}


@pytest.mark.parametrize(
    "names",
    [
        ["a.wav", "b.wav"],
        [f"me_nohash_{n}.wav" for n in range(3)],
        [f"s{n}_nohash_0.wav" for n in range(4)],
        [f"{n}.wav" for n in range(9)],
    ],
)
def test_a_split_leaves_each_word_something(tmp_path, names):
    """To train on and to validate on, of however few speakers; wherever the folder lies."""
    splits = [folders.scan(made_folder(tmp_path / folder, names)) for folder in ("a", "b")]
    for split in ("training", "validation"):
        assert {word for word, _ in splits[0][split]} == {"yes", "no", "cat"}, split
        assert [path.relative_to(tmp_path / "a") for _, path in splits[0][split]] == \
            [path.relative_to(tmp_path / "b") for _, path in splits[1][split]]  # fmt: skip


def test_training_without_a_list(clips, tmp_path, caplog):
    """The split is said, and the card's clips are those that validated."""
    copy = tmp_path / "clips"
    shutil.copytree(clips, copy)
    (copy / "validation_list.txt").unlink()
    with caplog.at_level("INFO", "train"):
        run = train.Run(tomllib.loads(CONFIG), arguments(copy, tmp_path / "out"))
    assert any("has no validation_list.txt: 4 clips of 1 speakers" in record.getMessage() for record in caplog.records)
    listed = evaluation_list(run.settings, tmp_path).read_text().splitlines()
    assert [line.split("/")[0] for line in listed[:4]] == ["cat", "dog", "no", "yes"]
    assert len({line.split("/")[1] for line in listed[:4]}) == 1
    validating = run.validation["recorded"].label
    assert sorted(validating[:-10]) == [0, 1, 2]  # dog is a suspect; silence follows


@pytest.mark.parametrize("settings", [{}, {"lead": 32, "frames": 41}], ids=["windowed", "causal"])
def test_validation_hears_what_predict_hears(clips, tmp_path, settings):
    """So that scores are calibrated on what `kwsrt eval` will meet."""
    config = data.DataConfig(root=str(clips), labels=["yes", "no", "_unknown_"], **settings)
    samples = data.validation_samples(config, tmp_path)["recorded"]
    frontend = FrontEnd(**config.frontend)
    model = types.SimpleNamespace(sample_rate=data.RATE, frontend=frontend,
                                  window=(config.frames - 1) * frontend.hop + frontend.window)  # fmt: skip
    paths = [path for word in ("cat", "dog", "no", "yes") for path in sorted((clips / word).iterdir())[2:]]
    wanted = [kwsrt.Model._features(model, *audio.read(path), None) for path in paths]
    assert np.array_equal(samples.features, wanted)


def test_labels():
    assert data.labels_of("12")[-2:] == ["_unknown_", "_silence_"]
    assert len(data.labels_of("12")) == 12
    assert len(data.labels_of("20")) == 20
    assert len(set(data.labels_of("35"))) == 35
    with pytest.raises(ValueError, match="two different labels"):
        data.labels_of("yes")


def test_somebody_else_talks_under_a_word():
    rng = np.random.default_rng(0)
    tone = 0.2 * np.sin(np.arange(16000) * 0.1).astype(np.float32)
    speech = [rng.standard_normal(160000).astype(np.float32)]
    silent, talking = data.DataConfig(), data.DataConfig(talk=1.0)
    assert silent.key("recorded") == data.DataConfig(talk=0.0).key("recorded") != talking.key("recorded")
    quiet, loud = data.Augmenter(silent, [], speech), data.Augmenter(talking, [], speech)
    level = sounds.levels(tone)[0]
    assert np.array_equal(quiet.overheard(tone, level, rng), tone)
    under = [level / sounds.levels(loud.overheard(tone, level, rng) - tone)[0] for _ in range(200)]
    decibels = 20 * np.log10(under)
    assert 7.5 < decibels.min() < 10
    assert 23 < decibels.max() < 25.5
    features = [augmenter.word(tone, np.random.default_rng(5)).astype(int) for augmenter in (quiet, loud)]
    assert np.abs(features[0] - features[1]).mean() > 3


def spoken(level=0.3):
    """A second whose middle half is a tone, its edges almost silent."""
    clip = 1e-4 * np.random.default_rng(3).standard_normal(16000)
    clip[4000:12000] += level * np.sin(np.arange(8000) * 0.3)
    return clip.astype(np.float32)


def test_what_stands_around_a_word_says_whether_it_is_one():
    """A word by itself has a pause before and after it; the same in running speech has none."""
    rng = np.random.default_rng(4)
    speech = [rng.standard_normal(320000).astype(np.float32)]
    augmenter = data.Augmenter(data.DataConfig(lead=32, frames=41, margin=6), [], speech, [spoken()])
    augmenter.quantized = lambda canvas, tempo=0: canvas
    augmenter.changed = lambda clip, rng: clip

    def beside(canvas):
        """Loudness in dB of the tenth of a second 100 ms before and of that after the word, against the word's."""
        middle = 16 * 30 * 32 + (len(canvas) - 16 * 30 * 32) // 2
        parts = canvas[middle - 7200 : middle - 5600], canvas[middle + 5600 : middle + 7200]
        word = np.std(canvas[middle - 3000 : middle + 3000])
        return [20 * np.log10(np.std(part) / word + 1e-9) for part in parts]

    augmenter.strength = 0.0
    alone = np.array([beside(augmenter.word(spoken(), rng)) for _ in range(60)])
    assert alone.max() < -30
    running = np.array([beside(augmenter.running(spoken(), rng)) for _ in range(60)])
    assert ((running > -15).any(1)).all()
    both = (running > -15).all(1).mean()
    assert 0.4 < both < 0.8


def test_silence_is_noise_at_every_level():
    """Recorded or made, steady or in bursts: from -75 to -6 dBFS, and none that is mostly clipped."""
    rng = np.random.default_rng(6)
    noise = [rng.standard_normal(160000).astype(np.float32)]
    augmenter = data.Augmenter(data.DataConfig(lead=32, frames=41), noise)
    augmenter.quantized = lambda canvas, tempo=0: canvas
    made = [augmenter.silence(rng) for _ in range(300)]
    level = np.array([20 * np.log10(sounds.levels(canvas)[0]) for canvas in made])
    assert (level > -76).mean() > 0.9
    assert -80 < np.percentile(level, 10) < -60
    assert -25 < np.percentile(level, 90) < -5
    assert level.max() < 0
    quiet = np.array([np.mean(np.abs(canvas) < 1e-6) for canvas in made])
    assert 0.05 < (quiet > 0.2).mean() < 0.5


def test_nonsense_is_short_and_by_itself():
    rng = np.random.default_rng(7)
    speech = [rng.standard_normal(320000).astype(np.float32)]
    augmenter = data.Augmenter(data.DataConfig(strength=0.0), [], speech, [spoken()])
    augmenter.quantized = lambda canvas, tempo=0: canvas
    for _ in range(60):
        first, last = sounds.active_span(augmenter.nonsense(spoken(), rng))
        assert 0.05 * 16000 < last - first < 1.0 * 16000


def test_made_noise_has_its_level():
    rng = np.random.default_rng(8)
    for _ in range(60):
        made = sounds.made_noise(20000, rng)
        assert made.shape == (20000,)
        assert made.dtype == np.float32
        assert abs(np.sqrt(np.mean(made**2)) - 0.1) < 1e-3


def test_words_and_noises_that_are_held_out_train_nothing(tmp_path):
    """Whatever their folder: no plan has them."""
    for word in ("yes", "bed", "cat"):
        (tmp_path / "clips" / word).mkdir(parents=True)
        sf.write(tmp_path / "clips" / word / "a_nohash_0.wav", spoken(), 16000)
    (tmp_path / "noise").mkdir()
    for name in ("007_helicopter.wav", "rain.wav"):
        sf.write(tmp_path / "noise" / name, spoken(), 16000)
    root = str(tmp_path / "clips")
    config = data.DataConfig(root=root, noise=[str(tmp_path / "noise")])
    clips = [(path.parent.name, path) for path in sorted(tmp_path.rglob("a_*.wav"))]
    found = folders.Found({root: {"training": clips}})
    assert {word for word, _ in data.trained_on(found, root)} == {"yes", "cat"}
    assert [file.name for file in data.noise_files(config)] == ["rain.wav"]


def test_training_goes_on_from_a_packed_file():
    """What is unpacked computes what the file does, but for how its 8-bit ends round anew."""
    from tools import convert
    from tools.train import start

    model = Path(__file__).parent.parent / "models" / "commands12.kws"
    options = kwsrt.load(model).manifest["frontend"]
    _, q = convert.replay_windows([convert.RECORDINGS], FrontEnd(**options), 41, 24)
    network, manifest = start.unpacked(model)
    before = measure.predict(network, q, "cpu")
    start.unfold(network, torch.from_numpy(q))
    after = measure.predict(network, q, "cpu")
    tensors = kwsrt.format.read(model).tensors
    packed = kwsrt.network.Network(manifest["network"], len(manifest["labels"]), tensors)
    for level, logits in after.items():
        assert (logits.softmax(1) - before[level].softmax(1)).abs().mean() < 0.01
        assert np.abs(logits.softmax(1).numpy() - packed.run(q, level)).mean() < 0.02


def test_weights_are_kept_at_half_precision(tmp_path):
    """A checkpoint, its kept weights and the start made of them are one network but for rounding."""
    from tools.train import start
    from tools.train.checkpoints import checkpoint, load_model, save

    torch.manual_seed(1)
    network = Network(default_config(0), 3)
    options = dict(data.DEFAULT_FRONTEND)
    save(checkpoint(network, ["yes", "no", "_unknown_"], options, {"history": ["a"]}), tmp_path / "a.pt")
    start.keep_weights(tmp_path / "a.pt", tmp_path / "a.npz")
    assert (tmp_path / "a.npz").stat().st_size < 0.55 * (tmp_path / "a.pt").stat().st_size
    features = torch.from_numpy(np.random.default_rng(1).integers(-90, 90, (4, 32, 32)).astype(np.int8))
    start.write_start(tmp_path / "a.npz", tmp_path / "b.pt", features)
    again, saved = load_model(tmp_path / "b.pt")
    assert saved["labels"] == ["yes", "no", "_unknown_"]
    assert saved["frontend"] == options
    assert saved["train"]["history"] == ["a", "from a.npz"]
    with torch.no_grad():
        wanted, got = network.eval()(features)["full"], again(features)["full"]
    assert (wanted - got).abs().max() < 0.01 * wanted.abs().max()


class FakeKokoro:
    """Says a tone for a word, longer where it is slower."""

    def __init__(self, model, voices):
        self.styles = np.load(voices)

    def get_voice_style(self, name):
        return self.styles[name]

    def create(self, word, voice, speed, lang):
        time = np.arange(int(24000 * 0.6 / speed)) / 24000
        return (np.sin(time * 2 * np.pi * (300 + 100 * voice.mean()))).astype(np.float32), 24000


def test_kokoro_says_words_and_a_model_judges_them(tmp_path, monkeypatch, capsys):
    """Speakers are mixes of voices; those that validate share none with the others; what is not heard is left out."""
    from tools.train import kokoro, voices

    styles = {
        f"{kind}_{n}": np.full((510, 1, 256), number, np.float32)
        for number, (kind, n) in enumerate((kind, n) for kind in ("af", "bm", "ef") for n in range(4))
    }
    np.savez(tmp_path / "voices.npz", **styles)
    monkeypatch.setitem(sys.modules, "kokoro_onnx", type("module", (), {"Kokoro": FakeKokoro}))
    kokoro.engine.cache_clear()
    files = ["--kokoro", str(tmp_path / "model.onnx"), str(tmp_path / "voices.npz")]
    assert voices.main([str(tmp_path / "a"), "--words", "yes", "--unknown", "cup", "--per-word", "20", *files]) == 0
    clips = sorted((tmp_path / "a" / "yes").glob("*.wav"))
    assert len(clips) == 20
    assert 4 <= len(list((tmp_path / "a" / "cup").glob("*.wav"))) <= 6
    samples, rate = sf.read(clips[0])
    assert (len(samples), rate) == (16000, 16000)
    assert 0.4 < np.mean(np.abs(samples) > 1e-3) < 0.95
    assert (tmp_path / "a" / "validation_list.txt").read_text().split()
    made, held = kokoro.mixes(Path("m"), tmp_path / "voices.npz", 40, np.random.default_rng(1))
    apart = {name for mix in made if mix.speaker in held for name in (mix.first, mix.second)}
    others = {name for mix in made if mix.speaker not in held for name in (mix.first, mix.second)}
    assert apart
    assert not apart & others
    assert not any(name.startswith("ef") for name in apart | others)
    judged = [str(tmp_path / "b"), "--words", "yes", "--unknown", "--per-word", "20", *files, "--judge", "commands12"]
    assert voices.main(judged) == 0
    assert "of 20 clips left out" in capsys.readouterr().out
    monkeypatch.setitem(sys.modules, "kokoro_onnx", None)
    kokoro.engine.cache_clear()
    assert voices.main([str(tmp_path / "c"), "--words", "yes", "--per-word", "1", *files]) == 2
    assert "pip install kokoro-onnx" in capsys.readouterr().err


def test_speed_keeps_the_level():
    tone = np.sin(np.arange(16000) * 0.1).astype(np.float32)
    faster = sounds.filtered(tone, 1.1)
    assert abs(len(faster) - 16000 / 1.1) < 60
    assert abs(np.sqrt((faster**2).mean()) - np.sqrt(0.5)) < 0.02


def test_long_recordings_stay_on_disk(tmp_path):
    """Cuts are those of the whole recordings, and training never holds more than a cut."""
    rng = np.random.default_rng(0)
    waves = [rng.integers(-9999, 9999, seconds * data.RATE).astype(np.int16) for seconds in (3, 60, 1)]
    for i, wave in enumerate(waves):
        sf.write(tmp_path / f"{i}.flac", wave, data.RATE, subtype="PCM_16")
    whole = [wave / np.float32(32768) for wave in waves]
    tracemalloc.start()
    kept = recordings_of([tmp_path / f"{i}.flac" for i in range(3)], data.RATE, tmp_path / "cache")
    assert tracemalloc.get_traced_memory()[1] < 2_000_000  # the longest has 3.8 MB
    tracemalloc.stop()
    assert not list((tmp_path / "cache").iterdir())
    for part in (True, False):
        halves = [data.split_noise(one, part) for one in kept]
        arrays = [wave[: len(wave) * 4 // 5] if part else wave[len(wave) * 4 // 5 :] for wave in whole]
        for seed in range(20):
            cut, want = (data.random_cut(each, 20000, np.random.default_rng(seed)) for each in (halves, arrays))
            np.testing.assert_array_equal(cut, want)
