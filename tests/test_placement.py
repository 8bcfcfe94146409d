"""Where words are said to be, and words at the edges of audio, close together, or in streams that begin anew."""

import copy
import functools
import json
import pickle
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import kwsrt
from kwsrt import audio, place
from kwsrt import format as file_format
from kwsrt.errors import OptionError
from kwsrt.model import Model
from tests.models import make_model

RATE = 16000
RECORDINGS = Path(__file__).parent / "recordings"
# Clear words are placed as well as that, in seconds.
NEAR = 0.15
MODEL = kwsrt.load()
# What is tested is where words are, not whether the model is sure of them.
detect = functools.partial(kwsrt.detect, threshold=0.5)


@functools.cache
def cut():
    """The words of commands.wav without the silence around them, float32."""
    samples = audio.as_float(audio.read(RECORDINGS / "commands.wav")[0])
    truth = json.loads((RECORDINGS / "truth.json").read_text())["commands.wav"]
    return {said["word"]: samples[round(said["start"] * RATE) : round(said["end"] * RATE)] for said in truth}


WORDS = ("yes", "no", "stop", "go", "left", "right", "up", "down")
# Those that the model never takes for another in these recordings.
CLEAR = ("yes", "go", "left", "right")


def spoken(words, gaps, *, noise=1e-4, seed=0):
    """The words, each after a gap of so many seconds, and one gap at the end, in noise; and where they lie."""
    pieces, spans, at = [], [], 0
    for word, gap in zip((*words, None), gaps, strict=True):
        pieces.append(np.zeros(round(gap * RATE), np.float32))
        at += len(pieces[-1])
        if word is not None:
            pieces.append(cut()[word])
            spans.append((word, at / RATE, (at + len(pieces[-1])) / RATE))
            at += len(pieces[-1])
    rng = np.random.default_rng(seed)
    return (np.concatenate(pieces) + noise * rng.standard_normal(at)).astype(np.float32), spans


def hear(samples, stream, detector):
    return detector.push(stream.push(samples))


def labels(heard):
    return [event.label for event in heard]


def assert_placed(heard, spans):
    """Each detection is one of the words, in order, and where that word is."""
    left = iter(spans)
    for event in heard:
        assert 0 <= event.start <= event.time <= event.end
        assert any(
            event.label == word and abs(event.start - start) <= NEAR and abs(event.end - end) <= NEAR
            for word, start, end in left
        ), (event, spans)


# --- where a word is ------------------------------------------------------------------------------------------------


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.sampled_from(CLEAR), min_size=1, max_size=3),
    st.data(),
    st.sampled_from([0, 1e-4, 1e-3]),
    st.integers(0, 99),
)
def test_start_and_end_hold_the_word(words, data, noise, seed):
    edge, between = st.floats(0, 2), st.floats(0.3, 1.5)
    gaps = [data.draw(edge), *(data.draw(between) for _ in words[1:]), data.draw(edge)]
    samples, spans = spoken(words, gaps, noise=noise, seed=seed)
    heard = list(detect(samples))
    assert noise > 1e-4 or len(heard) > len(words) / 2
    assert_placed(heard, spans)
    assert all(event.end <= len(samples) / RATE + 1e-5 for event in heard)


@pytest.mark.parametrize("lead", [0, 0.1, 0.2, 0.4, 0.6, 0.8, 1.5])
def test_the_first_second_of_a_recording(lead):
    for word in WORDS:
        samples, spans = spoken([word], [lead, 1.5])
        heard = list(detect(samples))
        assert labels(heard) == [word]
        assert_placed(heard, spans)


@pytest.mark.parametrize("stride", [4, 8, 20])
@pytest.mark.parametrize("thin", ["full", "auto"])
def test_any_stride_and_the_first_second_of_a_stream(stride, thin):
    chosen = {"smoothing": 1, "patience": 1} if stride > 4 else {}
    found = 0
    for word in WORDS:
        for lead in (0.45, 0.7, 1.3):
            samples, spans = spoken([word], [lead, 1.0])
            stream, detector = MODEL.stream(stride=stride, thin=thin), MODEL.detector(**chosen)
            heard = hear(samples, stream, detector) + detector.push(stream.finish())
            found += word in labels(heard)
            assert_placed([event for event in heard if event.label == word][:1], spans)
    assert found >= 20


def test_a_louder_sound_elsewhere_is_not_the_word():
    samples, spans = spoken(["go"], [1.2, 1.5])
    at = round(0.35 * RATE)
    samples[at : at + 1600] += 0.9 * np.sin(np.arange(1600) * 0.1).astype(np.float32)
    heard = list(detect(samples))
    assert labels(heard) == ["go"]
    assert_placed(heard, spans)


def test_another_front_end_and_kind_of_network():
    """A network that sees windows at once, of frames with gaps between them: its detections hold the loud part."""
    model = Model(
        file_format.parse(
            make_model(
                8,
                frontend={"window": 256, "hop": 400, "n_fft": 256, "bins": 16},
                frames=24,
                bins=16,
                width=16,
                hidden=24,
                blocks=2,
                levels={"full": [0, 1], "half": [1]},
            )
        )
    )
    samples = 1e-4 * np.random.default_rng(0).standard_normal(3 * RATE)
    samples[RATE : RATE + 6400] += 0.3 * np.random.default_rng(1).standard_normal(6400)
    stream = model.stream()
    scores = stream.push(samples.astype(np.float32).clip(-1, 1))
    scores.values[...] = np.eye(len(model.labels), dtype=np.float32)[model.labels.index("_silence_")]
    scores.values[(scores.times > 1.3) & (scores.times < 1.7)] = np.eye(len(model.labels), dtype=np.float32)[0]
    (heard,) = kwsrt.Detector(model.labels, smoothing=2, patience=2).push(scores)
    assert heard.start == pytest.approx(1.0, abs=0.03)
    assert heard.end == pytest.approx(1.4, abs=0.03)


def test_copies_of_scores_place_words_as_well():
    samples, _ = spoken(["left"], [1.8, 1.2])
    scores = MODEL.stream().push(samples)
    want = MODEL.detector().push(scores)
    assert want
    for copied in (copy.copy(scores), copy.deepcopy(scores), pickle.loads(pickle.dumps(scores))):
        assert MODEL.detector().push(copied) == want
    by_hand = kwsrt.Scores(scores, scores.ends, scores.loudness, scores.thin, scores.window, scores.sample_rate)
    (heard,) = MODEL.detector().push(by_hand)  # to a decision, of which each has its loudness
    assert heard.label == "left"
    assert abs(heard.time - want[0].time) < 0.25


# --- close together -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("gap", [0.3, 0.5, 0.8, 1.2])
def test_the_same_word_again(gap):
    for word in WORDS:
        samples, spans = spoken([word] * 3, [0.5, gap, gap, 1.0])
        heard = list(detect(samples))
        assert labels(heard) == [word] * 3
        assert_placed(heard, spans)


def test_a_word_that_is_followed_by_silence_is_not_said_again():
    for word in WORDS:
        assert labels(detect(spoken([word], [0.5, 4])[0])) == [word]


def test_different_words_close_together():
    words = ["yes", "no", "stop", "go", "left", "right"]
    for gap, lost in ((0.3, 0), (0.2, 2)):
        samples, spans = spoken(words, [1.0, *[gap] * 5, 1.0])
        heard = list(detect(samples))
        assert len(heard) >= len(words) - lost
        assert_placed(heard, spans)
        # However long the same word may not come again: others may.
        assert labels(detect(samples, refractory=60)) == labels(heard)


# --- streams that end and begin anew --------------------------------------------------------------------------------


def test_a_word_at_the_very_end_is_heard_when_nothing_follows():
    for word in WORDS:
        samples, spans = spoken([word], [2.0, 0])
        stream, detector = MODEL.stream(), MODEL.detector()
        assert hear(samples, stream, detector) == []
        heard = detector.push(stream.finish())
        assert labels(heard) == [word]
        assert_placed(heard, spans)


def test_a_word_without_anything_around_it():
    for word in WORDS:
        assert labels(kwsrt.detect(cut()[word])) == [word]
        assert labels(kwsrt.detect(np.array_split(cut()[word], 5))) == [word]


def test_finish_ends_the_stream_and_it_begins_anew():
    stream, fresh = MODEL.stream(), MODEL.stream()
    samples, _ = spoken(["yes"], [1.0, 0.1])
    assert len(stream.finish()) == 0
    assert len(stream.push(np.empty(0, np.int16))) == len(stream.finish()) == 0
    for _ in range(2):
        pushed, last = stream.push(samples), stream.finish()
        want = fresh.push(np.concatenate([samples, np.zeros(MODEL.window, np.float32)]))
        fresh.reset()
        assert np.array_equal(np.concatenate([pushed, last]), want)
        assert np.array_equal(np.concatenate([pushed.ends, last.ends]), want.ends)
        assert stream.decisions == 0
    assert len(stream.push(samples[:1])) == 0
    assert stream.finish().ends[0] == MODEL.window  # less than a window is heard, too


def test_a_detector_hears_a_stream_that_begins_anew():
    long = spoken(["yes", "no"] * 6, [0.5, *[1.0] * 12])[0]
    short, spans = spoken(["go", "left"], [0.7, 1.0, 1.0])
    for begin in ("reset", "finish", "another stream"):
        stream, detector = MODEL.stream(), MODEL.detector(refractory=3, debounce=1)
        assert hear(long, stream, detector)
        if begin == "another stream":
            stream = MODEL.stream()
        else:
            getattr(stream, begin)()
        heard = hear(short, stream, detector)
        assert labels(heard) == ["go", "left"], begin
        assert_placed(heard, spans)


def test_nothing_of_the_old_stream_is_left():
    """A word whose decisions are parted by a reset was not said."""
    samples, _ = spoken(["yes"], [1.0, 1.5])
    ends = MODEL.stream().push(samples)
    fires = next(i for i in range(len(ends)) if MODEL.detector().push(cut_scores(ends, i + 1)))
    stream, detector = MODEL.stream(), MODEL.detector()
    assert not hear(samples[: ends.ends[fires] - 1], stream, detector)
    stream.reset()
    assert not hear(np.zeros(3 * RATE, np.int16), stream, detector)


def cut_scores(scores, count):
    """The first decisions as scores made by hand."""
    kept = (array[:count] for array in (scores.values, scores.ends, scores.loudness, scores.thin))
    return kwsrt.Scores(*kept, scores.window, scores.sample_rate)


def test_two_streams_in_one_detector_are_refused():
    one, two, detector = MODEL.stream(), MODEL.stream(), MODEL.detector()
    samples, _ = spoken(["yes", "no"], [1.0, 1.0, 1.0])
    hear(samples, one, detector)
    hear(samples, two, detector)  # which begins, as after the end of the first
    with pytest.raises(OptionError, match="another stream"):
        hear(samples, one, detector)
    assert labels(hear(samples, two, detector)) == ["yes", "no"]  # it goes on unharmed
    detector.reset()
    assert labels(hear(samples, one, detector)) == ["yes", "no"]
    with pytest.raises(OptionError, match="another stream"):
        detector.push(two.push(samples))


def test_scores_made_by_hand_after_those_of_a_stream():
    model = Model(
        file_format.parse(
            make_model(
                8,
                frontend={"window": 256, "hop": 400, "n_fft": 256, "bins": 16},
                frames=8,
                bins=16,
                width=16,
                hidden=24,
                blocks=2,
                levels={"full": [0, 1]},
            )
        )
    )
    scores = model.stream().push(np.zeros(RATE, np.int16))
    for later in (1, 71, 72, 73, 400, 1 << 40):
        detector = kwsrt.Detector(model.labels, threshold=0, smoothing=1, patience=1)
        detector.push(scores)
        detector.push(kwsrt.Scores(scores[:1], scores.ends[-1:] + later, [0], [0], scores.window, RATE))


# --- the rule itself ------------------------------------------------------------------------------------------------

sounds = st.lists(st.floats(-120, 0, width=32), min_size=1, max_size=90)


@given(sounds, st.floats(-1, 3), st.floats(-1, 3), st.floats(-1, 3))
@settings(max_examples=100, deadline=None)
def test_a_word_lies_within_the_sound(levels, since, rose, after):
    ends = 0.03 * np.arange(1, len(levels) + 1)
    sound = place.Sound(ends - 0.03, ends, np.array(levels, np.float32))
    since = min(since, float(ends[-1]) - 0.03)
    start, end = place.word(sound, since, rose - 0.12, rose, after)
    assert 0 <= start < end <= ends[-1] + 1e-9
    assert end > since
    assert end - start <= place.LONGEST_WORD + 1e-9
