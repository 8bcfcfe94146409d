"""From scores to events: when a keyword fires, and when it must not."""

from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kwsrt import Detector, OptionError, Scores

pytestmark = pytest.mark.arm

LABELS = ("yes", "no", "_unknown_", "_silence_")
RATE, WINDOW, STRIDE = 1000, 600, 60
PERIOD = STRIDE / RATE
QUIET, YES, NO, OTHER = np.eye(4, dtype=np.float32)[[3, 0, 1, 2]]

scores = arrays(np.float32, st.tuples(st.integers(0, 40), st.just(4)), elements=st.floats(0, 1, width=32))
options = st.fixed_dictionaries(
    {
        "threshold": st.floats(0, 1),
        "smoothing": st.integers(1, 5),
        "patience": st.integers(1, 5),
        "refractory": st.floats(0, 2),
        "debounce": st.floats(0, 1),
    }
)


def scores_of(rows, first=0, loudness=None):
    """What a stream would return for decisions with these scores."""
    values = np.asarray(rows, np.float32).reshape(-1, 4)
    loudness = np.zeros(len(values)) if loudness is None else loudness
    return Scores(
        values,
        WINDOW + STRIDE * (first + np.arange(len(values))),
        np.asarray(loudness, np.float32),
        np.zeros(len(values), np.int8),
        WINDOW,
        RATE,
    )


def decide(rows, **settings):
    """Detections of consecutive decisions, by the index of the decision."""
    detector = Detector(LABELS, **settings)
    return {i: events[0] for i, row in enumerate(rows) if (events := detector.push(scores_of([row], i)))}


def reference(rows, threshold, smoothing, patience, refractory, debounce):
    """The definition in Detector's docstring, written the slow way."""
    heard, armed, last = {}, dict.fromkeys(LABELS, True), dict.fromkeys(LABELS, -np.inf)
    times = [(WINDOW + STRIDE * i) / RATE for i in range(len(rows))]
    over_at = dict.fromkeys(LABELS, -np.inf)
    padded = np.concatenate([np.zeros((smoothing - 1, 4)), np.asarray(rows, np.float64).reshape(-1, 4)])
    smooth = [padded[i : i + smoothing].sum(0) / smoothing for i in range(len(rows))]
    over = [LABELS[row.argmax()] if row.max() >= threshold and row.argmax() < 2 else None for row in smooth]
    for i, row in enumerate(smooth):
        for label, score in zip(LABELS, row, strict=True):
            if score >= threshold:
                over_at[label] = times[i]
            elif times[i] - over_at[label] >= debounce:
                armed[label] = True
        steady = i + 1 >= patience and len({*over[i + 1 - patience : i + 1]}) == 1
        if over[i] and steady and armed[over[i]] and times[i] - last[over[i]] >= refractory:
            heard[i], armed[over[i]], last[over[i]] = over[i], False, times[i]
    return heard


@settings(max_examples=60, deadline=None)
@given(scores, options)
def test_fires_where_the_definition_says(rows, chosen):
    assert {i: event.label for i, event in decide(rows, **chosen).items()} == reference(rows, **chosen)


@settings(max_examples=60, deadline=None)
@given(scores, options)
def test_invariants(rows, chosen):
    heard = decide(rows, **chosen)
    for i, event in heard.items():
        assert not event.label.startswith("_")
        assert chosen["threshold"] <= event.score <= 1
        assert event.start < event.time < event.end <= (WINDOW + STRIDE * i) / RATE
        assert event.end > STRIDE * i / RATE
        assert i + 1 >= chosen["patience"]
    for earlier, later in pairwise(heard.values()):
        assert later.time >= earlier.time
    for label in LABELS[:2]:
        for earlier, later in pairwise(i for i, event in heard.items() if event.label == label):
            assert (later - earlier) * PERIOD >= chosen["refractory"] - 1e-9


@settings(max_examples=30, deadline=None)
@given(st.integers(1, 20), st.floats(0, 1))
def test_underscore_labels_never_fire(count, threshold):
    assert not decide([QUIET] * count + [OTHER] * count, threshold=max(threshold, 1e-3), smoothing=1)


@pytest.mark.parametrize("patience", [1, 2, 3])
def test_patience_counts_decisions_in_a_row(patience):
    chosen = {"threshold": 0.8, "smoothing": 1, "patience": patience}
    assert not decide(([YES] * (patience - 1) + [QUIET]) * 5, **chosen)
    assert list(decide([QUIET, *[YES] * patience], **chosen)) == [patience]


def test_another_leader_starts_the_count_anew():
    assert not decide([YES, NO] * 10, threshold=0.8, smoothing=1, patience=2)


@pytest.mark.parametrize("smoothing", [1, 2, 4])
def test_smoothing_averages_the_last_decisions(smoothing):
    heard = decide([YES] * 6, threshold=1.0, smoothing=smoothing, patience=1)
    assert list(heard) == [smoothing - 1]
    event = next(iter(heard.values()))
    assert (event.label, event.score) == ("yes", 1.0)


def test_a_held_word_fires_once_and_again_when_it_fell_below_the_threshold():
    chosen = {"threshold": 0.8, "smoothing": 1, "patience": 1, "refractory": 0.0}
    assert list(decide([YES] * 100, **chosen)) == [0]
    assert list(decide([YES] * 3 + [QUIET] + [YES] * 3, **chosen)) == [0, 4]


@pytest.mark.parametrize("refractory", [0, 0.5, 9])
def test_another_word_may_follow_at_once(refractory):
    rows = [YES] * 3 + [NO] * 3
    heard = decide(rows, smoothing=1, patience=1, refractory=refractory)
    assert [(i, event.label) for i, event in heard.items()] == [(0, "yes"), (3, "no")]


def test_refractory_time_delays_the_same_word():
    rows = [YES, QUIET, *[YES] * 20]
    heard = decide(rows, smoothing=1, patience=1, refractory=10 * PERIOD)
    assert [(i, event.label) for i, event in heard.items()] == [(0, "yes"), (10, "yes")]


def test_threshold_per_label():
    row = np.array([0.6, 0.4, 0, 0], np.float32)
    chosen = {"smoothing": 1, "patience": 1}
    assert decide([row], threshold={"yes": 0.5, "no": 0.9}, **chosen)
    assert not decide([row], threshold={"yes": 0.7, "no": 0.1}, **chosen)
    assert not decide([YES], threshold={"no": 0.1}, **chosen), "labels left out never fire"


def test_debounce_wants_the_score_to_stay_below():
    rows = [YES, QUIET, YES, QUIET, QUIET, QUIET, YES]
    chosen = {"smoothing": 1, "patience": 1, "refractory": 0}
    assert list(decide(rows, **chosen)) == [0, 2, 6]
    assert list(decide(rows, debounce=3 * PERIOD, **chosen)) == [0, 6]
    assert list(decide(rows, debounce=4 * PERIOD, **chosen)) == [0]


@settings(max_examples=20, deadline=None)
@given(scores, options, st.integers(1, 40))
def test_pushes_may_be_cut_anywhere(rows, chosen, cut):
    whole, parts = Detector(LABELS, **chosen), Detector(LABELS, **chosen)
    assert parts.push(scores_of(rows[:cut])) + parts.push(scores_of(rows[cut:], cut)) == whole.push(scores_of(rows))


@pytest.mark.parametrize("background", [-80, -55])
def test_start_and_end_are_those_of_the_sound(background):
    # Decision i is loud by what it heard from 0.54 + 0.06 i to 0.6 + 0.06 i seconds: here with a stop's closure within.
    loudness = np.full(12, background)
    loudness[[4, 5, 7]] = [-30, -25, -35]
    events = Detector(LABELS, smoothing=1, patience=10).push(scores_of([YES] * 12, loudness=loudness))
    assert len(events) == 1
    assert events[0].start == pytest.approx(0.54 + 0.06 * 4)
    assert events[0].end == pytest.approx(0.6 + 0.06 * 7)
    moved = events[0].later(-0.9)
    assert (moved.start, moved.label) == (0.0, "yes")
    assert moved.end == pytest.approx(0.6 + 0.06 * 7 - 0.9)


def test_reset_forgets_everything():
    detector = Detector(LABELS, smoothing=1, patience=1, refractory=5)
    assert detector.push(scores_of([YES]))
    assert not detector.push(scores_of([YES], 1))
    detector.reset()
    assert detector.push(scores_of([YES], 0))


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"threshold": 1.01}, "0 to 1"),
        ({"threshold": -0.1}, "0 to 1"),
        ({"threshold": float("nan")}, "0 to 1"),
        ({"threshold": "high"}, "0 to 1"),
        ({"threshold": True}, "0 to 1"),
        ({"threshold": {"yes": 2}}, "0 to 1"),
        ({"threshold": {"maybe": 0.5}}, "maybe"),
        ({"threshold": {"_silence_": 0.5}}, "_silence_"),
        ({"smoothing": 0}, "smoothing"),
        ({"patience": 0}, "patience"),
        ({"refractory": -1}, "refractory"),
        ({"refractory": float("inf")}, "refractory"),
        ({"refractory": float("nan")}, "refractory"),
        ({"debounce": -1}, "debounce"),
    ],
)
def test_wrong_options_are_refused(wrong, said):
    with pytest.raises(OptionError, match=said):
        Detector(LABELS, **wrong)
