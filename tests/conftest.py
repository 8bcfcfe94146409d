"""Fixtures that several tests share."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

# pytest puts the repository first, whose kwsrt/ may not be built: what is installed must win, and is what is tested.
sys.path.append(sys.path.pop(0))

import kwsrt
from tests.models import make_model


@pytest.fixture(scope="session")
def tiny_model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model file with random weights and two activation planes."""
    path = tmp_path_factory.mktemp("models") / "tiny.kws"
    path.write_bytes(make_model(seed=7))  # whose random words are heard now and then
    return path


@pytest.fixture(scope="session")
def tiny(tiny_model_path: Path) -> kwsrt.Model:
    """The model of `tiny_model_path`, loaded."""
    return kwsrt.load(tiny_model_path)


@pytest.fixture(scope="session")
def bundled() -> kwsrt.Model:
    """The model that comes with the package."""
    return kwsrt.load()


@pytest.fixture(scope="session")
def real_clips() -> Path:
    """The folder of real recordings that KWSRT_DATA names; tests that want it are skipped without it."""
    folder = os.environ.get("KWSRT_DATA")
    if not folder:
        pytest.skip("KWSRT_DATA names no folder of real clips")
    return Path(folder)


@pytest.fixture(scope="session")
def validation_clips(real_clips: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The validation clips of Speech Commands as WAV files, a folder a word."""
    folder = tmp_path_factory.mktemp("validation")
    subprocess.run(
        [sys.executable, real_clips / "unpack.py", folder, "--split", "validation"],
        check=True,
        capture_output=True,
        timeout=300,
    )
    return folder
