"""The benchmark tools: the float network that others run is the same network, the gate sees what it should."""

import json

import numpy as np
import pytest

from kwsrt import format as file_format
from tests import models, reference
from tools.bench import instructions
from tools.bench.common import interleaved, summary


@pytest.mark.parametrize("causal", [False, True])
@pytest.mark.parametrize("form", ["conv", "matmul"])
def test_the_float_network_is_the_network_without_quantisers(monkeypatch, form, causal):
    onnxruntime = pytest.importorskip("onnxruntime", reason="the float graph runs in onnxruntime")
    float_graph = pytest.importorskip("tools.bench.float_graph", reason="the float graph is made with onnx")
    shape = {"causal": True, "steps": 6, "frames": 33} if causal else {}
    file = file_format.parse(models.make_model(3, **shape))
    manifest, tensors, config = file.manifest, file.tensors, file.manifest["network"]
    features = np.random.default_rng(1).normal(0, 20, (config["frames"], config["bins"])).astype(np.float32)

    def memory(signs, x, *, a, b, slope, causal, **_):
        taps = signs.shape[1]
        padded = np.pad(x, ((taps - 1, 0) if causal else (taps // 2, taps // 2), (0, 0)))
        sums = sum(padded[j : j + len(x)] * signs[:, j] for j in range(taps))
        return reference.affine(sums, a, b, slope, x)

    def input_conv2d(weights, image, *, stride, pad, a, b, slope):
        cut = reference.patches(image[:, :, None], 5, stride, pad)
        return reference.affine(cut @ weights.astype(np.float32), a, b, slope)

    monkeypatch.setattr(reference, "quantize", lambda x, *_: np.asarray(x, np.float32))
    monkeypatch.setattr(reference, "product", lambda signs, q: q @ signs.astype(np.float32).T)
    monkeypatch.setattr(reference, "memory", memory)
    monkeypatch.setattr(reference, "input_conv2d", input_conv2d)
    monkeypatch.setattr(
        reference,
        "classifier",
        lambda weights, x, *, inverse_scale, a, b: a * (weights.astype(np.float32) @ (x * inverse_scale)) + b,
    )
    signs = reference.unpack_all(config, tensors)
    for level in config["levels"]:
        graph = float_graph.export(manifest, tensors, level, form).SerializeToString()
        session = onnxruntime.InferenceSession(graph, providers=["CPUExecutionProvider"])
        got = session.run(None, {"features": features[None]})[0][0]
        want = reference.network_scores(config, tensors, signs, features, level)
        np.testing.assert_allclose(got, want, rtol=2e-3, atol=1e-5)


def test_the_gate_sees_what_got_slower():
    before = {"a|window": 1000, "a|step": 100, "b|window": 50}
    assert instructions.slower(dict(before), before) == []
    assert instructions.slower({**before, "a|window": 1020, "new|step": 9}, before) == []
    slower = instructions.slower({**before, "a|window": 1021}, before)
    assert slower == ["a|window: 1,000 -> 1,021 instructions (+2.1%)"]
    assert instructions.slower({"a|window": 500, "a|step": 100}, before) == ["b|window: not counted any more"]


def test_a_decision_adds_up():
    counts = {
        "conv1 5x5x1x16|window": 10,
        "memory 5x128|window": 3,
        "staircase 256|window": 4,
        "staircase 8x32|window": 5,
        "frame|window": 1000,
        "conv1 5x5x1x16|step": 1,
    }
    assert instructions.decision(counts, "quarter", "window") == 10 + 5 + 2 * (3 + 4)
    assert instructions.decision(counts, "full", "step") == 1


def test_rounds_are_interleaved():
    calls = []
    took = interleaved({"a": lambda: calls.append("a"), "b": lambda: calls.append("b")}, rounds=2, seconds=1e-4)
    assert [len(values) for values in took.values()] == [2, 2]
    turns = [name for name, after in zip(calls, [*calls[1:], None], strict=True) if name != after]
    assert turns == ["a", "b"] * 3
    assert summary([1.0, 2.0, 3.0])["median"] == 2.0


def test_the_baseline_is_of_todays_calls():
    source = (instructions.HERE / "kernel_calls.c").read_text()
    for name in json.loads(instructions.BASELINE.read_text()):
        assert f'CALL("{name.partition("|")[0]}"' in source
