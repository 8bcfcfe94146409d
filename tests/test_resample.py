"""Resampling in chunks is resampling of the whole, bit for bit, and costs about the same at every rate."""

import copy
import pickle
import time
from fractions import Fraction
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile
from scipy.signal import resample_poly, upfirdn

import kwsrt
from kwsrt.errors import AudioError, OptionError, UseError
from kwsrt.resample import Resampler, ratio_of
from tests.reference import same_bits

RATES = (8000, 11025, 22050, 32000, 44100, 48000, 96000, 192000)
ODD = (4000.5, 7999, 8001, 16001, 16008, 22254.5454, 44101, 47952, 47999, 48010, 191999, 383999.5)


@pytest.mark.parametrize("rate", [*RATES, 12345.6, 16001, 22254.5454, 47999])
@given(seed=st.integers(0, 100), lengths=st.lists(st.integers(0, 3000), min_size=1, max_size=12))
@settings(max_examples=15, deadline=None)
def test_chunks_are_the_whole(rate, seed, lengths):
    samples = np.random.default_rng(seed).normal(0, 0.2, sum(lengths)).astype(np.float32)
    resampler = Resampler(rate, 16000)
    parts, at = [], 0
    for length in lengths:
        parts.append(resampler.push(samples[at : at + length]))
        at += length
    parts.append(resampler.flush())
    ratio = ratio_of(rate, 16000)
    want = resample_poly(samples, ratio.numerator, ratio.denominator) if len(samples) else samples
    assert same_bits(np.concatenate(parts), want)
    assert same_bits(resampler.push(samples), Resampler(rate, 16000).push(samples))  # begins anew


@pytest.mark.parametrize("rate", [*RATES, *ODD])
def test_it_keeps_up(rate):
    """Ten samples of the lower rate are held back, and an endless stream's memory does not grow."""
    resampler = Resampler(rate, 16000)
    chunk = np.zeros(round(rate / 33), np.float32)
    made = sum(len(resampler.push(chunk)) for _ in range(330))
    late = 330 * len(chunk) * float(ratio_of(rate, 16000)) - made
    assert 0 <= late <= 11 * max(1, 16000 / rate)
    assert len(resampler._held) < 25 * max(1, rate / 16000)


def seconds(rate):
    """CPU time that half a minute takes in chunks of 30 ms."""
    resampler, chunk = Resampler(rate, 16000), np.zeros(round(rate * 0.03), np.float32)
    resampler.push(chunk)
    began = time.process_time()
    for _ in range(1000):
        resampler.push(chunk)
    return time.process_time() - began


@pytest.mark.parametrize(("odd", "neighbour"), [(47999, 48000), (48010, 48000), (22254.5454, 22050), (8001, 8000)])
def test_an_odd_rate_costs_what_its_neighbour_costs(odd, neighbour):
    assert min(seconds(odd) for _ in range(2)) < 6 * seconds(neighbour)


@given(
    st.floats(4000, 384000)
    | st.integers(4000, 384000)
    | st.builds(lambda usual, off: usual + off, st.sampled_from(RATES), st.floats(-50, 50))
)
@settings(max_examples=300, deadline=None)
def test_every_rate_is_within_a_hundredth_of_a_percent(rate):
    ratio = ratio_of(rate, 16000)
    assert max(ratio.numerator, ratio.denominator) <= 5000
    assert abs(ratio * Fraction(rate) / 16000 - 1) <= Fraction(10001, 10**8)


@pytest.mark.parametrize(
    "rate",
    [
        4000,
        5512.5,
        6000,
        7350,
        8000,
        11025,
        12000,
        16000,
        18900,
        22050,
        24000,
        32000,
        37800,
        44100,
        48000,
        64000,
        88200,
        96000,
        176400,
        192000,
        352800,
        384000,
    ],
)
def test_usual_rates_are_exact(rate):
    for given_as in (rate, np.float64(rate), np.float32(rate)):
        assert ratio_of(given_as, 16000) == 16000 / Fraction(rate)


@pytest.mark.parametrize("rate", [44100, 48000, 47999, 16001, 8001])
def test_a_sine_stays_one(rate):
    n = np.arange(rate)
    resampler = Resampler(rate, 16000)
    sine = np.sin(2 * np.pi * 1000 * n / rate).astype(np.float32)
    heard = np.concatenate([resampler.push(sine), resampler.flush()])
    want = np.sin(2 * np.pi * 1000 * np.arange(len(heard)) / (rate * float(ratio_of(rate, 16000))))
    assert np.abs(heard - want)[200:-200].max() < 2e-3


@pytest.mark.parametrize("rate", [44100, 48000, 12345.6])
def test_detect_takes_chunks_at_any_rate(rate):
    _, words = wavfile.read(Path(__file__).parent / "recordings" / "commands.wav")
    ratio = 1 / ratio_of(rate, 16000)
    samples = resample_poly(words / np.float32(32768), ratio.numerator, ratio.denominator).astype(np.float32)
    want = list(kwsrt.detect(samples, sample_rate=rate))
    assert len(want) > 5
    chunks = [samples[start : start + 1234] for start in range(0, len(samples), 1234)]
    assert list(kwsrt.detect(iter(chunks), sample_rate=rate)) == want
    assert list(kwsrt.detect([samples[:0], *chunks], sample_rate=rate)) == want


@pytest.mark.parametrize(
    ("source", "target"),
    [
        ("48000", 16000),
        (None, 16000),
        (48000, True),
        (0, 16000),
        (float("nan"), 16000),
        (48000, 10**400),
        (-48000, 16000),
    ],
)
def test_unusable_rates_are_refused(source, target):
    with pytest.raises(OptionError, match=r"(source|target) is .*: expected a number from 1,000 to 1,000,000"):
        Resampler(source, target)


@pytest.mark.parametrize("samples", [np.zeros(9, np.int16), np.zeros((9, 2), np.float32), b"12", None])
def test_unusable_samples_leave_it_as_it_was(samples):
    resampler, ramp = Resampler(48000, 16000), np.linspace(0, 1, 1000, dtype=np.float32)
    parts = [resampler.push(ramp[:500])]
    with pytest.raises(AudioError, match="float32"):
        resampler.push(samples)
    parts += [resampler.push(ramp[500:]), resampler.flush()]
    assert same_bits(np.concatenate(parts), resample_poly(ramp, 1, 3))


def test_it_is_not_for_two_threads(monkeypatch):
    resampler, refused = Resampler(48000, 16000), []

    def another_thread(*arguments):
        for use in (lambda: resampler.push(chunk), resampler.flush, resampler.reset):
            with pytest.raises(UseError, match="this Resampler is in use by another thread") as error:
                use()
            refused.append(error)
        return upfirdn(*arguments)

    chunk = np.random.default_rng(0).normal(0, 0.1, 3000).astype(np.float32)
    monkeypatch.setattr("scipy.signal.upfirdn", another_thread)
    heard = np.concatenate([resampler.push(chunk), resampler.flush()])
    assert len(refused) == 6
    monkeypatch.undo()
    assert same_bits(heard, resample_poly(chunk, 1, 3))
    with pytest.raises(UseError, match="never made"):
        Resampler.__new__(Resampler).push(chunk)
    for copied in (copy.copy, copy.deepcopy, pickle.dumps):
        with pytest.raises(UseError, match="a Resampler cannot be copied or pickled: make a new one"):
            copied(resampler)
