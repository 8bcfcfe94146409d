"""The manifest of a model file: what it says of a network, and the one check of all of that.

Whatever reads, writes or converts a model checks its manifest here before it builds or allocates anything.

Manifest
--------
name, labels: strings; a label has 1 to 100 printable characters. threshold: 0 to 1, from which a detection is reported
(0.8 where it is missing), or {keyword: threshold}. smoothing, patience: decisions, 1 to 100, of kwsrt.Detector (5 and 3
where they are missing). frontend: options of kwsrt.frontend.FrontEnd. network: family "dfsmn"; frames, bins: input
size, at most 60 seconds of audio with the front end's hop; conv1, conv2, width, hidden: channels; blocks; taps of a
memory; planes: 1 or 2 activation planes; levels: thinning levels, name -> indices of the blocks that run. Where causal
is true, memories look back, convolutions are not padded in time, and the classifier sees `steps` steps of four frames:
frames is 4 * steps + 9. classifier_bits: of the classifier's weights, 2 to 8 (8 where it is missing). clear: 0 to 1,
the score of all labels together that are no keywords from which on thin="auto" runs no deeper level, or {level: score}
of the levels that it runs before the first (0.85 for all where it is missing). training, accuracy, licence, provenance:
what a user should know, in any form that JSON has: no NaN or infinity, and 32 levels deep at most.
"""

import json
import math
import reprlib
from collections.abc import Collection, Mapping
from itertools import pairwise
from typing import Any, NoReturn

import numpy as np

from kwsrt.errors import KwsrtError, ModelFileError
from kwsrt.frontend import FrontEnd

LARGEST_TEXT = 1 << 20
DEEPEST = 32
# A text of that length holds no more values: each takes a character, and another one parts it from the next.
MOST_VALUES = LARGEST_TEXT // 2
LONGEST_LABEL = 100
LONGEST_WINDOW = 60  # seconds
LARGEST_CLASSIFIER = 1 << 23  # weights
# Some scripts write them inside of words: zero width non-joiner and joiner.
JOINERS = str.maketrans("", "", "\u200c\u200d")


def decode(text: bytes) -> dict[str, Any]:
    """The manifest of a JSON text, checked.

    Raises
    ------
    ModelFileError : no JSON, or a manifest that `check` refuses.
    """
    _require(len(text) <= LARGEST_TEXT, f"{len(text)} bytes long")
    try:
        manifest = json.loads(text)
    except (UnicodeDecodeError, ValueError, RecursionError):
        raise ModelFileError("the manifest is not JSON") from None
    return check(manifest)


def encode(manifest: Mapping[str, Any]) -> bytes:
    """The JSON text of a manifest that `check` has given back.

    Raises
    ------
    ModelFileError : a longer text than a file may hold.
    """
    text = json.dumps(manifest, separators=(",", ":"), allow_nan=False).encode()
    _require(len(text) <= LARGEST_TEXT, f"{len(text)} bytes long")
    return text


def check(manifest: object) -> dict[str, Any]:
    """The manifest as `plain` makes it, if it is valid: everything that sizes a buffer or names a thing is within its
    bounds. Numbers inside tensors are checked by the layers.

    Raises
    ------
    ModelFileError : what is wrong, and what was found there.
    """
    _require(isinstance(manifest, Mapping), "not an object")
    checked: dict[str, Any] = plain(manifest)
    labels, network = checked.get("labels"), checked.get("network")
    _require(isinstance(checked.get("name"), str), f"name = {_shown(checked.get('name'))}")
    check_labels(labels)
    assert isinstance(labels, list)
    keywords = [label for label in labels if not label.startswith("_")]
    threshold = checked.get("threshold", 0.8)
    _require(
        _are_scores(threshold, keywords),
        f"threshold = {_shown(threshold)}: expected 0 to 1, or that for some of the keywords",
    )
    for key in ("smoothing", "patience"):
        _require(
            _is_count(checked.get(key, 1), 1, 100), f"{key} = {_shown(checked.get(key))}: expected 1 to 100 decisions"
        )
    _check_network(network)
    assert isinstance(network, dict)
    steps = network["steps"] if network.get("causal") else network["frames"] // 4
    _require(len(labels) * steps * network["width"] <= LARGEST_CLASSIFIER, "network too large for so many labels")
    _check_frontend(checked.get("frontend"), network)
    _require(_are_scores(checked.get("clear", 1), network["levels"]), f"clear = {_shown(checked.get('clear'))}")
    return checked


def check_labels(labels: object) -> None:
    """Labels go to terminals, to commands and into file names: text that is safe there, each another.

    Raises
    ------
    ModelFileError : no list of 2 to 1000 labels, two that are the same, or one that `is_name` does not pass.
    """
    if not isinstance(labels, list) or not 2 <= len(labels) <= 1000:
        _fail(f"labels = {_shown(labels)}: expected 2 to 1000 labels")
    for label in labels:
        _require(
            is_name(label),
            f"label {_shown(label)}: expected 1 to {LONGEST_LABEL} printable characters, no blank "
            "at either end, no slash at the start and no '..'",
        )
    _require(len(set(labels)) == len(labels), f"labels = {_shown(labels)}: one is there twice")


def is_name(value: object) -> bool:
    """Whether a value may be the name of a label or of a thinning level."""
    return (
        isinstance(value, str)
        and 1 <= len(value) <= LONGEST_LABEL
        and value.translate(JOINERS).isprintable()
        and value.strip(" \u200c\u200d") == value
        and not value.startswith("/")
        and ".." not in value
    )


def plain(value: object) -> Any:
    """The same with Python's own values alone: NumPy's numbers and tuples become what JSON has for them.

    Raises
    ------
    ModelFileError : what JSON cannot say (and where it is), or more, longer or deeper values than a manifest has.
    """
    left = MOST_VALUES

    def copied(value: object, path: tuple[str, ...]) -> Any:
        nonlocal left
        left -= 1
        if left < 0:
            _fail("more values than a manifest has")
        if len(path) > DEEPEST:
            _fail(f"{_where(path)}: nested more than {DEEPEST} levels deep")
        if isinstance(value, np.generic):
            value = value.item()
        if value is None or isinstance(value, (bool, str)):
            return value
        if isinstance(value, int) and value.bit_length() <= 64:
            return value
        if isinstance(value, float) and math.isfinite(value):
            return value
        if isinstance(value, Mapping) and all(isinstance(key, str) for key in value):
            return {key: copied(inner, (*path, key)) for key, inner in value.items()}
        if isinstance(value, (list, tuple)):
            return [copied(inner, (*path, str(index))) for index, inner in enumerate(value)]
        _fail(f"{_where(path)}: {_unsayable(value)}")

    return copied(value, ())


def _unsayable(value: object) -> str:
    """Why JSON cannot say a value."""
    if isinstance(value, float):
        return f"{value} is no number"
    if isinstance(value, int):
        return "a number of more than 64 bits"
    if isinstance(value, Mapping):
        return "a key that is no text"
    return f"JSON has nothing for a value of type {type(value).__name__}"


def _where(path: tuple[str, ...]) -> str:
    """A place in a manifest, in a form that is safe to show."""
    named = ".".join(key if is_name(key) else _shown(key) for key in path)
    return named if len(named) <= 200 else f"{named[:200]}..."


def _shown(value: object) -> str:
    """A value from a manifest, shortened and escaped."""
    return reprlib.repr(value)


def _fail(what: str) -> NoReturn:
    raise ModelFileError(f"invalid manifest: {what}")


def _require(condition: bool, what: str) -> None:
    if not condition:
        _fail(what)


def _is_count(value: object, low: int, high: int, multiple: int = 1) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and low <= value <= high and value % multiple == 0


def _are_scores(value: object, names: Collection[str]) -> bool:
    """One number from 0 to 1, or one for each of some of the names."""
    if isinstance(value, dict):
        return all(name in names and not isinstance(one, dict) and _are_scores(one, ()) for name, one in value.items())
    return isinstance(value, (int, float)) and not isinstance(value, bool) and 0 <= value <= 1


def _check_network(network: object) -> None:
    if not isinstance(network, dict) or network.get("family") != "dfsmn":
        family = network.get("family") if isinstance(network, dict) else network
        _fail(f"network family {_shown(family)}; upgrade kwsrt?")
    for key in ("causal", "centred_memory", "shared_norms"):
        _require(isinstance(network.get(key, False), bool), f"network.{key} = {_shown(network.get(key))}")
    causal = network.get("causal", False)
    if causal:
        _require(
            _is_count(network.get("steps"), 2, 256) and network.get("frames") == 4 * network["steps"] + 9,
            "network.steps, of four frames each, and nine frames more",
        )
    for key, low, high, multiple in (
        ("frames", 8, 1024, 1 if causal else 4),
        ("bins", 8, 256, 4),
        ("conv1", 4, 256, 4),
        ("conv2", 4, 256, 4),
        ("width", 4, 1024, 1),
        ("hidden", 4, 4096, 1),
        ("blocks", 1, 64, 1),
        ("taps", 1, 31, 1),
        ("planes", 1, 2, 1),
    ):
        _require(_is_count(network.get(key), low, high, multiple), f"network.{key} = {_shown(network.get(key))}")
    bits = network.get("classifier_bits", 8)
    _require(_is_count(bits, 2, 8), f"network.classifier_bits = {_shown(bits)}")
    _require(network["taps"] % 2 == 1, "network.taps must be odd")
    _require(
        network["frames"] // 4 * network["width"] <= 65536
        and network["frames"] * network["bins"] * network["conv1"] <= 1 << 22,
        "network too large",
    )
    levels = network.get("levels")
    if not isinstance(levels, dict) or not 1 <= len(levels) <= 8:
        _fail(f"network.levels = {_shown(levels)}: expected 1 to 8 thinning levels")
    for name, indices in levels.items():
        _require(
            is_name(name)
            and name != "auto"
            and isinstance(indices, list)
            and all(_is_count(i, 0, network["blocks"] - 1) for i in indices)
            and all(i < j for i, j in pairwise(indices)),
            f"network.levels: {_shown(name)} = {_shown(indices)}",
        )


def _check_frontend(options: object, network: Mapping[str, Any]) -> None:
    """The options themselves, and that the network takes what comes of them."""
    if not isinstance(options, dict):
        _fail(f"frontend = {_shown(options)}")
    known = FrontEnd().options
    for key in options:
        _require(key in known, f"frontend: unknown option {_shown(key)}")
    try:
        frontend = FrontEnd(**options)
    except (KwsrtError, TypeError, OverflowError) as error:
        _fail(f"frontend: {error}")
    _require(
        frontend.width == network["bins"],
        f"frontend: it gives {frontend.width} values a frame, network.bins = {network['bins']}",
    )
    seconds = ((network["frames"] - 1) * frontend.hop + frontend.window) / frontend.sample_rate
    _require(
        seconds <= LONGEST_WINDOW,
        f"network.frames: {network['frames']} frames with a hop of {frontend.hop} "
        f"samples are {seconds:.1f} s of audio, a decision hears at most "
        f"{LONGEST_WINDOW} s",
    )
