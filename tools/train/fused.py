"""fused.c as autograd functions: the training network's element-wise passes on the CPU, several times as fast.

`library()` compiles the file with the C compiler (`CC`, else cc) on first use; network.py and binarize.py ask `usable`
and compute the same in PyTorch on a GPU, for other types than float32, and where no compiler is found.
"""

from __future__ import annotations

import ctypes
import hashlib
import logging
import os
import subprocess
import tempfile
from functools import cache
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SOURCE = Path(__file__).with_name("fused.c")
# What -ffast-math is made of but for infinities and NaN, which a loss may have. By its own name GCC would link code
# that makes the whole process flush subnormal numbers to zero, kwsrt's kernels too.
FAST_MATH = ["-fassociative-math", "-freciprocal-math", "-fno-signed-zeros", "-fno-trapping-math", "-fno-math-errno"]
FLAGS = ["-O3", "-march=native", *FAST_MATH, "-shared", "-fPIC"]
MOST_CHANNELS = 1024
#: gradients of latent weights stop beyond this many times their mean magnitude
WEIGHT_WINDOW = 4.0
EPSILON = 1e-5
#: arguments of the functions of fused.c: array, long, int, float
SIGNATURES = {
    "norm_statistics": "pllpp",
    "norm_act": "pllppppp",
    "norm_act_backward": "ppllpppppipppp",
    "quantize": "pllpfip",
    "quantize_backward": "ppllpfifpp",
    "quantize_int8": "plfp",
    "quantize_int8_backward": "pplfp",
    "remember": "plllplp",
    "remember_backward": "pplllplpp",
    "binarize_weight": "pllippp",
    "binarize_weight_backward": "ppllippfp",
}
DOUBLES = ("quantize_backward", "quantize_int8_backward")
TYPES: dict[str, Any] = {"p": ctypes.c_void_p, "l": ctypes.c_long, "i": ctypes.c_int, "f": ctypes.c_float}

log = logging.getLogger("train")


@cache
def library() -> ctypes.CDLL | None:
    """The compiled file, kept in the user's cache folder under a hash of it; None where it does not compile."""
    if os.environ.get("KWSRT_TRAIN_FUSED") == "0":
        return None
    # -march=native: a home folder shared by several machines has a build for each
    cpu = Path("/proc/cpuinfo").read_text().splitlines() if Path("/proc/cpuinfo").exists() else []
    features = next((line for line in cpu if line.startswith(("flags", "Features"))), "")
    digest = hashlib.sha256((SOURCE.read_text() + " ".join(FLAGS) + features).encode()).hexdigest()[:16]
    folder = Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "kwsrt-train"
    built = folder / f"fused-{digest}.so"
    try:
        if not built.exists():
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryDirectory(dir=folder) as temporary:
                made = Path(temporary) / "fused.so"
                command = [os.environ.get("CC", "cc"), *FLAGS, str(SOURCE), "-o", str(made), "-lm"]
                subprocess.run(command, check=True, capture_output=True, text=True)
                made.replace(built)
        loaded = ctypes.CDLL(str(built))
    except (OSError, subprocess.CalledProcessError) as error:
        log.warning("fused.c: %s; training goes on in PyTorch, several times slower", error)
        return None
    for name, arguments in SIGNATURES.items():
        getattr(loaded, name).argtypes = [TYPES[letter] for letter in arguments]
        getattr(loaded, name).restype = ctypes.c_double if name in DOUBLES else None
    return loaded


def usable(x: Tensor) -> bool:
    """Whether the functions here take x [..., channels]."""
    here = x.device.type == "cpu" and x.dtype == torch.float32 and x.shape[-1] <= MOST_CHANNELS
    return here and library() is not None


def _call(name: str, *arguments: Tensor | float | None) -> Any:
    """A function of the library; tensors go as their arrays, None as a null pointer."""
    given = []
    for value in arguments:
        if isinstance(value, Tensor):
            assert value.is_contiguous(), name
            assert value.dtype == torch.float32, name
        given.append(value.data_ptr() if isinstance(value, Tensor) else value)
    return getattr(library(), name)(*given)


def _shape(x: Tensor) -> tuple[int, int]:
    """Rows and channels of x [..., channels]."""
    return x.numel() // x.shape[-1], x.shape[-1]


class NormAct(torch.autograd.Function):
    """network.norm_act on z [..., channels]: (y, mean, variance)."""

    @staticmethod
    def forward(
        ctx: Any,
        z: Tensor,
        weight: Tensor,
        bias: Tensor,
        mean: Tensor,
        var: Tensor,
        slope: Tensor,
        residual: Tensor | None,
        training: bool,
    ) -> tuple[Tensor, Tensor, Tensor]:
        z, shape = z.contiguous(), _shape(z)
        if training:
            mean, var = torch.empty_like(mean), torch.empty_like(var)
            _call("norm_statistics", z, *shape, mean, var)
        deviation = torch.sqrt(var + EPSILON)
        factor = weight / deviation
        shift = bias - mean * factor
        slopes = slope.expand(shape[1]).contiguous()
        y = torch.empty_like(z)
        _call("norm_act", z, *shape, factor, shift, slopes, residual if residual is None else residual.contiguous(), y)
        ctx.save_for_backward(z, mean, deviation, factor, shift, slopes)
        ctx.frozen, ctx.one_slope, ctx.residual = not training, slope.numel() == 1, residual is not None
        ctx.mark_non_differentiable(mean, var)
        return y, mean, var

    @staticmethod
    def backward(ctx: Any, grad: Tensor, *unused: Tensor) -> Any:
        z, mean, deviation, factor, shift, slopes = ctx.saved_tensors
        grad = grad.contiguous()
        grad_z = torch.empty_like(z)
        for_weight, for_bias, for_slope = (torch.empty_like(mean) for _ in range(3))
        _call(
            "norm_act_backward", grad, z, *_shape(z), mean, deviation, factor, shift, slopes, ctx.frozen,
            grad_z, for_weight, for_bias, for_slope,
        )  # fmt: skip
        if ctx.one_slope:
            for_slope = for_slope.sum().reshape(1)
        return grad_z, for_weight, for_bias, None, None, for_slope, grad if ctx.residual else None, None


class Quantize(torch.autograd.Function):
    """binarize.ActivationQuantizer."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, threshold: Tensor | None, scale: Tensor, planes: int, method: str) -> Tensor:
        x = x.contiguous()
        edge = x.new_zeros(x.shape[-1]) if threshold is None else threshold
        value = torch.empty_like(x)
        _call("quantize", x, *_shape(x), edge, scale.item(), planes, value)
        ctx.save_for_backward(x, edge, scale)
        ctx.planes, ctx.learned, ctx.thresholds = planes, method == "learned", threshold is not None
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, edge, scale = ctx.saved_tensors
        size = scale.item()
        grad_x, grad_threshold = torch.empty_like(x), torch.empty_like(edge)
        total = _call(
            "quantize_backward", grad.contiguous(), x, *_shape(x), edge, size, ctx.planes,
            2 * size if ctx.learned else 1.0, grad_x, grad_threshold,
        )  # fmt: skip
        grad_scale = x.new_tensor(total * x.numel() ** -0.5) if ctx.learned else None
        return grad_x, grad_threshold if ctx.thresholds else None, grad_scale, None, None


class QuantizeInt8(torch.autograd.Function):
    """binarize.Int8Quantizer."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, scale: Tensor) -> Tensor:
        x = x.contiguous()
        value = torch.empty_like(x)
        _call("quantize_int8", x, x.numel(), scale.item(), value)
        ctx.save_for_backward(x, scale)
        return value

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        x, scale = ctx.saved_tensors
        grad_x = torch.empty_like(x)
        total = _call("quantize_int8_backward", grad.contiguous(), x, x.numel(), scale.item(), grad_x)
        return grad_x, x.new_tensor(total * (127 * x.numel()) ** -0.5)


class Remember(torch.autograd.Function):
    """network.remember on q [n, t, channels], weight [channels, taps]."""

    @staticmethod
    def forward(ctx: Any, q: Tensor, weight: Tensor) -> Tensor:
        q, taps_first = q.contiguous(), weight.t().contiguous()
        y = torch.empty_like(q)
        _call("remember", q, *q.shape, taps_first, weight.shape[1], y)
        ctx.save_for_backward(q, taps_first)
        return y

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        q, taps_first = ctx.saved_tensors
        grad_q, grad_weight = torch.empty_like(q), torch.empty_like(taps_first)
        _call("remember_backward", grad.contiguous(), q, *q.shape, taps_first, len(taps_first), grad_q, grad_weight)
        return grad_q, grad_weight.t()


class BinarizeWeight(torch.autograd.Function):
    """binarize.WeightBinarizer."""

    @staticmethod
    def forward(ctx: Any, weight: Tensor, centred: bool) -> Tensor:
        weight = weight.contiguous()
        mean, alpha = weight.new_empty(len(weight)), weight.new_empty(len(weight))
        out = torch.empty_like(weight)
        _call("binarize_weight", weight, len(weight), weight[0].numel(), centred, mean, alpha, out)
        ctx.save_for_backward(weight, mean, alpha)
        ctx.centred = centred
        return out

    @staticmethod
    def backward(ctx: Any, grad: Tensor) -> Any:
        weight, mean, alpha = ctx.saved_tensors
        out = torch.empty_like(weight)
        _call(
            "binarize_weight_backward", grad.contiguous(), weight, len(weight), weight[0].numel(), ctx.centred,
            mean, alpha, WEIGHT_WINDOW, out,
        )  # fmt: skip
        return out, None
