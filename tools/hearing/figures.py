"""Shares and rates with 95 % intervals, and the tables that show them."""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from kwsrt.simulation import poisson_interval

#: of the normal distribution, for 95 %
Z = 1.959964


@dataclass(frozen=True)
class Share:
    """`hits` of `of`, and the interval in which the true share is, as fractions of 1."""

    hits: int
    of: int
    low: float
    high: float

    @property
    def value(self) -> float:
        """The share seen; NaN of nothing."""
        return self.hits / self.of if self.of else math.nan

    def summary(self) -> dict[str, Any]:
        """For JSON."""
        value = self.value if self.of else None
        return {"share": value, "low": self.low, "high": self.high, "hits": self.hits, "of": self.of}

    def __str__(self) -> str:
        return f"{100 * self.value:.1f} % ({100 * self.low:.1f} to {100 * self.high:.1f})" if self.of else "-"


@dataclass(frozen=True)
class Rate:
    """`count` events in `size` units (hours, or hundreds of words), with the interval of the mean rate."""

    count: int
    size: float

    @property
    def value(self) -> float:
        """Events a unit."""
        return self.count / self.size if self.size else math.nan

    @property
    def interval(self) -> tuple[float, float]:
        """Exact, for events that come by themselves."""
        low, high = poisson_interval(self.count)
        return (low / self.size, high / self.size) if self.size else (math.nan, math.nan)

    def summary(self) -> dict[str, Any]:
        """For JSON."""
        low, high = self.interval if self.size else (None, None)
        return {"rate": self.value if self.size else None, "low": low, "high": high, "count": self.count,
                "size": self.size}  # fmt: skip

    def __str__(self) -> str:
        low, high = self.interval
        return f"{self.value:.1f} ({low:.1f} to {high:.1f})" if self.size else "-"


def share(results: Iterable[tuple[str, bool]]) -> Share:
    """The share of hits in (group, hit), by Wilson's interval.

    Those of one group (a speaker, a recording) go together: the interval is as wide as that of so many fewer results
    as the spread between the groups says."""
    hits: defaultdict[str, int] = defaultdict(int)
    sizes: defaultdict[str, int] = defaultdict(int)
    for group, hit in results:
        hits[group] += hit
        sizes[group] += 1
    total, right, groups = sum(sizes.values()), sum(hits.values()), len(sizes)
    if not total:
        return Share(0, 0, 0.0, 1.0)
    p, count = right / total, float(total)
    if 0 < p < 1 and groups > 1:
        spread = sum((hits[group] - p * size) ** 2 for group, size in sizes.items()) * groups / (groups - 1)
        count /= max(1.0, spread / (p * (1 - p) * total * total / (total - 1)))
    middle, width = p + Z * Z / (2 * count), Z * math.sqrt(p * (1 - p) / count + Z * Z / (4 * count * count))
    scale = 1 + Z * Z / count
    return Share(right, total, max(0.0, (middle - width) / scale), min(1.0, (middle + width) / scale))


def mean_of(shares: Sequence[Share]) -> dict[str, Any]:
    """The mean of several shares, each of the same weight, for JSON."""
    known = [one for one in shares if one.of]
    if not known:
        return {"share": None, "low": None, "high": None}
    value = sum(one.value for one in known) / len(known)
    width = math.sqrt(sum(((one.high - one.low) / 2) ** 2 for one in known)) / len(known)
    return {"share": value, "low": max(0.0, value - width), "high": min(1.0, value + width)}


def table(title: str, rows: Sequence[Sequence[object]]) -> str:
    """Rows, the first of which names the columns, under a title; the first column is aligned left, the others right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(len(row[i]) for row in cells) for i in range(len(cells[0]))]
    lines = ["  ".join([row[0].ljust(widths[0]),
                        *(cell.rjust(width) for cell, width in zip(row[1:], widths[1:], strict=True))])
             for row in cells]  # fmt: skip
    return "\n".join([title, *lines])
