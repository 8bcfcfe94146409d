"""The binary product of every instruction set against NumPy, exactly, over ragged shapes and extreme values."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwsrt.errors import OptionError
from kwsrt.layers import (
    BinaryLinear,
    Classifier,
    Kernels,
    PackedWeights,
    Staircase,
    available_isas,
    pack_weights,
    unpack_weights,
)
from tests import reference
from tests.reference import same_bits

pytestmark = pytest.mark.arm

KERNELS = {isa: Kernels(isa) for isa in available_isas()}
EVERY_ISA = pytest.mark.parametrize("kernels", KERNELS.values(), ids=list(KERNELS))
PLANES = pytest.mark.parametrize("planes", [1, 2])
VALUES = {1: np.array([-1, 1], np.int8), 2: np.array([-3, -1, 1, 3], np.int8)}


def layer(signs, planes, kernels, **options):
    weights = PackedWeights(pack_weights(signs), signs.shape[1], signs.shape[0], kernels)
    return BinaryLinear(
        weights, **{"threshold": 0.0, "scale": 1.0, "planes": planes, "a": 1.0, "b": 0.0, "slope": 1.0, **options}
    )


def random_signs(rng, *shape):
    return rng.choice(np.array([-1, 1], np.int8), shape)


def check_sums(signs, q, planes):
    want = reference.product(signs, q).astype(np.int16)
    for isa, kernels in KERNELS.items():
        assert same_bits(layer(signs, planes, kernels).sums(q), want), (isa, signs.shape, q.shape, planes)


# --- which kernels -------------------------------------------------------------------------------------------------


def test_isas():
    isas = available_isas()
    assert isas[-1] == "scalar"
    assert len(set(isas)) == len(isas)
    assert set(isas) <= {"scalar", "neon", "avx2", "avx512"}
    for isa in isas:
        assert Kernels(isa).isa == isa


def test_environment_chooses(monkeypatch):
    monkeypatch.delenv("KWSRT_ISA", raising=False)
    assert Kernels().isa == available_isas()[0]
    monkeypatch.setenv("KWSRT_ISA", "")
    assert Kernels().isa == available_isas()[0]
    monkeypatch.setenv("KWSRT_ISA", "scalar")
    assert Kernels().isa == "scalar"
    assert Kernels(available_isas()[0]).isa == available_isas()[0]
    monkeypatch.setenv("KWSRT_ISA", "mmx")
    with pytest.raises(OptionError, match=r"mmx.*this machine runs .*scalar"):
        Kernels()


@pytest.mark.parametrize("name", ["AVX2", "sse", "scalar ", "é", "avx512" * 50])
def test_unknown_isa(name):
    with pytest.raises(OptionError, match="instruction set"):
        Kernels(name)


# --- packing -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("outputs", "inputs"), [(1, 1), (1, 8), (15, 9), (16, 16), (17, 17), (33, 127), (130, 600), (2, 8192)]
)
def test_pack_and_unpack(outputs, inputs):
    signs = random_signs(np.random.default_rng(inputs), outputs, inputs)
    packed = pack_weights(signs)
    assert packed.dtype == np.uint8
    assert packed.shape == (-(-outputs // 16), 2 * -(-inputs // 16), 16)
    assert same_bits(unpack_weights(packed, inputs, outputs), signs)
    assert same_bits(reference.unpack(packed, inputs, outputs), signs)
    assert np.unpackbits(packed).sum() == (signs > 0).sum(), "padding is zero"
    assert same_bits(pack_weights(signs.astype(np.float64)), packed)
    for kernels in KERNELS.values():
        assert same_bits(PackedWeights(packed, inputs, outputs, kernels).signs(), signs)


@pytest.mark.parametrize(
    "signs",
    [
        np.zeros((2, 2)),
        np.array([[1, 2]]),
        np.array([[1, np.nan]]),
        np.ones(4),
        np.ones((0, 3)),
        np.ones((2, 2, 2)),
        np.array([[1, -0.5]]),
    ],
    ids=str,
)
def test_only_signs_are_packed(signs):
    with pytest.raises(OptionError):
        pack_weights(signs)


def test_weights_that_do_not_fit():
    packed = pack_weights(random_signs(np.random.default_rng(0), 20, 24))
    for inputs, outputs in ((40, 20), (24, 33), (0, 20), (24, 0), (8193, 20), (-1, 20), (24, 1 << 20)):
        with pytest.raises(OptionError):
            PackedWeights(packed, inputs, outputs)
        with pytest.raises(OptionError):
            unpack_weights(packed, inputs, outputs)
    with pytest.raises(OptionError):
        PackedWeights(packed.astype(np.int8), 24, 20)
    with pytest.raises(OptionError):
        PackedWeights(packed[0], 24, 20)
    with pytest.raises(OptionError, match="padding"):
        unpack_weights(packed, 23, 20)
    with pytest.raises(OptionError, match="padding"):
        unpack_weights(packed, 24, 19)


# --- exact sums ----------------------------------------------------------------------------------------------------


@PLANES
@pytest.mark.parametrize(
    "inputs",
    [
        *range(1, 35),
        47,
        48,
        49,
        63,
        64,
        65,
        79,
        80,
        81,
        96,
        127,
        128,
        129,
        159,
        160,
        161,
        255,
        256,
        257,
        319,
        320,
        321,
        400,
        511,
        512,
        513,
        600,
    ],
)
def test_sums_of_ragged_inputs(inputs, planes):
    rng = np.random.default_rng(1000 * planes + inputs)
    for outputs, rows in ((int(rng.integers(1, 131)), int(rng.integers(1, 10))), (16 * int(rng.integers(1, 9)), 8)):
        check_sums(random_signs(rng, outputs, inputs), rng.choice(VALUES[planes], (rows, inputs)), planes)


@PLANES
@pytest.mark.parametrize(
    "outputs", [1, 2, 7, 8, 9, 15, 16, 17, 31, 32, 33, 47, 48, 49, 63, 64, 65, 80, 95, 96, 97, 112, 127, 128, 129, 130]
)
def test_sums_of_ragged_outputs(outputs, planes):
    rng = np.random.default_rng(outputs)
    check_sums(random_signs(rng, outputs, 77), rng.choice(VALUES[planes], (3, 77)), planes)


@PLANES
@pytest.mark.parametrize("rows", range(1, 18))
def test_sums_of_any_number_of_rows(rows, planes):
    rng = np.random.default_rng(rows)
    check_sums(random_signs(rng, 50, 100), rng.choice(VALUES[planes], (rows, 100)), planes)


@PLANES
@pytest.mark.parametrize("inputs", [1, 15, 16, 17, 80, 160, 161, 600, 4096, 8191, 8192])
@pytest.mark.parametrize(("weight", "outputs"), [(-1, 33), (1, 33), (-1, 129), (1, 129)])
def test_largest_sums(inputs, weight, outputs, planes):
    # Every lookup, popcount, counter and 16-bit sum at its largest and smallest value.
    signs = np.full((outputs, inputs), weight, np.int8)
    signs[16] *= -1
    highest = VALUES[planes].max()
    q = np.stack([np.full(inputs, value, np.int8) for value in [*VALUES[planes], highest, -highest, highest]])
    check_sums(signs, q, planes)


@PLANES
@pytest.mark.parametrize(("inputs", "outputs", "rows"), [(8192, 17, 5), (8191, 64, 2), (6400, 32, 3), (4097, 130, 9)])
def test_sums_of_wide_layers(inputs, outputs, rows, planes):
    rng = np.random.default_rng(inputs)
    check_sums(random_signs(rng, outputs, inputs), rng.choice(VALUES[planes], (rows, inputs)), planes)


@PLANES
@given(
    inputs=st.integers(1, 600),
    outputs=st.integers(1, 130),
    rows=st.integers(1, 9),
    seed=st.integers(0, 1 << 30),
    tilt=st.sampled_from([0.0, 0.02, 0.5, 0.98, 1.0]),
)
@settings(max_examples=40, deadline=None)
def test_sums_of_random_layers(planes, inputs, outputs, rows, seed, tilt):
    rng = np.random.default_rng(seed)
    signs = np.where(rng.random((outputs, inputs)) < tilt, 1, -1).astype(np.int8)
    check_sums(signs, rng.choice(VALUES[planes], (rows, inputs)), planes)


def test_every_mismatch_of_the_tables():
    # 4 weights against 4 activations, all 16 * 256 of them.
    weights = np.array([[1 if w >> i & 1 else -1 for i in range(4)] for w in range(16)], np.int8)
    q = np.array([[VALUES[2][c >> 2 * i & 3] for i in range(4)] for c in range(256)], np.int8)
    check_sums(weights, q, 2)
    check_sums(weights, np.where(q[::3] > 0, 1, -1).astype(np.int8), 1)


@EVERY_ISA
def test_sums_of_wrong_shapes(kernels):
    binary = layer(np.ones((3, 20), np.int8), 1, kernels)
    for shape in ((2, 19), (2, 21), (0, 20)):
        with pytest.raises(OptionError):
            binary.sums(np.ones(shape, np.int8))


# --- the staircase -------------------------------------------------------------------------------------------------


def codes_of(q, planes):
    """Four activations a byte, in pairs of bits, by NumPy."""
    padded = np.pad(q, ((0, 0), (0, -q.shape[1] % 16)), constant_values=-3 if planes == 2 else -1)
    b1, b2 = padded > 0, np.isin(padded, (-1, 3)) if planes == 2 else np.zeros_like(padded, bool)
    bits = np.concatenate([b1.reshape(len(q), -1, 4), b2.reshape(len(q), -1, 4)], axis=2)
    return np.packbits(bits, axis=2, bitorder="little")[:, :, 0]


def staircase_agrees(a, b, slope, scale, planes, largest, n, threshold=0.0):
    a, b, slope, threshold = (np.asarray(v, np.float32) for v in (a, b, slope, threshold))
    stairs = Staircase(a, b, slope, threshold, scale, planes, largest)
    q = reference.quantize(reference.affine(n, a, b, slope), threshold, scale, planes)
    for isa, kernels in KERNELS.items():
        assert same_bits(stairs(n.astype(np.int16), kernels), codes_of(q, planes)), isa


def all_sums(largest, outputs):
    return np.repeat(np.arange(-largest, largest + 1)[:, None], outputs, axis=1)


@PLANES
@given(seed=st.integers(0, 1 << 30), outputs=st.integers(1, 50), inputs=st.integers(1, 300))
@settings(max_examples=25, deadline=None)
def test_staircase_of_random_layers(planes, seed, outputs, inputs):
    rng = np.random.default_rng(seed)
    largest = (3 if planes == 2 else 1) * inputs
    scale = np.float32(rng.uniform(0.01, 3))
    a = rng.normal(0, 1, outputs) / inputs ** rng.uniform(0, 1) * rng.choice([0.0, 1.0], outputs, p=[0.1, 0.9])
    b = rng.normal(0, 1, outputs) * rng.choice([0.0, 1.0, 30.0], outputs)
    slope = rng.uniform(-2, 2, outputs) * rng.choice([0.0, 1.0], outputs, p=[0.2, 0.8])
    threshold = rng.normal(0, 1, outputs) * rng.choice([0.0, 1.0, 5.0], outputs)
    staircase_agrees(
        a.astype(np.float16),
        b.astype(np.float16),
        slope.astype(np.float16),
        scale,
        planes,
        largest,
        all_sums(largest, outputs),
        threshold.astype(np.float16),
    )


@PLANES
def test_staircase_hits_its_levels_exactly(planes):
    # y is an integer multiple of the scale for every n: each level is met, not only passed.
    a = np.array([0.5, -0.5, 0.25, -0.25, 0.0, 0.0, 0.0, 0.0, 1e-30, -1e-30, 6e4, -6e4, 1e-45, -1e-45])
    b = np.array([0.0, 0.5, -1.0, 1.0, 0.5, -0.5, 0.0, -1.0, 0.0, 0.0, 1.0, 0.0, 0.0, 0.0])
    for slope in (0.0, 0.5, 1.0, 2.0, -0.5, -1.0, -2.0, -0.0):
        for scale, threshold in ((0.5, 0.0), (1.0, 0.0), (1e-30, 0.0), (0.5, 0.5), (0.5, -0.5), (1.0, -3.0)):
            staircase_agrees(
                a, b, np.full(len(a), slope), scale, planes, 30, all_sums(30, len(a)), np.full(len(a), threshold)
            )


@PLANES
@pytest.mark.parametrize("slope", [0.25, -0.25])
def test_staircase_of_the_largest_sums(planes, slope):
    n = np.repeat(np.array([-32766, -32765, -1, 0, 1, 32765, 32766])[:, None], 4, axis=1)
    for b in (0.0, 3.0, -3.0, 6e4, -6e4):
        staircase_agrees([1.0, -1.0, 1e-4, -1e-4], [b] * 4, [slope] * 4, 1.0, planes, 32766, n)


@given(seed=st.integers(0, 1 << 30), outputs=st.integers(1, 70), edge=st.booleans())
@settings(max_examples=25, deadline=None)
def test_staircase_that_only_its_last_step_tells(seed, outputs, edge):
    # A negative slope: nothing is below 0, and the first two steps are behind all sums; at the edge, not of one output.
    rng = np.random.default_rng(seed)
    a, b = rng.normal(0, 0.1, outputs), rng.normal(0, 1, outputs)
    slope = -rng.uniform(0, 2, outputs)
    if edge:
        slope[-1] = 0.1
    staircase_agrees(a, b, slope, np.float32(0.7), 2, 60, all_sums(60, outputs))


def test_staircase_of_sums_beyond_int16():
    for largest in (0, -1, 32767):
        with pytest.raises(OptionError):
            Staircase([1.0], [0.0], [0.1], 0.0, 1.0, 2, largest)


# --- what follows a sum --------------------------------------------------------------------------------------------


@PLANES
@pytest.mark.parametrize("residual", [False, True])
@given(seed=st.integers(0, 1 << 30), outputs=st.integers(1, 70), rows=st.integers(1, 5))
@settings(max_examples=15, deadline=None)
def test_finish(planes, residual, seed, outputs, rows):
    # The one-pass kernels against NumPy: floats, activation levels and codes.
    rng = np.random.default_rng(seed)
    a, b, slope, threshold = rng.normal(0, 1, (4, outputs)).astype(np.float32)
    sums = rng.integers(-40, 41, (rows, outputs))
    added = rng.normal(0, 1, (rows, outputs)).astype(np.float32) if residual else None
    want = reference.affine(sums, a, b, slope) + (0 if added is None else added)
    q = reference.quantize(want, threshold, np.float32(0.7), planes)
    for isa, kernels in KERNELS.items():
        y, levels, codes = kernels.finish(sums, a, b, slope, added, threshold, 0.7, planes)
        assert same_bits(y, want.astype(np.float32)), isa
        assert same_bits(levels, q), isa
        assert same_bits(codes, codes_of(q, planes)), isa


# --- int8 ends -----------------------------------------------------------------------------------------------------


@given(seed=st.integers(0, 1 << 30), inputs=st.integers(1, 300), outputs=st.integers(1, 14))
@settings(max_examples=30, deadline=None)
def test_classifier_products(seed, inputs, outputs):
    rng = np.random.default_rng(seed)
    weights = rng.choice([-128, -127, 127, 0, 1], (outputs, inputs)).astype(np.int8)
    x = rng.choice(np.array([-1e3, -127.5, -126.5, -0.5, 0.5, 1.5, 126.5, 200], np.float32), inputs)
    want = reference.classifier(
        weights, x, inverse_scale=np.float32(1), a=np.ones(outputs, np.float32), b=np.zeros(outputs, np.float32)
    )
    for isa, kernels in KERNELS.items():
        got = Classifier(weights, inverse_scale=1.0, a=1.0, b=0.0, kernels=kernels)(x)
        assert same_bits(got, want), isa
