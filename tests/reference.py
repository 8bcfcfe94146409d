"""The second witness: what kwsrt computes, once more, in plain NumPy and straight from the definitions.

Nothing here calls the library. The front end is float64, to be compared within a tolerance. Layers and network are
integer sums followed by float32 operations that are each rounded on their own, to be compared bit for bit.
"""

import numpy as np

KERNEL, STRIDE, PAD = 5, 2, 2
FRONTEND = {
    "kind": "log-mel",
    "sample_rate": 16000,
    "window": 1024,
    "hop": 480,
    "n_fft": 1024,
    "bins": 32,
    "n_mfcc": 0,
    "fmin": 20.0,
    "fmax": 7600.0,
    "floor": 1e-7,
    "offset": -12.0,
    "step": 0.5,
}


def same_bits(got, want):
    """Whether two arrays have the same dtype, shape and bytes (so -0.0 is not 0.0, and a NaN equals itself)."""
    got, want = np.ascontiguousarray(got), np.ascontiguousarray(want)
    return got.dtype == want.dtype and got.shape == want.shape and got.tobytes() == want.tobytes()


# --- front end -----------------------------------------------------------------------------------------------------


def mel_triangles(options):
    """Weights of the HTK mel triangles at the FFT bins' frequencies: float64 (bins, n_fft // 2 + 1)."""

    def mel(hz):
        return 2595.0 * np.log10(1.0 + hz / 700.0)

    mels = np.linspace(mel(options["fmin"]), mel(options["fmax"]), options["bins"] + 2)
    edges = 700.0 * (10.0 ** (mels / 2595.0) - 1.0)
    hz = np.arange(options["n_fft"] // 2 + 1) * options["sample_rate"] / options["n_fft"]
    left, centre, right = edges[:-2, None], edges[1:-1, None], edges[2:, None]
    return np.maximum(0.0, np.minimum((hz - left) / (centre - left), (right - hz) / (right - centre)))


def frames_of(samples, options):
    """Samples as float64 in [-1, 1], cut into frames: (frames, window)."""
    samples = np.asarray(samples)
    scaled = samples.astype(np.float64) / (32768.0 if samples.dtype == np.int16 else 1.0)
    window, hop = options["window"], options["hop"]
    count = 1 + (len(scaled) - window) // hop if len(scaled) >= window else 0
    return np.stack([scaled[i * hop : i * hop + window] for i in range(count)]) if count else np.empty((0, window))


def features(samples, options):
    """Log-mel in dB, or MFCC: float64 (frames, width)."""
    frames, window = frames_of(samples, options), options["window"]
    hann = 0.5 - 0.5 * np.cos(2.0 * np.pi * np.arange(window) / window)
    power = np.abs(np.fft.rfft(frames * hann, options["n_fft"], axis=1)) ** 2
    decibels = 10.0 * np.log10(np.maximum(power @ mel_triangles(options).T, options["floor"]))
    if options["kind"] == "log-mel":
        return decibels
    bins = options["bins"]
    k, i = np.arange(options["n_mfcc"])[:, None], np.arange(bins)
    dct = np.sqrt(2.0 / bins) * np.cos(np.pi * k * (2 * i + 1) / (2 * bins))
    dct[0] /= np.sqrt(2.0)
    return decibels @ dct.T


def quantize_features(values, options):
    """clip(rint((values - offset) / step), -127, 127) in float32, as int8."""
    inverse = np.float32(1.0) / np.float32(options["step"])
    scaled = (np.asarray(values, np.float32) - np.float32(options["offset"])) * inverse
    return np.rint(np.clip(scaled, -127, 127)).astype(np.int8)


# --- layers --------------------------------------------------------------------------------------------------------


def quantize(x, threshold, scale, planes):
    """Activations: +1/-1, or with two planes 2*b1 + b2; float32 (..., channels) -> int8 of the same shape."""
    scale = np.float32(scale)
    d = np.asarray(x, np.float32) - np.asarray(threshold, np.float32)
    b1 = np.where(d >= 0, 1, -1)
    b2 = np.where(d >= np.where(b1 > 0, scale, -scale), 1, -1)
    return (b1 if planes == 1 else 2 * b1 + b2).astype(np.int8)


def affine(sums, a, b, slope, residual=None):
    """prelu(a * sums + b) + residual, every operation rounded to float32."""
    a, b, slope = (np.asarray(v, np.float32) for v in (a, b, slope))
    product = a * sums.astype(np.float32)
    value = product + b
    value = np.where(value >= 0, value, slope * value)
    return value if residual is None else value + residual


def product(signs, q):
    """The exact integer sums of q (rows, inputs) with signs (outputs, inputs): int32 (rows, outputs).

    Floats hold them exactly: they stay below 2^24."""
    return np.rint(q.astype(np.float32) @ signs.astype(np.float32).T).astype(np.int32)


def linear(signs, x, *, threshold, scale, planes, a, b, slope, residual=None):
    """Binary linear layer: float32 (rows, inputs) -> (rows, outputs)."""
    return affine(product(signs, quantize(x, threshold, scale, planes)), a, b, slope, residual)


def patches(image, kernel, stride, pad):
    """Patches of (height, width, channels) with zeros around: (out_height, out_width, kernel * kernel * channels).

    pad : how many, one number or one for height and one for width."""
    above, beside = np.broadcast_to(pad, 2)
    padded = np.pad(image, ((above, above), (beside, beside), (0, 0)))
    rows = range(0, padded.shape[0] - kernel + 1, stride)
    columns = range(0, padded.shape[1] - kernel + 1, stride)
    return np.stack([np.stack([padded[i : i + kernel, j : j + kernel].reshape(-1) for j in columns]) for i in rows])


def conv2d(signs, x, *, kernel, stride, pad, threshold, scale, planes, a, b, slope):
    """Binary convolution of float32 (height, width, channels); signs (outputs, kernel * kernel * channels)."""
    cut = patches(quantize(x, threshold, scale, planes), kernel, stride, pad)
    sums = product(signs, cut.reshape(-1, cut.shape[2])).reshape(*cut.shape[:2], -1)
    return affine(sums, a, b, slope)


def memory(signs, x, *, threshold, scale, planes, a, b, slope, causal=False):
    """Depthwise convolution over time, plus the input: float32 (steps, channels); signs (channels, taps)."""
    q, taps = quantize(x, threshold, scale, planes).astype(np.int32), signs.shape[1]
    padded = np.pad(q, ((taps - 1, 0) if causal else (taps // 2, taps // 2), (0, 0)))
    sums = sum(padded[j : j + len(q)] * signs[:, j].astype(np.int32) for j in range(taps))
    return affine(sums, a, b, slope, np.asarray(x, np.float32))


def input_conv2d(weights, image, *, stride, pad, a, b, slope):
    """int8 convolution of int8 (height, width); weights int8 (kernel * kernel, outputs)."""
    kernel = round(len(weights) ** 0.5)
    cut = patches(image[:, :, None].astype(np.int64), kernel, stride, pad)
    return affine(cut @ weights.astype(np.int64), a, b, slope)


def classifier(weights, x, *, inverse_scale, a, b):
    """Logits of float32 (inputs,): int8 quantisation, exact product, a*n + b."""
    with np.errstate(over="ignore"):
        scaled = np.asarray(x, np.float32) * np.float32(inverse_scale)
    q = np.rint(np.clip(scaled, -127, 127)).astype(np.int64)
    n = weights.astype(np.int64) @ q
    weighted = np.asarray(a, np.float32) * n.astype(np.float32)
    return weighted + np.asarray(b, np.float32)


def softmax(logits):
    """float32 (classes,) -> float32 scores; exponentials, their sum and its reciprocal in float64."""
    powers = np.exp(logits.astype(np.float64) - float(logits.max()))
    return (powers.astype(np.float32).astype(np.float64) * (1.0 / sum(powers.tolist()))).astype(np.float32)


# --- the packed file -----------------------------------------------------------------------------------------------


def unpack(packed, inputs, outputs):
    """Signs int8 (outputs, inputs): bit i of byte [block, k, lane] is input 8*k + i of output 16*block + lane."""
    o, i = np.meshgrid(np.arange(outputs), np.arange(inputs), indexing="ij")
    bits = packed[o // 16, i // 8, o % 16] >> (i % 8) & 1
    return np.where(bits, 1, -1).astype(np.int8)


def unpack_memory(packed, taps, channels):
    """Signs int8 (channels, taps) of bits that run tap after tap."""
    at = np.arange(taps)[None] * channels + np.arange(channels)[:, None]
    return np.where(packed[at // 8] >> (at % 8) & 1, 1, -1).astype(np.int8)


def unpack_all(config, tensors):
    """Signs of every 1-bit layer of a .kws file, by the layer's name."""
    width, hidden, bands = config["width"], config["hidden"], config["bins"] // 4
    signs = {
        "conv2": unpack(tensors["conv2.weight"], KERNEL * KERNEL * config["conv1"], config["conv2"]),
        "fc1": unpack(tensors["fc1.weight"], bands * config["conv2"], width),
    }
    for name in (f"blocks.{i}" for i in range(config["blocks"])):
        signs[f"{name}.memory"] = unpack_memory(tensors[f"{name}.memory.weight"], config["taps"], width)
        signs[f"{name}.expand"] = unpack(tensors[f"{name}.expand.weight"], width, hidden)
        signs[f"{name}.project"] = unpack(tensors[f"{name}.project.weight"], hidden, width)
    return signs


def network_scores(config, tensors, signs, features_q, level):
    """Scores of the end of int8 (frames, bins), float32 (classes,), from a file's tensors and their `unpack_all`.

    The frames are a window; for a causal network, all since the stream began."""
    scales = tensors["scales"]

    def ending(layer, norm=""):
        a, b = tensors[f"{layer}.affine{norm}"].astype(np.float32)
        return {"a": a, "b": b, "slope": tensors[f"{layer}.slope"].astype(np.float32)}

    def quantiser(layer, scale):
        threshold = tensors[f"{layer}.threshold"].astype(np.float32)
        return {"threshold": threshold, "scale": scale, "planes": config["planes"]}

    causal = config.get("causal", False)
    pad = (0 if causal else PAD, PAD)
    x = input_conv2d(tensors["conv1.weight"], features_q, stride=STRIDE, pad=pad, **ending("conv1"))
    x = conv2d(
        signs["conv2"], x, kernel=KERNEL, stride=STRIDE, pad=pad, **quantiser("conv2", scales[0]), **ending("conv2")
    )
    steps, bands, _ = x.shape
    options = quantiser("fc1", scales[1])
    options["threshold"] = np.tile(options["threshold"], bands)
    x = linear(signs["fc1"], x.reshape(steps, -1), **options, **ending("fc1"))
    for i in config["levels"][level]:
        layer, norm = [f"blocks.{i}.{name}" for name in ("memory", "expand", "project")], f".{level}"
        m = memory(
            signs[layer[0]], x, causal=causal, **quantiser(layer[0], scales[2 + 3 * i]), **ending(layer[0], norm)
        )
        h = linear(signs[layer[1]], m, **quantiser(layer[1], scales[3 + 3 * i]), **ending(layer[1], norm))
        x = linear(
            signs[layer[2]],
            h,
            threshold=0.0,
            scale=scales[4 + 3 * i],
            planes=config["planes"],
            residual=m,
            **ending(layer[2], norm),
        )
    a, b = tensors[f"classifier.affine.{level}"]
    x = x[-config["steps"] :] if causal else x
    return softmax(classifier(tensors["classifier.weight"], x.reshape(-1), inverse_scale=scales[-1], a=a, b=b))
