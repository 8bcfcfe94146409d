"""The live view of `kwsrt listen` in a terminal: level, scores, last detections."""

from __future__ import annotations

import collections
import contextlib
import sys
from collections.abc import Iterator
from typing import Any

import kwsrt
from kwsrt.cli.output import shown
from kwsrt.listening import Listener, Step

# dB below a full-scale sine at the left end of the meter, and its width in characters.
LOWEST, WIDTH = -80.0, 40
SHOWN = 8  # detections
PER_SECOND = 12


@contextlib.contextmanager
def opened(listener: Listener, live: bool) -> Iterator[View | None]:
    """A view on the terminal, or None where rich is missing or no view is wanted."""
    try:
        from rich.live import Live
    except ImportError:
        live = False
    if not live:
        yield None
        return
    view = View(listener)
    with Live(get_renderable=view.picture, refresh_per_second=PER_SECOND, transient=False):
        yield view


class View:
    """What was heard last, as something that rich draws."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._loudness = LOWEST
        self._scores = dict.fromkeys(listener.model.labels, 0.0)
        self._heard: collections.deque[kwsrt.Detection] = collections.deque(maxlen=SHOWN)
        self._seconds = 0.0

    def update(self, step: Step) -> None:
        """Take what a chunk brought."""
        self._seconds += len(step.samples) / self._listener.model.sample_rate
        if len(step.scores):
            self._loudness = float(step.scores.loudness[-1])
            self._scores = dict(zip(self._listener.model.labels, step.scores.values[-1].tolist(), strict=True))
        self._heard.extendleft(step.detections)

    def picture(self) -> Any:
        """A rich renderable."""
        from rich.console import Group
        from rich.table import Table
        from rich.text import Text

        microphone, stream = self._listener.microphone, self._listener.stream
        lost = f", audio lost {microphone.overflows} times" if microphone.overflows else ""
        title = (
            f"{self._listener.model.name} on {microphone.name}, {microphone.native_rate} Hz, thin {stream.thin}, "
            f"{self._seconds:.0f} s{lost}"
        )
        table = Table.grid(padding=(0, 2))
        share = min(1.0, max(0.0, 1 - self._loudness / LOWEST))
        # Everything is Text: in a plain string rich would take brackets of a label for its markup.
        table.add_row(Text("level"), Text(_bar(share), "cyan"), Text(f"{self._loudness:.0f} dB"), Text())
        events = [
            Text.assemble(f"{heard.time:8.2f} s  ", (shown(heard.label), "bold"), f"  {heard.score:.2f}")
            for heard in self._heard
        ]
        for index, (label, score) in enumerate(self._scores.items()):
            table.add_row(
                Text(shown(label)),
                Text(_bar(score), "blue" if label.startswith("_") else "green"),
                Text(f"{score:.2f}"),
                events[index] if index < len(events) else Text(),
            )
        return Group(Text(shown(title)), table)


def _bar(share: float) -> str:
    filled = round(share * WIDTH)
    letter = "\u2501" if "utf" in (sys.stdout.encoding or "").lower() else "="
    return letter * filled + " " * (WIDTH - filled)
