"""Write a model's card from measurements on the packed file itself.

    python -m tools.card MODEL.kws CLIPS --report REPORT.txt [--list FILE] [--negatives RECORDING ...]

CLIPS and FILE: as `kwsrt eval` takes them. REPORT.txt: what tools/convert.py printed. The card, MODEL.md
beside the file, has the accuracy of every thinning level, the confusion of the first, detections in the negatives
(recordings in which no keyword is said), where the model comes from, and the commands that gave each number.
"""
import argparse
import sys
from collections import Counter
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import kwsrt
from kwsrt import audio
from kwsrt.cli.picture import draw_confusion
from kwsrt.clips import find_clips
from kwsrt.evaluation import hear, summary

INTENDED = """\
Ten command words in English, one at a time, spoken to a device with a microphone of any kind, and everything else as
`_unknown_` or `_silence_`."""
WEAK = """\
- `on` and `off` had about 14 % of the dataset's clips in training, `yes`, `no` and `go` about 42 %.
- Homophones ("know", "write", "dawn" for some speakers) count as keywords. Words that begin or end like one may be
  taken for it, and so may a second of quick running speech: ask for a higher threshold where that hurts.
- Speech Commands was recorded at close range by mostly native or fluent speakers; far fields, strong accents, children
  and music were not measured.
- Scores are calibrated for single words of a second as in the validation clips, not for running speech."""


def false_alarms(model: kwsrt.Model, recordings: Iterable[Path], thin: str) -> tuple[int, float]:
    """Detections in the recordings, and their hours."""
    events, seconds = 0, 0.0
    for path in recordings:
        samples, rate = audio.read(path)
        seconds += len(samples) / rate
        events += sum(1 for _ in kwsrt.detect(samples, sample_rate=rate, model=model, thin=thin))
    return events, seconds / 3600


def confusions(result: dict[str, Any], most: int = 4) -> str:
    """The most frequent confusions between keywords, as text."""
    pairs = Counter({(said, heard): n for said, row in result["confusion"].items() for heard, n in row.items()
                     if said != heard and not said.startswith("_") and not heard.startswith("_")})
    return ", ".join(f"{said} heard as {heard} ({n})" for (said, heard), n in pairs.most_common(most))


def _table(rows: list[list[str]]) -> str:
    head, *body = rows
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *body])


def card(path: Path, clips: Path, listed: Path | None, report: str, negatives: list[Path]) -> str:
    """The card's text."""
    model = kwsrt.load(path)
    training = model.manifest["training"]
    found = find_clips(clips, listed, model.labels)
    results = {thin: summary([hear(model, clip, label, thin) for clip, label in found], model.labels)
               for thin in (*model.thin_levels, "auto")}
    top = model.thin_levels[0]
    first = results[top]
    accuracy = [["level", "accuracy", "95 % interval", "calibration error", *first["per_class"]]]
    accuracy += [[thin, f"**{r['accuracy']:.2%}**", "{:.2%} to {:.2%}".format(*r["interval"]),
                  f"{r['calibration_error']:.2%}", *(f"{v:.1%}" for v in r["per_class"].values())]
                 for thin, r in results.items()]
    picture = path.with_suffix(".png")
    draw_confusion(first, f"{model.name}, {top}: {first['accuracy']:.1%} of {first['clips']} clips", picture)
    heard = list(next(iter(first["confusion"].values())))
    confusion = [["said / heard", *heard]]
    confusion += [[said, *(str(n or "") for n in row.values())] for said, row in first["confusion"].items()]
    recipe = training.get("recipe", {})
    parts = [
        f"# {model.name}", INTENDED,
        _table([["", ""], ["file", f"`{path.name}`, {model.size:,} bytes, SHA-256 `{model.checksum}`"],
                ["labels", ", ".join(model.labels)],
                ["thinning levels", ", ".join(f"{k}: blocks {', '.join(map(str, v))}"
                                              for k, v in model.manifest["network"]["levels"].items())],
                ["front end", ", ".join(f"{k} {v}" for k, v in model.manifest["frontend"].items())],
                ["training data", training.get("dataset", "")], ["data licence", training.get("licence", "")],
                ["model licence", "CC BY 4.0, as its data; attribution: Pete Warden, \"Speech Commands: A Dataset for "
                 "Limited-Vocabulary Speech Recognition\", 2018; Panayotov et al., \"LibriSpeech\", 2015; "
                 "K. J. Piczak, \"ESC: Dataset for Environmental Sound Classification\", 2015 (CC BY 3.0)"],
                ["recipe", f"`tools/train/configs`: {', '.join(training.get('history', []))}; "
                 f"{recipe.get('planes')} activation planes, logits distilled from "
                 f"{', '.join(recipe.get('teachers', [])) or 'none'}, seed {training.get('seed')}, "
                 f"torch {training.get('torch')}"],
                ["date", str(training.get("date", ""))]]),
        f"## Accuracy\nMeasured on the packed file, on {first['clips']:,} clips of the official validation split "
        "(speakers that training never saw; words without a label of their own count as `_unknown_`, and about 6 % of "
        "its `other_words` are a hidden \"yes\"), with `_silence_` cut from background noise that training did not "
        "see:\n\n"
        "    python DATA/unpack.py CLIPS --split validation\n    python -m tools.silence_clips CLIPS\n"
        "    kwsrt eval CLIPS --thin LEVEL\n\n"
        "The interval is the bootstrap's over speakers. These clips chose among settings and set the temperature of "
        "the scores, so they flatter a little. One training run; tools/train/README.md has those of another seed, and "
        "what was tried.\n\n"
        + _table(accuracy),
        f"Confusion, {top}:\n\n" + _table(confusion),
        f"![The same as a picture, shares of each row]({picture.name})"]
    if negatives:
        rows = [["level", "detections", "hours", "an hour"]]
        named = " ".join(f"{path.parent.name}/{path.name}" for path in negatives)
        for thin in (*model.thin_levels, "auto"):
            events, hours = false_alarms(model, negatives, thin)
            rows.append([thin, str(events), f"{hours:.2f}", f"{events / hours:.1f}"])
        parts.append("## False accepts\nDetections with the default threshold "
                     f"({model.manifest['threshold']}) in recordings in which no keyword is said and which "
                     "training left out: read speech (LibriSpeech), continuous and so the hard case, and wake words "
                     "(Mycroft):\n\n"
                     "    kwsrt detect --thin LEVEL " + named + "\n\n" + _table(rows))
    parts += ["## Known weaknesses\n"
              f"- Most frequent confusions of keywords, full: {confusions(first)}.\n{WEAK}",
              "## Conversion\nThe report of `python tools/convert.py`, replayed on `tests/recordings`:\n\n"
              f"```\n{report}\n```"]
    return "\n\n".join(parts) + "\n"


def main() -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--list", type=Path, metavar="FILE")
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--negatives", type=Path, nargs="*", default=[])
    arguments = parser.parse_args()
    report = arguments.report.read_text().strip()
    text = card(arguments.model, arguments.clips, arguments.list, report, arguments.negatives)
    arguments.model.with_suffix(".md").write_text(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
