"""Once a stream is made, nothing is allocated inside a decision: counted by a C library's heap that is watched."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

import kwsrt
from tests.models import make_model

SOURCE = Path(__file__).with_name("counting_malloc.c")
COMPILER = shutil.which("cc") or shutil.which("gcc")
pytestmark = pytest.mark.skipif(sys.platform != "linux" or COMPILER is None, reason="needs Linux and a C compiler")

LISTEN = """
import ctypes, sys
import numpy as np
import kwsrt

counter = ctypes.CDLL(None)
counter.counting_stop.restype = ctypes.c_long
model = kwsrt.load(sys.argv[1])
rng = np.random.default_rng(1)
chunks = [(3000 * rng.standard_normal(n)).astype(np.int16) for n in (1, 160, 1920, 4000, 16000)]
chunks += [(chunk / 32768).astype(np.float32) for chunk in chunks]
streams = [model.stream(thin=thin, gate=gate) for thin in (*model.thin_levels, "auto") for gate in (None, -60)]
decisions = 0
counter.counting_start()
for chunk in chunks:
    for stream in streams:
        decisions += len(stream.push(chunk))
counted = counter.counting_stop()
counter.counting_start()
counter.malloc.restype = ctypes.c_void_p  # by way of control: ctypes lets go of the lock, too
counter.malloc(10)
print(decisions, counted, counter.counting_stop())
"""


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    built = tmp_path_factory.mktemp("counting") / "counting_malloc.so"
    subprocess.run([COMPILER, "-O1", "-shared", "-fPIC", SOURCE, "-o", built, "-ldl"], check=True)
    return built


@pytest.mark.parametrize("network", [{}, {"causal": True, "steps": 5, "frames": 29}], ids=["windowed", "causal"])
def test_no_allocation_inside_a_decision(library, tmp_path, network):
    path = tmp_path / "model.kws"
    path.write_bytes(make_model(4, **network))
    package = Path(kwsrt.__file__).parent.parent  # the one under test, wherever it lies
    environment = {**os.environ, "LD_PRELOAD": str(library), "PYTHONPATH": str(package)}
    done = subprocess.run(
        [sys.executable, "-c", LISTEN, path], cwd=tmp_path, env=environment, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    decisions, counted, control = map(int, done.stdout.split())
    assert decisions > 100
    assert counted == 0
    assert control >= 1
