"""Accuracy's interval, calibration error and confusion, against what they are defined as."""

from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

from kwsrt.evaluation import Outcome, calibration_error, hear, interval, summary


def outcomes(right, speakers=None, score=0.5):
    speakers = range(len(right)) if speakers is None else speakers
    return [Outcome(str(s), "yes", "yes" if r else "no", score) for r, s in zip(right, speakers, strict=True)]


def test_interval_is_the_binomial_one_for_independent_clips():
    right = np.random.default_rng(1).random(2000) < 0.9
    low, high = interval(outcomes(right))
    width = 2 * 1.96 * (right.mean() * (1 - right.mean()) / 2000) ** 0.5
    assert low < right.mean() < high
    assert high - low == pytest.approx(width, rel=0.1)
    assert interval(outcomes(right)[::-1]) == (low, high)


def test_clips_of_a_speaker_are_not_independent():
    right = np.repeat(np.random.default_rng(2).random(100) < 0.8, 20)
    alone, together = interval(outcomes(right)), interval(outcomes(right, np.repeat(np.arange(100), 20)))
    assert together[1] - together[0] == pytest.approx((alone[1] - alone[0]) * 20**0.5, rel=0.2)


def test_calibration_error():
    random = np.random.default_rng(3)
    score = random.uniform(0.2, 1, 50000)
    fair = [Outcome("a", "yes", "yes" if r < s else "no", s) for r, s in zip(random.random(50000), score, strict=True)]
    assert calibration_error(fair) < 0.01
    assert calibration_error(outcomes([True] * 3 + [False], score=0.95)) == pytest.approx(0.2)
    assert calibration_error(outcomes([True], score=1.0)) == 0


def test_summary():
    heard = [Outcome("a", "yes", "yes", 1.0), Outcome("a", "yes", "no", 1.0), Outcome("b", "no", "no", 1.0)]
    result = summary(heard, ("yes", "no", "_unknown_"))
    assert (result["clips"], result["speakers"], result["accuracy"]) == (3, 2, 2 / 3)
    assert result["per_class"] == {"yes": 0.5, "no": 1.0}
    assert result["confusion"]["yes"] == {"yes": 1, "no": 1, "_unknown_": 0}


def test_speaker_is_in_the_name(tiny, tmp_path):
    samples = np.random.default_rng(4).normal(0, 1000, 16000).astype(np.int16)
    for name in ("0a7c2a8d_nohash_3.wav", "other.wav"):
        wavfile.write(tmp_path / name, 16000, samples)
    scores = tiny.predict(samples)
    best = max(scores, key=scores.get)
    assert hear(tiny, tmp_path / "0a7c2a8d_nohash_3.wav", "no", "full") == Outcome("0a7c2a8d", "no", best, scores[best])
    assert hear(tiny, Path(tmp_path / "other.wav"), "no", "full").speaker.endswith("other.wav")
