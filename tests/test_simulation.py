"""The simulation: words lie where and as loud as it says, and detections are counted for what they are."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
from itertools import cycle, pairwise
from pathlib import Path
from time import monotonic, sleep

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

import kwsrt
from kwsrt import Detector, Scores, mixing, simulation
from kwsrt.cli import main
from kwsrt.simulation import Placed, Take

RATE = 16000
LABELS = ("yes", "no", "_unknown_", "_silence_")
WINDOW = 15900


def word(seconds=0.4, level=0.1, frequency=700):
    """A second with a tone in its middle: float32."""
    n = np.arange(RATE)
    inside = np.abs(n - RATE / 2) < seconds * RATE / 2
    return (level * np.sin(2 * np.pi * frequency * n / RATE) * inside).astype(np.float32)


def test_a_word_is_found_where_it_sounds():
    first, last = mixing.sounding(word(0.4), RATE)
    assert first / RATE == pytest.approx(0.3, abs=0.021)
    assert last / RATE == pytest.approx(0.7, abs=0.021)
    assert mixing.sounding(np.zeros(RATE, np.float32), RATE) == (0, RATE)


@pytest.mark.parametrize("snr", [-5, 0, 10, 20])
def test_words_are_mixed_in_at_the_level_that_was_asked_for(snr):
    rng = np.random.default_rng(0)
    background = (0.01 * rng.standard_normal(60 * RATE)).astype(np.float32)
    out, placed = mixing.mixed(background, cycle([("yes", word()), ("no", word(0.6, 0.3))]), RATE, snr, rng)
    assert [one.label for one in placed] == [("yes", "no")[i % 2] for i in range(len(placed))]
    assert 12 <= len(placed) <= 19
    assert np.abs(out).max() <= 1
    for one in placed:
        inside = slice(round(one.start * RATE), round(one.end * RATE))
        under = np.square(background[inside], dtype=np.float64).mean()
        added = np.square(out[inside] - background[inside], dtype=np.float64).mean()
        assert 10 * np.log10(added / under) == pytest.approx(snr, abs=0.2)
    for before, after in pairwise(placed):
        assert after.start - before.end > 1.5


def test_what_is_too_loud_is_scaled_down_as_a_whole():
    background = np.full(10 * RATE, 0.5, np.float32)
    out, _ = mixing.mixed(background, cycle([("yes", word())]), RATE, 20, np.random.default_rng(0))
    assert np.abs(out).max() == pytest.approx(1)
    assert out[0] < 0.5


def scores_with(fired, seconds=20):
    """Scores in which each (label, time) of `fired` is sure in the windows that end up to 0.2 s from that time."""
    ends = WINDOW + 960 * np.arange(int((seconds * RATE - WINDOW) / 960))
    values = np.tile(np.eye(4, dtype=np.float32)[3], (len(ends), 1))
    for label, time in fired:
        near = np.abs(ends / RATE - time) < 0.2
        values[near] = np.eye(4, dtype=np.float32)[LABELS.index(label)]
    return Scores(values, ends, np.zeros(len(ends), np.float32), np.zeros(len(ends), np.int8), WINDOW, RATE)


def detector():
    return Detector(LABELS, smoothing=1, patience=1, refractory=0)


def test_detections_are_counted_for_what_they_are():
    alone = Take("a", 20.0, scores_with([("yes", 3), ("no", 9), ("yes", 15)]))
    placed = [Placed("yes", 2.5, 3.0), Placed("no", 8.0, 8.6), Placed("yes", 12.0, 12.5), Placed("no", 17.0, 17.5)]
    # found; too late; another word; early, before it began
    words = Take("b", 20.0, scores_with([("yes", 3.2), ("no", 10.2), ("no", 12.6), ("no", 16.5)]), placed)
    outcome = simulation.judge([alone, words], LABELS, detector)
    assert outcome.false == {"yes": 2, "no": 1}
    assert outcome.said == {"yes": 2, "no": 2}
    assert outcome.found == {"yes": 1, "no": 0}
    assert outcome.hours == pytest.approx(20 / 3600)
    assert outcome.recall == 0.25
    assert outcome.false_alarms_per_hour == pytest.approx(3 * 180)
    assert outcome.delays == [pytest.approx(0.0, abs=0.07)]
    said = outcome.summary()
    assert said["median_delay_s"] == outcome.delays[0]
    assert said["interval"][0] < said["false_alarms_per_hour"] < said["interval"][1]
    assert said["per_label"]["no"] == {"false_alarms": 1, "words": 2, "found": 0}


def test_a_recording_too_short_for_words_is_counted_once():
    takes = [Take("a", 2.0, scores_with([("yes", 1.5)], 2)), Take("a", 2.0, scores_with([("yes", 1.5)], 2), [])]
    outcome = simulation.judge(takes, LABELS, detector)
    assert outcome.hours == pytest.approx(2 / 3600)
    assert sum(outcome.false.values()) == 1
    assert outcome.recall is None


def test_nothing_said_and_nothing_heard():
    said = simulation.judge([Take("a", 36.0, scores_with([]))], LABELS, detector).summary()
    assert (said["false_alarms"], said["recall"], said["median_delay_s"]) == (0, None, None)
    assert said["interval"] == [0.0, pytest.approx(3.689 / 0.01, rel=1e-3)]  # the rule of three, exactly


@given(st.integers(0, 200))
@settings(max_examples=30, deadline=None)
def test_poisson_interval(count):
    from scipy.stats import poisson

    low, high = simulation.poisson_interval(count)
    assert low <= count <= high
    assert poisson.cdf(count, high) == pytest.approx(0.025)
    assert count == 0 or poisson.sf(count - 1, low) == pytest.approx(0.025)


def test_curve_falls():
    takes = [
        Take("a", 20.0, scores_with([("yes", 3)])),
        Take("b", 20.0, scores_with([("yes", 3.2)]), [Placed("yes", 2.5, 3.0)]),
    ]
    points = simulation.curve(takes, LABELS, {"smoothing": 5, "patience": 2})
    assert [point["threshold"] for point in points] == list(simulation.THRESHOLDS)
    for name in ("false_alarms_per_hour", "recall"):
        values = [point[name] for point in points]
        assert values == sorted(values, reverse=True)
    assert points[0]["recall"] == 1
    assert points[0]["per_label"]["yes"] == {"false_alarms": 1, "words": 1, "found": 1}
    assert points[0]["per_label"]["no"]["false_alarms"] == 0


# --- the command ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def recordings(tmp_path_factory):
    """Two noisy recordings in a folder within a folder, and a folder of clips."""
    folder, rng = tmp_path_factory.mktemp("recordings"), np.random.default_rng(1)
    (folder / "deep").mkdir()
    for name in ("one.wav", "deep/two.wav"):
        wavfile.write(folder / name, RATE, (3000 * rng.standard_normal(12 * RATE)).clip(-32768, 32767).astype(np.int16))
    clips = tmp_path_factory.mktemp("clips")
    for label, frequency in (("yes", 300), ("no", 900), ("_unknown_", 2000)):
        (clips / label).mkdir()
        wavfile.write(clips / label / "0.wav", RATE, np.rint(word(0.5, 0.5, frequency) * 32767).astype(np.int16))
    return folder, clips


@pytest.mark.parametrize("processes", [1, 2])
def test_simulate_json(capsys, tiny_model_path, recordings, processes):
    folder, clips = recordings
    command = [
        "simulate",
        str(folder),
        "--words",
        str(clips),
        "--model",
        str(tiny_model_path),
        "--json",
        "--threshold",
        "0.3",
        "--processes",
        str(processes),
    ]
    assert main(command) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["hours"] == pytest.approx(24 / 3600)
    model = kwsrt.load(tiny_model_path)
    heard = 0
    for path in (folder / "one.wav", folder / "deep" / "two.wav"):
        scores = model.stream().push(wavfile.read(path)[1])
        heard += len(Detector(model.labels, threshold=0.3).push(scores))
    assert result["false_alarms"] == heard > 0
    assert result["words"] == sum(row["words"] for row in result["per_label"].values()) >= 4
    assert set(result["per_label"]) == {"yes", "no"}
    assert 0 <= result["recall"] <= 1
    assert len(result["curve"]) == len(simulation.THRESHOLDS)
    assert result["levels"] == {"skipped": 0, "full": 1, "half": 0, "quarter": 0}


def test_simulate_tells_which_levels_ran(capsys, tiny_model_path, recordings):
    model = kwsrt.load(tiny_model_path)
    samples = wavfile.read(recordings[0] / "one.wav")[1]
    samples[: 3 * RATE] = 0
    wavfile.write(recordings[1].parent / "half_silent.wav", RATE, samples)
    path = str(recordings[1].parent / "half_silent.wav")
    assert main(["simulate", path, "--model", str(tiny_model_path), "--json", "--thin", "auto", "--gate", "-60"]) == 0
    used = json.loads(capsys.readouterr().out)["levels"]
    thin = model.stream(thin="auto", gate=-60).push(samples).thin
    assert used == {name: pytest.approx(float((thin == i - 1).mean())) for i, name in enumerate(used)}
    assert used["skipped"] > 0.1
    assert sum(used.values()) == pytest.approx(1)


def test_simulate_text_and_picture(capsys, tiny_model_path, recordings, tmp_path):
    pytest.importorskip("matplotlib", reason="matplotlib is not installed")
    folder, clips = recordings
    options = ["--model", str(tiny_model_path), "--threshold", "0.3"]
    assert main(["simulate", str(folder / "one.wav"), "--plot", str(tmp_path / "a.png"), *options]) == 0
    out = capsys.readouterr().out
    assert "tiny, full, 0.00 hours" in out
    assert "an hour" in out
    assert "found" not in out
    assert main(["simulate", str(folder), "--words", str(clips), "--plot", str(tmp_path / "b.svg"), *options]) == 0
    assert "words found" in capsys.readouterr().out
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert "threshold" not in (tmp_path / "b.svg").read_text()[:100]


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["missing.wav"], "missing.wav"),
        (["{empty}"], "no recordings found"),
        (["{one}", "--words", "{empty}"], "no clips"),
        (["{one}", "--threshold", "2"], "0 to 1"),
        (["{one}", "--patience", "0"], "patience"),
        (["{one}", "--plot", "a.txt"], "picture"),
        (["{one}", "--thin", "third"], "third"),
    ],
)
def test_simulate_refuses(capsys, tiny_model_path, recordings, tmp_path, arguments, said):
    folder, _ = recordings
    filled = [part.format(empty=tmp_path, one=folder / "one.wav") for part in arguments]
    assert main(["simulate", *filled, "--model", str(tiny_model_path), "--processes", "1"]) == 2
    err = capsys.readouterr().err
    assert said in err
    assert err.count("\n") == 1


def test_thresholds_are_chosen_word_by_word():
    """`yes` has false alarms and no words below 0.9; `no` has neither."""

    def weak(label, score, time):
        scores = scores_with([(label, time)])
        values = scores.values.copy()
        sure = values[:, LABELS.index(label)] > 0
        values[sure] = score * values[sure] + (1 - score) * np.eye(4, dtype=np.float32)[3]
        return Scores(values, scores.ends, scores.loudness, scores.thin, WINDOW, RATE)

    takes = [
        Take("a", 3600.0, weak("yes", 0.9, 5)),
        Take("b", 20.0, scores_with([("yes", 3.2)]), [Placed("yes", 2.5, 3.0)]),
        Take("c", 20.0, weak("no", 0.6, 3.2), [Placed("no", 2.5, 3.0)]),
    ]
    for rate, lowest, highest in ((1, 0.3, 0.3), (0.5, 0.9, 0.925)):
        chosen = simulation.choose_thresholds(takes, LABELS, rate, {})
        assert chosen["no"] == 0.3
        assert lowest <= chosen["yes"] <= highest
    alone = simulation.choose_thresholds(takes[:1], LABELS, 0, {})
    assert len(set(alone.values())) == 1
    assert alone["yes"] > 0.85
    with pytest.raises(kwsrt.OptionError, match="no threshold"):
        simulation.choose_thresholds([Take("a", 3600.0, scores_with([("yes", 5)]))], LABELS, 0, {})


def test_threshold_command_writes_a_model(capsys, tiny_model_path, recordings, tmp_path):
    folder, clips = recordings
    rate = 400
    options = [str(folder), "--words", str(clips), "--model", str(tiny_model_path), "--json", "--processes", "1"]
    assert main(["threshold", *options, "--rate", str(rate), "--out", str(tmp_path / "quiet.kws")]) == 0
    result = json.loads(capsys.readouterr().out)
    assert result["false_alarms_per_hour"] <= rate
    quiet = kwsrt.load(tmp_path / "quiet.kws")
    assert quiet.threshold == result["threshold"] == quiet.manifest["threshold"]
    assert quiet.verify() == 0
    assert main(["simulate", str(folder), "--model", str(tmp_path / "quiet.kws"), "--json", "--processes", "1"]) == 0
    assert json.loads(capsys.readouterr().out)["false_alarms_per_hour"] == result["false_alarms_per_hour"]
    assert main(["threshold", str(folder), "--model", str(tiny_model_path), "--rate", "-1"]) == 2
    assert "--rate" in capsys.readouterr().err
    assert main(["threshold", str(folder), "--model", str(tiny_model_path), "--rate", "100000"]) == 0
    assert "an hour, 95 % interval" in capsys.readouterr().out


@pytest.fixture
def with_bad_ones(recordings, tmp_path):
    """A folder of recordings and one of clips, each with good and bad files and what other programs leave behind."""
    folder, clips = tmp_path / "recordings", tmp_path / "clips"
    shutil.copytree(recordings[0], folder)
    shutil.copytree(recordings[1], clips)
    (folder / "bad.wav").write_bytes(b"no audio")
    wavfile.write(folder / "empty.wav", RATE, np.zeros(0, np.int16))
    wavfile.write(clips / "yes" / "empty.wav", RATE, np.zeros(0, np.int16))
    wavfile.write(clips / "yes" / "long.wav", RATE, np.ones(3 * RATE, np.int16))
    for path in (
        folder / "._one.wav",
        clips / "yes" / "._a.wav",
        folder / "__MACOSX" / "a.wav",
        clips / ".cache" / "a.wav",
    ):
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(b"\0\5\26\7")
    return folder, clips


@pytest.mark.parametrize("command", [["simulate"], ["threshold", "--rate", "100000"]])
def test_bad_files_are_named_and_left_out(capsys, tiny_model_path, recordings, with_bad_ones, command):
    options = ["--model", str(tiny_model_path), "--json", "--processes", "2"]
    assert main([*command, str(recordings[0]), "--words", str(recordings[1]), *options]) == 0
    expected = capsys.readouterr().out
    folder, clips = with_bad_ones
    assert main([*command, str(folder), "--words", str(clips), *options]) == 1
    done = capsys.readouterr()
    assert done.out == expected
    *named, last = done.err.splitlines()
    assert last == "kwsrt: recordings and clips left out: 4"
    assert [line.split(": ")[2] for line in named] == [
        str(path)
        for path in (clips / "yes" / "empty.wav", clips / "yes" / "long.wav", folder / "bad.wav", folder / "empty.wav")
    ]


def test_nothing_but_bad_files_is_an_error(capsys, tiny_model_path, with_bad_ones, tmp_path):
    folder, _ = with_bad_ones
    options = ["--model", str(tiny_model_path), "--processes", "1"]
    assert main(["simulate", str(folder / "bad.wav"), str(folder / "empty.wav"), *options]) == 2
    assert "none of the recordings could be used" in capsys.readouterr().err
    (tmp_path / "only" / "yes").mkdir(parents=True)
    wavfile.write(tmp_path / "only" / "yes" / "empty.wav", RATE, np.zeros(0, np.int16))
    assert main(["simulate", str(folder / "one.wav"), "--words", str(tmp_path / "only"), *options]) == 2
    assert "none of its clips could be used" in capsys.readouterr().err


@pytest.mark.parametrize(("trouble", "why"), [(MemoryError(), "out of memory"), (None, "was ended from outside")])
def test_a_recording_that_takes_its_process_down_is_left_out(
    capsys, monkeypatch, tiny_model_path, recordings, trouble, why
):
    take = simulation.take

    def fatal(job):
        if job.path.name == "two.wav":
            if trouble:
                raise trouble
            os.kill(os.getpid(), signal.SIGKILL)
        return take(job)

    monkeypatch.setattr(simulation, "take", fatal)
    if multiprocessing.get_start_method() != "fork":
        multiprocessing.set_start_method("fork", force=True)  # other processes would not know of the change
    folder, _ = recordings
    assert main(["simulate", str(folder), "--model", str(tiny_model_path), "--json", "--processes", "2"]) == 1
    done = capsys.readouterr()
    assert json.loads(done.out)["hours"] == pytest.approx(12 / 3600)
    assert done.err.count("two.wav") == 1
    assert why in done.err


@pytest.mark.skipif(not Path(f"/proc/self/task/{os.getpid()}/children").exists(), reason="needs Linux and its /proc")
def test_an_interrupt_ends_all_processes(tiny_model_path, tmp_path):
    rng = np.random.default_rng(0)
    for name in ("a", "b", "c"):
        wavfile.write(tmp_path / f"{name}.wav", RATE, rng.normal(0, 300, 100 * RATE).astype(np.int16))
    environment = os.environ | {"PYTHONPATH": str(Path(kwsrt.__file__).parent.parent)}
    with subprocess.Popen(
        [sys.executable, "-m", "kwsrt", "simulate", tmp_path, "--processes", "2"],
        env=environment,
        cwd=Path(__file__).parent,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        start_new_session=True,
    ) as running:
        children, deadline = Path(f"/proc/{running.pid}/task/{running.pid}/children"), monotonic() + 30
        while len(children.read_text().split()) < 2 and monotonic() < deadline:
            sleep(0.01)
        os.killpg(running.pid, signal.SIGINT)  # as Ctrl-C in a terminal
        out, err = running.communicate(timeout=60)
    assert (running.returncode, out, err) == (130, b"", b"")
    with pytest.raises(ProcessLookupError):  # none of them is left
        os.killpg(running.pid, 0)
