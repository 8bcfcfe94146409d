"""Fixtures that several tests share."""
import os
from pathlib import Path

import pytest

import kwsrt
from tests.models import make_model


@pytest.fixture(scope="session")
def tiny_model_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small model file with random weights and two activation planes."""
    path = tmp_path_factory.mktemp("models") / "tiny.kws"
    path.write_bytes(make_model())
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
