"""A stream that runs on and on: no memory, no time and no detection goes astray."""

from pathlib import Path

import pytest

import kwsrt
from tests import soak

pytestmark = pytest.mark.skipif(not Path("/proc/self/statm").exists(), reason="reads its memory from Linux's /proc")


def test_soak():
    """Minutes of what tests/soak.py does for hours."""
    assert len(soak.soak(0.1)) > 10


def test_a_source_takes_kilobytes():
    model = kwsrt.load()
    samples = soak.programme(model.stream())[:16000]
    assert 10_000 < model.stream().memory < 200_000
    streams = [model.stream() for _ in range(200)]
    before = soak.resident()
    for stream in streams:
        stream.push(samples)
    assert soak.resident() - before < 200 * streams[0].memory + (4 << 20)
