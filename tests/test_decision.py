"""From scores to events: when a keyword fires, and when it must not."""
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from kwsrt import Detection, OptionError
from kwsrt.decision import Decider

pytestmark = pytest.mark.arm

LABELS = ("yes", "no", "_unknown_", "_silence_")
PERIOD = 0.06
QUIET, YES, NO, OTHER = np.eye(4, dtype=np.float32)[[3, 0, 1, 2]]

scores = arrays(np.float32, st.tuples(st.integers(0, 40), st.just(4)), elements=st.floats(0, 1, width=32))
options = st.fixed_dictionaries({"threshold": st.floats(0, 1), "smoothing": st.integers(1, 5),
                                 "patience": st.integers(1, 5), "refractory": st.floats(0, 2)})


def decide(rows, **settings):
    """Detections of consecutive decisions, by the index of the decision."""
    decider = Decider(LABELS, **settings)
    return {i: event for i, row in enumerate(rows) if (event := decider.update(row, i * PERIOD)) is not None}


def reference(rows, threshold, smoothing, patience, refractory):
    """The definition in Decider's docstring, written the slow way."""
    heard, armed, last = {}, dict.fromkeys(LABELS, True), -np.inf
    padded = np.concatenate([np.zeros((smoothing - 1, 4)), np.asarray(rows, np.float64).reshape(-1, 4)])
    smooth = [padded[i:i + smoothing].sum(0) / smoothing for i in range(len(rows))]
    over = [LABELS[row.argmax()] if row.max() >= threshold and row.argmax() < 2 else None for row in smooth]
    for i, row in enumerate(smooth):
        for label, score in zip(LABELS, row, strict=True):
            armed[label] |= bool(score < threshold)
        steady = i + 1 >= patience and len({*over[i + 1 - patience:i + 1]}) == 1
        if over[i] and steady and armed[over[i]] and i * PERIOD - last >= refractory:
            heard[i], armed[over[i]], last = over[i], False, i * PERIOD
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
        assert event.time == i * PERIOD
        assert i + 1 >= chosen["patience"]
    for earlier, later in pairwise(heard.values()):
        assert later.time - earlier.time >= chosen["refractory"]


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
    assert next(iter(heard.values())) == Detection("yes", 1.0, (smoothing - 1) * PERIOD)


def test_a_held_word_fires_once_and_again_when_it_fell_below_the_threshold():
    chosen = {"threshold": 0.8, "smoothing": 1, "patience": 1, "refractory": 0.0}
    assert list(decide([YES] * 100, **chosen)) == [0]
    assert list(decide([YES] * 3 + [QUIET] + [YES] * 3, **chosen)) == [0, 4]


def test_another_word_may_follow_at_once_without_refractory_time():
    rows = [YES] * 3 + [NO] * 3
    assert [event.label for event in decide(rows, smoothing=1, patience=1, refractory=0).values()] == ["yes", "no"]
    assert [event.label for event in decide(rows, smoothing=1, patience=1, refractory=9).values()] == ["yes"]


def test_refractory_time_delays_a_word_that_lasts():
    rows = [YES, QUIET, *[NO] * 20]
    heard = decide(rows, smoothing=1, patience=1, refractory=10 * PERIOD)
    assert [(i, event.label) for i, event in heard.items()] == [(0, "yes"), (10, "no")]


def test_threshold_per_label():
    row = np.array([0.6, 0.4, 0, 0], np.float32)
    chosen = {"smoothing": 1, "patience": 1}
    assert decide([row], threshold={"yes": 0.5, "no": 0.9}, **chosen)
    assert not decide([row], threshold={"yes": 0.7, "no": 0.1}, **chosen)
    assert not decide([YES], threshold={"no": 0.1}, **chosen), "labels left out never fire"


def test_reset_forgets_everything():
    decider = Decider(LABELS, smoothing=1, patience=1, refractory=5)
    assert decider.update(YES, 0.0)
    assert decider.update(YES, 0.1) is None
    decider.reset()
    assert decider.update(YES, 0.2)


@pytest.mark.parametrize(("wrong", "said"), [
    ({"threshold": 1.01}, "0 to 1"), ({"threshold": -0.1}, "0 to 1"), ({"threshold": float("nan")}, "0 to 1"),
    ({"threshold": "high"}, "0 to 1"), ({"threshold": True}, "0 to 1"), ({"threshold": {"yes": 2}}, "0 to 1"),
    ({"threshold": {"maybe": 0.5}}, "maybe"), ({"threshold": {"_silence_": 0.5}}, "_silence_"),
    ({"smoothing": 0}, "smoothing"), ({"patience": 0}, "patience"), ({"refractory": -1}, "refractory"),
    ({"refractory": float("inf")}, "refractory"), ({"refractory": float("nan")}, "refractory"),
])
def test_wrong_options_are_refused(wrong, said):
    with pytest.raises(OptionError, match=said):
        Decider(LABELS, **wrong)
