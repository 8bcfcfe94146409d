"""Pictures of what was measured; needs matplotlib."""

import io
import warnings
from pathlib import Path
from typing import Any

from kwsrt import files
from kwsrt.cli.output import shown
from kwsrt.errors import OptionError


def check(path: Path) -> None:
    """Make sure that a picture can be drawn and written there, before the work that it shows.

    Raises
    ------
    OptionError : matplotlib is missing, the name's ending is no picture's, or nothing can be written there.
    """
    try:
        from matplotlib.backend_bases import FigureCanvasBase
    except ImportError:
        raise OptionError('--plot needs matplotlib: pip install "kwsrt[plot]"') from None
    if path.suffix[1:].lower() not in FigureCanvasBase.get_supported_filetypes():
        raise OptionError(f"{path}: a picture's name ends in .png, .svg or .pdf")
    files.check_writable(path)


def draw_confusion(result: dict[str, Any], title: str, path: Path) -> None:
    """Write the picture of what `kwsrt.evaluation.summary` gave: rows said, columns heard, shares of each row.

    Raises
    ------
    OptionError : the file cannot be written.
    """
    from matplotlib.figure import Figure

    said = list(result["confusion"])
    heard = list(result["confusion"][said[0]])
    shares = [[clips / sum(row.values()) for clips in row.values()] for row in result["confusion"].values()]
    figure = Figure(figsize=(2.2 + 0.6 * len(heard), 1.8 + 0.5 * len(said)), layout="constrained")
    axes = figure.add_subplot()
    axes.imshow(shares, cmap="Blues", vmin=0, vmax=1, aspect="auto")
    for i, row in enumerate(result["confusion"].values()):
        for j, clips in enumerate(row.values()):
            if clips:
                axes.text(
                    j,
                    i,
                    str(clips),
                    ha="center",
                    va="center",
                    fontsize=8,
                    color="white" if shares[i][j] > 0.5 else "black",
                )
    axes.set_xticks(range(len(heard)), map(shown, heard), rotation=45, ha="right", parse_math=False)
    axes.set_yticks(range(len(said)), map(shown, said), parse_math=False)
    axes.set_xlabel("heard")
    axes.set_ylabel("said")
    axes.set_title(shown(title), fontsize=10, parse_math=False)
    write(figure, path)


def draw_tradeoff(curve: list[dict[str, Any]], title: str, path: Path) -> None:
    """Write the picture of what `kwsrt.simulation.curve` gave: words missed against false alarms an hour.

    Raises
    ------
    OptionError : the file cannot be written.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(6, 4), layout="constrained")
    axes = figure.add_subplot()
    has_words = curve[0]["recall"] is not None
    horizontal = [point["false_alarms_per_hour"] for point in curve]
    vertical = [1 - point["recall"] if has_words else point["threshold"] for point in curve]
    axes.plot(horizontal, vertical, marker="o", markersize=3)
    for point, x, y in zip(curve, horizontal, vertical, strict=True):
        axes.annotate(f"{point['threshold']:g}", (x, y), fontsize=6, xytext=(3, 3), textcoords="offset points")
    axes.set_xscale("symlog", linthresh=0.1)
    axes.set_xlim(left=0)
    axes.set_xlabel("false alarms an hour")
    axes.set_ylabel("share of words missed" if has_words else "threshold")
    axes.grid(alpha=0.3)
    axes.set_title(shown(title), fontsize=10, parse_math=False)
    write(figure, path)


def write(figure: Any, path: Path) -> None:
    """Write a figure whole or not at all.

    Raises
    ------
    OptionError : the file cannot be written.
    """
    picture = io.BytesIO()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "Glyph")  # a letter that the font lacks is drawn as a box
        figure.savefig(picture, dpi=120, format=path.suffix[1:].lower())
    files.write(path, picture.getvalue())
