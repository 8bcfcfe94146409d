"""The settings of a model's detector, found by a search: thresholds by word, smoothing, patience, refractory.

    python -m tools.hearing.defaults MODEL.kws --data SHARED_DATA [--thin LEVEL] [--alarms 5] [--false 1] \\
        [--try NAME=VALUE,VALUE ...] [--out FILE.kws] [--json FILE]

Half of the held-out speakers choose, the other half report: of single words in quiet and over noise (part (c) of the
tests), and of read speech (d). Wanted are the settings that find the most words, mean of all conditions, with at most
--alarms false alarms an hour in read speech and --false false detections per 100 single words. Streams are heard once;
every setting is tried on the scores that were kept. What is not tried is as in the model's own detector; --try adds
other settings of Model.detector, as `--try debounce=0,0.5`. The report also has the best single threshold for all
words: where it is as good, the thresholds by word have learnt the accidents of one half. --out writes a copy of the
model with the settings found, as far as a model has a place for them; with --all, its thresholds are chosen once more,
by both halves: better ones, for which the report stands only as an estimate.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

import kwsrt
from kwsrt import format as file_format

from . import parts
from .listening import Listener, Track, alarms, judge

THRESHOLDS = (0.3, 0.35, 0.4, 0.45, 0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.925, 0.95, 0.97, 0.98, 0.99,
              0.995, 0.998, 0.999)  # fmt: skip
#: settings that are tried together; those of SECOND then, one after the other, with the best of them
FIRST: Mapping[str, Sequence[Any]] = {"smoothing": (1, 2, 3, 4, 5, 6, 7, 8), "patience": (1, 2, 3, 4, 5)}
SECOND: Mapping[str, Sequence[Any]] = {"refractory": (0.3, 0.5, 0.7, 1.0), "debounce": (0.0, 0.25)}
#: of the settings of FIRST, as many go on to be measured with all their thresholds at once
FINALISTS = 6
STEPS = 40


@dataclass(frozen=True)
class Material:
    """What one half of the speakers gives a model: streams of words by condition, and read speech."""

    model: kwsrt.Model
    words: Mapping[str, Sequence[Track]]
    speech: Sequence[Track]

    @property
    def keywords(self) -> list[str]:
        """Labels that can be detected."""
        return [label for label in self.model.labels if not label.startswith("_")]

    @property
    def hours(self) -> float:
        """Of read speech."""
        return sum(track.seconds for track in self.speech) / 3600

    @property
    def hundreds(self) -> float:
        """Of single commands, of all conditions together."""
        return sum(len(track.said) for name, tracks in self.words.items() if name != "other words"
                   for track in tracks) / 100  # fmt: skip


@dataclass(frozen=True)
class Limits:
    """False alarms an hour in read speech, and false detections per 100 single words, that are put up with."""

    alarms: float = 5.0
    false: float = 1.0


@dataclass(frozen=True)
class Setting:
    """Options of a Detector, and what they give: mean share of words found, false alarms an hour, false per 100."""

    options: dict[str, Any]
    found: float
    alarms: float
    false: float

    def within(self, limits: Limits) -> bool:
        """Whether it keeps to the limits."""
        return self.alarms <= limits.alarms and self.false <= limits.false


def first_half(speaker: str) -> bool:
    """Whether a speaker of single words belongs to the half that chooses."""
    return int(speaker, 16) % 2 == 0


def halves(listener: Listener, data: parts.Data) -> tuple[Material, Material]:
    """What chooses and what reports: speakers of words by their number, readers in turns."""
    words = [parts.word_tracks(listener, data, lambda speaker, which=which: first_half(speaker) == which)
             for which in (True, False)]  # fmt: skip
    read = parts.speech_tracks(listener, data, parts.READ)
    return Material(listener.model, words[0], read[::2]), Material(listener.model, words[1], read[1::2])


def measured(material: Material, options: Mapping[str, Any]) -> Setting:
    """What a setting gives."""
    detector = partial(material.model.detector, **options)
    shares, false = [], 0
    for name, tracks in material.words.items():
        heard = judge(tracks, detector)
        if name != "other words":
            shares.append(sum(found for _, found in heard.words) / max(1, len(heard.words)))
            false += len(heard.false)
    heard_in_speech = sum(alarms(material.speech, detector).values())
    return Setting(dict(options), float(np.mean(shares)), heard_in_speech / material.hours, false / material.hundreds)


def by_word(material: Material, options: Mapping[str, Any]) -> NDArray[np.float64]:
    """[words, THRESHOLDS, (found, alarms an hour, false per 100)] of each word, with one threshold for all words.

    found is the word's part of the mean share over all conditions."""
    keywords = material.keywords
    out = np.zeros((len(keywords), len(THRESHOLDS), 3))
    for j, threshold in enumerate(THRESHOLDS):
        detector = partial(material.model.detector, threshold=threshold, **options)
        in_speech = alarms(material.speech, detector)
        false: Counter[str] = Counter()
        conditions = [tracks for name, tracks in material.words.items() if name != "other words"]
        for tracks in conditions:
            heard = judge(tracks, detector)
            false.update(label for label, _ in heard.false)
            for said, found in heard.words:
                out[keywords.index(said.label), j, 0] += found / len(heard.words) / len(conditions)
        for i, word in enumerate(keywords):
            out[i, j, 1:] = in_speech[word] / material.hours, false[word] / material.hundreds
    return out


def best_thresholds(figures: NDArray[np.float64], limits: Limits, tighter: float = 1.0) -> NDArray[np.int64]:
    """For each word the index of its threshold: the most words found while the words' alarms and false detections,
    together, keep to the limits (times `tighter`).

    Every false detection has a price, the same for all words, and each word takes the threshold at which it earns
    most; the price is raised until the limits hold. Of equals, the higher threshold."""
    cost = figures[:, :, 1] / limits.alarms + figures[:, :, 2] / limits.false

    def chosen(price: float) -> NDArray[np.int64]:
        worth = (figures[:, :, 0] - price * cost)[:, ::-1]
        return np.asarray(figures.shape[1] - 1 - worth.argmax(1), np.int64)

    def too_much(at: NDArray[np.int64]) -> bool:
        total = figures[np.arange(len(at)), at, 1:].sum(0)
        return bool(total[0] > tighter * limits.alarms or total[1] > tighter * limits.false)

    low, high = 0.0, 1e-6
    while too_much(chosen(high)) and high < 1e6:
        low, high = high, 2 * high
    if not too_much(chosen(0.0)):
        return chosen(0.0)
    for _ in range(STEPS):
        middle = (low + high) / 2
        low, high = (middle, high) if too_much(chosen(middle)) else (low, middle)
    return chosen(high)


def with_thresholds(material: Material, options: Mapping[str, Any], limits: Limits,
                    figures: NDArray[np.float64]) -> Setting:  # fmt: skip
    """The setting with the best threshold for each word, tightened until all of them together keep to the limits."""
    for tighter in (1.0, 0.9, 0.8, 0.65, 0.5, 0.3, 0.1, 0.0):
        at = best_thresholds(figures, limits, tighter)
        thresholds = {word: THRESHOLDS[j] for word, j in zip(material.keywords, at, strict=True)}
        setting = measured(material, {**options, "threshold": thresholds})
        if setting.within(limits):
            break
    return setting


def search(
    material: Material,
    limits: Limits,
    first: Mapping[str, Sequence[Any]] = FIRST,
    second: Mapping[str, Sequence[Any]] = SECOND,
) -> list[Setting]:
    """Settings, the best first: those that keep to the limits by the words they find, then the others by what they
    exceed."""
    tried: list[tuple[bool, float, int, dict[str, Any], NDArray[np.float64]]] = []
    for values in product(*first.values()):
        options = dict(zip(first, values, strict=True))
        figures = by_word(material, options)
        at = best_thresholds(figures, limits)
        total = figures[np.arange(len(at)), at].sum(0)
        hopeless = total[1] > limits.alarms or total[2] > limits.false
        tried.append((bool(hopeless), -float(total[0]), len(tried), options, figures))
    finalists = [with_thresholds(material, options, limits, figures)
                 for _, _, _, options, figures in sorted(tried, key=lambda one: one[:3])[:FINALISTS]]  # fmt: skip
    results = sorted(finalists, key=partial(_rank, limits=limits))
    for name, several in second.items():
        options = {key: value for key, value in results[0].options.items() if key != "threshold"}
        for value in several:
            changed = {**options, name: value}
            results.append(with_thresholds(material, changed, limits, by_word(material, changed)))
        results.sort(key=partial(_rank, limits=limits))
    return results


def _rank(setting: Setting, limits: Limits) -> tuple[float, float]:
    over = max(0.0, setting.alarms / limits.alarms - 1) + max(0.0, setting.false / limits.false - 1)
    return over, -setting.found


def both(one: Material, other: Material) -> Material:
    """Two halves as one."""
    words = {name: [*tracks, *other.words[name]] for name, tracks in one.words.items()}
    return Material(one.model, words, [*one.speech, *other.speech])


def one_threshold(material: Material, options: Mapping[str, Any], limits: Limits) -> Setting:
    """The setting with the best threshold that is the same for all words."""
    return min((measured(material, {**options, "threshold": value}) for value in THRESHOLDS),
               key=partial(_rank, limits=limits))  # fmt: skip


def report(material: Material, options: Mapping[str, Any]) -> dict[str, Any]:
    """Parts (c) and (d) on a half, as `parts` gives them."""
    detector = partial(material.model.detector, **options)
    return {"c": parts.single_words(material.words, detector, material.keywords),
            "d": parts.running_speech(material.speech, detector, material.keywords)}  # fmt: skip


def _values(text: str) -> tuple[str, list[Any]]:
    name, equals, values = text.partition("=")
    if not equals:
        raise argparse.ArgumentTypeError(f"{text!r}: expected NAME=VALUE,VALUE")
    try:
        return name, [json.loads(value) for value in values.split(",")]
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r}: the values are numbers, true or false") from None


def _try(model: kwsrt.Model, name: str, value: Any) -> None:
    try:
        model.detector(**{name: value})
    except TypeError:
        said = f"--try {name}={value}: a detector has no such setting, or takes no such value"
        raise kwsrt.OptionError(said) from None


def _thresholds(setting: Setting) -> str:
    return ", ".join(f"{word} {value:g}" for word, value in setting.options["threshold"].items())


def _line(name: str, figures: Mapping[str, Any]) -> str:
    found = ", ".join(f"{key} {one['found']}" for key, one in figures["c"].items() if "found" in one)
    false = ", ".join(f"{key} {one['false per 100'].value:.1f}" for key, one in figures["c"].items())
    return (
        f"{name}\n  found: {found}\n  false per 100: {false}\n"
        f"  false alarms an hour in read speech: {figures['d']['false alarms an hour']}"
    )


def main(argv: Sequence[str] | None = None) -> int:
    """The command; 0, 1 where no setting keeps to the limits, or 2 after a one-line message."""
    parser = argparse.ArgumentParser(prog="python -m tools.hearing.defaults", description=__doc__,
                                     formatter_class=argparse.RawDescriptionHelpFormatter)  # fmt: skip
    parser.add_argument("model", metavar="MODEL", help="a .kws file, or the name of a bundled model")
    parser.add_argument("--data", type=Path, required=True, metavar="FOLDER", help="the shared data")
    parser.add_argument("--thin", default="full", metavar="LEVEL", help="level, or auto (default: full)")
    parser.add_argument("--alarms", type=float, default=5.0, metavar="N", help="an hour of read speech (default: 5)")
    parser.add_argument("--false", type=float, default=1.0, metavar="N", help="per 100 single words (default: 1)")
    parser.add_argument(
        "--try",
        dest="tried",
        type=_values,
        nargs="+",
        action="extend",
        default=[],
        metavar="NAME=VALUE,...",
        help="more settings, or other values of smoothing, patience, ...",
    )
    parser.add_argument("--seed", type=int, default=1, help="of the streams (default: 1)")
    parser.add_argument("--short", action="store_true", help="a part of everything, for a first look")
    parser.add_argument("--all", action="store_true", help="both halves choose the thresholds that --out writes")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the model with what was found")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write settings and figures there, too")
    arguments = parser.parse_args(argv)
    limits = Limits(arguments.alarms, arguments.false)
    given = dict(arguments.tried)
    first = {name: given.get(name, values) for name, values in FIRST.items()}
    second = {**SECOND, **{name: values for name, values in given.items() if name not in FIRST}}
    try:
        listener = Listener(kwsrt.load(arguments.model), arguments.thin)
        model = listener.model
        for name, values in {**first, **second}.items():
            for value in values:
                _try(model, name, value)
        choosing, reporting = halves(listener, parts.Data(arguments.data, arguments.seed, arguments.short))
        results = search(choosing, limits, first, second)
        best = results[0]
        same = one_threshold(choosing, {name: value for name, value in best.options.items() if name != "threshold"},
                             limits)  # fmt: skip
        print(
            f"heard to choose: {choosing.hours:.2f} h of read speech, {choosing.hundreds:.1f} hundred words; "
            f"to report: {reporting.hours:.2f} h, {reporting.hundreds:.1f} hundred words"
        )
        for setting in results[:FINALISTS]:
            rest = ", ".join(f"{name} {value}" for name, value in setting.options.items() if name != "threshold")
            print(
                f"{rest}: {100 * setting.found:.1f} % found, {setting.alarms:.1f} alarms an hour, "
                f"{setting.false:.2f} false per 100"
            )
        print(f"thresholds: {_thresholds(best)}")
        figures = {"the model's own, on the half that reports": report(reporting, {}),
                   "found, on the half that chose": report(choosing, best.options),
                   "found, on the half that reports": report(reporting, best.options),
                   f"the threshold {same.options['threshold']:g} for all words, on the half that reports":
                       report(reporting, same.options)}  # fmt: skip
        for name, one in figures.items():
            print(_line(name, one))
        if arguments.json:
            arguments.json.write_text(json.dumps({"options": best.options, **parts.plain(figures)}, indent=1) + "\n")
        if arguments.out:
            written = best
            if arguments.all:
                others = {name: value for name, value in best.options.items() if name != "threshold"}
                everyone = both(choosing, reporting)
                written = with_thresholds(everyone, others, limits, by_word(everyone, others))
                print(
                    f"thresholds by both halves: {_thresholds(written)}; {written.alarms:.1f} alarms an hour, "
                    f"{written.false:.2f} false per 100, {100 * written.found:.1f} % found"
                )
            kept = {name: value for name, value in written.options.items() if hasattr(model, name)}
            arguments.out.write_bytes(file_format.write({**model.manifest, **kept}, model.tensors))
            left = {name: value for name, value in written.options.items() if name not in kept}
            print(f"{arguments.out}: written" + (f"; not kept in it: {left}" if left else ""))
    except (OSError, kwsrt.KwsrtError) as error:
        print(f"defaults: error: {error}", file=sys.stderr)
        return 2
    return 0 if best.within(limits) else 1


if __name__ == "__main__":
    sys.exit(main())
