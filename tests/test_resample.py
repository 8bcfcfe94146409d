"""Resampling in chunks is resampling of the whole, bit for bit."""
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile
from scipy.signal import resample_poly

import kwsrt
from kwsrt.resample import Resampler, ratio_of
from tests.reference import same_bits

RATES = (8000, 11025, 22050, 32000, 44100, 48000, 96000, 192000)


@pytest.mark.parametrize("rate", RATES)
@given(seed=st.integers(0, 100), lengths=st.lists(st.integers(0, 3000), min_size=1, max_size=12))
@settings(max_examples=15, deadline=None)
def test_chunks_are_the_whole(rate, seed, lengths):
    samples = np.random.default_rng(seed).normal(0, 0.2, sum(lengths)).astype(np.float32)
    resampler = Resampler(rate, 16000)
    parts, at = [], 0
    for length in lengths:
        parts.append(resampler.push(samples[at:at + length]))
        at += length
    parts.append(resampler.flush())
    ratio = ratio_of(rate, 16000)
    want = resample_poly(samples, ratio.numerator, ratio.denominator) if len(samples) else samples
    assert same_bits(np.concatenate(parts), want)
    assert same_bits(resampler.push(samples), Resampler(rate, 16000).push(samples))  # begins anew


@pytest.mark.parametrize("rate", RATES)
def test_it_keeps_up(rate):
    """Little is held back, 6 ms at 48 kHz and 80 ms at 11,025 Hz, and an endless stream's memory does not grow."""
    resampler = Resampler(rate, 16000)
    chunk = np.zeros(rate // 33, np.float32)
    made = sum(len(resampler.push(chunk)) for _ in range(3300))
    most = 0.006 if rate % 4000 == 0 else 0.1
    assert 0 <= 3300 * len(chunk) / rate - made / 16000 < most
    assert len(resampler._held) < 0.13 * rate


@pytest.mark.parametrize("rate", [44100, 48000])
def test_a_sine_stays_one(rate):
    n = np.arange(rate)
    resampler = Resampler(rate, 16000)
    sine = np.sin(2 * np.pi * 1000 * n / rate).astype(np.float32)
    heard = np.concatenate([resampler.push(sine), resampler.flush()])
    want = np.sin(2 * np.pi * 1000 * np.arange(16000) / 16000)
    assert np.abs(heard - want)[200:-200].max() < 2e-3


@pytest.mark.parametrize("rate", [44100, 48000, 12345.6])
def test_detect_takes_chunks_at_any_rate(rate):
    _, words = wavfile.read(Path(__file__).parent / "recordings" / "commands.wav")
    ratio = 1 / ratio_of(rate, 16000)
    samples = resample_poly(words / np.float32(32768), ratio.numerator, ratio.denominator).astype(np.float32)
    want = list(kwsrt.detect(samples, sample_rate=rate))
    assert len(want) > 5
    chunks = [samples[start:start + 1234] for start in range(0, len(samples), 1234)]
    assert list(kwsrt.detect(iter(chunks), sample_rate=rate)) == want
    assert list(kwsrt.detect([samples[:0], *chunks], sample_rate=rate)) == want
