"""From an ONNX graph with the names of tools/onnx_graph.py to the tensors of a packed file. Needs onnx, no torch.

Exporters and optimisers write one graph in several ways: weights in a second file, or as Constant nodes; a fixed number
of windows; float16 or float64 instead of float32. Here it is in one piece and in float32, as the kernels compute.
"""

import os
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
import onnx
from numpy.typing import NDArray
from onnx import AttributeProto, TensorProto, external_data_helper, numpy_helper

from kwsrt import format as file_format
from kwsrt import layout
from kwsrt import manifest as manifests
from kwsrt.errors import ModelFileError
from kwsrt.layers import pack_weights
from tools.checkpoint_reader import ConversionError
from tools.folding import split_signs
from tools.onnx_graph import KERNEL, METADATA

Array = NDArray[Any]
LARGEST_FILE = 1 << 30
OTHER_FLOATS = (TensorProto.FLOAT16, TensorProto.BFLOAT16, TensorProto.DOUBLE)


def read_model(path: Path) -> tuple[onnx.ModelProto, dict[str, Any], list[str]]:
    """An ONNX file in one piece and in float32, its manifest, and notes on what that changed.

    Nothing is made of the file before its manifest has passed the check of every model's.

    Raises
    ------
    ConversionError : unreadable or invalid, or without a valid manifest. ModelFileError : no regular file.
    """
    data = file_format.read_bytes(path, LARGEST_FILE, "ONNX model")
    try:
        model = onnx.load_from_string(data)
        texts = [p.value for p in model.metadata_props if p.key == METADATA]
        if not texts:
            raise ConversionError(
                f"no {METADATA!r} in the ONNX metadata: kwsrt converts graphs with the names "
                "of tools/onnx_graph.py, such as convert.py --onnx writes"
            )
        manifest = manifests.decode(texts[0].encode())
        _load_external_data(model, path.parent)
        onnx.checker.check_model(model)
        return model, manifest, _make_float32(model)
    except (ConversionError, ModelFileError) as error:
        raise ConversionError(f"{path}: {error}") from None
    except Exception as error:  # protobuf, onnx and the file system each have exceptions of their own
        raise ConversionError(f"{path}: not a valid ONNX model ({first_line(error)})") from None


def first_line(error: Exception) -> str:
    """What a library says of a graph, as one short line."""
    lines = str(error).strip().splitlines()
    return lines[0][:200] if lines else type(error).__name__


def _tensors(model: onnx.ModelProto) -> Iterator[onnx.TensorProto]:
    """All tensors that a graph holds."""
    yield from model.graph.initializer
    for node in model.graph.node:
        yield from (attribute.t for attribute in node.attribute if attribute.type == AttributeProto.TENSOR)


def _load_external_data(model: onnx.ModelProto, folder: Path) -> None:
    """Bring in what the tensors have in files of their own."""
    for tensor in _tensors(model):
        if external_data_helper.uses_external_data(tensor):
            location = next((entry.value for entry in tensor.external_data if entry.key == "location"), "")
            if os.path.getsize(folder / location) > LARGEST_FILE:
                raise ConversionError(f"{location}: larger than any weights of kwsrt")
            external_data_helper.load_external_data_for_tensor(tensor, str(folder))


def _make_float32(model: onnx.ModelProto) -> list[str]:
    """Change every floating-point number and type of a graph to float32; a note if there were others."""
    types = {value.type.tensor_type.elem_type for value in _declared(model)} | {t.data_type for t in _tensors(model)}
    others = sorted(types & set(OTHER_FLOATS))
    if not others:
        return []
    for tensor in _tensors(model):
        if tensor.data_type in OTHER_FLOATS:
            with np.errstate(over="ignore"):
                values = numpy_helper.to_array(tensor).astype(np.float32)
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))
    for value in _declared(model):
        if value.type.tensor_type.elem_type in OTHER_FLOATS:
            value.type.tensor_type.elem_type = TensorProto.FLOAT
    for node in model.graph.node:
        for attribute in node.attribute:
            if node.op_type == "Cast" and attribute.name == "to" and attribute.i in OTHER_FLOATS:
                attribute.i = TensorProto.FLOAT
    return [
        f"the graph's numbers are {', '.join(TensorProto.DataType.Name(t).lower() for t in others)}: converted, "
        "and compared, in float32"
    ]


def _declared(model: onnx.ModelProto) -> list[onnx.ValueInfoProto]:
    return [*model.graph.input, *model.graph.output, *model.graph.value_info]


# --- scores ----------------------------------------------------------------------------------------------------------


def scores(model: onnx.ModelProto, features: Array, manifest: Mapping[str, Any]) -> dict[str, Array]:
    """What onnxruntime computes of float32 features (windows, frames, bins): float32 (windows, classes) by level.

    A graph that takes a fixed number of windows gets so many at a time.

    Raises
    ------
    ConversionError : a graph that cannot be run, or of other inputs and outputs than the manifest's.
    """
    import onnxruntime

    levels, classes = list(manifest["network"]["levels"]), len(manifest["labels"])
    options = onnxruntime.SessionOptions()
    options.log_severity_level = 4  # what is wrong is raised as well
    try:
        session = onnxruntime.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
        windows = session.get_inputs()[0].shape[0]
        at_once = windows if isinstance(windows, int) and windows > 0 else len(features)
        # The last windows are heard again, as often as it takes.
        rows = np.minimum(np.arange(-(-len(features) // at_once) * at_once), len(features) - 1)
        names = [f"scores.{level}" for level in levels]
        parts = [
            session.run(names, {"features": features[rows[start : start + at_once]]})
            for start in range(0, len(rows), at_once)
        ]
        found = {
            level: np.concatenate(of_level)[: len(features)]
            for level, of_level in zip(levels, zip(*parts, strict=True), strict=True)
        }
    except Exception as error:  # onnxruntime has exceptions of its own
        raise ConversionError(f"onnxruntime cannot run the graph ({first_line(error)})") from None
    for level, values in found.items():
        if values.shape != (len(features), classes):
            raise ConversionError(f"scores.{level}: shape {values.shape}, expected {(len(features), classes)}")
    return found


# --- tensors ---------------------------------------------------------------------------------------------------------


def restore(
    model: onnx.ModelProto, manifest: Mapping[str, Any], *, rebinarize: bool
) -> tuple[dict[str, Array], list[str]]:
    """Tensors (without verify.*) and notes of a graph that `export` wrote, or of one with its names.

    Raises
    ------
    ConversionError : a missing initializer, or weights that are not 1-bit (naming the layer).
    """
    held = _constants(model)
    specs = layout.tensor_specs(manifest["network"], len(manifest["labels"]))
    shapes = _weight_shapes(manifest["network"], len(manifest["labels"]))
    notes: list[str] = []

    def value(name: str, shape: tuple[int, ...] | None = None) -> Array:
        if name not in held:
            raise ConversionError(f"the ONNX model has no initializer {name!r}")
        try:
            found = np.asarray(numpy_helper.to_array(held[name]))
        except Exception as error:  # of a damaged tensor, onnx and NumPy each raise their own
            raise ConversionError(f"{name}: cannot read the initializer ({first_line(error)})") from None
        if found.dtype.kind not in "iuf":
            raise ConversionError(f"{name}: values of type {found.dtype}, expected numbers")
        if shape is not None and found.shape != shape:
            raise ConversionError(f"{name}: shape {found.shape}, expected {shape}")
        return found

    def signs(name: str, by_output: Array) -> Array:
        scale, result = split_signs(by_output, name, rebinarize=rebinarize, notes=notes)
        if np.abs(scale - 1).max() > 1e-6:
            if not rebinarize:
                raise ConversionError(f"{name}: weights must be +1 and -1, their scale belongs into the affine")
            notes.append(f"{name}: scales other than 1 were dropped")
        return result

    tensors: dict[str, Array] = {}
    for spec in specs:
        layer, _, kind = spec.name.partition(".affine") if ".affine" in spec.name else spec.name.rpartition(".")
        if spec.name.startswith("verify.") or spec.name == "scales":
            continue
        if ".affine" in spec.name:
            shape = (spec.shape[1],)
            found = np.stack([value(f"{layer}.affine.a{kind}", shape), value(f"{layer}.affine.b{kind}", shape)])
        elif kind == "weight":
            found = _stored_weight(layer, value(spec.name, shapes[layer]), signs)
        else:
            found = value(spec.name)
        tensors[spec.name] = _as_spec(found, spec, notes)
    blocks = [
        f"blocks.{i}.{part}" for i in range(manifest["network"]["blocks"]) for part in ("memory", "expand", "project")
    ]
    planes = manifest["network"]["planes"]
    names = [f"{layer}.scale" if planes == 2 else None for layer in ("conv2", "fc1", *blocks)]
    try:
        tensors["scales"] = np.array(
            [1.0 if name is None else value(name).item() for name in (*names, "classifier.inverse_scale")], np.float32
        )
    except ValueError as error:
        if isinstance(error, ConversionError):
            raise
        raise ConversionError("a scale of the ONNX model is not one number") from None
    return tensors, notes


def _constants(model: onnx.ModelProto) -> dict[str, onnx.TensorProto]:
    """Initializers, and what Constant nodes give, by name."""
    nodes = {
        node.output[0]: attribute.t
        for node in model.graph.node
        if node.op_type == "Constant"
        for attribute in node.attribute
        if attribute.name == "value"
    }
    return nodes | {tensor.name: tensor for tensor in model.graph.initializer}


def _weight_shapes(network: Mapping[str, Any], classes: int) -> dict[str, tuple[int, ...]]:
    """The shapes of the initializers that hold weights, by layer."""
    conv1, conv2, width, hidden = (network[key] for key in ("conv1", "conv2", "width", "hidden"))
    steps = network["steps"] if network.get("causal") else network["frames"] // 4
    shapes: dict[str, tuple[int, ...]] = {
        "conv1": (conv1, 1, KERNEL, KERNEL),
        "conv2": (conv2, conv1, KERNEL, KERNEL),
        "fc1": (network["bins"] // 4 * conv2, width),
        "classifier": (steps * width, classes),
    }
    for i in range(network["blocks"]):
        shapes |= {
            f"blocks.{i}.memory": (width, 1, network["taps"]),
            f"blocks.{i}.expand": (width, hidden),
            f"blocks.{i}.project": (hidden, width),
        }
    return shapes


def _stored_weight(layer: str, weight: Array, signs: Callable[[str, Array], Array]) -> Array:
    """The file's form of an initializer."""
    if layer == "conv1":
        return weight.reshape(len(weight), -1).T
    if layer == "classifier":
        return weight.T
    if layer == "conv2":
        by_output = signs(layer, weight)
        return np.asarray(pack_weights(by_output.transpose(0, 2, 3, 1).reshape(len(by_output), -1)))
    if layer.endswith("memory"):
        return np.packbits(signs(layer, weight[:, 0]).T.reshape(-1) > 0, bitorder="little")
    return np.asarray(pack_weights(signs(layer, weight.T)))


def _as_spec(found: Array, spec: layout.TensorSpec, notes: list[str]) -> Array:
    if found.shape != spec.shape:
        raise ConversionError(f"{spec.name}: shape {found.shape}, expected {spec.shape}")
    if not np.isfinite(found).all():
        raise ConversionError(f"{spec.name}: NaN or infinite values")
    with np.errstate(over="ignore", invalid="ignore"):
        result = np.ascontiguousarray(found, dtype=spec.dtype)
    if not np.isfinite(result).all():
        raise ConversionError(f"{spec.name}: values outside {spec.dtype}")
    change = float(np.abs(result.astype(np.float64) - found).max(initial=0.0))
    if spec.dtype == np.int8 and change > 0:
        raise ConversionError(f"{spec.name}: values are not int8")
    if change > 0:
        notes.append(f"{spec.name}: rounded to {spec.dtype}, largest change {change:.3g}")
    return result
