"""The development tests: words in streams, what counts as found, intervals, the search, and both commands."""

from __future__ import annotations

import csv
import json
import math
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

import kwsrt
from kwsrt import Detector
from kwsrt.scores import Scores
from tools.hearing import __main__ as command
from tools.hearing import defaults, scenes
from tools.hearing.figures import Rate, share
from tools.hearing.listening import Track, in_utterances, judge
from tools.hearing.material import RATE, Clip, Noise, Utterance, noises
from tools.hearing.scenes import Said

LABELS = ("yes", "no", "_unknown_", "_silence_")
WINDOW = 16000


def clip(word="yes", start=0.3, seconds=0.4, level=-20.0, floor=-70.0, seed=0, speaker="0a"):
    """A second of noise at the floor, with a louder burst."""
    random = np.random.default_rng(seed)
    sound = random.standard_normal(RATE) * 10 ** (floor / 20)
    first, last = int(start * RATE), int((start + seconds) * RATE)
    sound[first:last] += random.standard_normal(last - first) * 10 ** (level / 20)
    return Clip(word, speaker, sound.astype(np.float32))


@given(st.floats(0.1, 0.5), st.floats(0.15, 0.35), st.floats(-40, -10), st.integers(0, 99))
@settings(max_examples=25, deadline=None)
def test_a_word_is_cut_out_where_it_sounds(start, seconds, level, seed):
    whole = clip(start=start, seconds=seconds, level=level, seed=seed)
    word = scenes.trimmed(whole)
    assert word is not None
    assert (word.end - word.start) / RATE == pytest.approx(seconds, abs=0.05)
    offset = (start - scenes.MARGIN) * RATE  # where the cut piece was in the clip, about
    assert offset + word.start == pytest.approx(start * RATE, abs=0.05 * RATE)
    assert word.level == pytest.approx(level, abs=1.5)


def test_a_clip_without_contrast_holds_no_word():
    assert scenes.trimmed(clip(level=-70.0)) is None
    assert scenes.trimmed(Clip("yes", "0a", np.zeros(RATE, np.float32))) is None
    assert scenes.trimmed(Clip("yes", "0a", np.ones(100, np.float32))) is None
    words, silent = scenes.chosen([clip(seed=1), clip(level=-70.0), clip("no", seed=2), clip("no", seed=3)], per_word=1)
    assert sorted(word.clip.word for word in words) == ["no", "yes"]
    assert silent <= 1


@given(st.sampled_from([20.0, 10.0, 0.0]), st.integers(0, 50))
@settings(max_examples=8, deadline=None)
def test_streams_have_the_pauses_and_levels_that_were_asked_for(snr, seed):
    words, _ = scenes.chosen([clip(seed=n, speaker=f"{n:x}") for n in range(6)])
    noise = [Noise("hiss", "hiss", np.random.default_rng(seed).standard_normal(3 * RATE).astype(np.float32))]
    (quiet,), (loud,) = (list(scenes.streams(words, noise, ratio, seed)) for ratio in (None, snr))
    assert quiet.said == loud.said
    for before, after in zip(quiet.said, quiet.said[1:], strict=False):
        assert scenes.PAUSE[0] - 1e-3 <= after.start - before.end <= scenes.PAUSE[1] + 1e-3
    levels = [scenes.decibels(quiet.samples[round(said.start * RATE) : round(said.end * RATE)] / np.float32(32768))
              for said in quiet.said]  # fmt: skip
    assert max(levels) - min(levels) < 0.5
    assert scenes.LEVEL[0] - 0.5 <= np.mean(levels) <= scenes.LEVEL[1] + 0.5
    assert scenes.decibels(quiet.samples[: RATE // 2] / np.float32(32768)) == pytest.approx(scenes.FLOOR, abs=3)
    under = (loud.samples.astype(np.float32) - quiet.samples) / np.float32(32768)
    assert scenes.decibels(under) == pytest.approx(np.mean(levels) - snr, abs=1)


def test_noise_is_heard_without_its_silence():
    sound = np.zeros(5 * RATE, np.float32)
    sound[RATE : 2 * RATE] = 0.1
    (window,) = scenes.windows(Noise("door", "door", sound))
    assert scenes.decibels(window) == pytest.approx(0, abs=0.01)
    bed = scenes.bed([Noise("door", "door", sound)], 7 * RATE, np.random.default_rng(0))
    assert scenes.decibels(bed) == pytest.approx(0, abs=0.3)
    with pytest.raises(ValueError, match="no noise"):
        scenes.bed([Noise("none", "none", np.zeros(RATE, np.float32))], RATE, np.random.default_rng(0))


def test_generated_noises_are_where_their_names_say():
    made = {noise.kind: noise.samples for noise in scenes.generated()}
    power = np.abs(np.fft.rfft(made["500 to 1000 Hz"])) ** 2
    hertz = np.fft.rfftfreq(len(made["500 to 1000 Hz"]), 1 / RATE)
    assert power[(hertz >= 500) & (hertz < 1000)].sum() > 0.999 * power.sum()
    assert hertz[np.argmax(np.abs(np.fft.rfft(made["hum 60 Hz"])))] == pytest.approx(60)
    assert max(np.abs(sound).max() for sound in made.values()) <= 1


def scores_with(fired, seconds=20):
    """Scores in which each (label, time) of `fired` is detected at about that time."""
    ends = WINDOW + 960 * np.arange(int((seconds * RATE - WINDOW) / 960))
    values = np.tile(np.eye(4, dtype=np.float32)[3], (len(ends), 1))
    for label, time in fired:
        values[np.abs(ends / RATE - 0.4 - time) < 0.1] = np.eye(4, dtype=np.float32)[LABELS.index(label)]
    return Scores(values, ends, np.zeros(len(ends), np.float32), np.zeros(len(ends), np.int8), WINDOW, RATE)


detector = partial(Detector, LABELS, smoothing=1, patience=1, refractory=0)


def test_detections_in_a_stream_are_what_they_are():
    said = [Said("yes", 2.0, 2.5, "0a"), Said("no", 5.0, 5.5, "0b"), Said("no", 8.0, 8.5, "0c"),
            Said("yes", 12.0, 12.5, "0d")]  # fmt: skip
    fired = [("yes", 2.3), ("yes", 2.8), ("yes", 5.2), ("no", 10.0), ("yes", 12.9)]
    heard = judge([Track("t", 20, scores_with(fired), tuple(said))], detector)
    assert [found for _, found in heard.words] == [True, False, False, True]
    assert heard.false == [("yes", "again"), ("yes", "another"), ("no", "pause")]
    assert judge([Track("t", 20, scores_with([("yes", 3)]))], detector).false == [("yes", "pause")]


def test_words_of_sentences_are_counted_by_sentence():
    pieces = (Utterance(0, 6, ("so", "yes", "no", "no")), Utterance(6, 12, ("yes",)), Utterance(12, 20, ()))
    fired = [("no", 2), ("yes", 3), ("no", 8), ("yes", 9), ("yes", 10), ("no", 15)]
    track = Track("reader", 20, scores_with(fired), utterances=pieces)
    spoken, false = in_utterances([track], detector, ["yes", "no"])
    assert sorted(spoken) == [("no", "reader", False), ("no", "reader", True), ("yes", "reader", True),
                              ("yes", "reader", True)]  # fmt: skip
    assert dict(false) == {"yes": 1, "no": 2}


@given(st.lists(st.tuples(st.sampled_from("abcdef"), st.booleans()), min_size=1, max_size=60))
def test_an_interval_holds_its_share(results):
    one = share(results)
    assert 0 <= one.low <= one.value + 1e-9
    assert one.value <= one.high + 1e-9 <= 1 + 1e-6
    assert one.of == len(results)


def test_intervals_of_known_shares_and_rates():
    alone = share((str(n), n < 8) for n in range(10))
    assert (alone.low, alone.high) == pytest.approx((0.4902, 0.9433), abs=1e-4)
    together = share((str(n // 10), n < 80) for n in range(100))  # ten speakers, each all right or all wrong
    apart = share((str(n), n < 80) for n in range(100))
    assert together.high - together.low > 2 * (apart.high - apart.low)
    assert math.isnan(share([]).value)
    assert Rate(0, 2.0).interval == pytest.approx((0, 1.844), abs=1e-3)


@given(st.integers(0, 10_000), st.floats(0.2, 20), st.floats(0.1, 4))
@settings(max_examples=60, deadline=None)
def test_thresholds_by_word_keep_to_the_limits(seed, most_alarms, most_false):
    random = np.random.default_rng(seed)
    falling = np.sort(random.random((5, len(defaults.THRESHOLDS), 3)), axis=1)[:, ::-1]
    figures = falling * [0.2, random.uniform(1, 20), random.uniform(0.1, 3)]
    figures[:, -1, 1:] = 0  # the highest threshold fires no false alarm
    limits = defaults.Limits(most_alarms, most_false)
    at = defaults.best_thresholds(figures, limits)
    found, alarms, false = figures[np.arange(5), at].sum(0)
    assert alarms <= most_alarms
    assert false <= most_false
    strict = defaults.best_thresholds(figures, defaults.Limits(most_alarms / 2, most_false / 2))
    assert figures[np.arange(5), strict].sum(0)[0] <= found + 1e-12
    free = defaults.best_thresholds(figures, defaults.Limits(1e9, 1e9))
    assert figures[np.arange(5), free, 0].sum() == pytest.approx(figures[:, 0, 0].sum())


def write_wav(path: Path, sound: np.ndarray) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    wavfile.write(path, RATE, scenes.as_int16(sound.astype(np.float32)))


def write_csv(path: Path, rows: list[dict]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.DictWriter(file, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder laid out as the shared data, of noise. (A recording is known by its first bytes, not by its name.)"""
    root = tmp_path_factory.mktemp("data")
    random = np.random.default_rng(1)

    def hiss(seconds: float, level: float = 0.05) -> np.ndarray:
        return random.standard_normal(int(seconds * RATE)) * level

    for folder, words in (("speech_commands", ("yes", "no", "bed", "learn", "cat")), ("voices/kokoro", ("yes", "bed"))):
        rows = []
        for word in words:
            several = [clip(word, seed=n).samples for n in range(3)]
            write_wav(root / f"{folder}/{word}.flac", np.concatenate(several))
            rows += [{"file": f"{folder}/{word}.flac", "index": n, "word": word, "name": f"{n}a_nohash_{n}.wav",
                      "speaker": f"{n}a{n}", "split": "training" if word == "learn" else "validation",
                      "version": "v1", "samples": RATE} for n in range(3)]  # fmt: skip
        write_csv(root / folder / "clips.csv", rows)
    write_wav(root / "speech_commands/_background_noise_/running_tap.flac", hiss(4))
    write_wav(root / "speech_commands/_background_noise_/white_noise.flac", hiss(4))
    rows = []
    for name in ("007_helicopter", "002_rain"):
        write_wav(root / f"noise/esc10/{name}.opus", hiss(10))
        rows += [{"file": f"noise/esc10/{name}.opus", "index": n, "source": f"1-{n}-A.ogg"} for n in (0, 1)]
    write_csv(root / "noise/esc10/clips.csv", rows)
    for folder, sources in (("esc50_free", ("1-1-A-3.wav", "1-2-A-4.wav")), ("kitchen", ("kitchen.wav",))):
        write_wav(root / f"noise/{folder}/{folder}.opus", hiss(5 * len(sources)))
        write_csv(root / f"noise/{folder}/{folder}.csv", [
            {"file": f"noise/{folder}/{folder}.opus", "source": source, "start_sample": 5 * RATE * n,
             "samples": 5 * RATE} for n, source in enumerate(sources)])  # fmt: skip
    for folder in ("librispeech_test_clean_part", "librispeech_test_clean_words", "coffee_orders"):
        rows = []
        for reader in ("11", "22"):
            write_wav(root / f"speech/{folder}/{reader}.opus", hiss(30))
            rows += [{"file": f"speech/{folder}/{reader}.opus", "utterance": f"{reader}-{n}",
                      "start_sample": n * 15 * RATE, "samples": 15 * RATE, "text": "OH YES AND NO"}
                     for n in (0, 1)]  # fmt: skip
        write_csv(root / "speech" / folder / "utterances.csv", rows)
    return root


def test_only_noise_held_out_is_heard(data):
    assert sorted({noise.kind for noise in noises(data)}) == ["cow", "helicopter", "kitchen", "running_tap"]


def test_the_command_measures_every_part(data, tiny_model_path, capsys):
    assert command.main([str(tiny_model_path), "--data", str(data), "--thin", "quarter", "--json", "-"]) == 0
    (figures,) = json.loads(capsys.readouterr().out).values()
    assert figures["a"]["held-out words"]["of"] == 6  # bed of the validation split, learn of any
    assert figures["a"]["classes"]["yes"]["of"] == 3
    assert set(figures["b"]["levels"]) == {str(level) for level in range(-70, -5, 8)}
    assert figures["b"]["recordings"]["of"] == 9 * (4 + 10 + 5 + 5)
    assert [figures["c"][name]["found"]["of"] for name in ("quiet", "20 dB", "10 dB")] == [6, 6, 6]
    assert figures["d"]["read speech"]["false alarms an hour"]["size"] == pytest.approx(1 / 60)
    assert figures["e"]["detected"]["of"] == 8


def test_the_command_prints_tables(data, tiny_model_path, tmp_path, capsys):
    out = tmp_path / "figures.json"
    assert command.main([str(tiny_model_path), "--data", str(data), "--short", "--json", str(out)]) == 0
    said = capsys.readouterr().out
    for part in ("(a) clips, right", "(b) noise as _silence_", "(c) single words", "(d) running", "(e) commands"):
        assert part in said
    assert list(json.loads(out.read_text())) == [f"{tiny_model_path} full"]


@pytest.mark.parametrize("arguments", [["--data", "nowhere"], ["--thin", "eighth", "--data", "nowhere"]])
def test_the_command_refuses_in_one_line(tiny_model_path, capsys, arguments):
    assert command.main([str(tiny_model_path), *arguments]) == 2
    said = capsys.readouterr().err
    assert said.startswith("hearing: error: ")
    assert said.count("\n") == 1


def test_a_search_writes_what_it_found(data, tiny_model_path, tmp_path, capsys):
    out = tmp_path / "found.kws"
    arguments = [str(tiny_model_path), "--data", str(data), "--try", "smoothing=2", "patience=1,2", "--try",
                 "refractory=0.5", "debounce=0", "--alarms", "1e9", "--false", "1e9", "--all",
                 "--out", str(out)]  # fmt: skip
    assert defaults.main(arguments) == 0
    said = capsys.readouterr().out
    assert "on the half that reports" in said
    model = kwsrt.load(out)
    assert model.smoothing == 2
    assert set(model.threshold) == {"yes", "no"}


def test_a_search_refuses_what_no_detector_has(data, tiny_model_path, capsys):
    assert defaults.main([str(tiny_model_path), "--data", str(data), "--try", "colour=1"]) == 2
    assert "colour" in capsys.readouterr().err


def test_a_search_prefers_what_finds_words_within_the_limits(tiny):
    """Patience 1 hears a short burst as well as the word, patience 2 the word alone."""

    def scores(times):
        found = scores_with([])
        values = np.array(found.values)
        for label, time, count in times:
            first = int(np.argmin(np.abs(found.ends / RATE - 0.4 - time)))
            values[first : first + count] = np.eye(4, dtype=np.float32)[LABELS.index(label)]
        return Scores(values, found.ends, found.loudness, found.thin, WINDOW, RATE)

    said = tuple(Said("yes", time, time + 0.4, "0a") for time in (2.0, 6.0, 10.0))
    words = {"quiet": [Track("t", 20, scores([("yes", one.start + 0.2, 2) for one in said]), said)]}
    speech = [Track("s", 20, scores([("yes", 5.0, 1), ("no", 9.0, 1)]))]
    material = defaults.Material(tiny, words, speech)
    first = {"smoothing": (1,), "patience": (1, 2, 4)}
    best = defaults.search(material, defaults.Limits(5, 1), first, {"refractory": (0.0,)})[0]
    assert best.options["patience"] == 2
    assert (best.found, best.alarms, best.false) == (1.0, 0.0, 0.0)
    assert defaults.one_threshold(material, {"smoothing": 1, "patience": 2}, defaults.Limits()).found == 1.0
