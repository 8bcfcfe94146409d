"""`kwsrt bench`: how long a decision takes on this machine, in one thread."""

import argparse
import json
import statistics
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import kwsrt
from kwsrt import audio
from kwsrt.cli.common import Parser, add_json_option, add_model_options, check_range
from kwsrt.cli.output import say
from kwsrt.errors import AudioError, OptionError
from kwsrt.format import verification_audio
from kwsrt.stream import LONGEST_STRIDE

ROUNDS, SECONDS, WINDOWS, LAYER_REPEATS = 7, 4, 32, 200
MOST_STREAMS = 10000
HELP = "how fast a model runs on this machine"
DESCRIPTION = """\
How long a decision takes here, in one thread: the median of several rounds, in microseconds. A decision is made every
two frames, or every four by a causal network. Set KWSRT_ISA=scalar (or neon, avx2, avx512) to compare instruction
sets.

With --streams N, N live sources share the model: the memory that each takes, and how many times faster than real time
the thread serves them all.

With --layers, where the time of a decision goes: each layer run alone, again and again (of a causal network, one new
step). Together they take a little less than a decision, whose layers find less in the cache.

With --levels, what the network costs in a live stream at each thinning level and with "auto", whose cost depends on
what it hears: give a recording with --audio.

examples:
  kwsrt bench
  kwsrt bench --thin quarter
  kwsrt bench --layers --thin half
  kwsrt bench --streams 100
  kwsrt bench --levels --audio evening.flac
"""


def add_arguments(parser: Parser) -> None:
    """The command's arguments."""
    add_model_options(parser)
    parser.add_argument("--streams", type=int, default=1, metavar="N", help="live sources (default: %(default)s)")
    parser.add_argument("--layers", action="store_true", help="where the time goes, layer by layer")
    parser.add_argument("--levels", action="store_true", help="compare the thinning levels, and auto, in a live stream")
    parser.add_argument(
        "--audio",
        type=Path,
        metavar="FILE",
        help="what --levels hears (default: the second of sound that is in the model, repeated)",
    )
    add_json_option(parser, "one JSON object (microseconds, bytes)")


def run(arguments: argparse.Namespace) -> int:
    """0."""
    model = kwsrt.load(arguments.model)
    check_range("--streams", arguments.streams, 1, MOST_STREAMS)
    if arguments.audio and not arguments.levels:
        raise OptionError("--audio is what --levels hears: give both")
    if arguments.layers and arguments.levels:
        raise OptionError("--layers takes one level (--thin), --levels compares them all: give one of the two")
    if arguments.layers:
        result = layers(model, arguments.thin)
        say(*[json.dumps(result)] if arguments.json else _layer_table(result))
        return 0
    if arguments.levels:
        result = compare(model, _samples(model, arguments.audio))
        say(*[json.dumps(result)] if arguments.json else _table(result))
        return 0
    result = measure(model, arguments.thin, arguments.streams)
    if arguments.json:
        say(json.dumps(result))
        return 0
    say(f"{model.name}, {arguments.thin}, {model.isa}, 1 thread")
    say(f"front end   {result['frontend_us']:9.1f} us a decision ({result['frontend_frame_us']:.1f} us a frame)")
    say(f"network     {result['network_us']:9.1f} us a decision")
    say(
        f"live stream {result['stream_us']:9.1f} us a decision, one every {result['period_us'] / 1000:.0f} ms: "
        f"{result['stream_us'] / result['period_us']:.2%} of one core"
    )
    if arguments.streams > 1:
        say(
            f"{arguments.streams} streams {result['streams_us']:9.1f} us for one of each: "
            f"{result['period_us'] / result['streams_us']:.1f} x real time, {result['stream_bytes']:,} bytes each"
        )
    return 0


def measure(model: kwsrt.Model, thin: str, streams: int = 1) -> dict[str, Any]:
    """Median microseconds: of the front end (a frame, a decision), of the network, of a stream fed as a live one is, of
    `streams` of them in turn; and the bytes of a stream."""
    samples = _samples(model)
    frames = model.frontend.quantized(samples)
    windows = np.resize(frames, (WINDOWS, model.network.frames, model.network.bins))
    sources = [model.stream(thin=thin) for _ in range(streams)]
    for stream in sources:
        stream.push(np.resize(samples, stream.window))
    chunks = _chunks(samples, sources[0].stride)

    def live(served: list[kwsrt.Stream]) -> None:
        for chunk in chunks:
            for stream in served:
                stream.push(chunk)

    frame = _median(lambda: model.frontend.quantized(samples), len(frames))
    return {
        "model": model.name,
        "thin": thin,
        "isa": model.isa,
        "threads": 1,
        "frontend_frame_us": frame,
        "frontend_us": model.network.stride * frame,
        "network_us": _median(lambda: model.network.run(windows, thin), WINDOWS),
        "stream_us": _median(lambda: live(sources[:1]), len(chunks)),
        "streams": streams,
        "streams_us": _median(lambda: live(sources), len(chunks)),
        "stream_bytes": sources[0].memory,
        "period_us": 1e6 * sources[0].stride / model.sample_rate,
    }


def layers(model: kwsrt.Model, thin: str) -> dict[str, Any]:
    """Median microseconds of each layer of a decision, and of a frame of the front end."""
    samples = _samples(model)
    frames = model.frontend.quantized(samples)
    rounds = [model.network.layer_times(frames[: model.network.frames], thin, LAYER_REPEATS) for _ in range(ROUNDS + 1)]
    times = {name: round(statistics.median(turn[name] for turn in rounds[1:]), 3) for name in rounds[0]}
    return {
        "model": model.name,
        "thin": thin,
        "isa": model.isa,
        "threads": 1,
        "causal": model.network.causal,
        "frontend_frame_us": _median(lambda: model.frontend.quantized(samples), len(frames)),
        "layers_us": times,
    }


def _layer_table(result: dict[str, Any]) -> list[str]:
    times, total = result["layers_us"], sum(result["layers_us"].values())
    what = "one new step of a causal network" if result["causal"] else "one window"
    return [
        f"{result['model']}, {result['thin']}, {result['isa']}, 1 thread, {what}",
        *(f"{name:<17} {us:8.2f} us {us / total:6.1%}" for name, us in times.items()),
        f"{'together':<17} {total:8.2f} us",
        f"{'a frame before':<17} {result['frontend_frame_us']:8.2f} us",
    ]


def compare(model: kwsrt.Model, samples: NDArray[Any]) -> dict[str, Any]:
    """What a live stream's network takes a decision at each level and with "auto", in turns: the median round.

    A stream that makes no decisions tells what the front end takes; "network_us" is what comes on top of it."""
    levels = [*model.thin_levels, "auto"]
    streams = [model.stream(thin=level) for level in levels]
    chunks = _chunks(samples, streams[0].window)  # of many decisions, so that what a call costs in Python is not in it
    decisions = streams[0].window / streams[0].stride
    deaf = model.stream(stride=LONGEST_STRIDE)
    rounds = [[_microseconds(stream, chunks) for stream in (deaf, *streams)] for _ in range(ROUNDS + 1)]
    took = np.array(rounds[1:]) / decisions
    frontend, *network = np.median(np.column_stack([took[:, 0], took[:, 1:] - took[:, :1]]), 0).round(3).tolist()
    streams[-1].reset()
    thin = streams[-1].push(samples).thin
    return {
        "model": model.name,
        "isa": model.isa,
        "threads": 1,
        "seconds": len(samples) / model.sample_rate,
        "frontend_us": frontend,
        "period_us": 1e6 * streams[0].stride / model.sample_rate,
        "levels": [
            {"thin": level, "network_us": us, "of_first": us / network[0]}
            for level, us in zip(levels, network, strict=True)
        ],
        "auto": {level: float((thin == index).mean()) for index, level in enumerate(model.thin_levels)},
    }


def _table(result: dict[str, Any]) -> list[str]:
    auto = ", ".join(f"{level} {share:.1%}" for level, share in result["auto"].items())
    return [
        f"{result['model']}, {result['isa']}, 1 thread, a live stream of {result['seconds']:.0f} s of sound",
        f"front end   {result['frontend_us']:9.1f} us a decision",
        *(
            f"{row['thin']:<11} {row['network_us']:9.1f} us a decision, {row['of_first']:6.1%} of "
            f"{result['levels'][0]['thin']}"
            for row in result["levels"]
        ),
        f"auto ended with {auto}",
    ]


def _samples(model: kwsrt.Model, path: Path | None = None) -> NDArray[Any]:
    """A recording at the model's rate, or some seconds of the sound that models carry."""
    if path is None:
        return np.tile(verification_audio(model.sample_rate), SECONDS)
    samples = audio.prepare(*audio.read(path), model.sample_rate)
    if len(samples) < 2 * model.window:
        raise AudioError(f"{path}: too short, need {2 * model.window / model.sample_rate:.1f} s")
    return samples


def _chunks(samples: NDArray[Any], size: int) -> list[NDArray[Any]]:
    """Pieces of `size`, the last of which may be left out."""
    return [samples[start : start + size] for start in range(0, len(samples) - size, size)]


def _microseconds(stream: kwsrt.Stream, chunks: list[NDArray[Any]]) -> float:
    """Mean of a chunk."""
    stream.reset()
    start = time.perf_counter_ns()
    for chunk in chunks:
        stream.push(chunk)
    return (time.perf_counter_ns() - start) / len(chunks) / 1000


def _median(work: Callable[[], object], count: int) -> float:
    """Microseconds of one of the `count` things that `work` does."""
    work()
    took = []
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        work()
        took.append(time.perf_counter_ns() - start)
    return round(statistics.median(took) / count / 1000, 3)
