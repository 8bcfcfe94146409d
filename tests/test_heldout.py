"""What training never hears: names of files, sources and classes all lead to the same answer."""

from __future__ import annotations

import pytest

from tools.train import heldout


@pytest.mark.parametrize(
    "name",
    [
        "noise/esc10/007_helicopter.opus",
        "helicopter",
        "009_rooster",
        "2-103426-A-3.wav",
        "1-9841-A-16.wav",
        "_background_noise_/running_tap.wav",
        "running_tap.flac",
        "kitchen.wav",
        "noise/kitchen/kitchen.opus",
        "Siren",
    ],
)
def test_held_out_noise_is_known_by_file_source_and_class(name: str) -> None:
    assert heldout.held_out_noise(name)


@pytest.mark.parametrize(
    "name",
    [
        "noise/esc10/002_rain.opus",
        "rain",
        "2-103427-A-4.wav",
        "white_noise.wav",
        "dude_miaowing",
        "sea_waves",
        "5-1-A-99.wav",
        "esc50_free.opus",
    ],
)
def test_other_noise_may_train(name: str) -> None:
    assert not heldout.held_out_noise(name)


def test_words_and_speech() -> None:
    assert heldout.is_held_out_word("bed")
    assert heldout.is_held_out_word("Visual")
    assert not heldout.is_held_out_word("bird")
    assert heldout.held_out_speech("data/speech/coffee_orders/coffee_orders.opus")
    assert heldout.held_out_speech("speech/librispeech_test_clean_part")
    assert not heldout.held_out_speech("speech/librispeech_dev_clean/84.opus")


def test_one_class_in_four_of_the_free_ones_is_held_out() -> None:
    in_esc10 = {
        "dog",
        "rain",
        "sea_waves",
        "crying_baby",
        "clock_tick",
        "sneezing",
        "helicopter",
        "chainsaw",
        "rooster",
        "crackling_fire",
    }
    assert set(sorted(set(heldout.ESC50) - in_esc10)[3::4]) == heldout.ESC50_FREE
