"""One inference of the network, in one thread: kwsrt against float32 in onnxruntime, OpenVINO, MNN and ai-edge-litert.

kwsrt twice: the whole window, as the others do (Model.predict), and one decision of a stream, which gets 120 ms of
samples, makes features of them, too, and computes what is new; the others' features cost nothing here.

    DEST/run/bin/python -m tools.bench.latency DEST         (DEST: see peers.py; a quiet machine; two minutes)

All have their turns in the same rounds, so the ratios hold even where the clock does not; the ratio of a round is taken
first, then the median over the rounds. Writes DEST/latency.json.
"""

import argparse
import sys
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

import kwsrt
from tools.bench.common import interleaved, machine, summary, versions, write
from tools.bench.engines import ENGINES, FORMS

PACKAGES = ["onnxruntime", "openvino", "MNN", "ai-edge-litert", "numpy"]


def measure(models: Path, model: kwsrt.Model, rounds: int, seconds: float) -> dict[str, Any]:
    """Times of every engine, form and level, and the ratios."""
    shape = (1, model.network.frames, model.network.bins)
    features = np.random.default_rng(1).integers(-100, 100, shape)
    q, x = features.astype(np.int8), features.astype(np.float32)
    run = model.network.run
    work: dict[str, Any] = {f"kwsrt window {level}": partial(run, q, level) for level in model.thin_levels}
    chunk = np.random.default_rng(2).integers(-3000, 3000, 4 * model.frontend.hop).astype(np.int16)
    for level in model.thin_levels:
        stream = model.stream(thin=level, stride=4)
        stream.push(np.tile(chunk, 20))
        work[f"kwsrt stream {level}"] = partial(stream.push, chunk)
    for level in model.thin_levels:
        for form in FORMS:
            for engine, (load, ending) in ENGINES.items():
                work[f"{engine} {form} {level}"] = load(models / f"{level}_{form}.{ending}", x)
    took = interleaved(work, rounds, seconds)
    medians = {name: summary(values) for name, values in took.items()}
    floats = [name for name in work if not name.startswith("kwsrt")]
    best = {
        level: min((name for name in floats if name.endswith(f" {level}")), key=lambda name: medians[name]["median"])
        for level in model.thin_levels
    }
    full = model.thin_levels[0]
    ratios = {}
    for level in model.thin_levels:
        for way in ("stream", "window"):
            ours = np.array(took[f"kwsrt {way} {level}"])
            ratios[f"{way} {level}"] = {
                float_level: summary((np.array(took[best[float_level]]) / ours).tolist())
                for float_level in dict.fromkeys((level, full))
            }
    return {
        "machine": machine(),
        "isa": model.isa,
        "model": model.name,
        "threads": 1,
        "rounds": rounds,
        "versions": versions(PACKAGES),
        "us": medians,
        "fastest float": best,
        "times faster than float": ratios,
    }


def main() -> int:
    """0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dest", type=Path)
    parser.add_argument("--model", default="commands12")
    parser.add_argument("--rounds", type=int, default=40)
    parser.add_argument("--seconds", type=float, default=0.05, help="of each turn")
    arguments = parser.parse_args()
    result = measure(arguments.dest / "models", kwsrt.load(arguments.model), arguments.rounds, arguments.seconds)
    write(arguments.dest / "latency.json", result)
    print(f"{result['machine']}, {result['isa']}, one thread, microseconds (quartiles), {result['rounds']} rounds")
    for name, times in sorted(result["us"].items(), key=lambda item: (item[0].split()[-1], item[1]["median"])):
        print(f"{name:32} {times['median']:8.1f} ({times['low']:.1f} to {times['high']:.1f})")
    for ours, ratio in result["times faster than float"].items():
        for level, value in ratio.items():
            spread = f"({value['low']:.1f} to {value['high']:.1f})"
            print(f"{ours}: {value['median']:.1f} {spread} times faster than {result['fastest float'][level]}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
