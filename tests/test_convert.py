"""tools/convert.py: what is proved, what is refused, and that ONNX and packed file are one network."""

import json
import os
import time
from pathlib import Path, PosixPath
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
SMALL = {
    "family": "dfsmn",
    "frames": 32,
    "bins": 32,
    "conv1": 4,
    "conv2": 8,
    "width": 16,
    "hidden": 24,
    "blocks": 3,
    "taps": 3,
    "levels": LEVELS,
}
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


def test_onnx_weights_that_are_not_one_bit_are_refused_by_name(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_onnx_graph_that_computes_something_else_is_refused(
    packed: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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


def exported(tmp_path: Path) -> Path:
    """A small ONNX model."""
    (tmp_path / "model.kws").write_bytes(make_model(seed=2, manifest={"threshold": 0.7, "clear": 0.5}))
    assert run_tool(tmp_path / "model.kws", "--onnx", tmp_path / "model.onnx") == 0
    return tmp_path / "model.onnx"


def as_float16(model: Any) -> None:
    for tensor in model.graph.initializer:
        if tensor.data_type == onnx.TensorProto.FLOAT:
            values = onnx.numpy_helper.to_array(tensor).astype(np.float16)
            tensor.CopyFrom(onnx.numpy_helper.from_array(values, tensor.name))


def as_float16_graph(model: Any) -> None:
    as_float16(model)
    for value in (*model.graph.input, *model.graph.output):
        value.type.tensor_type.elem_type = onnx.TensorProto.FLOAT16
    for node in model.graph.node:
        for attribute in node.attribute:
            if attribute.name == "to" and attribute.i == onnx.TensorProto.FLOAT:
                attribute.i = onnx.TensorProto.FLOAT16


def with_static_batch(size: int) -> Any:
    def change(model: Any) -> None:
        for value in (*model.graph.input, *model.graph.output):
            value.type.tensor_type.shape.dim[0].dim_value = size

    return change


def with_constant_nodes(model: Any) -> None:
    for tensor in reversed(list(model.graph.initializer)):
        model.graph.node.insert(0, onnx.helper.make_node("Constant", [], [tensor.name], value=tensor))
    del model.graph.initializer[:]


@pytest.mark.parametrize(
    "change",
    [as_float16, as_float16_graph, with_static_batch(1), with_static_batch(5), with_constant_nodes],
    ids=["fp16 weights", "fp16", "batch 1", "batch 5", "constants"],
)
def test_one_network_in_other_forms_of_onnx(change: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = exported(tmp_path)
    model = onnx.load(path)
    change(model)
    onnx.save(model, tmp_path / "OTHER.ONNX")
    assert run_tool(tmp_path / "OTHER.ONNX", tmp_path / "again.kws", "--windows", 7) == 0
    assert capsys.readouterr().err == ""
    first, second = file_format.read(tmp_path / "model.kws"), file_format.read(tmp_path / "again.kws")
    assert {key: second.manifest[key] for key in ("threshold", "clear")} == {"threshold": 0.7, "clear": 0.5}
    for name, tensor in first.tensors.items():
        if not name.startswith("verify."):
            np.testing.assert_allclose(tensor.astype(np.float64), second.tensors[name], rtol=2e-3, err_msg=name)


def test_onnx_weights_in_a_file_of_their_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = onnx.load(exported(tmp_path))
    onnx.save(model, tmp_path / "ext.onnx", save_as_external_data=True, location="ext.data", size_threshold=0)
    assert run_tool(tmp_path / "ext.onnx", tmp_path / "again.kws", "--windows", 2) == 0
    capsys.readouterr()
    (tmp_path / "ext.data").unlink()
    assert run_tool(tmp_path / "ext.onnx", tmp_path / "again.kws") == 2
    assert "ext.data" in (said := capsys.readouterr().err)
    assert said.count("\n") == 1


ABSURD = {
    "blocks": 10**9,
    "frames": 1 << 40,
    "width": -1,
    "planes": ...,
    "levels": {"full": [0, 99]},
    "taps": 2.5,
    "family": "x" * 1000,
    "hidden": "24",
    "bins": [32],
}


@pytest.mark.parametrize(("key", "value"), ABSURD.items(), ids=list(ABSURD))
def test_absurd_sizes_are_refused_before_anything_is_built(
    key: str, value: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch = pytest.importorskip("torch", reason="torch is not installed")
    path = exported(tmp_path)
    model = onnx.load(path)
    manifest = json.loads(model.metadata_props[0].value)
    network = {name: old for name, old in manifest["network"].items() if name != key}
    network |= {} if value is ... else {key: value}
    model.metadata_props[0].value = json.dumps(manifest | {"network": network})
    onnx.save(model, tmp_path / "absurd.onnx")
    torch.save(
        {
            "format": "kwsrt-checkpoint",
            "version": 1,
            "network": network,
            "labels": manifest["labels"],
            "frontend": manifest["frontend"],
            "state": {},
            "train": {},
        },
        tmp_path / "absurd.pt",
    )
    for name in ("absurd.onnx", "absurd.pt"):
        began = time.monotonic()
        assert run_tool(tmp_path / name, tmp_path / "out.kws") == 2
        assert time.monotonic() - began < 5
        said = capsys.readouterr().err
        assert f"{name}: invalid manifest" in said
        assert said.count("\n") == 1
        assert len(said) < 500


def test_absurd_metadata_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = onnx.load(exported(tmp_path))
    good = json.loads(model.metadata_props[0].value)
    texts = [
        "[" * 100_000,
        "x",
        "{}",
        '{"a":' * 100_000 + "1" + "}" * 100_000,
        json.dumps(good | {"frontend": None}),
        json.dumps(good | {"labels": ["yes", "\x1b[2J"]}),
        json.dumps(good | {"training": {"loss": float("nan")}}),
    ]
    for text in texts:
        model.metadata_props[0].value = text
        onnx.save(model, tmp_path / "absurd.onnx")
        assert run_tool(tmp_path / "absurd.onnx", tmp_path / "out.kws") == 2
        assert capsys.readouterr().err.count("\n") == 1
    model.metadata_props[0].value = json.dumps(good)
    model.graph.initializer[0].data_type = 99
    onnx.save(model, tmp_path / "absurd.onnx")
    assert run_tool(tmp_path / "absurd.onnx", tmp_path / "out.kws") == 2
    assert capsys.readouterr().err.count("\n") == 1


# --- what is written -------------------------------------------------------------------------------------------------


def test_nothing_is_replaced_but_its_own(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    source, packed = exported(tmp_path), tmp_path / "model.kws"
    (tmp_path / "notes.txt").write_text("mine")
    (tmp_path / "link").symlink_to(source)
    os.link(source, tmp_path / "hard.onnx")
    onnx.save(
        onnx.parser.parse_model(
            '<ir_version: 8, opset_import: ["": 17]> g (float[1] x) => (float[1] y) { y = Relu(x) }'
        ),
        tmp_path / "foreign.onnx",
    )
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    new = tmp_path / "new.kws"
    for arguments in (
        (source, source),
        (source, tmp_path / "notes.txt"),
        (source, tmp_path / "link"),
        (source, tmp_path / "hard.onnx"),
        (source, new, "--onnx", source),
        (source, new, "--onnx", new),
        (source, new, "--onnx", tmp_path / "foreign.onnx"),
        (source, new, "--onnx", packed),
        (packed, "--onnx", packed),
        (packed, "--onnx", tmp_path / "notes.txt"),
        (source, tmp_path),
        (source, tmp_path / "none" / "out.kws"),
        (source, tmp_path / "foreign.onnx"),
    ):
        assert run_tool(*arguments, "--windows", 1) == 2, arguments
        assert capsys.readouterr().err.count("\n") == 1, arguments
        assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before, arguments
    assert run_tool(source, packed, "--windows", 1) == 0
    assert run_tool(packed, "--onnx", source) == 0


@pytest.mark.parametrize("windows", [0, -5])
def test_nothing_to_replay_is_refused(windows: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run_tool(exported(tmp_path), tmp_path / "out.kws", "--windows", windows) == 2
    assert f"--windows {windows}: expected 1 or more" in capsys.readouterr().err
    assert not (tmp_path / "out.kws").exists()


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
    return {
        "format": "kwsrt-checkpoint",
        "version": 1,
        "network": config,
        "labels": ["yes", "no", "_unknown_", "_silence_"],
        "frontend": FrontEnd().options,
        "state": round_for_file(network).state_dict(),
        "train": {"dataset": "none"},
    }


def saved(checkpoint: dict[str, Any], path: Path) -> Path:
    import torch

    torch.save(checkpoint, path)
    return path


def test_checkpoint_becomes_the_same_network(
    checkpoint: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
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


def test_layer_that_differs_is_named(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
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


@pytest.fixture(scope="module")
def plain() -> dict[str, Any]:
    return make_checkpoint(2)


PREFIXES = ["module.", "_orig_mod.", "module._orig_mod.", "_orig_mod.module."]


def test_checkpoints_in_other_forms_are_the_same_network(
    plain: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from tools.checkpoint_reader import read_checkpoint

    state = plain["state"]
    forms = {prefix: {"state": {prefix + name: value for name, value in state.items()}} for prefix in PREFIXES}
    forms |= {
        "inside": {"state": {name.replace("blocks.1.", "blocks.1._orig_mod."): v for name, v in state.items()}},
        "averaged": {"state": {"n_averaged": torch.tensor(3), **{f"module.{n}": v for n, v in state.items()}}},
        "parameters": {"state": {name: torch.nn.Parameter(value) for name, value in state.items()}},
        "half": {"state": {name: value.half() for name, value in state.items()}},
        "bfloat16": {"state": {name: value.bfloat16() for name, value in state.items()}},
    }
    for name, change in forms.items():
        read = read_checkpoint(saved(plain | change, tmp_path / "form.pt"))
        assert read["state"].keys() == state.keys(), name
        assert all(torch.allclose(read["state"][n].float(), state[n], rtol=1e-2, atol=1e-3) for n in state), name
    for name in ("_orig_mod.module.", "bfloat16"):
        source = saved(plain | forms[name], tmp_path / "form.pt")
        assert run_tool(source, tmp_path / f"{name}kws", "--windows", 2) == 0, capsys.readouterr().err


def test_what_lies_beside_the_weights(
    plain: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    train = {
        "loss": np.float64(1.5),
        "steps": np.int64(7),
        "root": PosixPath("/data/x"),
        "row": torch.arange(3),
        "array": np.arange(4.0).reshape(2, 2),
        "name": np.str_("a"),
        "on": torch.device("cpu"),
        "dataset": "mine",
        "matrix": torch.zeros(100, 100),
        "accuracy": float("nan"),
        "licence": "MIT",
        3: "three",
        "model_licence": "CC0",
    }
    source = saved(plain | {"train": train, "labels": tuple(map(np.str_, plain["labels"]))}, tmp_path / "model.pt")
    assert run_tool(source, tmp_path / "model.kws", "--windows", 2) == 0
    said = capsys.readouterr().out
    assert "'training.matrix' is left out: a tensor of 10,000 values" in said
    assert "'training.accuracy' is left out" in said
    manifest = kwsrt.load(tmp_path / "model.kws").manifest
    assert manifest["training"] == {
        "loss": 1.5,
        "steps": 7,
        "root": "/data/x",
        "row": [0, 1, 2],
        "name": "a",
        "array": [[0.0, 1.0], [2.0, 3.0]],
        "dataset": "mine",
        "licence": "MIT",
        "on": "cpu",
        "3": "three",
        "model_licence": "CC0",
    }
    assert manifest["licence"] == "CC0"


def test_checkpoints_that_are_none_say_why(
    plain: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    import torch

    from tools.checkpoint_reader import read_checkpoint
    from tools.folding import build_network

    state = plain["state"]
    (tmp_path / "lfs.pt").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    whole = saved(plain, tmp_path / "whole.pt").read_bytes()
    (tmp_path / "cut.pt").write_bytes(whole[: len(whole) // 2])
    (tmp_path / "empty.pt").write_bytes(b"")
    os.mkfifo(tmp_path / "pipe.pt")
    saved(plain | {"labels": ["yes", "yes", "_unknown_", "_silence_"]}, tmp_path / "twice.pt")
    saved(plain | {"frontend": plain["frontend"] | {"hop": float("nan")}}, tmp_path / "hop.pt")
    wrapped = {f"module.{name}": value for name, value in state.items()}
    saved(plain | {"state": {**state, **wrapped}}, tmp_path / "both.pt")
    imaginary = {name: value.to(torch.complex64) for name, value in state.items()}
    saved(plain | {"state": imaginary}, tmp_path / "complex.pt")
    saved(plain | {"state": state | {"fc1.weight": torch.ones(2, 2)}}, tmp_path / "shape.pt")
    saved(plain | {"state": {name: value * np.nan for name, value in state.items()}}, tmp_path / "nan.pt")
    saved(plain | {"train": {"code": Path.cwd}}, tmp_path / "code.pt")
    for name, why in {
        "lfs": "git lfs pull",
        "cut": "cut short",
        "empty": "no checkpoint",
        "pipe": "regular file",
        "twice": "twice",
        "hop": "hop",
        "both": "twice",
        "complex": "complex64",
        "shape": r"\(2, 2\)",
        "nan": "NaN",
        "code": "only running code could restore",
    }.items():
        with pytest.raises(kwsrt.KwsrtError, match=why) as caught:
            build_network(read_checkpoint(tmp_path / f"{name}.pt"))
        assert str(caught.value).isprintable(), name
        assert len(str(caught.value)) < 400
    assert run_tool(tmp_path / "lfs.pt", tmp_path / "out.kws") == 2
    assert capsys.readouterr().err.count("\n") == 1


def test_hostile_arrays_in_a_checkpoint_make_no_pointers(plain: dict[str, Any], tmp_path: Path) -> None:
    """NumPy's own functions would take a type of Python objects, and memory to be such, from the file."""
    from tools.checkpoint_reader import described, read_checkpoint

    hostile = np.empty(1, object)
    hostile[0] = "x"
    with pytest.raises(kwsrt.KwsrtError):
        read_checkpoint(saved(plain | {"train": {"a": hostile}}, tmp_path / "object.pt"))
    with pytest.raises(kwsrt.KwsrtError):
        read_checkpoint(saved(plain | {"train": {"a": np.zeros(1, "i4,O")}}, tmp_path / "record.pt"))
    deep: list[Any] = []
    for _ in range(900):
        deep = [deep]
    assert described({"training": {"a": 1, "deep": deep, "many": [[0] * 1000] * 1000}})[0] == {"training": {"a": 1}}


@pytest.mark.parametrize("most", [1, 5, 1000])
def test_replayed_windows_are_spread_over_the_recordings(tmp_path: Path, most: int) -> None:
    """They are those of the whole recordings, which are never in memory as a whole."""
    frontend, rng, whole = FrontEnd(), np.random.default_rng(0), []
    for name, seconds in (("a.wav", 3), ("b.wav", 9), ("c.wav", 0.5)):
        samples = rng.normal(0, 3000, int(seconds * 16000)).astype(np.int16)
        wavfile.write(tmp_path / name, 16000, samples)
        features = frontend.features(samples)
        whole += [features[start : start + 32] for start in range(0, len(features) - 31, 8)]
    features, q = convert.replay_windows([tmp_path], frontend, 32, most)
    chosen = np.linspace(0, len(whole) - 1, min(most, len(whole))).astype(int)
    np.testing.assert_array_equal(features, np.stack([whole[i] for i in chosen]))
    np.testing.assert_array_equal(q, np.stack([frontend.quantize(whole[i]) for i in chosen]))
    os.mkfifo(tmp_path / "pipe.wav")
    with pytest.raises(convert.ConversionError, match=r"pipe\.wav"):
        convert.replay_windows([tmp_path / "pipe.wav"], frontend, 32, most)


def test_a_recording_that_cannot_be_used_is_left_out(
    plain: dict[str, Any], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source, folder = saved(plain, tmp_path / "mine.pt"), tmp_path / "audio"
    folder.mkdir()
    (folder / "bad.wav").write_bytes(b"RIFF____WAVEjunk")
    assert run_tool(source, tmp_path / "mine.kws", "--windows", 2, "--audio", folder) == 2
    assert "bad.wav" in capsys.readouterr().err
    noise = np.random.default_rng(0).normal(0, 3000, 48000).astype(np.int16)
    wavfile.write(folder / "good.wav", 16000, noise)
    assert run_tool(source, tmp_path / "mine.kws", "--windows", 2, "--audio", folder) == 1
    told = capsys.readouterr().err.splitlines()
    assert "bad.wav" in told[0]
    assert told[1].endswith("recordings left out: 1")
    assert kwsrt.load(tmp_path / "mine.kws").verify() == 0
