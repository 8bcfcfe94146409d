"""A packed network as an ONNX graph of standard operators. Needs onnx, no torch. The way back is tools/onnx_reader.py.

The graph computes what the kernels compute, number by number: quantised activations and weights are small integers in
float32, so every sum is exact whatever the order, and every other operation is rounded on its own. A Cast to int32 and
back follows each sum: it changes nothing, but keeps runtimes from folding the scale behind it into the weights, which
would round differently. Input: features [batch, frames, bins], float32 (dB, before quantisation). Outputs: scores.LEVEL
[batch, classes]. Every tensor of the file is an initializer of the same name; 1-bit weights are stored as +1 and -1.
The manifest is in the metadata under "kwsrt.manifest".
"""

import json
from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper, numpy_helper

from kwsrt import layout
from kwsrt.layers import unpack_weights

Array = NDArray[Any]
KERNEL = layout.KERNEL
METADATA = "kwsrt.manifest"
PRODUCER = "kwsrt"
IR_VERSION = 8
# What a file of `export` begins with: the fields of its protocol buffer are written in the order of their numbers.
BEGINNING = bytes([8, IR_VERSION, 18, len(PRODUCER)]) + PRODUCER.encode()


class Graph:
    """Nodes and initializers under construction; every method returns the name of its result."""

    def __init__(self) -> None:
        self.nodes: list[onnx.NodeProto] = []
        self.initializers: dict[str, onnx.TensorProto] = {}

    def constant(self, name: str, values: Any, dtype: Any = np.float32) -> str:
        self.initializers[name] = numpy_helper.from_array(np.ascontiguousarray(values, dtype=dtype), name)
        return name

    def op(self, kind: str, *inputs: str, **attributes: Any) -> str:
        name = f"{kind.lower()}_{len(self.nodes)}"
        self.nodes.append(helper.make_node(kind, list(inputs), [name], **attributes))
        return name

    def exact(self, total: str) -> str:
        return self.op("Cast", self.op("Cast", total, to=TensorProto.INT32), to=TensorProto.FLOAT)

    def epilogue(self, total: str, affine: Array, slope: Array, name: str, level: str | None = None) -> str:
        """prelu(a * n + b) over the last axis."""
        suffix = "" if level is None else f".{level}"
        scaled = self.op("Mul", self.exact(total), self.constant(f"{name}.affine.a{suffix}", affine[0]))
        value = self.op("Add", scaled, self.constant(f"{name}.affine.b{suffix}", affine[1]))
        return self.op("PRelu", value, self.constant(f"{name}.slope", slope))

    def quantize(self, x: str, name: str, threshold: Array | None, scale: Any, planes: int) -> str:
        """q in {-1, +1} or {-3, -1, +1, +3} over the last axis."""
        if threshold is not None:
            x = self.op("Sub", x, self.constant(f"{name}.threshold", threshold))
        zero = self.constant("zero", 0.0)
        limits = [zero]
        if planes == 2:
            limits += [self.constant(f"{name}.scale", scale), self.constant(f"{name}.minus_scale", -scale)]
        passed = [self.op("Cast", self.op("GreaterOrEqual", x, limit), to=TensorProto.FLOAT) for limit in limits]
        total = passed[0] if planes == 1 else self.op("Sum", *passed)
        doubled = self.op("Mul", total, self.constant("two", 2.0))
        return self.op("Sub", doubled, self.constant("lowest", 3.0 if planes == 2 else 1.0))

    def int8(self, x: str, inverse: str) -> str:
        rounded = self.op("Round", self.op("Mul", x, inverse))
        return self.op("Clip", rounded, self.constant("int8_low", -127.0), self.constant("int8_high", 127.0))


def export(manifest: Mapping[str, Any], tensors: Mapping[str, Array]) -> onnx.ModelProto:
    """The graph of a packed model, all thinning levels over one set of weights."""
    network, frontend, g = manifest["network"], manifest["frontend"], Graph()
    frames, bins, planes, taps = network["frames"], network["bins"], network["planes"], network["taps"]
    causal, bands, width, hidden = network.get("causal", False), bins // 4, network["width"], network["hidden"]
    steps = network["steps"] if causal else frames // 4
    scales = tensors["scales"]
    pads, stride = [0 if causal else KERNEL // 2, KERNEL // 2] * 2, [2, 2]
    remembered = [taps - 1, 0] if causal else [taps // 2] * 2

    def conv_weight(name: str, signs: Array, channels: int) -> str:
        return g.constant(f"{name}.weight", signs.reshape(-1, KERNEL, KERNEL, channels).transpose(0, 3, 1, 2))

    def linear_weight(name: str, inputs: int, outputs: int) -> str:
        return g.constant(f"{name}.weight", unpack_weights(tensors[f"{name}.weight"], inputs, outputs).T)

    shifted = g.op("Sub", "features", g.constant("input.offset", frontend["offset"]))
    q = g.int8(shifted, g.constant("input.inverse_step", np.float32(1) / np.float32(frontend["step"])))
    image = g.op("Reshape", q, g.constant("image_shape", [-1, 1, frames, bins], np.int64))
    total = g.op("Conv", image, conv_weight("conv1", tensors["conv1.weight"].T, 1), pads=pads, strides=stride)
    x = g.op("Transpose", total, perm=[0, 2, 3, 1])
    x = g.epilogue(x, tensors["conv1.affine"], tensors["conv1.slope"], "conv1")
    q = g.quantize(x, "conv2", tensors["conv2.threshold"], scales[0], planes)
    signs = unpack_weights(tensors["conv2.weight"], KERNEL * KERNEL * network["conv1"], network["conv2"])
    total = g.op(
        "Conv",
        g.op("Transpose", q, perm=[0, 3, 1, 2]),
        conv_weight("conv2", signs, network["conv1"]),
        pads=pads,
        strides=stride,
    )
    x = g.op("Transpose", total, perm=[0, 2, 3, 1])
    x = g.epilogue(x, tensors["conv2.affine"], tensors["conv2.slope"], "conv2")
    q = g.quantize(x, "fc1", tensors["fc1.threshold"], scales[1], planes)
    q = g.op("Reshape", q, g.constant("row_shape", [-1, steps, bands * network["conv2"]], np.int64))
    x = g.op("MatMul", q, linear_weight("fc1", bands * network["conv2"], width))
    stem = g.epilogue(x, tensors["fc1.affine"], tensors["fc1.slope"], "fc1")

    for i in range(network["blocks"]):
        ones = np.unpackbits(tensors[f"blocks.{i}.memory.weight"], count=taps * width, bitorder="little")
        g.constant(f"blocks.{i}.memory.weight", 2.0 * ones.reshape(taps, width).T[:, None, :] - 1.0)
        linear_weight(f"blocks.{i}.expand", width, hidden)
        linear_weight(f"blocks.{i}.project", hidden, width)

    outputs = []
    flat = g.constant("flat_shape", [-1, steps * width], np.int64)
    head = g.constant("classifier.weight", tensors["classifier.weight"].T)
    inverse = g.constant("classifier.inverse_scale", scales[-1])
    for level, indices in network["levels"].items():
        x = stem
        for i in indices:
            x = _block(g, x, i, level, tensors, scales[2 + 3 * i : 5 + 3 * i], planes, remembered, width)
        total = g.exact(g.op("MatMul", g.int8(g.op("Reshape", x, flat), inverse), head))
        a, b = tensors[f"classifier.affine.{level}"]
        scaled = g.op("Mul", total, g.constant(f"classifier.affine.a.{level}", a))
        logits = g.op("Add", scaled, g.constant(f"classifier.affine.b.{level}", b))
        g.nodes.append(helper.make_node("Softmax", [logits], [f"scores.{level}"], axis=-1))
        outputs.append(
            helper.make_tensor_value_info(f"scores.{level}", TensorProto.FLOAT, ["batch", len(manifest["labels"])])
        )
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, ["batch", frames, bins])
    graph = helper.make_graph(g.nodes, manifest["name"], [features], outputs, list(g.initializers.values()))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name=PRODUCER)
    model.ir_version = IR_VERSION
    helper.set_model_props(model, {METADATA: json.dumps(manifest)})
    onnx.checker.check_model(model, full_check=True)
    return model


def _block(
    g: Graph,
    x: str,
    i: int,
    level: str,
    tensors: Mapping[str, Array],
    scales: Array,
    planes: int,
    remembered: list[int],
    width: int,
) -> str:
    name = f"blocks.{i}"
    q = g.quantize(x, f"{name}.memory", tensors[f"{name}.memory.threshold"], scales[0], planes)
    total = g.op("Conv", g.op("Transpose", q, perm=[0, 2, 1]), f"{name}.memory.weight", group=width, pads=remembered)
    total = g.op("Transpose", total, perm=[0, 2, 1])
    m = g.op(
        "Add",
        g.epilogue(
            total, tensors[f"{name}.memory.affine.{level}"], tensors[f"{name}.memory.slope"], f"{name}.memory", level
        ),
        x,
    )
    q = g.quantize(m, f"{name}.expand", tensors[f"{name}.expand.threshold"], scales[1], planes)
    h = g.epilogue(
        g.op("MatMul", q, f"{name}.expand.weight"),
        tensors[f"{name}.expand.affine.{level}"],
        tensors[f"{name}.expand.slope"],
        f"{name}.expand",
        level,
    )
    q = g.quantize(h, f"{name}.project", None, scales[2], planes)
    y = g.epilogue(
        g.op("MatMul", q, f"{name}.project.weight"),
        tensors[f"{name}.project.affine.{level}"],
        tensors[f"{name}.project.slope"],
        f"{name}.project",
        level,
    )
    return g.op("Add", y, m)
