"""Read a training checkpoint as plain values and tensors, whatever saved it, without running code that it may hold.

Needs torch. A checkpoint is what tools/train/checkpoints.py writes. Copies of one come in many forms that are the same
network: saved from inside DataParallel or torch.compile, in half precision, with NumPy's numbers or paths beside it.
"""

import io
import math
import re
import zipfile
from collections import Counter
from collections.abc import Callable, Mapping
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Any

import numpy as np

from kwsrt import format as file_format
from kwsrt import manifest as manifests
from kwsrt.errors import KwsrtError

LARGEST_FILE = 1 << 30
# What wrappers of torch put into the names of weights, at any place.
WRAPPERS = frozenset(("module", "_orig_mod", "_fsdp_wrapped_module", "_checkpoint_wrapped_module"))
# torch.optim.swa_utils.AveragedModel counts the models that it is the mean of.
COUNTERS = frozenset(("n_averaged",))
# Longer arrays beside the weights are no description of a training.
LONGEST_ARRAY = 1000
DEEPEST = 16
MOST_VALUES = 10_000


class ConversionError(KwsrtError, ValueError):
    """A checkpoint or graph that cannot become a packed model; the message names the layer."""


def read_checkpoint(path: Path, device: Any = "cpu") -> dict[str, Any]:
    """The checkpoint as a dict: its network, labels and front end as a manifest that is valid says them, and in "state"
    the weights under the names of tools/train/network.py.

    Raises
    ------
    ConversionError : unreadable, or not a kwsrt checkpoint of this version.
    ModelFileError : no regular file, or a network, labels or a front end that no model file may have.
    """
    try:
        import torch
    except ImportError:
        raise ConversionError(
            "a .pt checkpoint needs torch: pip install kwsrt[train]; an .onnx model does not"
        ) from None
    data = file_format.read_bytes(path, LARGEST_FILE, "checkpoint")
    if data.startswith(b"PK") and not zipfile.is_zipfile(io.BytesIO(data)):
        raise ConversionError(f"{path}: the checkpoint is cut short or damaged: copy it again")
    try:
        with torch.serialization.safe_globals(_stand_ins()):
            found = torch.load(io.BytesIO(data), map_location=device, weights_only=True)
    except Exception as error:  # torch reports a bad file with whatever its readers raise
        raise ConversionError(f"{path}: cannot read the checkpoint: {_reason(error)}") from None
    if not isinstance(found, dict) or found.get("format") != "kwsrt-checkpoint" or found.get("version") != 1:
        raise ConversionError(f"{path}: not a kwsrt checkpoint of version 1 (tools/train writes them)")
    try:
        return {**found, **_checked(found), "state": _unwrapped(found.get("state"))}
    except KwsrtError as error:
        raise type(error)(f"{path}: {error}") from None


def _reason(error: Exception) -> str:
    """What torch has to say of a file, as one short line."""
    said = str(error)
    code = re.search(r"GLOBAL (\S+)", said)
    if code is not None:
        return (
            f"it holds {code[1]}, which only running code could restore: save plain values and the weights' state_dict"
        )
    first = re.sub(r"\x1b\[[0-9;]*m", "", said).strip().splitlines()
    return f"it is no checkpoint, or damaged ({first[0][:100] if first else type(error).__name__})"


def _checked(found: Mapping[str, Any]) -> dict[str, Any]:
    """The part of a checkpoint that decides what will be built, after the check of every model's manifest."""
    said, left_out = described({key: found.get(key) for key in ("labels", "frontend", "network")})
    if left_out:
        raise ConversionError(left_out[0])
    network = said["network"]
    if isinstance(network, dict) and network.get("planes") == 0:
        # In full precision, as teachers are: no model file holds such a network, all its other sizes are usual.
        network = {**network, "planes": 1}
    manifests.check({"name": "", **said, "network": network})
    return said


def _unwrapped(state: object) -> dict[str, Any]:
    """The weights under the names that the network has for them."""
    import torch

    if not isinstance(state, Mapping) or not all(isinstance(name, str) for name in state):
        raise ConversionError("the checkpoint has no weights by name under 'state'")
    named = [
        (".".join(part for part in name.split(".") if part not in WRAPPERS), value)
        for name, value in state.items()
        if name not in COUNTERS
    ]
    twice = [name for name, count in Counter(name for name, _ in named).items() if count > 1]
    if twice:
        raise ConversionError(f"the checkpoint holds {twice[0]!r} twice, under other prefixes")
    for name, value in named:
        usual = isinstance(value, torch.Tensor) and value.layout == torch.strided and value.is_floating_point()
        if not usual or value.is_meta:
            kind = f"{value.dtype} tensor" if isinstance(value, torch.Tensor) else type(value).__name__
            raise ConversionError(f"{name!r} of the checkpoint is a {kind}: expected floating-point weights")
    return dict(named)


# --- values beside the weights ---------------------------------------------------------------------------------------


def described(said: Mapping[str, Any]) -> tuple[dict[str, Any], list[str]]:
    """What a checkpoint says, in values that a manifest can hold; and a line for each that had to be left out."""
    left_out: list[str] = []
    count = 0

    def plain(value: object, path: tuple[str, ...]) -> Any:
        nonlocal count
        count += 1
        if count > MOST_VALUES or len(path) > DEEPEST:
            raise _Unsayable("too much, or too deep, for a manifest")
        if type(value).__module__.partition(".")[0] == "torch":
            value = _of_torch(value)
        if isinstance(value, _Array):
            value = value.restored()
        if isinstance(value, Mapping):
            return dict(pair for key, inner in value.items() for pair in kept(key, inner, path))
        if isinstance(value, (list, tuple)):
            return [plain(inner, (*path, str(index))) for index, inner in enumerate(value)]
        if isinstance(value, float) and not math.isfinite(value):
            raise _Unsayable("it is no number")
        if value is None or isinstance(value, (bool, int, float, str)):
            return value
        raise _Unsayable(f"a value of type {type(value).__name__}")

    def kept(key: object, value: object, path: tuple[str, ...]) -> list[tuple[str, Any]]:
        """The pair, or nothing."""
        name = key if isinstance(key, str) else repr(key)
        try:
            return [(name, plain(value, (*path, name)))]
        except _Unsayable as error:
            left_out.append(f"{'.'.join((*path, name))!r} is left out: {error}")
            return []

    return plain(said, ()), left_out


class _Unsayable(Exception):
    """A value that a manifest has no place for."""


def _of_torch(value: Any) -> Any:
    """A value of torch as one of NumPy or Python."""
    import torch

    if isinstance(value, torch.Tensor):
        if value.numel() > LONGEST_ARRAY or value.layout != torch.strided or value.is_meta:
            raise _Unsayable(f"a tensor of {value.numel():,} values")
        return value.detach().cpu().tolist()
    return str(value) if isinstance(value, (torch.device, torch.dtype)) else value


def _stand_ins() -> list[tuple[Callable[..., Any], str]]:
    """What stands in for the classes of NumPy and pathlib in a checkpoint, by their names there.

    Their own would read types and memory from the file, and a hostile one could make pointers of its own in that way.
    """
    named: dict[Callable[..., Any], tuple[str, ...]] = {
        _scalar: ("numpy._core.multiarray.scalar", "numpy.core.multiarray.scalar"),
        _DType: ("numpy.dtype",),
        _Array: ("numpy.ndarray",),
        _reconstruct: ("numpy._core.multiarray._reconstruct", "numpy.core.multiarray._reconstruct"),
        _posix_path: tuple(
            f"{module}.{name}"
            for module in ("pathlib", "pathlib._local")
            for name in ("Path", "PosixPath", "PurePosixPath")
        ),
        _windows_path: tuple(
            f"{module}.{name}"
            for module in ("pathlib", "pathlib._local")
            for name in ("WindowsPath", "PureWindowsPath")
        ),
    }
    return [(stand_in, name) for stand_in, names in named.items() for name in names]


def _posix_path(*parts: str) -> str:
    return str(PurePosixPath(*parts))


def _windows_path(*parts: str) -> str:
    return str(PureWindowsPath(*parts))


class _DType:
    """A NumPy type of numbers or text; no other is restored."""

    def __init__(self, code: str, *_: object) -> None:
        if not re.fullmatch(r"[biufSU]\d{1,4}", code):
            raise ValueError(f"values of NumPy's type {code[:20]!r}")
        self.dtype = np.dtype(code)

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        if state[1] in ("<", ">"):
            self.dtype = self.dtype.newbyteorder(state[1])


def _scalar(kind: _DType, data: bytes) -> Any:
    return np.frombuffer(data, kind.dtype, 1)[0].item()


class _Array:
    """A NumPy array; `torch` sets its state, as pickle would."""

    def __setstate__(self, state: tuple[Any, ...]) -> None:
        _, self.shape, self.kind, self.is_fortran, self.data = state

    def restored(self) -> Any:
        """The array's values as lists."""
        try:
            values = np.frombuffer(self.data, self.kind.dtype)
            if values.size <= LONGEST_ARRAY:
                return values.reshape(self.shape, order="F" if self.is_fortran else "C").tolist()
        except (AttributeError, TypeError, ValueError):
            raise _Unsayable("a damaged array") from None
        raise _Unsayable(f"an array of {values.size:,} values")


def _reconstruct(*_: object) -> _Array:
    return _Array()
