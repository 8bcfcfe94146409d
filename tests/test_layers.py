"""Every layer on every instruction set against NumPy, bit for bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwsrt.errors import OptionError
from kwsrt.layers import (
    BinaryConv2d,
    BinaryLinear,
    Classifier,
    InputConv2d,
    Kernels,
    Memory,
    PackedWeights,
    available_isas,
    pack_weights,
)
from tests import reference
from tests.reference import same_bits

pytestmark = pytest.mark.arm

KERNELS = {isa: Kernels(isa) for isa in available_isas()}
PLANES = pytest.mark.parametrize("planes", [1, 2])
SEEDS = st.integers(0, 1 << 30)


def random_signs(rng, *shape):
    return rng.choice(np.array([-1, 1], np.int8), shape)


def packed(signs, kernels):
    return PackedWeights(pack_weights(signs), signs.shape[1], signs.shape[0], kernels)


def ending(rng, outputs):
    """Random a, b, slope: signs of both kinds, zeros, and values with few bits so that sums meet levels exactly."""
    return {
        "a": (rng.normal(0, 1, outputs) * rng.choice([0, 1], outputs, p=[0.1, 0.9])).astype(np.float32),
        "b": (np.round(rng.normal(0, 4, outputs)) / 4).astype(np.float32),
        "slope": rng.choice([0.0, 0.25, -0.5, 1.0, 1.5, 0.1], outputs).astype(np.float32),
    }


def activations(rng, *shape):
    """Values on thresholds and levels, beside them, and far away; denormals, zeros of both signs, infinities."""
    x = np.round(rng.normal(0, 2, shape) * 4) / 4 + rng.choice([0.0, 1e-6, -1e-6, 1e-45, -1e-45], shape)
    odd = np.array([0.0, -0.0, 1e-45, -1e-45, 3e38, -3e38, np.inf, -np.inf], np.float32)
    return np.where(rng.random(shape) < 0.05, rng.choice(odd, shape), x).astype(np.float32)


def quantiser(rng, planes, channels):
    return {"threshold": (np.round(rng.normal(0, 4, channels)) / 4).astype(np.float32), "scale": 0.75, "planes": planes}


# --- binary linear -------------------------------------------------------------------------------------------------


@PLANES
@given(inputs=st.integers(1, 600), outputs=st.integers(1, 130), rows=st.integers(1, 9), added=st.booleans(), seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_linear(planes, inputs, outputs, rows, added, seed):
    rng = np.random.default_rng(seed)
    signs, x = random_signs(rng, outputs, inputs), activations(rng, rows, inputs)
    options = {**quantiser(rng, planes, inputs), **ending(rng, outputs)}
    residual = rng.normal(0, 1, (rows, outputs)).astype(np.float32) if added else None
    want = reference.linear(signs, x, residual=residual, **options)
    for isa, kernels in KERNELS.items():
        assert same_bits(BinaryLinear(packed(signs, kernels), **options)(x, residual), want), isa


@PLANES
def test_levels_are_met_from_above(planes):
    # d = 0 and d = +-scale belong to the level above, for zeros of both signs; the next float below does not.
    scale, one = np.float32(0.75), np.ones((1, 1), np.int8)
    exact = np.array([0.0, -0.0, scale, -scale], np.float32)
    x = np.concatenate([exact, np.nextafter(exact, np.float32(-np.inf)), np.nextafter(exact, np.float32(np.inf))])
    want = reference.quantize(x, 0.0, scale, planes).astype(np.float32)
    assert want.tolist() == (
        [1, 1, 1, -1, -1, -1, 1, -1, 1, 1, 1, -1] if planes == 1 else [1, 1, 3, -1, -1, -1, 1, -3, 1, 1, 3, -1]
    )
    for isa, kernels in KERNELS.items():
        one_input = BinaryLinear(packed(one, kernels), threshold=0.0, scale=scale, planes=planes, a=1, b=0, slope=1)
        assert same_bits(one_input(x[:, None])[:, 0], want), isa
        wide = BinaryLinear(
            packed(np.ones((1, 100), np.int8), kernels), threshold=0.0, scale=scale, planes=planes, a=1, b=0, slope=1
        )
        assert same_bits(wide(np.repeat(x[:, None], 100, axis=1))[:, 0], want * 100), isa


@PLANES
def test_levels_of_a_threshold_in_float32(planes):
    # x - threshold is rounded once before it meets the scale: large thresholds make neighbours equal.
    rng = np.random.default_rng(planes)
    threshold = rng.choice([1e8, -1e8, 3e7, 1e-45, 65504.0], 64).astype(np.float32)
    x = (threshold + rng.integers(-4, 5, (8, 64)) * 0.25).astype(np.float32)
    options = {"threshold": threshold, "scale": 0.5, "planes": planes, "a": 1.0, "b": 0.0, "slope": 1.0}
    signs = random_signs(rng, 20, 64)
    for isa, kernels in KERNELS.items():
        assert same_bits(BinaryLinear(packed(signs, kernels), **options)(x), reference.linear(signs, x, **options)), isa


def test_affine_rounds_twice():
    # With one rounding (a fused multiply-add) b would survive: a*n is a float plus a bit that only two roundings lose.
    a, n = np.float32(1 + 2.0**-23), 8191
    signs, x = np.ones((17, n), np.int8), np.ones((3, n), np.float32)
    b = -(a * np.float32(n))
    for isa, kernels in KERNELS.items():
        y = BinaryLinear(packed(signs, kernels), threshold=0.0, scale=2.0, planes=1, a=a, b=b, slope=0.5)(x)
        assert not y.any(), isa
    assert float(a) * n + float(b) != 0.0


def test_scalars_stand_for_every_channel():
    rng = np.random.default_rng(3)
    signs, x = random_signs(rng, 20, 30), activations(rng, 4, 30)
    for kernels in KERNELS.values():
        one = BinaryLinear(packed(signs, kernels), threshold=0.5, scale=1.0, planes=2, a=0.1, b=-0.2, slope=0.3)
        each = BinaryLinear(
            packed(signs, kernels),
            threshold=np.full(30, 0.5),
            scale=1.0,
            planes=2,
            a=np.full(20, 0.1),
            b=np.full(20, -0.2),
            slope=np.full(20, 0.3),
        )
        assert same_bits(one(x), each(x))


def test_layers_share_weights():
    rng = np.random.default_rng(4)
    signs, x = random_signs(rng, 20, 30), activations(rng, 4, 30)
    for kernels in KERNELS.values():
        weights = packed(signs, kernels)
        options = [{**quantiser(rng, planes, 30), **ending(rng, 20)} for planes in (1, 2)]
        both = [BinaryLinear(weights, **o) for o in options]
        for binary, o in zip(both, options, strict=True):
            assert same_bits(binary(x), reference.linear(signs, x, **o))


GOOD = {"threshold": 0.0, "scale": 1.0, "planes": 2, "a": 1.0, "b": 0.0, "slope": 0.25}
BAD = [
    {"threshold": np.nan},
    {"threshold": np.inf},
    {"threshold": np.zeros(9)},
    {"scale": 0.0},
    {"scale": -1.0},
    {"scale": np.nan},
    {"scale": np.inf},
    {"scale": 1e31},
    {"planes": 0},
    {"planes": 3},
    {"planes": -1},
    {"a": np.nan},
    {"a": [1.0, 2.0]},
    {"b": -np.inf},
    {"b": np.zeros(50)},
    {"slope": np.nan},
    {"slope": np.zeros((2, 2))},
]


@pytest.mark.parametrize("wrong", BAD, ids=str)
def test_numbers_that_no_binary_layer_takes(wrong):
    options = {**GOOD, **wrong}
    weights = PackedWeights(pack_weights(np.ones((5, 36), np.int8)), 36, 5)
    with pytest.raises(OptionError):
        BinaryLinear(weights, **options)
    with pytest.raises(OptionError):
        BinaryConv2d(weights, height=4, width=4, channels=4, kernel=3, stride=1, pad=1, **options)
    with pytest.raises(OptionError):
        Memory(np.ones((5, 3), np.int8), **options)


@pytest.mark.parametrize("shape", [(36,), (2, 35), (2, 37), (0, 36), (1, 2, 36), ()], ids=str)
def test_linear_of_wrong_shapes(shape):
    binary = BinaryLinear(PackedWeights(pack_weights(np.ones((5, 36), np.int8)), 36, 5), **GOOD)
    with pytest.raises(OptionError):
        binary(np.zeros(shape, np.float32))


@pytest.mark.parametrize("shape", [(3, 5), (2, 4), (2, 16), (5,), (0, 5)], ids=str)
def test_residual_of_wrong_shapes(shape):
    binary = BinaryLinear(PackedWeights(pack_weights(np.ones((5, 36), np.int8)), 36, 5), **GOOD)
    with pytest.raises(OptionError):
        binary(np.zeros((2, 36), np.float32), np.zeros(shape, np.float32))


# --- binary convolution --------------------------------------------------------------------------------------------


def check_conv(rng, planes, height, width, channels, outputs, kernel, stride, pad, signs=None, x=None):
    geometry = {"kernel": kernel, "stride": stride, "pad": pad}
    signs = random_signs(rng, outputs, kernel * kernel * channels) if signs is None else signs
    x = activations(rng, height, width, channels) if x is None else x
    options = {**quantiser(rng, planes, channels), **ending(rng, outputs)}
    want = reference.conv2d(signs, x, **geometry, **options)
    for isa, kernels in KERNELS.items():
        conv = BinaryConv2d(
            packed(signs, kernels), height=height, width=width, channels=channels, **geometry, **options
        )
        assert same_bits(conv(x), want), (isa, height, width, channels, outputs, geometry)


@PLANES
@given(
    height=st.integers(1, 9),
    width=st.integers(1, 9),
    channels=st.sampled_from([4, 8, 12, 16, 20]),
    outputs=st.integers(1, 40),
    kernel=st.integers(1, 5),
    stride=st.integers(1, 3),
    pad=st.integers(0, 4),
    seed=SEEDS,
)
@settings(max_examples=40, deadline=None)
def test_convolution(planes, height, width, channels, outputs, kernel, stride, pad, seed):
    pad = min(pad, kernel - 1)
    if min(height, width) + 2 * pad >= kernel:
        check_conv(np.random.default_rng(seed), planes, height, width, channels, outputs, kernel, stride, pad)


@PLANES
def test_convolution_of_the_network(planes):
    check_conv(np.random.default_rng(planes), planes, 16, 16, 16, 32, 5, 2, 2)


@PLANES
@pytest.mark.parametrize("weight", [-1, 1])
@pytest.mark.parametrize("value", [-10.0, 0.0, 0.1, 10.0])
def test_padding_adds_nothing(planes, weight, value):
    # Equal weights and activations: each sum counts the taps inside the image.
    signs, x = np.full((3, 100), weight, np.int8), np.full((3, 3, 4), value, np.float32)
    inside = reference.patches(np.ones((3, 3, 4)), 5, 1, 2).sum(2)
    q = int(reference.quantize(x, 0.0, 1.0, planes)[0, 0, 0])
    for isa, kernels in KERNELS.items():
        conv = BinaryConv2d(
            packed(signs, kernels),
            height=3,
            width=3,
            channels=4,
            kernel=5,
            stride=1,
            pad=2,
            threshold=0.0,
            scale=1.0,
            planes=planes,
            a=1.0,
            b=0.0,
            slope=1.0,
        )
        assert (conv(x) == (weight * q * inside)[:, :, None]).all(), isa


@PLANES
@pytest.mark.parametrize("weight", [-1, 1])
def test_largest_convolution(planes, weight):
    rng = np.random.default_rng(5)
    check_conv(
        rng,
        planes,
        4,
        3,
        512,
        17,
        4,
        2,
        2,
        np.full((17, 8192), weight, np.int8),
        np.full((4, 3, 512), 100 * weight, np.float32),
    )


@pytest.mark.parametrize(
    "wrong",
    [
        {"height": 0},
        {"width": -1},
        {"channels": 0},
        {"channels": 6, "kernel": 3},
        {"kernel": 0},
        {"kernel": 5},
        {"stride": 0},
        {"stride": -2},
        {"pad": -1},
        {"pad": 3},
        {"height": 2, "pad": 0},
        {"channels": 8},
        {"channels": -4},
    ],
    ids=str,
)
def test_geometries_that_no_convolution_takes(wrong):
    weights = PackedWeights(pack_weights(np.ones((5, 36), np.int8)), 36, 5)
    with pytest.raises(OptionError):
        BinaryConv2d(
            weights, **{"height": 4, "width": 4, "channels": 4, "kernel": 3, "stride": 1, "pad": 1, **GOOD, **wrong}
        )


@pytest.mark.parametrize("shape", [(4, 4), (4, 4, 3), (4, 5, 4), (5, 4, 4), (1, 4, 4, 4)], ids=str)
def test_images_of_wrong_shapes(shape):
    weights = PackedWeights(pack_weights(np.ones((5, 36), np.int8)), 36, 5)
    conv = BinaryConv2d(weights, height=4, width=4, channels=4, kernel=3, stride=1, pad=1, **GOOD)
    with pytest.raises(OptionError):
        conv(np.zeros(shape, np.float32))


# --- memory --------------------------------------------------------------------------------------------------------


@PLANES
@given(
    steps=st.integers(1, 20), channels=st.integers(1, 140), half=st.integers(0, 15), causal=st.booleans(), seed=SEEDS
)
@settings(max_examples=40, deadline=None)
def test_memory(planes, steps, channels, half, causal, seed):
    rng = np.random.default_rng(seed)
    signs, x = random_signs(rng, channels, 2 * half + 1), activations(rng, steps, channels)
    options = {**quantiser(rng, planes, channels), **ending(rng, channels)}
    want = reference.memory(signs, x, causal=causal, **options)
    for isa, kernels in KERNELS.items():
        assert same_bits(Memory(signs, causal=causal, kernels=kernels, **options)(x), want), isa


@pytest.mark.parametrize(
    "signs",
    [np.ones((4, 4)), np.ones(5), np.ones((0, 5)), np.zeros((4, 5)), np.full((4, 5), 2), np.ones((4, 33))],
    ids=str,
)
def test_signs_that_no_memory_takes(signs):
    with pytest.raises(OptionError):
        Memory(signs, **GOOD)


def test_memory_of_wrong_shapes():
    layer = Memory(np.ones((4, 5), np.int8), **GOOD)
    for shape in ((4,), (3, 5), (0, 4), (2, 2, 4)):
        with pytest.raises(OptionError):
            layer(np.zeros(shape, np.float32))


# --- int8 ends -----------------------------------------------------------------------------------------------------


@given(
    height=st.integers(1, 20),
    width=st.integers(1, 20),
    outputs=st.integers(1, 40),
    kernel=st.integers(1, 7),
    stride=st.integers(1, 3),
    pad=st.integers(0, 6),
    seed=SEEDS,
)
@settings(max_examples=40, deadline=None)
def test_input_convolution(height, width, outputs, kernel, stride, pad, seed):
    pad = min(pad, kernel - 1)
    if min(height, width) + 2 * pad < kernel:
        return
    rng = np.random.default_rng(seed)
    most = 255 // kernel**2
    weights = rng.integers(-min(most, 128), min(most, 127) + 1, (kernel * kernel, outputs)).astype(np.int8)
    image = rng.integers(-128, 128, (height, width)).astype(np.int8)
    options = {"stride": stride, "pad": pad, **ending(rng, outputs)}
    want = reference.input_conv2d(weights, image, **options)
    for isa, kernels in KERNELS.items():
        conv = InputConv2d(weights, height=height, width=width, kernels=kernels, **options)
        assert same_bits(conv(image), want), isa


@pytest.mark.parametrize("value", [-128, 127])
@pytest.mark.parametrize("kernel", [2, 5, 15])
def test_largest_input_convolution(value, kernel):
    # int16 holds the sum of 255 times the largest feature.
    weights, image = np.zeros((kernel * kernel, 18), np.int8), np.full((31, 31), value, np.int8)
    weights[:2, :9], weights[2, :9] = 127, 1
    weights[:2, 9:] = -127
    image[3, 5] += 1 if value < 0 else -1
    options = {"stride": 1, "pad": 0, "a": 1.0, "b": 0.0, "slope": 1.0}
    want = reference.input_conv2d(weights, image, **options)
    assert np.abs(want).max() == 255 * abs(value)
    for isa, kernels in KERNELS.items():
        assert same_bits(InputConv2d(weights, height=31, width=31, kernels=kernels, **options)(image), want), isa


def test_numbers_that_no_input_convolution_takes():
    good = {"height": 8, "width": 8, "stride": 2, "pad": 1, "a": 1.0, "b": 0.0, "slope": 0.0}
    weights = np.ones((9, 4), np.int8)
    InputConv2d(weights, **good)
    for wrong in (
        {"height": 0},
        {"width": 0},
        {"stride": 0},
        {"pad": -1},
        {"pad": 3},
        {"height": 1, "pad": 0},
        {"a": np.nan},
        {"b": np.inf},
        {"slope": np.zeros(3)},
    ):
        with pytest.raises(OptionError):
            InputConv2d(weights, **{**good, **wrong})
    for odd in (
        np.ones((8, 4), np.int8),
        np.ones((9, 0), np.int8),
        np.ones(9, np.int8),
        np.ones((9, 4)),
        np.ones((1024, 4), np.int8),
        np.full((9, 4), 29, np.int8),
    ):
        with pytest.raises(OptionError):
            InputConv2d(odd, **good)
    with pytest.raises(OptionError):
        InputConv2d(weights, **good)(np.zeros((8, 9), np.int8))


@given(inputs=st.integers(1, 1100), outputs=st.integers(1, 40), seed=SEEDS)
@settings(max_examples=40, deadline=None)
def test_classifier(inputs, outputs, seed):
    rng = np.random.default_rng(seed)
    weights = rng.integers(-128, 128, (outputs, inputs)).astype(np.int8)
    x = (rng.integers(-600, 600, inputs) / 8).astype(np.float32)  # halves after scaling: ties to even
    x[rng.random(inputs) < 0.05] = rng.choice([np.inf, -np.inf, 3e38, 1e-45, -0.0])
    options = {
        "inverse_scale": 4.0,
        "a": rng.normal(0, 1e-3, outputs).astype(np.float32),
        "b": rng.normal(0, 1, outputs).astype(np.float32),
    }
    want = reference.classifier(weights, x, **options)
    for isa, kernels in KERNELS.items():
        assert same_bits(Classifier(weights, kernels=kernels, **options)(x), want), isa


@pytest.mark.parametrize("value", [-128, 127])
def test_largest_classifier(value):
    weights, x = np.full((3, 65536), value, np.int8), np.full(65536, 1e9, np.float32)
    options = {"inverse_scale": 1.0, "a": 1.0, "b": 0.0}
    want = reference.classifier(weights, x, **options)
    for isa, kernels in KERNELS.items():
        assert same_bits(Classifier(weights, kernels=kernels, **options)(x), want), isa


def test_numbers_that_no_classifier_takes():
    good, weights = {"inverse_scale": 1.0, "a": 1.0, "b": 0.0}, np.ones((3, 8), np.int8)
    for wrong in (
        {"inverse_scale": 0.0},
        {"inverse_scale": -1.0},
        {"inverse_scale": np.nan},
        {"inverse_scale": np.inf},
        {"a": np.inf},
        {"a": np.zeros(2)},
        {"b": np.nan},
        {"b": np.zeros(4)},
    ):
        with pytest.raises(OptionError):
            Classifier(weights, **{**good, **wrong})
    for odd in (
        np.ones((3, 8)),
        np.ones(8, np.int8),
        np.ones((0, 8), np.int8),
        np.ones((3, 0), np.int8),
        np.ones((1, 65537), np.int8),
    ):
        with pytest.raises(OptionError):
            Classifier(odd, **good)
    for shape in ((7,), (9,), (1, 8)):
        with pytest.raises(OptionError):
            Classifier(weights, **good)(np.zeros(shape, np.float32))
