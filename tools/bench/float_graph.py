"""The network of a packed model in float32, as an ONNX graph that other runtimes run as fast as they can.

Same shapes and layers, nothing quantised, norms and scales folded into the weights, one thinning level, batch of one.
Two forms of the same numbers, since engines differ in what they do well: "conv" keeps time as the image's height and
makes every linear layer a convolution, without a transposition in between; "matmul" has rows of channels and matrix
products. Input: features [1, frames, bins] in the int8 scale of the front end, output: scores [1, classes].
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import TensorProto, helper

from kwsrt.layers import unpack_weights
from tools.onnx_graph import KERNEL, Graph

Array = NDArray[Any]


class _FloatGraph(Graph):
    """Layers of the float network: each folds `affine` into its weights [outputs, ...] and ends with a PReLU."""

    def conv(self, name: str, x: str, weights: Array, affine: Array, slope: Array, **attributes: Any) -> str:
        folded = affine[0].reshape(-1, 1, 1, 1) * weights
        y = self.op(
            "Conv",
            x,
            self.constant(f"{name}.weight", folded),
            self.constant(f"{name}.bias", affine[1]),
            kernel_shape=weights.shape[2:],
            **attributes,
        )
        slopes = np.broadcast_to(slope, affine[1].shape).reshape(-1, 1, 1)
        return self.op("PRelu", y, self.constant(f"{name}.slope", slopes))

    def linear(self, name: str, x: str, weights: Array, affine: Array, slope: Array) -> str:
        y = self.op(
            "Gemm",
            x,
            self.constant(f"{name}.weight", affine[0][:, None] * weights),
            self.constant(f"{name}.bias", affine[1]),
            transB=1,
        )
        return self.op("PRelu", y, self.constant(f"{name}.slope", np.broadcast_to(slope, affine[1].shape)))

    def reshape(self, x: str, *shape: int) -> str:
        return self.op("Reshape", x, self.constant("shape_" + "_".join(map(str, shape)), shape, np.int64))


def export(manifest: Mapping[str, Any], tensors: Mapping[str, Array], level: str, form: str) -> onnx.ModelProto:
    """The graph of one thinning level."""
    network, g, flat = manifest["network"], _FloatGraph(), form == "matmul"
    frames, bins, width, hidden, taps = (network[key] for key in ("frames", "bins", "width", "hidden", "taps"))
    first, second, bands, causal = network["conv1"], network["conv2"], bins // 4, network.get("causal", False)
    steps = network["steps"] if causal else frames // 4
    time_pad = 0 if causal else KERNEL // 2
    image: dict[str, Any] = {"pads": [time_pad, KERNEL // 2] * 2, "strides": [2, 2]}
    remembered = [taps - 1, 0, 0, 0] if causal else [taps // 2, 0, taps // 2, 0]

    def signs(name: str, inputs: int, outputs: int) -> Array:
        return np.asarray(unpack_weights(tensors[f"{name}.weight"], inputs, outputs), np.float32)

    def ends(name: str, level: str | None = None) -> tuple[Array, Array]:
        affine = tensors[f"{name}.affine" if level is None else f"{name}.affine.{level}"].astype(np.float32)
        return affine, tensors[f"{name}.slope"].astype(np.float32)

    x = g.reshape("features", 1, 1, frames, bins)
    weights = tensors["conv1.weight"].T.reshape(first, 1, KERNEL, KERNEL)
    x = g.conv("conv1", x, weights.astype(np.float32), *ends("conv1"), **image)
    weights = signs("conv2", KERNEL * KERNEL * first, second).reshape(second, KERNEL, KERNEL, first)
    x = g.conv("conv2", x, weights.transpose(0, 3, 1, 2), *ends("conv2"), **image)
    weights = signs("fc1", bands * second, width)
    if flat:
        x = g.reshape(g.op("Transpose", x, perm=[0, 2, 3, 1]), steps, bands * second)
        x = g.linear("fc1", x, weights, *ends("fc1"))
    else:
        x = g.conv("fc1", x, weights.reshape(width, 1, bands, second).transpose(0, 3, 1, 2), *ends("fc1"))
    for i in network["levels"][level]:
        block = f"blocks.{i}"
        ones = np.unpackbits(tensors[f"{block}.memory.weight"], count=taps * width, bitorder="little")
        weights = (2.0 * ones.reshape(taps, width).T - 1.0).astype(np.float32).reshape(width, 1, taps, 1)
        seen = g.reshape(g.op("Transpose", x, perm=[1, 0]), 1, width, steps, 1) if flat else x
        m = g.conv(f"{block}.memory", seen, weights, *ends(f"{block}.memory", level), group=width, pads=remembered)
        m = g.op("Add", g.op("Transpose", g.reshape(m, width, steps), perm=[1, 0]) if flat else m, x)
        y = m
        for part, inputs, outputs in (("expand", width, hidden), ("project", hidden, width)):
            weights, name = signs(f"{block}.{part}", inputs, outputs), f"{block}.{part}"
            if flat:
                y = g.linear(name, y, weights, *ends(name, level))
            else:
                y = g.conv(name, y, weights[:, :, None, None], *ends(name, level))
        x = g.op("Add", y, m)
    a, b = tensors[f"classifier.affine.{level}"]
    head = a[:, None] * tensors["classifier.weight"].astype(np.float32) * tensors["scales"][-1]
    if not flat:  # channels come before steps
        head = head.reshape(-1, steps, width).transpose(0, 2, 1).reshape(len(a), -1)
    logits = g.op(
        "Gemm",
        g.reshape(x, 1, steps * width),
        g.constant("classifier.weight", head),
        g.constant("classifier.bias", b),
        transB=1,
    )
    g.nodes.append(helper.make_node("Softmax", [logits], ["scores"], axis=-1))
    features = helper.make_tensor_value_info("features", TensorProto.FLOAT, [1, frames, bins])
    scores = helper.make_tensor_value_info("scores", TensorProto.FLOAT, [1, len(a)])
    graph = helper.make_graph(
        g.nodes, f"{manifest['name']}-{level}", [features], [scores], list(g.initializers.values())
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], producer_name="kwsrt")
    model.ir_version = 8
    onnx.checker.check_model(model, full_check=True)
    return model
