"""What every benchmark shares: the machine in words, interleaved rounds, JSON."""

import json
import platform
import statistics
import time
from collections.abc import Callable, Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from kwsrt import files


def machine() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text().splitlines()
    except OSError:
        lines = []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.processor()}, {platform.machine()}"


def versions(packages: list[str]) -> dict[str, str]:
    """Of those that are installed."""
    found = {}
    for package in packages:
        try:
            found[package] = version(package)
        except PackageNotFoundError:
            continue
    return found


def interleaved(work: Mapping[str, Callable[[], object]], rounds: int, seconds: float) -> dict[str, list[float]]:
    """Microseconds of a call in each round, in which everything has its turn for about `seconds`; the first round only
    warms up. The machine's clock then moves all of them alike."""
    took: dict[str, list[float]] = {name: [] for name in work}
    for turn in range(rounds + 1):
        for name, call in work.items():
            count, start = 0, time.perf_counter_ns()
            while time.perf_counter_ns() - start < 1e9 * seconds:
                call()
                count += 1
            if turn:
                took[name].append((time.perf_counter_ns() - start) / count / 1000)
    return took


def summary(values: list[float]) -> dict[str, float]:
    """Median and quartiles."""
    low, middle, high = statistics.quantiles(values, n=4)
    return {"median": middle, "low": low, "high": high}


def write(path: Path, result: Mapping[str, Any]) -> None:
    """As JSON."""
    files.write(path, json.dumps(result, indent=1) + "\n")
