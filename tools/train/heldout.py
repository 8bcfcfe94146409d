"""What training never hears, kept for the development tests: words, noises, speech and voices.

Training and `tools.hearing` both ask here, so that no recipe can be fitted to what it is judged by. Names are those of
the files and words of the shared data (its README), in upper or lower case, with or without folder and ending.
"""

from __future__ import annotations

from pathlib import PurePath

#: words of Speech Commands (and of synthetic voices) that are in no training set under any label
WORDS = frozenset({"backward", "bed", "follow", "learn", "visual"})

#: recordings of `_background_noise_`, whole: a steady and an unsteady one
BACKGROUNDS = frozenset({"exercise_bike", "running_tap"})

#: classes of noise/esc10, whole: a steady one, an animal, and clicks
ESC10 = frozenset({"clock_tick", "helicopter", "rooster"})

#: classes of ESC-50 by number; the last part of a source's name is the number, as 3 in 2-103426-A-3.wav
ESC50 = tuple(
    """
        dog rooster pig cow frog cat hen insects sheep crow rain sea_waves crackling_fire crickets chirping_birds
        water_drops wind pouring_water toilet_flush thunderstorm crying_baby sneezing clapping breathing coughing
        footsteps laughing brushing_teeth snoring drinking_sipping door_wood_knock mouse_click keyboard_typing
        door_wood_creaks can_opening washing_machine vacuum_cleaner clock_alarm clock_tick glass_breaking helicopter
        chainsaw siren car_horn engine train church_bells airplane fireworks hand_saw
    """.split()
)

#: every fourth of the forty classes of noise/esc50_free in the order of their names
ESC50_FREE = frozenset({"can_opening", "church_bells", "cow", "door_wood_knock", "footsteps", "hen", "mouse_click",
                        "siren", "train", "wind"})  # fmt: skip

#: recordings of a place, whole
PLACES = frozenset({"kitchen"})

#: folders below speech/ of which nothing trains; librispeech_dev_clean and ljspeech may
SPEECH = ("librispeech_test_clean_part", "librispeech_test_clean_words", "coffee_orders")

#: folders below speech/ of which training may use everything
TRAINING_SPEECH = ("librispeech_dev_clean", "ljspeech")

#: the split of Speech Commands, and of voices/kokoro, whose speakers train nothing
VOICES = "validation"


def is_held_out_word(word: str) -> bool:
    """Whether a word, spoken by anybody, is kept out of training."""
    return word.lower() in WORDS


def noise_class(name: str) -> str:
    """The class of a noise: of a file as 007_helicopter.opus, of a source as 2-103426-A-3.wav, or the name itself.

    A file that holds several classes, as esc50_free.opus, is a class by itself: ask with its sources' names."""
    stem = PurePath(name).stem if PurePath(name).suffix in {".wav", ".flac", ".opus", ".ogg"} else PurePath(name).name
    stem = stem.lower()
    number = stem.rpartition("-")[2]
    if stem.count("-") == 3 and number.isdigit() and int(number) < len(ESC50):
        return ESC50[int(number)]
    first, _, rest = stem.partition("_")
    return rest if first.isdigit() and rest else stem


def held_out_noise(name: str) -> bool:
    """Whether a noise recording is kept out of training, by the name of its file, source or class."""
    return noise_class(name) in BACKGROUNDS | ESC10 | ESC50_FREE | PLACES


def held_out_speech(name: str) -> bool:
    """Whether a long speech recording is kept out of training: by a path, one of whose parts is one of SPEECH."""
    return any(PurePath(part).stem in SPEECH for part in PurePath(name).parts)
