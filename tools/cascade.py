"""Choose how thin="auto" cascades through a model's thinning levels, and write it into the model.

    python -m tools.cascade MODEL.kws CLIPS --audio RECORDING ... [--list FILE] [--loss POINTS] [--out FILE.kws]

Every choice of levels, each with the score (of all labels together that are no keywords) from which on it is believed
to have heard none, is tried on the scores of all levels: the cheapest in the recordings that loses at most so many
points of accuracy on the clips is kept. What a level costs follows from timing all of them in a live stream: a part
that all share, and one that grows with its blocks. Prints what `kwsrt eval` and `kwsrt bench --levels` would: each
level and the cascade, accuracy and mean microseconds a decision.
"""

import argparse
import itertools
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import kwsrt
from kwsrt import audio, files
from kwsrt import format as file_format
from kwsrt.cli.bench import compare
from kwsrt.cli.output import guarded, say
from kwsrt.clips import find_clips

Array = NDArray[Any]
CLEAR = (0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95)


@dataclass(frozen=True)
class Cascade:
    """{level: score from which it is believed}, thinnest first; accuracy on clips, and mean cost in a recording."""

    clear: dict[str, float]
    accuracy: float
    cost: float


def cascades(
    clips: dict[str, Array], right: dict[str, Array], heard: dict[str, Array], shared: float, blocks: dict[str, float]
) -> Iterator[Cascade]:
    """Every cascade of the levels, whose names are in the order of depth, the deepest first.

    clips, heard : level -> how clear its scores are, of the clips and of a recording's decisions. right : level ->
    whether each clip is named right. shared, blocks : cost that all levels have in common, and level -> what comes on
    top of it."""
    deepest, *thinner = clips
    for count in range(len(thinner) + 1):
        for levels in itertools.combinations(thinner[::-1], count):
            for scores in itertools.product(CLEAR, repeat=count):
                open_clips, open_decisions = np.ones(len(clips[deepest]), bool), np.ones(len(heard[deepest]), bool)
                good, cost = 0, shared
                for level, score in zip(levels, scores, strict=True):
                    cost += open_decisions.mean() * blocks[level]
                    good += int((open_clips & right[level] & (clips[level] >= score)).sum())
                    open_clips &= clips[level] < score
                    open_decisions &= heard[level] < score
                good += int((open_clips & right[deepest]).sum())
                cost += open_decisions.mean() * blocks[deepest]
                yield Cascade(dict(zip(levels, scores, strict=True)), good / len(open_clips), float(cost))


def predictions(model: kwsrt.Model, clips: Path, listed: Path | None, thin: str) -> tuple[Array, Array]:
    """How clear the scores of each clip are, and whether they name it right."""
    all_scores, right = [], []
    for path, label in find_clips(clips, listed, model.labels):
        samples, rate = audio.read(path)
        scores = model.predict(samples, sample_rate=rate, thin=thin)
        all_scores.append(list(scores.values()))
        right.append(max(scores, key=scores.__getitem__) == label)
    return clearness(np.array(all_scores, np.float32), model.labels), np.array(right)


def clearness(scores: Array, labels: Sequence[str]) -> Array:
    """Of scores (n, labels): that of all labels together that are no keywords, or without such the best."""
    other = np.array([label.startswith("_") for label in labels])
    result: Array = scores[:, other].sum(1) if other.any() else scores.max(1)
    return result


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--audio", type=Path, nargs="+", required=True, metavar="RECORDING")
    parser.add_argument("--list", type=Path, metavar="FILE")
    parser.add_argument("--loss", type=float, default=0.1, metavar="POINTS")
    parser.add_argument("--out", type=Path, metavar="FILE.kws")
    arguments = parser.parse_args()
    return guarded(lambda: run(arguments), "cascade")


def run(arguments: argparse.Namespace) -> int:
    """Do what the options say. Raises KwsrtError."""
    if arguments.out:
        files.check_writable(arguments.out, replaces=file_format.MAGIC)
    model = kwsrt.load(arguments.model)
    samples = np.concatenate([audio.prepare(*audio.read(path), model.sample_rate) for path in arguments.audio])
    known = {level: predictions(model, arguments.clips, arguments.list, level) for level in model.thin_levels}
    heard = {
        level: clearness(model.stream(thin=level).push(samples).values, model.labels) for level in model.thin_levels
    }
    shared, blocks = costs(model, samples)
    best, right = ({level: pair[part] for level, pair in known.items()} for part in (0, 1))
    least = right[model.thin_levels[0]].mean() - arguments.loss / 100
    found = list(cascades(best, right, heard, shared, blocks))
    chosen = min((cascade for cascade in found if cascade.accuracy >= least), key=lambda cascade: cascade.cost)
    data = file_format.write({**model.manifest, "clear": chosen.clear}, model.tensors)
    timed = compare(kwsrt.Model(file_format.parse(data)), samples)
    accuracy = {**{level: values.mean() for level, values in right.items()}, "auto": chosen.accuracy}
    say("auto: " + ", ".join(f"{level} from {score:g} on" for level, score in chosen.clear.items()))
    for row in timed["levels"]:
        say(f"{row['thin']:<8} {accuracy[row['thin']]:.2%} {row['network_us']:8.1f} us {row['of_first']:7.1%}")
    say("ended with " + ", ".join(f"{level} {share:.1%}" for level, share in timed["auto"].items()))
    if arguments.out:
        files.write(arguments.out, data, replaces=file_format.MAGIC)
    return 0


def costs(model: kwsrt.Model, samples: Array) -> tuple[float, dict[str, float]]:
    """Microseconds that all levels share, and level -> those that its blocks add, a line fitted to what each takes."""
    count = {level: len(blocks) for level, blocks in model.manifest["network"]["levels"].items()}
    took = [row["network_us"] for row in compare(model, samples)["levels"] if row["thin"] in count]
    each, shared = np.polyfit(list(count.values()), took, 1)
    return float(shared), {level: float(each) * number for level, number in count.items()}


if __name__ == "__main__":
    sys.exit(main())
