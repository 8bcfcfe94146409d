"""Convert a trained checkpoint or an ONNX graph into a packed 1-bit model file.

    python tools/convert.py CHECKPOINT.pt OUT.kws            (needs torch)
    python tools/convert.py MODEL.onnx OUT.kws               (needs onnx and onnxruntime, no torch)
    python tools/convert.py MODEL.kws --onnx MODEL.onnx      (the same network in standard ONNX operators)

It writes whole files or none, and replaces nothing but what it wrote itself.

The conversion proves that the weights are 1-bit, folds norms and scales, packs, and then replays the source against the
packed file on real audio: layer by layer, each packed layer fed with what the source fed its own, and end to end. It
fails, naming the layer, where a difference is more than the rounding of the stored float16 numbers explains.
"""

import argparse
import contextlib
import hashlib
import json
import os
import sys
from collections.abc import Iterator, Mapping
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

if not __package__:  # run as a script: make `tools` importable
    sys.path.insert(0, str(Path(__file__).resolve().parent.parent))

from kwsrt import audio, files
from kwsrt import format as file_format
from kwsrt import manifest as manifests
from kwsrt.cli.output import guarded, note, say
from kwsrt.clips import recordings
from kwsrt.errors import AudioError, OptionError
from kwsrt.frontend import FrontEnd, OnlineFrontEnd
from kwsrt.network import Network
from tools.checkpoint_reader import ConversionError, described, read_checkpoint
from tools.folding import build_network, fold

Array = NDArray[Any]
RECORDINGS = Path(__file__).resolve().parent.parent / "tests" / "recordings"
# a, b and slope are stored with 11 significant bits each; sums of three such roundings stay below this share.
ROUNDING = 3 * 2.0**-11
# What an ONNX graph's manifest says of detection, which the packed file says too.
DETECTION = ("threshold", "smoothing", "patience", "clear")
TOP_LEVEL_LAYERS = ("conv1", "conv2", "fc1")
PARTS = ("memory", "expand", "project")


# --- inputs to replay ------------------------------------------------------------------------------------------------


def replay_windows(
    paths: list[Path], frontend: FrontEnd, frames: int, most: int, left_out: list[str] | None = None
) -> tuple[Array, Array]:
    """Windows spread evenly over the recordings: float32 features and int8 q, (windows, frames, width) each.

    Where there is a list `left_out`, what is wrong with a recording that cannot be used is put there, and the others
    are used."""
    found = recordings(paths)
    for file in found:
        if file.exists() and not file.is_file():
            raise ConversionError(f"{file}: not a file: what --audio names is read twice")
    # Once to count them, and once for those that are wanted: recordings may be too long to be kept.
    counts: dict[Path, int] = {}
    for file in found:
        try:
            counts[file] = sum(1 for _ in _windows(file, frontend, frames))
        except AudioError as error:
            if left_out is None:
                raise
            left_out.append(str(error))
    count = sum(counts.values())
    if not count and left_out:
        raise ConversionError(f"no recording can be used: {left_out[0]}")
    if not count:
        raise ConversionError("no audio of at least a second to replay: name recordings with --audio")
    wanted = set(np.linspace(0, count - 1, min(most, count)).astype(int).tolist())
    every = (window for file in counts for window in _windows(file, frontend, frames))
    chosen = np.stack([window.copy() for i, window in enumerate(every) if i in wanted])
    return chosen, np.stack([frontend.quantize(window) for window in chosen])


def _windows(file: Path, frontend: FrontEnd, frames: int) -> Iterator[Array]:
    """Windows of a recording's features, float32 (frames, width), each a quarter of it after the one before."""
    online = OnlineFrontEnd(frontend)
    held = np.zeros((0, frontend.width), np.float32)
    for piece in audio.pieces(file, frontend.sample_rate):
        held = np.concatenate([held, online.accept(piece)])
        while len(held) >= frames:
            yield held[:frames]
            held = held[max(1, frames // 4) :]


# --- replay, layer by layer ------------------------------------------------------------------------------------------


def source_activations(network: Any, q: Array, level: str, indices: list[int]) -> tuple[dict[str, Array], Array]:
    """What every quantiser of the training network is given for int8 features q, by layer name, and the logits."""
    import torch

    seen: dict[str, Array] = {}
    layers = {"conv2": network.conv2, "fc1": network.fc1, "classifier": network.classifier} | {
        f"blocks.{i}.{part}": getattr(network.blocks[i], part) for i in indices for part in PARTS
    }

    def catcher(name: str) -> Any:
        def catch(_module: Any, inputs: tuple[Any, ...]) -> None:
            seen[name] = inputs[0].detach().numpy().copy()

        return catch

    hooks = [layer.act.register_forward_pre_hook(catcher(name)) for name, layer in layers.items()]
    # In double precision: float32 sums of the source would move more activations across their steps than packing does.
    usual = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    try:
        with torch.no_grad():
            logits = network.double()(torch.from_numpy(q), only=level)[level]
    finally:
        torch.set_default_dtype(usual)
        for hook in hooks:
            hook.remove()
    return seen, logits.numpy()


def hold_weights(network: Any) -> None:
    """Let every layer of a training network multiply with the weights that it has now, in double precision.

    They are made of the latent weights at every pass. In double precision, some latent weights that lie just between
    two whole numbers, as those of a checkpoint in half precision do, would be rounded to the other one than those that
    were packed.
    """
    for layer in network.modules():
        if hasattr(layer, "effective_weight"):
            weights = layer.effective_weight().detach().double()
            layer.effective_weight = lambda held=weights: held


def _allowed(y: Array, a: Array, inputs_near_a_step: int, largest_sum: float) -> Array:
    """Bound of |packed - source|: rounded a, b, slope, and inputs so near a step that rounding moves them across."""
    size = np.maximum(np.abs(y), np.abs(a) * largest_sum * 0.1)
    bound: Array = ROUNDING * size + 1e-4 + 2.0 * np.abs(a) * inputs_near_a_step
    return bound


def _near_a_step(x: Array, threshold: Array, scale: float, planes: int) -> int:
    """How many activations lie so near a step that the float16 rounding of the threshold can move them across."""
    margin = np.abs(threshold) * 2.0**-10 + 1e-5
    distance = x - threshold
    steps = (0.0,) if planes == 1 else (-scale, 0.0, scale)
    return int(sum((np.abs(distance - step) <= margin).sum() for step in steps))


def compare_layers(
    source: Any, packed: Network, tensors: Mapping[str, Array], config: Mapping[str, Any], q: Array, most: int
) -> dict[str, float]:
    """Largest difference of every layer's output, each packed layer fed with the source's own input.

    Raises
    ------
    ConversionError : a difference beyond rounding, naming the layer.
    """
    differences: dict[str, float] = {}
    planes, scales = config["planes"], tensors["scales"]

    def check(name: str, got: Array, want: Array, a: Array, near: int, inputs: int) -> None:
        error = np.abs(got.astype(np.float64) - want)
        differences[name] = max(differences.get(name, 0.0), float(error.max()))
        excess = error - _allowed(want, a, near, inputs * (3 if planes == 2 else 1))
        if excess.max() > 0:
            raise ConversionError(
                f"{name}: the packed layer differs by {error.max():.3g} from the checkpoint's, "
                "more than rounding explains"
            )

    for level, indices in config["levels"].items():
        for window in q[:most]:
            seen, _ = source_activations(source, window[None], level, indices)
            order = ["conv2", "fc1", *(f"blocks.{i}.{part}" for i in indices for part in PARTS), "classifier"]
            chain = [seen[name][0] for name in order]
            check("conv1", packed.layers["conv1"](window), chain[0], tensors["conv1.affine"][0], 0, 25 * 127)
            for position, name in enumerate(order[:-1]):
                x, want = chain[position], chain[position + 1]
                index = position
                if name not in TOP_LEVEL_LAYERS:
                    _, block, part = name.split(".")
                    index = 2 + 3 * int(block) + PARTS.index(part)
                threshold = np.asarray(tensors.get(f"{name}.threshold", np.zeros(1)), np.float64)
                near = _near_a_step(x, threshold, float(scales[index]), planes)
                key = name if name in TOP_LEVEL_LAYERS else f"{name}.{level}"
                affine = tensors[f"{name}.affine" if name in TOP_LEVEL_LAYERS else f"{name}.affine.{level}"]
                rows = x.reshape(len(x), -1) if name == "fc1" else x
                # A negative output's slope may enlarge what an input on the other side of its step changes.
                gain = affine[0].astype(np.float64) * max(1.0, float(np.abs(tensors[f"{name}.slope"]).max()))
                layer = packed.layers[key]
                residual = (chain[position - 1],) if name.endswith("project") else ()
                got = layer(rows, *residual)
                check(name, got, want.reshape(got.shape), gain, near, rows[0].size)
    return differences


# --- report ----------------------------------------------------------------------------------------------------------


def weight_counts(network: Mapping[str, Any], classes: int) -> dict[str, int]:
    """Weights of every layer, without norms, thresholds and slopes."""
    width, hidden = network["width"], network["hidden"]
    steps = network["steps"] if network.get("causal") else network["frames"] // 4
    counts = {
        "conv1": 25 * network["conv1"],
        "conv2": 25 * network["conv1"] * network["conv2"],
        "fc1": network["bins"] // 4 * network["conv2"] * width,
    }
    for i in range(network["blocks"]):
        counts |= {
            f"blocks.{i}.memory": width * network["taps"],
            f"blocks.{i}.expand": width * hidden,
            f"blocks.{i}.project": width * hidden,
        }
    return counts | {"classifier": steps * width * classes}


def report(
    data: bytes,
    differences: Mapping[str, float],
    scores: Mapping[str, float],
    agreement: Mapping[str, float],
    windows: int,
    notes: list[str],
) -> str:
    """The conversion report as text."""
    file = file_format.parse(data)
    network = file.manifest["network"]
    counts = weight_counts(network, len(file.manifest["labels"]))
    lines = [f"{'layer':<20}{'weights':>9}{'bits':>6}{'difference':>12}"]
    for name, count in counts.items():
        bits = {"conv1": 8, "classifier": network.get("classifier_bits", 8)}.get(name, 1)
        shown = f"{differences[name]:.2e}" if name in differences else "-"
        lines.append(f"{name:<20}{count:>9,}{bits:>6}{shown:>12}")
    lines += [f"{size:>9,} bytes: {what}" for what, size in file_format.sections(data).items()]
    total = sum(counts.values())
    lines.append(
        f"{len(data):>9,} bytes: the file, {4 * total / len(data):.1f} times smaller than the {4 * total:,} "
        f"of {total:,} weights in float32"
    )
    for level, largest in scores.items():
        lines.append(
            f"scores, {level}: largest difference {largest:.2e}, same label in "
            f"{agreement[level]:.1%} of {windows} windows"
        )
    return "\n".join(lines + notes)


# --- the conversion --------------------------------------------------------------------------------------------------


def _manifest(said: Mapping[str, Any], training: Mapping[str, Any], options: argparse.Namespace) -> dict[str, Any]:
    """The packed file's manifest, checked: labels, frontend and network are those of the source, and so is what it says
    of detection unless the options do.

    Raises
    ------
    ModelFileError : see kwsrt.manifest.check.
    """
    detection = {"threshold": 0.8} | {key: said[key] for key in DETECTION if key in said}
    detection |= {key: value for key in DETECTION if (value := getattr(options, key, None)) is not None}
    licence = training.get("model_licence") or said.get("licence")
    source: Path = options.source
    return manifests.check(
        {
            "name": options.name,
            **{key: said.get(key) for key in ("labels", "frontend", "network")},
            **detection,
            **({"licence": licence} if licence else {}),
            "training": training,
            "provenance": {
                "source": source.name,
                "sha256": hashlib.sha256(source.read_bytes()).hexdigest(),
                "converted": date.today().isoformat(),
            },
        }
    )


def _with_scores(manifest: dict[str, Any], tensors: dict[str, Array], frontend: FrontEnd) -> dict[str, Array]:
    """The tensors with the scores of the test signal that `kwsrt info --verify` hears."""
    network = Network(manifest["network"], len(manifest["labels"]), tensors)
    span = (network.frames - 1) * frontend.hop + frontend.window
    heard = frontend.quantized(file_format.verification_audio(span))[None]
    levels = manifest["network"]["levels"]
    return tensors | {"verify.scores": np.concatenate([network.run(heard, level) for level in levels])}


def _softmax(logits: Array) -> Array:
    e = np.exp(logits.astype(np.float64) - logits.max(axis=1, keepdims=True))
    result: Array = e / e.sum(axis=1, keepdims=True)
    return result


def convert_checkpoint(path: Path, options: argparse.Namespace) -> tuple[bytes, str]:
    """A .pt checkpoint to the bytes of a file and the report."""
    checkpoint = read_checkpoint(path)
    network, labels = checkpoint["network"], checkpoint["labels"]
    training, left_out = described({"training": checkpoint.get("train")})
    source = build_network(checkpoint)
    tensors, notes = fold(source, network, rebinarize=options.rebinarize)
    hold_weights(source)
    manifest = _manifest(checkpoint, training.get("training") or {}, options)
    frontend = FrontEnd(**manifest["frontend"])
    _, q = replay_windows(options.audio, frontend, network["frames"], options.windows, options.left_out)
    data = file_format.write(manifest, _with_scores(manifest, tensors, frontend))
    packed = Network(network, len(labels), file_format.parse(data).tensors)
    differences = {} if notes else compare_layers(source, packed, tensors, network, q, 8)
    scores, agreement = {}, {}
    for level, indices in network["levels"].items():
        want = _softmax(source_activations(source, q, level, indices)[1])
        got = packed.run(q, level)
        scores[level] = float(np.abs(got - want).max())
        agreement[level] = float((got.argmax(1) == want.argmax(1)).mean())
    return data, report(data, differences, scores, agreement, len(q), [*notes, *left_out])


def convert_onnx(path: Path, options: argparse.Namespace) -> tuple[bytes, str]:
    """An .onnx graph to the bytes of a file and the report."""
    try:
        import onnxruntime  # noqa: F401

        from tools import onnx_reader
    except ImportError:
        raise ConversionError("ONNX models need onnx and onnxruntime: pip install kwsrt[convert]") from None
    model, said, changed = onnx_reader.read_model(path)
    training = said.get("training")
    manifest = _manifest(said, training if isinstance(training, dict) else {}, options)
    tensors, notes = onnx_reader.restore(model, manifest, rebinarize=options.rebinarize)
    frontend = FrontEnd(**manifest["frontend"])
    features, q = replay_windows(
        options.audio, frontend, manifest["network"]["frames"], options.windows, options.left_out
    )
    data = file_format.write(manifest, _with_scores(manifest, tensors, frontend))
    packed = Network(manifest["network"], len(manifest["labels"]), file_format.parse(data).tensors)
    wanted = onnx_reader.scores(model, features, manifest)
    scores, agreement = {}, {}
    for level, want in wanted.items():
        got = packed.run(q, level)
        scores[level] = float(np.abs(got - want).max())
        agreement[level] = float((got.argmax(1) == want.argmax(1)).mean())
        if scores[level] > 1e-4 and not notes:
            raise ConversionError(
                f"level {level}: the packed file's scores differ by {scores[level]:.2g} from the "
                "graph's: the graph computes something else than its initializers say"
            )
    return data, report(data, {}, scores, agreement, len(q), [*changed, *notes])


def export_onnx(file: file_format.ModelFile, out: Path) -> None:
    """Write the network of a packed file as ONNX."""
    files.write(
        out, _onnx_graph().export(file.manifest, file.tensors).SerializeToString(), replaces=_onnx_graph().BEGINNING
    )


def _onnx_graph() -> Any:
    try:
        from tools import onnx_graph
    except ImportError:
        raise ConversionError("--onnx needs onnx: pip install kwsrt[convert]") from None
    return onnx_graph


def parser() -> argparse.ArgumentParser:
    """The command line."""
    made = argparse.ArgumentParser(
        prog="convert.py", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    made.add_argument("source", type=Path, help="CHECKPOINT.pt, MODEL.onnx, or MODEL.kws for --onnx alone")
    made.add_argument("out", type=Path, nargs="?", help="the packed file to write, OUT.kws")
    made.add_argument("--onnx", type=Path, metavar="OUT.onnx", help="write the packed network as ONNX too")
    made.add_argument("--name", help="name of the model (default: the output's file name)")
    made.add_argument(
        "--threshold", type=float, help="detection threshold that the file declares (default: the ONNX model's, or 0.8)"
    )
    made.add_argument("--smoothing", type=int, help="and the decisions that its scores are averaged over")
    made.add_argument("--patience", type=int, help="and the decisions in a row that a detection takes")
    made.add_argument(
        "--audio",
        type=Path,
        nargs="+",
        default=[RECORDINGS],
        help="recordings, or folders of them, to replay (default: tests/recordings)",
    )
    made.add_argument("--windows", type=int, default=64, help="windows of that audio to replay (%(default)s)")
    made.add_argument(
        "--rebinarize",
        action="store_true",
        help="convert weights that are not 1-bit all the same, and say what changed",
    )
    made.add_argument("--json", action="store_true", help="print the report as a JSON string")
    return made


def run(options: argparse.Namespace) -> None:
    """Do what the options say, and note in them what recordings were `left_out`. Raises KwsrtError."""
    options.left_out = []
    if options.windows < 1:
        raise OptionError(f"--windows {options.windows}: expected 1 or more, since what is not replayed is not proved")
    _check_outputs(options)
    if options.source.suffix.lower() == ".kws":
        if options.out is not None or options.onnx is None:
            raise ConversionError("a .kws file is packed already: give --onnx OUT.onnx, and no OUT.kws")
        export_onnx(file_format.read(options.source), options.onnx)
        return
    if options.out is None:
        raise ConversionError("give the packed file to write: OUT.kws")
    options.name = options.name or options.out.stem
    convert = convert_onnx if options.source.suffix.lower() == ".onnx" else convert_checkpoint
    data, text = convert(options.source, options)
    files.write(options.out, data, replaces=file_format.MAGIC)
    if options.onnx is not None:
        export_onnx(file_format.parse(data), options.onnx)
    say(*([json.dumps(text)] if options.json else text.splitlines()))


def _check_outputs(options: argparse.Namespace) -> None:
    """That the files to write are none of those to read, nor anything else that somebody may want to keep.

    Raises
    ------
    OptionError : they are.
    """
    for name, path in (("OUT.kws", options.out), ("--onnx", options.onnx)):
        if path is not None and _same(path, options.source):
            raise OptionError(f"{name} {path}: that is the file to convert; name another one")
    if options.out is not None:
        files.check_writable(options.out, replaces=file_format.MAGIC)
    if options.onnx is not None:
        if options.out is not None and _same(options.out, options.onnx):
            raise OptionError(f"--onnx {options.onnx}: that is the packed file to write; name another one")
        files.check_writable(options.onnx, replaces=_onnx_graph().BEGINNING)


def _same(one: Path, other: Path) -> bool:
    """Whether two paths lead to one file, which need not be there yet."""
    with contextlib.suppress(OSError, ValueError):
        return os.path.samefile(one, other)
    return os.path.realpath(one) == os.path.realpath(other)


def main(arguments: list[str] | None = None) -> int:
    """The command; 0, 1 where recordings were left out, which cannot be used, or 2 after a one-line message."""
    options = parser().parse_args(arguments)

    def work() -> int:
        run(options)
        for what in options.left_out:
            note(f"left out: {what}", "convert.py")
        if options.left_out:
            note(f"recordings left out: {len(options.left_out)}", "convert.py")
        return 1 if options.left_out else 0

    return guarded(work, "convert.py")


if __name__ == "__main__":
    sys.exit(main())
