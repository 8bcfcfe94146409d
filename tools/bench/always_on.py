"""CPU time of listening all day, in one thread, front ends included: kwsrt's stream, the float network run the papers'
way (the whole window at every decision), pymicro-wakeword.

    DEST/run/bin/python -m tools.bench.always_on DEST AUDIO [--model FILE ...]        (DEST: see peers.py)

All hear the same recording, in chunks of 120 ms; kwsrt and the float network decide every 120 ms, 8.3 times a second.
The float network gets kwsrt's own front end, once for new frames only, so that what is compared is the network, and
once for the whole window at every decision. Turns are interleaved, CPU time is the process's. Writes
DEST/always_on.json.
"""

import argparse
import os
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import kwsrt
from kwsrt import audio
from kwsrt.frontend import OnlineFrontEnd
from tools.bench.common import machine, summary, versions, write
from tools.bench.engines import ENGINES, FORMS

STRIDE = 4  # frames between decisions
CHUNK = 1920  # samples, as many
Listening = Callable[[NDArray[np.int16]], object]


def kwsrt_listens(model: kwsrt.Model, thin: str) -> Listening:
    """Scores of a stream, smoothed into detections."""

    def listen(samples: NDArray[np.int16]) -> object:
        stream, detector = model.stream(thin=thin, stride=STRIDE), model.detector()
        return [detector.push(stream.push(samples[at : at + CHUNK])) for at in range(0, len(samples), CHUNK)]

    return listen


def float_listens(model: kwsrt.Model, infer: Callable[[], object], features: NDArray[np.float32]) -> Listening:
    """Every decision sees its whole window."""
    frames = model.network.frames

    def listen(samples: NDArray[np.int16]) -> object:
        online = OnlineFrontEnd(model.frontend)
        window = np.zeros((frames, model.network.bins), np.float32)
        for at in range(0, len(samples), CHUNK):
            new = online.accept(samples[at : at + CHUNK])
            if len(new):
                window = np.concatenate([window, new])[-frames:]
                features[0] = window
                infer()
        return window

    return listen


def float_window_listens(model: kwsrt.Model, infer: Callable[[], object], features: NDArray[np.float32]) -> Listening:
    """The same, features and all: every decision computes those of its whole window."""

    def listen(samples: NDArray[np.int16]) -> object:
        for end in range(model.window, len(samples), CHUNK):
            features[0] = model.frontend.features(samples[end - model.window : end])
            infer()
        return features

    return listen


def microwakeword_listens() -> Listening:
    """Its own model of "okay nabu" and its own features, every 10 ms."""
    from pymicro_wakeword import MicroWakeWord, MicroWakeWordFeatures, Model

    word = MicroWakeWord.from_builtin(Model.OKAY_NABU)

    def listen(samples: NDArray[np.int16]) -> object:
        features, heard = MicroWakeWordFeatures(), 0
        word.reset()
        for at in range(0, len(samples), CHUNK):
            for window in features.process_streaming(samples[at : at + CHUNK].tobytes()):
                heard += bool(word.process_streaming(window))
        return heard

    return listen


def cpu_share(listen: Listening, samples: NDArray[np.int16]) -> float:
    """CPU seconds a second of audio."""
    start = time.process_time_ns()
    listen(samples)
    return (time.process_time_ns() - start) / 1e9 / (len(samples) / 16000)


def fastest(models: Path, level: str, features: NDArray[np.float32]) -> tuple[str, Callable[[], object]]:
    """The float engine and form with the shortest inference."""
    found = []
    for engine, (load, ending) in ENGINES.items():
        for form in FORMS:
            infer = load(models / f"{level}_{form}.{ending}", features)
            times = []
            for _ in range(200):
                start = time.perf_counter_ns()
                infer()
                times.append(time.perf_counter_ns() - start)
            found.append((statistics.median(times), f"{engine} {form}", infer))
    _, name, infer = min(found, key=lambda item: item[0])
    return name, infer


def main() -> int:
    """0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dest", type=Path)
    parser.add_argument("audio", type=Path)
    parser.add_argument("--model", action="append", help="bundled name or .kws file, may be repeated")
    parser.add_argument("--rounds", type=int, default=15)
    parser.add_argument("--seconds", type=float, default=60, help="of the recording")
    arguments = parser.parse_args()
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    models = [kwsrt.load(name) for name in arguments.model or ["commands12"]]
    recorded = audio.prepare(*audio.read(arguments.audio), 16000)[: int(16000 * arguments.seconds)]
    samples = np.asarray(np.clip(np.rint(recorded * 32767), -32768, 32767), np.int16)
    first = models[0]
    features = np.zeros((1, first.network.frames, first.network.bins), np.float32)
    name, infer = fastest(arguments.dest / "models", first.thin_levels[0], features)
    work: dict[str, Any] = {
        f"kwsrt {model.name} {thin}": kwsrt_listens(model, thin)
        for model in models
        for thin in (*model.thin_levels, "auto")
    }
    work |= {
        f"float full, {name}": float_listens(first, infer, features),
        f"float full, {name}, features anew": float_window_listens(first, infer, features),
        "pymicro-wakeword": microwakeword_listens(),
    }
    took: dict[str, list[float]] = {label: [] for label in work}
    for turn in range(arguments.rounds + 1):
        for label, listen in work.items():
            share = cpu_share(listen, samples)
            if turn:
                took[label].append(share)
    ratios = {
        label: {
            peer: summary((np.array(took[peer]) / np.array(values)).tolist())
            for peer in work
            if not peer.startswith("kwsrt")
        }
        for label, values in took.items()
        if label.startswith("kwsrt")
    }
    result = {
        "machine": machine(),
        "isa": first.isa,
        "threads": 1,
        "rounds": arguments.rounds,
        "versions": versions(["onnxruntime", "openvino", "MNN", "ai-edge-litert", "pymicro-wakeword"]),
        "recording": arguments.audio.name,
        "seconds": len(samples) / 16000,
        "cpu_share": {label: summary(values) for label, values in took.items()},
        "times less than": ratios,
    }
    write(arguments.dest / "always_on.json", result)
    print(f"{result['machine']}, {result['isa']}: CPU of one core while listening, median (quartiles)")
    for label, share in result["cpu_share"].items():
        print(f"{label:40} {share['median']:8.4%} ({share['low']:.4%} to {share['high']:.4%})")
    for label, peers in ratios.items():
        for peer, ratio in peers.items():
            print(f"{label}: {ratio['median']:.1f} ({ratio['low']:.1f} to {ratio['high']:.1f}) times less than {peer}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
