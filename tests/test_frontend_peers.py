"""The front end against other people's code: scipy's window, transform and DCT, and librosa where it is installed."""

import numpy as np
import pytest

from kwsrt.frontend import FrontEnd
from tests import reference

OPTIONS = {
    "default": {},
    "25 ms": {"window": 400, "hop": 160, "n_fft": 512, "bins": 24, "fmin": 60.0, "fmax": 8000.0},
    "8 kHz": {"sample_rate": 8000, "window": 256, "hop": 80, "n_fft": 256, "bins": 16, "fmin": 100.0, "fmax": 4000.0},
    "mfcc 13": {"kind": "mfcc", "n_mfcc": 13},
}


def signals():
    rng, n = np.random.default_rng(2), np.arange(16000)
    bursts = rng.normal(0, 0.1, 16000) * (n // 3000 % 2)
    chirp = 0.3 * np.sin(2 * np.pi * (200 + 0.1 * n) / 16000 * n) + rng.normal(0, 1e-3, 16000)
    return {
        "noise": rng.uniform(-1, 1, 16000).astype(np.float32),
        "bursts": bursts.astype(np.float32),
        "chirp": chirp.astype(np.float32),
        "silence": np.zeros(16000, np.float32),
    }


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
@pytest.mark.parametrize("signal", signals())
def test_equals_scipy(options, signal):
    fft, get_window = pytest.importorskip("scipy.fft"), pytest.importorskip("scipy.signal").get_window
    whole = {**reference.FRONTEND, **options}
    frames = reference.frames_of(signals()[signal], whole) * get_window("hann", whole["window"], fftbins=True)
    power = np.abs(fft.rfft(frames, whole["n_fft"], axis=1)) ** 2
    want = 10 * np.log10(np.maximum(power @ reference.mel_triangles(whole).T, whole["floor"]))
    if whole["kind"] == "mfcc":
        want = fft.dct(want, type=2, norm="ortho", axis=1)[:, : whole["n_mfcc"]]
    np.testing.assert_allclose(FrontEnd(**whole).features(signals()[signal]), want, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("options", OPTIONS.values(), ids=list(OPTIONS))
@pytest.mark.parametrize("signal", signals())
def test_equals_librosa(options, signal):
    librosa = pytest.importorskip("librosa", reason="librosa is not installed: pip install kwsrt[test-librosa]")
    whole = {**reference.FRONTEND, **options}
    samples = signals()[signal].astype(np.float64)
    pad = (whole["n_fft"] - whole["window"]) // 2
    # librosa centres a short window in n_fft samples; ours begins with it. The power spectrum differs by a phase alone.
    samples = np.pad(samples, (pad, whole["n_fft"]))
    energies = librosa.feature.melspectrogram(
        y=samples,
        sr=whole["sample_rate"],
        n_fft=whole["n_fft"],
        hop_length=whole["hop"],
        win_length=whole["window"],
        window="hann",
        center=False,
        power=2.0,
        n_mels=whole["bins"],
        fmin=whole["fmin"],
        fmax=whole["fmax"],
        htk=True,
        norm=None,
        dtype=np.float64,
    )
    want = 10 * np.log10(np.maximum(energies, whole["floor"]))
    if whole["kind"] == "mfcc":
        want = librosa.feature.mfcc(S=want, n_mfcc=whole["n_mfcc"], dct_type=2, norm="ortho")
    got = FrontEnd(**whole).features(signals()[signal])
    assert got.shape[0] > 0
    np.testing.assert_allclose(got, want.T[: len(got)], rtol=1e-4, atol=1e-4)
