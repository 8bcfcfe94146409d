"""Causal networks: a stream computes each step once, and gives what the whole past gives, to the last bit."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwsrt import format as file_format
from kwsrt.errors import ModelFileError, OptionError
from kwsrt.layers import Kernels, available_isas
from kwsrt.model import Model
from kwsrt.network import Network
from tests import reference
from tests.models import make_model
from tests.reference import same_bits

STEPS = 4
LEVELS = {"full": [0, 1, 2], "half": [0, 2], "quarter": [2]}


def causal_model(seed, **network):
    return Model(
        file_format.parse(
            make_model(
                seed,
                frontend={"window": 400, "hop": 160, "n_fft": 512, "bins": 16},
                causal=True,
                steps=STEPS,
                frames=4 * STEPS + 9,
                bins=16,
                width=16,
                hidden=24,
                blocks=3,
                levels=LEVELS,
                **network,
            )
        )
    )


MODEL = causal_model(7)
RNG = np.random.default_rng(3)
SAMPLES = np.rint(RNG.normal(0, 1, 24000) * (200 + 3000 * (np.arange(24000) // 1700 % 3))).astype(np.int16)
FRAMES = MODEL.network.frames


def pasts(q):
    """For each decision, all frames since the stream began."""
    return [q[:end] for end in range(FRAMES, len(q) + 1, 4)]


def expected(model, frames, level):
    config = model.manifest["network"]
    return reference.network_scores(config, model.tensors, reference.unpack_all(config, model.tensors), frames, level)


@pytest.mark.arm
@pytest.mark.parametrize("planes", [1, 2])
@pytest.mark.parametrize("isa", available_isas())
def test_windows_are_those_of_the_reference(planes, isa):
    model = causal_model(planes, planes=planes, taps=3)
    network = Network(model.manifest["network"], len(model.labels), model.tensors, Kernels(isa))
    windows = RNG.integers(-127, 128, (3, FRAMES, 16)).astype(np.int8)
    for level in LEVELS:
        want = np.stack([expected(model, window, level) for window in windows])
        assert same_bits(network.run(windows, level), want)


@pytest.mark.parametrize("level", LEVELS)
def test_a_stream_remembers_all_its_past(level):
    q = MODEL.frontend.quantized(SAMPLES)[: FRAMES + 60]
    scores = MODEL.stream(thin=level).push(SAMPLES)
    for made, past in zip(scores.values, pasts(q), strict=False):
        assert same_bits(made, expected(MODEL, past, level))


@given(lengths=st.lists(st.integers(1, 3000), min_size=1, max_size=30), level=st.sampled_from([*LEVELS, "auto"]))
@settings(max_examples=10, deadline=None)
def test_chunks_do_not_matter(lengths, level):
    whole, stream = MODEL.stream(thin=level).push(SAMPLES), MODEL.stream(thin=level)
    at, parts = 0, []
    for length in (*lengths, len(SAMPLES)):
        parts.append(stream.push(SAMPLES[at : at + length]).values)
        at += length
    assert same_bits(np.concatenate(parts), whole.values)
    stream.reset()
    assert same_bits(stream.push(SAMPLES).values, whole.values)


def test_strides_are_whole_steps():
    every = MODEL.stream().push(SAMPLES)
    third = MODEL.stream(stride=12).push(SAMPLES)
    assert np.array_equal(every.ends[::3], third.ends)
    assert same_bits(every.values[::3], third.values)
    with pytest.raises(OptionError, match="every 4 frames"):
        MODEL.stream(stride=2)
    apart = MODEL.stream(stride=4 * STEPS + 4).push(SAMPLES)
    q = MODEL.frontend.quantized(SAMPLES)
    for number, made in enumerate(apart.values):
        first = number * (4 * STEPS + 4)
        assert same_bits(made, MODEL.network.run(q[None, first : first + FRAMES], "full")[0])


@pytest.mark.arm
def test_a_level_that_did_not_run_catches_up():
    """As if it had run all along where it misses no more steps than a window has, else as if the window were all."""
    q = MODEL.frontend.quantized(SAMPLES)
    hop, window = 4 * 160, MODEL.window
    for missed in range(1, 2 * STEPS):
        stream = MODEL.stream()
        before = 5 + missed
        stream.push(SAMPLES[: window + 4 * hop])
        stream.thin = "quarter"
        stream.push(SAMPLES[window + 4 * hop : window + (before - 1) * hop])
        stream.thin = "full"
        made = stream.push(SAMPLES[window + (before - 1) * hop : window + before * hop]).values
        end = FRAMES + 4 * before
        want = q[:end] if missed < STEPS else q[end - FRAMES : end]
        assert same_bits(made, expected(MODEL, want, "full")[None])


def test_silence_ends_a_past():
    silent = SAMPLES.copy()
    silent[8000:16000] = 0
    gated = MODEL.stream(gate=-70).push(silent)
    skipped = np.flatnonzero(gated.thin < 0)
    assert 0 < len(skipped) < len(gated)
    q, after = MODEL.frontend.quantized(silent), skipped[-1] + 1
    for number in range(after, min(after + 5, len(gated))):
        assert same_bits(gated.values[number], expected(MODEL, q[4 * after : 4 * number + FRAMES], "full"))


@pytest.mark.parametrize(
    "wrong",
    [{"causal": 1}, {"steps": 5}, {"steps": 1, "frames": 13}, {"steps": True}, {"frames": 28}, {"steps": "4"}],
    ids=str,
)
def test_sizes_that_no_causal_network_has(wrong):
    network = {**MODEL.manifest["network"], **wrong}
    with pytest.raises(ModelFileError, match="network"):
        file_format.parse(file_format.write({**MODEL.manifest, "network": network}, MODEL.tensors))


def test_levels_are_few():
    config = {**MODEL.manifest["network"], "levels": {str(number): [0] for number in range(9)}}
    with pytest.raises(OptionError, match="at most 8"):
        Network(config, len(MODEL.labels), MODEL.tensors)


def test_a_stream_is_small():
    assert MODEL.stream().memory < 32 * 1024
