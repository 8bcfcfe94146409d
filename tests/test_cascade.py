"""The choice of how "auto" cascades: every candidate's figures are those of running it."""

import sys

import numpy as np
import pytest
from scipy.io import wavfile

import kwsrt
from kwsrt.clips import find_clips
from kwsrt.evaluation import hear
from tests.models import make_model
from tools import cascade

LEVELS = ("full", "half", "quarter")
BLOCKS = {"full": 8.0, "half": 4.0, "quarter": 2.0}


def test_every_cascade_is_judged_as_it_runs():
    rng = np.random.default_rng(3)
    clips, heard = ({level: rng.uniform(0.3, 1, 60).astype(np.float32) for level in LEVELS} for _ in range(2))
    right = {level: rng.random(60) < 0.8 for level in LEVELS}
    found = list(cascade.cascades(clips, right, heard, 3.0, BLOCKS))
    assert len(found) == 1 + 2 * len(cascade.CLEAR) + len(cascade.CLEAR) ** 2
    assert found[0] == cascade.Cascade({}, right["full"].mean(), 11.0)
    for one in found[:: len(found) // 20]:
        order = [*one.clear.items(), ("full", 0.0)]

        def ends(scores, index, order=order):
            return next(i for i, (level, clear) in enumerate(order) if scores[level][index] >= clear)

        named = [right[order[ends(clips, index)][0]][index] for index in range(60)]
        cost = [3 + sum(BLOCKS[level] for level, _ in order[: ends(heard, index) + 1]) for index in range(60)]
        assert one.accuracy == np.mean(named)
        assert one.cost == pytest.approx(np.mean(cost))


def test_the_choice_is_written_into_the_model(tmp_path, monkeypatch, capsys):
    rng = np.random.default_rng(4)
    for label in ("yes", "no"):
        (tmp_path / "clips" / label).mkdir(parents=True)
        for number in range(4):
            noise = rng.integers(-9999, 9999, 16000, np.int16)
            wavfile.write(tmp_path / "clips" / label / f"{number}.wav", 16000, noise)
    wavfile.write(tmp_path / "long.wav", 16000, rng.integers(-9999, 9999, 5 * 16000, np.int16))
    (tmp_path / "tiny.kws").write_bytes(make_model(5))
    model = kwsrt.load(tmp_path / "tiny.kws")
    arguments = [str(tmp_path / "tiny.kws"), str(tmp_path / "clips"), "--audio", str(tmp_path / "long.wav")]
    monkeypatch.setattr(sys, "argv", ["cascade", *arguments, "--loss", "13", "--out", str(tmp_path / "out.kws")])
    assert cascade.main() == 0
    chosen = kwsrt.load(tmp_path / "out.kws")
    assert set(chosen.manifest["clear"]) <= {"half", "quarter"}
    assert {**chosen.manifest, "clear": 0} == {**model.manifest, "clear": 0}
    said = capsys.readouterr().out
    clips = find_clips(tmp_path / "clips", None, model.labels)
    for thin in (*LEVELS, "auto"):
        right = [label == hear(chosen, path, label, thin).heard for path, label in clips]
        assert f"{thin:<8} {np.mean(right):.2%}" in said


def test_nothing_but_a_model_is_replaced_and_that_is_known_before_the_work(tmp_path, monkeypatch, capsys):
    notes = tmp_path / "notes.txt"
    notes.write_text("mine")
    monkeypatch.setattr(sys, "argv", ["cascade", "none.kws", str(tmp_path), "--audio", "a.wav", "--out", str(notes)])
    assert cascade.main() == 2
    assert capsys.readouterr().err.startswith(f"cascade: error: {notes}: cannot write: another kind of file")
    assert notes.read_text() == "mine"
