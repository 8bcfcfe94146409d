"""`kwsrt bench`: how long a decision takes on this machine, in one thread."""
import argparse
import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import numpy as np

import kwsrt
from kwsrt.cli.common import Parser, add_json_option, add_model_options
from kwsrt.errors import OptionError
from kwsrt.format import verification_audio

ROUNDS, SECONDS, WINDOWS, STRIDE = 7, 4, 32, 2
HELP = "how fast a model runs on this machine"
DESCRIPTION = """\
How long a decision takes here, in one thread: the median of several rounds, in microseconds. A decision is made every
two frames. Set KWSRT_ISA=scalar (or neon, avx2, avx512) to compare instruction sets.

With --streams N, N live sources share the model: the memory that each takes, and how many times faster than real time
the thread serves them all.

examples:
  kwsrt bench
  kwsrt bench --thin quarter
  kwsrt bench --streams 100
"""


def add_arguments(parser: Parser) -> None:
    """The command's arguments."""
    add_model_options(parser)
    parser.add_argument("--streams", type=int, default=1, metavar="N", help="live sources (default: %(default)s)")
    add_json_option(parser, "one JSON object (microseconds, bytes)")


def run(arguments: argparse.Namespace) -> int:
    """0."""
    model = kwsrt.load(arguments.model)
    if arguments.streams < 1:
        raise OptionError(f"--streams {arguments.streams}: expected 1 or more")
    result = measure(model, arguments.thin, arguments.streams)
    if arguments.json:
        print(json.dumps(result))
        return 0
    print(f"{model.name}, {arguments.thin}, {model.isa}, 1 thread")
    print(f"front end   {result['frontend_us']:9.1f} us a decision ({result['frontend_frame_us']:.1f} us a frame)")
    print(f"network     {result['network_us']:9.1f} us a decision")
    print(f"live stream {result['stream_us']:9.1f} us a decision, one every {result['period_us'] / 1000:.0f} ms: "
          f"{result['stream_us'] / result['period_us']:.2%} of one core")
    if arguments.streams > 1:
        print(f"{arguments.streams} streams {result['streams_us']:9.1f} us for one of each: "
              f"{result['period_us'] / result['streams_us']:.1f} x real time, {result['stream_bytes']:,} bytes each")
    return 0


def measure(model: kwsrt.Model, thin: str, streams: int = 1) -> dict[str, Any]:
    """Median microseconds: of the front end (a frame, a decision), of the network, of a stream fed as a live one is, of
    `streams` of them in turn; and the bytes of a stream."""
    second = verification_audio(model.sample_rate)
    samples = np.tile(second, SECONDS)
    frames = model.frontend.quantized(samples)
    windows = np.resize(frames, (WINDOWS, model.network.frames, model.network.bins))
    sources = [model.stream(thin=thin, stride=STRIDE) for _ in range(streams)]
    for stream in sources:
        stream.push(np.resize(samples, stream.window))
    chunks = [samples[start:start + stream.stride] for start in range(0, len(samples) - stream.stride, stream.stride)]

    def live(served: list[kwsrt.Stream]) -> None:
        for chunk in chunks:
            for stream in served:
                stream.push(chunk)

    frame = _median(lambda: model.frontend.quantized(samples), len(frames))
    return {"model": model.name, "thin": thin, "isa": model.isa, "threads": 1,
            "frontend_frame_us": frame, "frontend_us": STRIDE * frame,
            "network_us": _median(lambda: model.network.run(windows, thin), WINDOWS),
            "stream_us": _median(lambda: live(sources[:1]), len(chunks)), "streams": streams,
            "streams_us": _median(lambda: live(sources), len(chunks)), "stream_bytes": sources[0].memory,
            "period_us": 1e6 * sources[0].stride / model.sample_rate}


def _median(work: Callable[[], object], count: int) -> float:
    """Microseconds of one of the `count` things that `work` does."""
    work()
    took = []
    for _ in range(ROUNDS):
        start = time.perf_counter_ns()
        work()
        took.append(time.perf_counter_ns() - start)
    return round(statistics.median(took) / count / 1000, 3)
