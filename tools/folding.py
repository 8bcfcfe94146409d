"""From a training checkpoint to the tensors of a packed file: prove the weights 1-bit, fold norms and scales, pack.

Needs torch, for the checkpoint only. The numbers are those of kwsrt.format: every layer is an exact integer sum n of
quantised activations and +1/-1 (or int8) weights, then a*n + b and PReLU.
"""

from typing import Any

import numpy as np
from numpy.typing import NDArray

from kwsrt import layout
from kwsrt.layers import pack_weights
from tools.checkpoint_reader import ConversionError

Array = NDArray[Any]
NORM_EPSILON = 1e-5


def build_network(checkpoint: dict[str, Any]) -> Any:
    """The training network of a checkpoint that `read_checkpoint` read, with its weights, in evaluation mode.

    Raises
    ------
    ConversionError : weights that are not those of such a network, or not finite.
    """
    from tools.train.network import Network

    network = Network(checkpoint["network"], len(checkpoint["labels"]))
    given, wanted = checkpoint["state"], network.state_dict()
    for what, names in (("has no", wanted.keys() - given.keys()), ("has a strange", given.keys() - wanted.keys())):
        if names:
            raise ConversionError(
                f"the checkpoint {what} {min(names)!r} (of {len(names)} such weights): it does not fit its network"
            )
    for name, weights in wanted.items():
        if given[name].shape != weights.shape:
            raise ConversionError(
                f"{name}: weights of shape {tuple(given[name].shape)}, the network has {tuple(weights.shape)}"
            )
        if not given[name].float().isfinite().all():
            raise ConversionError(f"{name}: weights that are NaN or infinite")
    network.load_state_dict(given)
    return network.eval()


def split_signs(weight: Array, name: str, *, rebinarize: bool, notes: list[str]) -> tuple[Array, Array]:
    """Scale per output channel, and +1/-1, of effective weights [outputs, ...] that must be two-valued per channel.

    With `rebinarize` other weights become the mean magnitude times the sign, and `notes` says by how much they changed.

    Raises
    ------
    ConversionError : a channel with more than the two values +s and -s, or with s = 0.
    """
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    magnitude = np.abs(flat)
    scale = magnitude.mean(axis=1)
    bad = (magnitude.max(axis=1) - magnitude.min(axis=1) > 1e-5 * scale) | (scale <= 0)
    signs = np.where(flat >= 0, 1, -1).astype(np.int8).reshape(weight.shape)
    if bad.any():
        worst = int(np.argmax(magnitude.std(axis=1)))
        if not rebinarize:
            values = len(np.unique(flat[worst].astype(np.float32)))
            raise ConversionError(
                f"{name}: not 1-bit: {int(bad.sum())} of {len(flat)} output channels hold more than "
                f"two values (channel {worst}: {values}); --rebinarize converts all the same"
            )
        moved = flat - scale[:, None] * np.where(flat >= 0, 1, -1)
        change = np.linalg.norm(moved) / np.maximum(np.linalg.norm(flat), 1e-30)
        notes.append(f"{name}: rebinarized {int(bad.sum())} of {len(flat)} channels, weights changed by {change:.0%}")
    return np.maximum(scale, 1e-12), signs


def split_int8(
    weight: Array, name: str, *, rebinarize: bool, notes: list[str], total: int | None = None
) -> tuple[Array, Array]:
    """Scale per output, and int8 values, of effective weights [outputs, ...] that must be multiples of max / k, k at
    most 127; an output's magnitudes sum up to `total` at most.

    Raises
    ------
    ConversionError : weights that are not (unless `rebinarize`).
    """
    flat = weight.reshape(len(weight), -1).astype(np.float64)
    scale, values, error = multiples(flat, total)
    if error.max() > 1e-3:
        if not rebinarize:
            limit = "" if total is None else f" whose magnitudes sum up to {total} at most"
            raise ConversionError(
                f"{name}: weights are not int8 multiples of one scale an output{limit} (off by "
                f"{error.max():.2f} steps); --rebinarize rounds them all the same"
            )
        notes.append(f"{name}: rounded to int8, largest change {error.max():.2f} steps")
    return scale, values.astype(np.int8).reshape(weight.shape)


def multiples(flat: Array, total: int | None) -> tuple[Array, Array, Array]:
    """Scale, values and rounding error (in steps) per output, for the smallest k that leaves hardly an error, else the
    largest that `total` allows."""
    largest = np.maximum(np.abs(flat).max(axis=1), 1e-12)
    scale, values, error = largest.copy(), np.zeros_like(flat), np.full(len(flat), np.inf)
    for k in range(1, 128):
        exact = flat * (k / largest)[:, None]
        rounded = np.rint(exact)
        fits = np.ones(len(flat), bool) if total is None or k == 1 else np.abs(rounded).sum(1) <= total
        better = fits & (error > 1e-3)
        scale[better], values[better] = (largest / k)[better], rounded[better]
        error[better] = np.abs(exact - rounded).max(1)[better]
    return scale, values, error


def _half(values: Array, name: str) -> Array:
    rounded = np.asarray(values, np.float64).astype(np.float16)
    if not np.isfinite(rounded).all():
        raise ConversionError(f"{name}: values outside float16, or not finite")
    return rounded


def _numpy(tensor: Any) -> Array:
    result: Array = tensor.detach().cpu().numpy()
    return result


def _norm_affine(norm: Any, unit: Array) -> Array:
    """[a, b] of a norm after a sum whose unit (value of n = 1) is `unit` [outputs]; float64."""
    variance = _numpy(norm.running_var).astype(np.float64)
    factor = _numpy(norm.weight).astype(np.float64) / np.sqrt(variance + NORM_EPSILON)
    return np.stack([unit * factor, _numpy(norm.bias) - _numpy(norm.running_mean) * factor])


def fold(network: Any, config: dict[str, Any], *, rebinarize: bool) -> tuple[dict[str, Array], list[str]]:
    """The tensors of kwsrt.layout.tensor_specs (without verify.*) of a training network, and notes on what was changed.

    Raises
    ------
    ConversionError : weights that are not 1-bit (or int8 at the ends), or numbers that the file cannot hold.
    """
    notes: list[str] = []
    tensors: dict[str, Array] = {}
    planes, scales = config["planes"], []
    if planes == 0 and rebinarize:
        raise ConversionError("a full-precision network has no activation quantisers: train it with planes = 1 or 2")

    def units(layer: Any, weight_scale: Array) -> Array:
        scale = float(_numpy(layer.act.scale))
        if not 0 < scale < 1e6:
            raise ConversionError(f"an activation scale is {scale}")
        scales.append(scale if planes == 2 else 1.0)  # one plane has no second step that a scale would place
        return np.asarray(weight_scale * (scale if planes == 1 else scale / 2))

    def binary(layer: Any, name: str, pack: Any) -> Array:
        weight = _numpy(layer.effective_weight())
        scale, signs = split_signs(weight, name, rebinarize=rebinarize, notes=notes)
        tensors[f"{name}.weight"] = pack(signs)
        tensors[f"{name}.slope"] = _half(_numpy(layer.slope), f"{name}.slope")
        unit = units(layer, scale)
        if layer.act.threshold is not None:
            tensors[f"{name}.threshold"] = _half(_numpy(layer.act.threshold), f"{name}.threshold")
        return unit

    def pack_linear(signs: Array) -> Array:
        return np.asarray(pack_weights(signs))

    def pack_conv(signs: Array) -> Array:
        # (outputs, channels, row, column) to inputs in the order row, column, channel.
        return np.asarray(pack_weights(signs.transpose(0, 2, 3, 1).reshape(len(signs), -1)))

    def pack_memory(signs: Array) -> Array:
        return np.packbits(signs.T.reshape(-1) > 0, bitorder="little")

    for name, layer, pack in (("conv2", network.conv2, pack_conv), ("fc1", network.fc1, pack_linear)):
        tensors[f"{name}.affine"] = _half(_norm_affine(layer.norm, binary(layer, name, pack)), f"{name}.affine")
    for i, block in enumerate(network.blocks):
        for part, pack in (("memory", pack_memory), ("expand", pack_linear), ("project", pack_linear)):
            name, layer = f"blocks.{i}.{part}", getattr(block, part)
            unit = binary(layer, name, pack)
            for level, indices in config["levels"].items():
                if i in indices:
                    affine = _norm_affine(layer.norm_of(level), unit)
                    tensors[f"{name}.affine.{level}"] = _half(affine, f"{name}.affine.{level}")
    # The int8 ends come last: what is not 1-bit is the news of a checkpoint that is neither.
    scale, values = split_int8(
        _numpy(network.conv1.effective_weight()),
        "conv1",
        rebinarize=rebinarize,
        notes=notes,
        total=layout.LARGEST_TOTAL,
    )
    tensors["conv1.weight"] = np.ascontiguousarray(values.reshape(len(values), -1).T)
    tensors["conv1.affine"] = _norm_affine(network.conv1.norm, scale).astype(np.float32)
    tensors["conv1.slope"] = _half(_numpy(network.conv1.slope), "conv1.slope")
    head = network.classifier
    scale, values = split_int8(_numpy(head.effective_weight()), "classifier", rebinarize=rebinarize, notes=notes)
    tensors["classifier.weight"] = values
    step = float(_numpy(head.act.scale))
    for level in config["levels"]:
        tensors[f"classifier.affine.{level}"] = np.stack([scale * step, _numpy(head.bias[level])]).astype(np.float32)
    inverse = np.float32(1) / np.float32(step)
    tensors["scales"] = np.array([*scales, inverse], np.float32)
    return tensors, notes
