"""Write a model's card from measurements on the packed file itself.

    python -m tools.card MODEL.kws CLIPS --report REPORT.txt [--list FILE] [--negatives FILE ...] [--about FILE.toml]

CLIPS and FILE: as `kwsrt eval` takes them. REPORT.txt: what tools/convert.py printed. The card, MODEL.md
beside the file, has the accuracy of every thinning level, the confusion of the first, detections in the negatives
(recordings in which no keyword is said), where the model comes from, and the commands that gave each number.

What nobody can measure comes from the model's own training (the table [about] of its config) or from FILE.toml, and is
left out where neither knows it: purpose, weaknesses, model_licence, attribution; and of the measurement, clips and
negatives (what they are), commands (a list, those that made them) and remarks.
"""

import argparse
import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import kwsrt
from kwsrt import audio, files
from kwsrt.cli.output import guarded, shown
from kwsrt.cli.picture import draw_confusion
from kwsrt.clips import find_clips
from kwsrt.errors import OptionError
from kwsrt.evaluation import hear, summary

ABOUT = ("purpose", "weaknesses", "model_licence", "attribution", "clips", "commands", "remarks", "negatives")


def read_about(path: Path) -> dict[str, Any]:
    """What a file says of a model, by the names in ABOUT.

    Raises
    ------
    OptionError : no TOML, or other names.
    """
    try:
        said = tomllib.loads(files.read_text(path))
    except tomllib.TOMLDecodeError as error:
        raise OptionError(f"{path}: no TOML: {error}") from None
    if strange := sorted(said.keys() - told(said).keys()):
        raise OptionError(f"{path}: {strange[0]!r}: expected texts named {', '.join(ABOUT)} (commands: a list)")
    return said


def told(said: Mapping[str, Any]) -> dict[str, Any]:
    """Those of the values that a card has a place for."""
    return {
        key: value
        for key, value in said.items()
        if key in ABOUT
        and (
            isinstance(value, list) and all(isinstance(line, str) for line in value)
            if key == "commands"
            else isinstance(value, str)
        )
    }


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
    pairs = Counter(
        {
            (said, heard): n
            for said, row in result["confusion"].items()
            for heard, n in row.items()
            if said != heard and not said.startswith("_") and not heard.startswith("_")
        }
    )
    return ", ".join(f"{said} heard as {heard} ({n})" for (said, heard), n in pairs.most_common(most))


def _table(rows: list[list[str]]) -> str:
    head, *body = [[cell.replace("|", "\\|") for cell in row] for row in rows]
    return "\n".join("| " + " | ".join(row) + " |" for row in [head, ["---"] * len(head), *body])


def _recipe(training: Mapping[str, Any], planes: int) -> str:
    """What is known of how a model was trained."""
    recipe = training.get("recipe")
    recipe = recipe if isinstance(recipe, Mapping) else {}
    known = {
        "stages: ": ", ".join(training.get("history") or []),
        "logits distilled from ": ", ".join(recipe.get("teachers") or []),
        "seed ": training.get("seed"),
        "torch ": training.get("torch"),
    }
    parts = [f"{what}{value}" for what, value in known.items() if value not in ("", None)]
    return "; ".join([*parts, f"{planes} activation planes"]) if parts else ""


def _origin(model: kwsrt.Model, path: Path, about: Mapping[str, Any]) -> str:
    """The table of what the model is and where it comes from."""
    manifest, training = model.manifest, _training(model)
    licence = about.get("model_licence") or manifest.get("licence") or ""
    levels = (
        f"{level}: blocks {', '.join(map(str, blocks))}" for level, blocks in manifest["network"]["levels"].items()
    )
    rows = {
        "file": f"`{path.name}`, {model.size:,} bytes, SHA-256 `{model.checksum}`",
        "labels": ", ".join(model.labels),
        "thinning levels": ", ".join(levels),
        "front end": ", ".join(f"{key} {value}" for key, value in model.frontend.options.items()),
        "training data": training.get("dataset"),
        "data licence": training.get("licence"),
        "model licence": licence,
        "attribution": about.get("attribution"),
        "recipe": _recipe(training, manifest["network"]["planes"]),
        "date": training.get("date"),
    }
    return _table([["", ""], *([what, shown(value)] for what, value in rows.items() if value)])


def _training(model: kwsrt.Model) -> Mapping[str, Any]:
    training = model.manifest.get("training")
    return training if isinstance(training, Mapping) else {}


def card(
    path: Path,
    clips: Path,
    listed: Path | None,
    report: str,
    negatives: list[Path],
    about: Mapping[str, Any] | None = None,
) -> str:
    """The card's text; `about` as read_about gives it, before what the model knows of itself."""
    model = kwsrt.load(path)
    about = told({**_training(model), **(about or {})})
    found = find_clips(clips, listed, model.labels)
    results = {
        thin: summary([hear(model, clip, label, thin) for clip, label in found], model.labels)
        for thin in (*model.thin_levels, "auto")
    }
    top = model.thin_levels[0]
    first = results[top]
    accuracy = [["level", "accuracy", "95 % interval", "calibration error", *first["per_class"]]]
    accuracy += [
        [
            thin,
            f"**{r['accuracy']:.2%}**",
            "{:.2%} to {:.2%}".format(*r["interval"]),
            f"{r['calibration_error']:.2%}",
            *(f"{v:.1%}" for v in r["per_class"].values()),
        ]
        for thin, r in results.items()
    ]
    picture = path.with_suffix(".png")
    draw_confusion(first, f"{model.name}, {top}: {first['accuracy']:.1%} of {first['clips']} clips", picture)
    heard = list(next(iter(first["confusion"].values())))
    confusion = [["said / heard", *heard]]
    confusion += [[said, *(str(n or "") for n in row.values())] for said, row in first["confusion"].items()]
    evaluated = f"kwsrt eval CLIPS --model {path.name}{' --list LIST' if listed else ''} --thin LEVEL"
    commands = "".join(f"    {command}\n" for command in (*about.get("commands", []), evaluated))
    of = f" of {about['clips']}" if about.get("clips") else ""
    parts = [
        f"# {shown(model.name)}",
        about.get("purpose", "").strip(),
        _origin(model, path, about),
        f"## Accuracy\nMeasured on the packed file, on {first['clips']:,} clips{of}:\n\n{commands}\n"
        f"The interval is the bootstrap's over speakers. {about.get('remarks', '')}".rstrip(),
        _table(accuracy),
        f"Confusion, {top}:\n\n" + _table(confusion),
        f"![The same as a picture, shares of each row]({picture.name})",
    ]
    if negatives:
        rows = [["level", "detections", "hours", "an hour"]]
        named = " ".join(f"{path.parent.name}/{path.name}" for path in negatives)
        for thin in (*model.thin_levels, "auto"):
            events, hours = false_alarms(model, negatives, thin)
            rows.append([thin, str(events), f"{hours:.2f}", f"{events / hours:.1f}"])
        what = f" and which {about['negatives']}" if about.get("negatives") else ""
        parts.append(
            f"## False accepts\nDetections with the model's own threshold ({_threshold(model)}) in recordings "
            f"in which no keyword is said{what}:\n\n"
            f"    kwsrt detect --model {path.name} --thin LEVEL {shown(named)}\n\n{_table(rows)}"
        )
    pairs = confusions(first)
    weaknesses = [f"- Most frequent confusions of keywords, {top}: {pairs}."] if pairs else []
    weaknesses += [about["weaknesses"].strip()] if about.get("weaknesses") else []
    parts += ["## Known weaknesses\n" + "\n".join(weaknesses)] if weaknesses else []
    parts += [f"## Conversion\nThe report of `python tools/convert.py`:\n\n```\n{report}\n```"]
    return "\n\n".join(part for part in parts if part) + "\n"


def _threshold(model: kwsrt.Model) -> str:
    """Its own threshold, or the range of those of its keywords."""
    if not isinstance(model.threshold, dict):
        return f"{model.threshold:g}"
    values = model.threshold.values()
    return f"{min(values):g} to {max(values):g}, by keyword" if values else "none"


def main(argv: list[str] | None = None) -> int:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", type=Path)
    parser.add_argument("clips", type=Path)
    parser.add_argument("--list", type=Path, metavar="FILE")
    parser.add_argument("--report", type=Path, required=True)
    parser.add_argument("--negatives", type=Path, nargs="*", default=[])
    parser.add_argument("--about", type=Path, metavar="FILE.toml")
    arguments = parser.parse_args(argv)

    def work() -> int:
        about = read_about(arguments.about) if arguments.about else {}
        report = files.read_text(arguments.report).strip()
        text = card(arguments.model, arguments.clips, arguments.list, report, arguments.negatives, about)
        files.write(arguments.model.with_suffix(".md"), text)
        return 0

    return guarded(work, "card")


if __name__ == "__main__":
    sys.exit(main())
