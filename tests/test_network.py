"""The whole network, from int8 features to scores, on every instruction set against NumPy, bit for bit."""

from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from kwsrt import format as file_format
from kwsrt.errors import OptionError, ThinError
from kwsrt.layers import Kernels, available_isas
from kwsrt.network import Network
from tests import reference
from tests.models import make_model
from tests.reference import same_bits

pytestmark = pytest.mark.arm

KERNELS = {isa: Kernels(isa) for isa in available_isas()}
SMALL = {"frames": 16, "bins": 16, "blocks": 2, "levels": {"full": [0, 1], "half": [1]}}
NETWORKS = {
    "small": {},
    "smallest": {
        "frames": 8,
        "bins": 8,
        "conv1": 4,
        "conv2": 4,
        "width": 4,
        "hidden": 4,
        "blocks": 1,
        "taps": 1,
        "levels": {"only": [0]},
    },
    "no block": {**SMALL, "levels": {"full": [0, 1], "none": []}},
    "ragged": {
        "frames": 20,
        "bins": 12,
        "conv1": 20,
        "conv2": 12,
        "width": 37,
        "hidden": 70,
        "blocks": 3,
        "taps": 7,
        "levels": {"full": [0, 1, 2], "half": [0, 2], "quarter": [2]},
    },
    "long memory": {**SMALL, "taps": 31},
    "full size": {
        "conv1": 16,
        "conv2": 32,
        "width": 128,
        "hidden": 256,
        "blocks": 8,
        "levels": {"full": list(range(8)), "half": [1, 3, 5, 7], "quarter": [3, 7]},
    },
}


def parts(seed=0, planes=2, change=None, **network):
    """config, classes, tensors of a random model; `change(tensors)` may alter them."""
    file = file_format.parse(make_model(seed, planes, frontend={"n_fft": 1024}, **network))
    tensors = {name: tensor.copy() for name, tensor in file.tensors.items()}
    if change is not None:
        change(tensors)
    return file.manifest["network"], len(file.manifest["labels"]), tensors


def windows(config, count, seed=9):
    """Random features, the extremes, and quiet ones."""
    rng = np.random.default_rng(seed)
    shape = (config["frames"], config["bins"])
    fixed = [np.full(shape, value, np.int8) for value in (0, 127, -127, -128)]
    loud = [rng.integers(-127, 128, shape).astype(np.int8) for _ in range(count)]
    quiet = [np.clip(rng.normal(0, 20, shape), -127, 127).astype(np.int8) for _ in range(count)]
    return np.stack([*loud, *quiet, *fixed])


def check(config, classes, tensors, count=2):
    q, signs = windows(config, count), reference.unpack_all(config, tensors)
    for level in config["levels"]:
        want = np.stack([reference.network_scores(config, tensors, signs, window, level) for window in q])
        for isa, kernels in KERNELS.items():
            assert same_bits(Network(config, classes, tensors, kernels).run(q, level), want), (isa, level)
        np.testing.assert_allclose(want.sum(1), 1, atol=1e-6)
        assert len(np.unique(want[: 2 * count], axis=0)) > 1, "the scores of different features differ"


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("network", NETWORKS.values(), ids=list(NETWORKS))
def test_equals_numpy(network, planes):
    check(*parts(11, planes, **network))


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("seed", range(5))
def test_equals_numpy_whatever_the_weights(seed, planes):
    check(*parts(seed, planes, **SMALL))


def negative_slopes(tensors):
    for i in (0, 1):
        tensors[f"blocks.{i}.expand.slope"][:] = -0.25


def other_slopes(tensors):
    tensors["blocks.0.expand.slope"][:] = -0.0
    tensors["blocks.1.expand.slope"][:] = -0.5
    for name, tensor in tensors.items():
        if name.endswith("slope") and "expand" not in name:
            tensor[::2] = -tensor[::2]


def negative_gains(tensors):
    for name, tensor in tensors.items():
        if "affine" in name and not name.startswith("classifier"):
            tensor[0, ::2] *= -1
            tensor[0, ::5] = 0


def coarse_values(tensors):
    # Multiples of 1/8 everywhere: sums meet thresholds and levels exactly, again and again.
    for name, tensor in tensors.items():
        if name.startswith("blocks") and tensor.dtype == np.float16:
            tensor[:] = np.round(tensor * 8) / 8
    tensors["scales"][:-1] = 0.5


def large_values(tensors):
    for name, tensor in tensors.items():
        if name.startswith("blocks") and "affine" in name:
            tensor[:] = np.where(tensor > 0, 65504, -65504)


def tiny_values(tensors):
    # Denormal gains, in float16 and, after the product, in float32: no instruction set may flush them to zero.
    for name, tensor in tensors.items():
        if name.startswith("blocks") and "affine" in name:
            tensor[:] = np.where(tensor > 0, np.float16(6e-8), -np.float16(6e-8))
        elif name.endswith("threshold"):
            tensor[:] = 0
    tensors["conv1.affine"][:] *= np.float32(1e-38)
    tensors["scales"][:] = 1e-42
    tensors["scales"][-1] = 1e6


@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize(
    "change", [negative_slopes, other_slopes, negative_gains, coarse_values, large_values, tiny_values]
)
def test_equals_numpy_with(change, planes):
    check(*parts(21, planes, change, **SMALL))


def test_batch_equals_single():
    config, classes, tensors = parts(3)
    q = windows(config, 6)
    for kernels in KERNELS.values():
        network = Network(config, classes, tensors, kernels)
        for level in network.levels:
            whole = network.run(q, level)
            assert same_bits(np.concatenate([network.run(window[None], level) for window in q]), whole)
            assert same_bits(network.run(q[::-1], level), whole[::-1])
        assert network.run(q[:0], "full").shape == (0, classes)


def test_levels_differ():
    config, classes, tensors = parts(4)
    network = Network(config, classes, tensors)
    assert network.levels == ("full", "half", "quarter")
    q = windows(config, 4)
    scores = [network.run(q, level) for level in network.levels]
    assert not any(same_bits(scores[i], scores[j]) for i in range(3) for j in range(i))


def test_levels_do_not_disturb_each_other():
    config, classes, tensors = parts(5)
    q = windows(config, 4)
    network = Network(config, classes, tensors)
    alone = {level: Network(config, classes, tensors).run(q, level) for level in network.levels}
    for level in ("quarter", "full", "half", "full", "quarter"):
        assert same_bits(network.run(q, level), alone[level])


@pytest.mark.parametrize("isa", KERNELS)
def test_threads_share_a_network(isa):
    config, classes, tensors = parts(6, conv1=16, conv2=32, width=64, hidden=128)
    network = Network(config, classes, tensors, KERNELS[isa])
    q = windows(config, 10)
    want = {level: network.run(q, level) for level in network.levels}

    def work(index):
        level = network.levels[index % 3]
        return all(same_bits(network.run(q, level), want[level]) for _ in range(5))

    with ThreadPoolExecutor(8) as pool:
        assert all(pool.map(work, range(24)))


def test_unknown_level():
    config, classes, tensors = parts(**SMALL)
    network = Network(config, classes, tensors)
    for thin in ("eighth", "", None, 0, "Full"):
        with pytest.raises(ThinError, match="this model has full, half"):
            network.run(windows(config, 1), thin)
        with pytest.raises(ThinError):
            network.level_index(thin)


def test_features_of_wrong_shapes():
    config, classes, tensors = parts(**SMALL)
    network = Network(config, classes, tensors)
    for shape in ((1, 16, 17), (1, 15, 16), (2, 32, 8)):
        with pytest.raises(OptionError):
            network.run(np.zeros(shape, np.int8), "full")


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_tensors_that_are_not_finite(value):
    config, classes, tensors = parts(**SMALL)
    for name, tensor in tensors.items():
        if tensor.dtype.kind == "f" and not name.startswith("verify"):
            broken = tensor.copy()
            broken.reshape(-1)[-1] = value
            with pytest.raises(OptionError):
                Network(config, classes, {**tensors, name: broken})


@pytest.mark.parametrize("value", [0.0, -1.0])
def test_scales_are_positive(value):
    config, classes, tensors = parts(**SMALL)
    for i in range(len(tensors["scales"])):
        broken = tensors["scales"].copy()
        broken[i] = value
        with pytest.raises(OptionError):
            Network(config, classes, {**tensors, "scales": broken})


def test_weights_with_bits_in_their_padding():
    # Such bits would be counted as mismatches: a file that has them was not packed by us.
    config, classes, tensors = parts(width=20, hidden=20, **SMALL)
    for name, tensor in tensors.items():
        if name.endswith(("expand.weight", "project.weight")):  # 20 inputs, so 12 bits of padding
            broken = tensor.copy()
            broken[-1, -1, 0] |= 0x80
            with pytest.raises(OptionError, match="padding"):
                Network(config, classes, {**tensors, name: broken})
