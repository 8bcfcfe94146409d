"""tools/convert.py: what is proved, what is refused, and that ONNX and packed file are one network."""
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy.io import wavfile

import kwsrt
from kwsrt import format as file_format
from kwsrt.frontend import FrontEnd
from kwsrt.network import Network
from tests.models import make_model
from tools import convert

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
onnxruntime = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")

LEVELS = {"full": [0, 1, 2], "half": [0, 2], "quarter": [2]}
SMALL = {"family": "dfsmn", "frames": 32, "bins": 32, "conv1": 4, "conv2": 8, "width": 16, "hidden": 24, "blocks": 3,
         "taps": 3, "levels": LEVELS}
CAUSAL = {"causal": True, "steps": 6, "frames": 33}


def run_tool(*arguments: Any) -> int:
    return convert.main([str(argument) for argument in arguments])


def real_features(count: int, frames: int = 32) -> np.ndarray:
    """float32 (count, frames, 32) of the repository's recordings."""
    return convert.replay_windows([convert.RECORDINGS], FrontEnd(), frames, count)[0]


@pytest.fixture(params=[(1, {}), (2, {}), (2, CAUSAL)], ids=["1", "2", "causal"])
def packed(request: pytest.FixtureRequest, tmp_path: Path) -> Path:
    planes, changes = request.param
    path = tmp_path / "model.kws"
    path.write_bytes(make_model(seed=planes, planes=planes, **changes))
    return path


# --- ONNX ------------------------------------------------------------------------------------------------------------

def test_onnx_scores_equal_the_packed_ones(packed: Path, tmp_path: Path) -> None:
    assert run_tool(packed, "--onnx", tmp_path / "model.onnx") == 0
    session = onnxruntime.InferenceSession(str(tmp_path / "model.onnx"), providers=["CPUExecutionProvider"])
    file = file_format.read(packed)
    network = Network(file.manifest["network"], len(file.manifest["labels"]), file.tensors)
    features = real_features(40, network.frames)
    q = np.stack([FrontEnd(**file.manifest["frontend"]).quantize(window) for window in features])
    for level in network.levels:
        scores = session.run([f"scores.{level}"], {"features": features})[0]
        np.testing.assert_allclose(scores, network.run(q, level), atol=1e-6)


def test_onnx_and_back_gives_the_same_tensors(packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tool(packed, "--onnx", tmp_path / "model.onnx") == 0
    assert run_tool(tmp_path / "model.onnx", tmp_path / "again.kws") == 0
    assert "largest difference" in capsys.readouterr().out
    first, second = file_format.read(packed), file_format.read(tmp_path / "again.kws")
    one_plane = first.manifest["network"]["planes"] == 1
    for name, tensor in first.tensors.items():
        if name.startswith("verify.") or (name == "scales" and one_plane):
            continue  # scores are made anew, and one plane has no use for its scales
        np.testing.assert_array_equal(tensor, second.tensors[name], err_msg=name)


def _altered(packed: Path, tmp_path: Path, name: str, change: Any) -> Path:
    """The model's ONNX graph with one initializer changed."""
    path = tmp_path / "altered.onnx"
    assert run_tool(packed, "--onnx", path) == 0
    model = onnx.load(path)
    for tensor in model.graph.initializer:
        if tensor.name == name:
            tensor.CopyFrom(onnx.numpy_helper.from_array(change(onnx.numpy_helper.to_array(tensor).copy()), name))
    onnx.save(model, path)
    return path


def test_onnx_weights_that_are_not_one_bit_are_refused_by_name(packed: Path, tmp_path: Path,
                                                               capsys: pytest.CaptureFixture[str]) -> None:
    def one_larger(weight: np.ndarray) -> np.ndarray:
        weight[0, 0] *= 1.5
        return weight

    path = _altered(packed, tmp_path, "blocks.1.expand.weight", one_larger)
    assert run_tool(path, tmp_path / "out.kws") == 2
    message = capsys.readouterr().err
    assert "blocks.1.expand" in message
    assert message.count("\n") == 1
    assert not (tmp_path / "out.kws").exists()
    assert run_tool(path, tmp_path / "out.kws", "--rebinarize") == 0
    assert "blocks.1.expand: rebinarized 1 of" in capsys.readouterr().out


def test_onnx_graph_that_computes_something_else_is_refused(packed: Path, tmp_path: Path,
                                                            capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "model.onnx"
    assert run_tool(packed, "--onnx", path) == 0
    model = onnx.load(path)
    next(node for node in model.graph.node if node.op_type == "PRelu").op_type = "Mul"
    onnx.save(model, path)
    assert run_tool(path, tmp_path / "out.kws") == 2
    assert "differ" in capsys.readouterr().err


def test_foreign_onnx_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    info = onnx.helper.make_tensor_value_info("x", onnx.TensorProto.FLOAT, [1])
    out = onnx.helper.make_tensor_value_info("y", onnx.TensorProto.FLOAT, [1])
    graph = onnx.helper.make_graph([onnx.helper.make_node("Relu", ["x"], ["y"])], "g", [info], [out])
    onnx.save(onnx.helper.make_model(graph), tmp_path / "foreign.onnx")
    (tmp_path / "noise.onnx").write_bytes(bytes(range(256)))
    for name in ("foreign.onnx", "noise.onnx", "missing.onnx"):
        assert run_tool(tmp_path / name, tmp_path / "out.kws") == 2
        assert capsys.readouterr().err.count("\n") == 1


# --- checkpoints -----------------------------------------------------------------------------------------------------

@pytest.fixture(params=[(1, {}), (2, {}), (2, CAUSAL)], ids=["1", "2", "causal"])
def checkpoint(request: pytest.FixtureRequest) -> dict[str, Any]:
    """A checkpoint of a small random network, as tools/train leaves one."""
    return make_checkpoint(*request.param)


def make_checkpoint(planes: int, changes: dict[str, Any] | None = None) -> dict[str, Any]:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    from tools.train.network import Network as TrainingNetwork
    from tools.train.rounding import round_for_file

    torch.manual_seed(planes)
    config = SMALL | {"planes": planes} | (changes or {})
    network = TrainingNetwork(config, 4)
    q = torch.from_numpy(np.stack([FrontEnd().quantize(window) for window in real_features(64, config["frames"])]))
    if planes:
        network.calibrate(q)
    network.train()
    for _ in range(30):
        network(q)
    return {"format": "kwsrt-checkpoint", "version": 1, "network": config,
            "labels": ["yes", "no", "_unknown_", "_silence_"], "frontend": FrontEnd().options,
            "state": round_for_file(network).state_dict(), "train": {"dataset": "none"}}


def saved(checkpoint: dict[str, Any], path: Path) -> Path:
    import torch

    torch.save(checkpoint, path)
    return path


def test_checkpoint_becomes_the_same_network(checkpoint: dict[str, Any], tmp_path: Path,
                                             capsys: pytest.CaptureFixture[str]) -> None:
    source = saved(checkpoint, tmp_path / "model.pt")
    assert run_tool(source, tmp_path / "model.kws", "--onnx", tmp_path / "model.onnx") == 0
    report = capsys.readouterr().out
    assert "blocks.2.project" in report
    for line in report.splitlines():
        if line.startswith(("conv", "fc1", "blocks")):
            assert float(line.split()[-1]) < 1e-4, line
    assert kwsrt.load(tmp_path / "model.kws").verify() == 0.0


def test_full_precision_checkpoint_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source = saved(make_checkpoint(0), tmp_path / "teacher.pt")
    assert run_tool(source, tmp_path / "out.kws") == 2
    message = capsys.readouterr().err
    assert "not 1-bit" in message
    assert "conv2" in message
    assert message.count("\n") == 1
    assert run_tool(source, tmp_path / "out.kws", "--rebinarize") == 2
    assert "quantisers" in capsys.readouterr().err


def test_layer_that_differs_is_named(tmp_path: Path, capsys: pytest.CaptureFixture[str],
                                     monkeypatch: pytest.MonkeyPatch) -> None:
    source = saved(make_checkpoint(2), tmp_path / "model.pt")
    fold = convert.fold

    def damaged(*arguments: Any, **options: Any) -> Any:
        tensors, notes = fold(*arguments, **options)
        tensors["blocks.1.expand.affine.full"] = tensors["blocks.1.expand.affine.full"] * np.float16(1.1)
        return tensors, notes

    monkeypatch.setattr(convert, "fold", damaged)
    assert run_tool(source, tmp_path / "out.kws") == 2
    assert "blocks.1.expand" in capsys.readouterr().err
    assert not (tmp_path / "out.kws").exists()


def test_bad_checkpoints_are_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    good = make_checkpoint(2)
    whole = saved(good, tmp_path / "good.pt").read_bytes()
    (tmp_path / "truncated.pt").write_bytes(whole[:1000])
    (tmp_path / "noise.pt").write_bytes(bytes(range(256)) * 20)
    saved(good | {"version": 9}, tmp_path / "newer.pt")
    saved(good | {"state": {}}, tmp_path / "empty.pt")
    saved({"some": "thing"}, tmp_path / "foreign.pt")
    for name in ("truncated", "noise", "newer", "empty", "foreign", "missing"):
        assert run_tool(tmp_path / f"{name}.pt", tmp_path / "out.kws") == 2, name
        assert capsys.readouterr().err.count("\n") == 1, name


def test_pickled_code_is_not_run(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")

    class Code:
        def __reduce__(self) -> tuple[Any, tuple[str]]:
            return Path(tmp_path / "was_here").touch, ()  # type: ignore[return-value]

    torch.save({"format": "kwsrt-checkpoint", "version": 1, "state": Code()}, tmp_path / "evil.pt")
    assert run_tool(tmp_path / "evil.pt", tmp_path / "out.kws") == 2
    assert not (tmp_path / "was_here").exists()


def test_wrong_arguments(packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tool(packed) == 2
    assert run_tool(packed, tmp_path / "out.kws", "--onnx", tmp_path / "out.onnx") == 2
    assert run_tool(tmp_path / "none.pt") == 2
    assert capsys.readouterr().err.count("\n") == 3


@pytest.mark.parametrize("most", [1, 5, 1000])
def test_replayed_windows_are_spread_over_the_recordings(tmp_path: Path, most: int) -> None:
    """They are those of the whole recordings, which are never in memory as a whole."""
    frontend, rng, whole = FrontEnd(), np.random.default_rng(0), []
    for name, seconds in (("a.wav", 3), ("b.wav", 9), ("c.wav", 0.5)):
        samples = rng.normal(0, 3000, int(seconds * 16000)).astype(np.int16)
        wavfile.write(tmp_path / name, 16000, samples)
        features = frontend.features(samples)
        whole += [features[start:start + 32] for start in range(0, len(features) - 31, 8)]
    features, q = convert.replay_windows([tmp_path], frontend, 32, most)
    chosen = np.linspace(0, len(whole) - 1, min(most, len(whole))).astype(int)
    np.testing.assert_array_equal(features, np.stack([whole[i] for i in chosen]))
    np.testing.assert_array_equal(q, np.stack([frontend.quantize(whole[i]) for i in chosen]))
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(convert.ConversionError, match=r"pipe\.wav"):
        convert.replay_windows([tmp_path / "pipe.wav"], frontend, 32, most)
