"""The packed file: its layout as documented, and that nothing damaged or hostile is taken for a model."""

import hashlib
import json
import os
import time
import tracemalloc
import zlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kwsrt import format as file_format
from kwsrt import layout, numbers
from kwsrt import manifest as manifests
from kwsrt.errors import ModelFileError
from kwsrt.model import Model, load
from tests.models import make_model, make_tensors, sealed, taken_apart
from tests.reference import same_bits

pytestmark = pytest.mark.arm

FILE = make_model(
    5,
    frontend={"window": 64, "hop": 64, "n_fft": 64, "bins": 8, "fmax": 8000.0},
    frames=8,
    bins=8,
    width=8,
    hidden=8,
    blocks=2,
    levels={"full": [0, 1], "half": [1]},
)
GOOD = file_format.parse(FILE)


def with_text(described, **header):
    """The good file with any manifest (an object, or bytes)."""
    text = zlib.compress(described if isinstance(described, bytes) else json.dumps(described).encode())
    _, section, weights = taken_apart(FILE)
    return sealed(text, section, bytes(-(64 + len(text) + len(section)) % 16) + weights, **header)


def with_numbers(content, **header):
    """The good file with other bytes under the compression of its numbers."""
    text, _, weights = taken_apart(FILE)
    section = zlib.compress(content)
    return sealed(text, section, bytes(-(64 + len(text) + len(section)) % 16) + weights, **header)


def with_manifest(path, value):
    """The good manifest with one value replaced (or removed: ...); path: keys and indices."""
    manifest = json.loads(json.dumps(GOOD.manifest))
    at = manifest
    for key in path[:-1]:
        at = at[key]
    if value is ...:
        del at[path[-1]]
    else:
        at[path[-1]] = value
    return manifest


def refuse(data):
    """The message with which a file is refused, by the parser or by the model; anything but ModelFileError fails."""
    with pytest.raises(ModelFileError) as caught:
        Model(file_format.parse(data))
    message = str(caught.value)
    assert message
    assert "\n" not in message
    return message


# --- layout --------------------------------------------------------------------------------------------------------


def test_layout_is_the_documented_one():
    assert FILE[:8] == b"KWSRT\r\n\x1a"
    assert int.from_bytes(FILE[8:12], "little") == 2
    manifest_end = 64 + int.from_bytes(FILE[12:16], "little")
    assert int.from_bytes(FILE[16:24], "little") == len(FILE)
    at = manifest_end + int.from_bytes(FILE[24:28], "little")
    assert FILE[32:64] == hashlib.sha256(FILE[:32] + bytes(32) + FILE[64:]).digest()
    text = zlib.decompress(FILE[64:manifest_end])
    assert len(text) == int.from_bytes(FILE[28:32], "little")
    manifest = json.loads(text.decode("utf-8"))
    assert manifest == GOOD.manifest
    assert sum(file_format.sections(FILE).values()) == len(FILE)
    specs = layout.tensor_specs(manifest["network"], len(manifest["labels"]))
    content = zlib.decompress(FILE[manifest_end:at])
    for dtype in ("<f4", "|i1"):
        for spec in (spec for spec in specs if spec.dtype.str == dtype):
            assert content[: spec.size] == GOOD.tensors[spec.name].tobytes()
            content = content[spec.size :]
    for spec in (spec for spec in specs if spec.is_binary):
        start = -(-at // 16) * 16
        assert not any(FILE[at:start]), "zero bytes between weights"
        at = start + spec.size
        assert same_bits(np.frombuffer(FILE[start:at], np.uint8).reshape(spec.shape), GOOD.tensors[spec.name])
    assert at == len(FILE), "the file ends with the last weights"


def test_tensors_are_the_documented_ones():
    # A network whose sizes all differ, so that no shape is right by accident.
    network = {
        "frames": 20,
        "bins": 12,
        "conv1": 8,
        "conv2": 16,
        "width": 37,
        "hidden": 70,
        "blocks": 2,
        "taps": 7,
        "levels": {"full": [0, 1], "half": [1]},
    }
    specs = {s.name: (s.dtype.str, s.shape) for s in layout.tensor_specs(network, 5)}
    assert next(iter(specs)) == "scales"
    assert list(specs)[-1] == "verify.scores"
    assert specs["scales"] == ("<f4", (9,))
    assert specs["conv1.weight"] == ("|i1", (25, 8))
    assert specs["conv1.affine"] == ("<f4", (2, 8))
    assert specs["conv1.slope"] == ("<f2", (8,))
    assert specs["conv2.weight"] == ("|u1", (1, 26, 16))
    assert specs["conv2.threshold"] == ("<f2", (8,))
    assert specs["fc1.weight"] == ("|u1", (3, 6, 16))
    assert specs["fc1.threshold"] == ("<f2", (16,))
    assert specs["fc1.affine"] == ("<f2", (2, 37))
    assert specs["blocks.1.memory.weight"] == ("|u1", (33,))
    assert specs["blocks.1.expand.weight"] == ("|u1", (5, 6, 16))
    assert specs["blocks.1.expand.slope"] == ("<f2", (1,))
    assert specs["blocks.1.expand.affine.half"] == ("<f2", (2, 70))
    assert specs["blocks.1.project.weight"] == ("|u1", (3, 10, 16))
    assert "blocks.1.project.threshold" not in specs
    assert "blocks.0.memory.affine.full" in specs
    assert "blocks.0.memory.affine.half" not in specs
    assert specs["classifier.weight"] == ("|i1", (5, 5 * 37))
    assert specs["classifier.affine.half"] == ("<f4", (2, 5))
    assert specs["verify.scores"] == ("<f4", (2, 5))


def test_round_trip():
    assert (GOOD.size, GOOD.checksum) == (len(FILE), FILE[32:64].hex())
    assert file_format.write(GOOD.manifest, GOOD.tensors) == FILE
    assert not any(tensor.flags.writeable for tensor in GOOD.tensors.values())
    assert file_format.write(GOOD.manifest, make_tensors(5, GOOD.manifest)) == FILE, "the same seed, the same file"


def test_weights_are_read_in_place():
    data = np.frombuffer(FILE, np.uint8)
    file = file_format.parse(FILE)
    assert all(np.shares_memory(tensor, data) for tensor in file.tensors.values() if tensor.dtype == np.uint8)


def test_text_of_the_manifest_is_kept():
    manifest = {**GOOD.manifest, "name": "für zwölf ✓", "labels": ["да", "нет", "_x_", "ok"], "extra": {"a": [1, None]}}
    again = file_format.parse(file_format.write(manifest, GOOD.tensors))
    assert again.manifest == manifest
    assert Model(again).labels == ("да", "нет", "_x_", "ok")


def test_write_refuses_what_read_would():
    with pytest.raises(ModelFileError, match=r"planes"):
        file_format.write(with_manifest(["network", "planes"], 3), GOOD.tensors)
    with pytest.raises(ModelFileError, match=r"conv1\.slope"):
        file_format.write(GOOD.manifest, {k: v for k, v in GOOD.tensors.items() if k != "conv1.slope"})
    with pytest.raises(ModelFileError, match="left"):
        file_format.write(GOOD.manifest, {**GOOD.tensors, "left": np.zeros(1)})
    for wrong in (np.zeros(5, np.float16), np.zeros(4, np.float32), np.zeros((4, 1), np.float16)):
        with pytest.raises(ModelFileError, match=r"conv1\.slope"):
            file_format.write(GOOD.manifest, {**GOOD.tensors, "conv1.slope": wrong})


def test_verification_audio_is_fixed():
    audio = file_format.verification_audio(16000)
    assert (audio.dtype, audio.shape) == (np.int16, (16000,))
    assert hashlib.sha256(audio.astype("<i2").tobytes()).hexdigest() == AUDIO_CHECKSUM
    assert same_bits(file_format.verification_audio(100), audio[:100])


AUDIO_CHECKSUM = "7730e99ac4252d4d9f8a8b7be142037e06e610cd1559fe64e5f4b42f662018c5"


# --- damage --------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("flip", [0x01, 0x80, 0xFF])
def test_every_corrupted_byte(flip):
    data = bytearray(FILE)
    for i in range(len(FILE)):
        data[i] ^= flip
        with pytest.raises(ModelFileError):
            file_format.parse(bytes(data))
        data[i] ^= flip
    assert bytes(data) == FILE


def test_every_truncation():
    for length in range(len(FILE)):
        with pytest.raises(ModelFileError):
            file_format.parse(FILE[:length])


def test_truncations_with_a_correct_header():
    text, section, weights = taken_apart(FILE)
    for length in [*range(100), *range(0, len(weights), 61), len(weights) - 1]:
        refuse(sealed(text, section, bytes(-(64 + len(text) + len(section)) % 16) + weights[:length]))


def test_appended_bytes():
    for extra in (b"\0", bytes(64), b"\n", FILE):
        refuse(FILE + extra)
        text, section, weights = taken_apart(FILE)
        refuse(sealed(text, section, bytes(-(64 + len(text) + len(section)) % 16) + weights + extra))


def test_foreign_files():
    for data in (
        b"",
        b"KWSRT",
        b"RIFF" + bytes(100),
        bytes(1000),
        b"\x80\x04\x95" + bytes(80),
        b"PK\x03\x04" + bytes(80),
        FILE[1:],
        b"KWSRT\n\x1a" + FILE[7:],
        b"KWSRT\r\r\n\x1a" + FILE[8:],
    ):
        assert "not a kwsrt model file" in refuse(data)


def test_messages_say_what_to_do():
    assert "upgrade kwsrt" in refuse(with_text(GOOD.manifest, version=3))
    assert "convert the checkpoint again" in refuse(with_text(GOOD.manifest, version=1))
    assert "fetch the file again" in refuse(FILE[:-1])
    assert "fetch the file again" in refuse(FILE[:-1] + bytes([FILE[-1] ^ 1]))
    assert "checksum" in refuse(FILE[:-1] + bytes([FILE[-1] ^ 1]))
    assert "upgrade kwsrt" in refuse(with_text(with_manifest(["network", "family"], "transformer")))


def test_unreadable_files(tmp_path):
    for path in (tmp_path / "none.kws", tmp_path, tmp_path / ("x" * 300 + ".kws"), tmp_path / "folder" / "model.kws"):
        with pytest.raises(ModelFileError, match="cannot read"):
            file_format.read(path)
    huge = tmp_path / "huge.kws"
    with huge.open("wb") as file:
        file.truncate(1 << 40)
    with pytest.raises(ModelFileError, match=r"huge\.kws.*larger"):
        file_format.read(huge)
    damaged = tmp_path / "damaged.kws"
    damaged.write_bytes(FILE[:100])
    for reader in (file_format.read, load):
        with pytest.raises(ModelFileError, match=r"damaged\.kws.*fetch the file again"):
            reader(damaged)
    with pytest.raises(ModelFileError, match=r"no model 'commands13'.*expected the path of a \.kws file"):
        load("commands13")


def test_only_regular_files_are_read(tmp_path):
    os.mkfifo(tmp_path / "pipe.kws")
    for path in (tmp_path / "pipe.kws", "/dev/zero"):
        with pytest.raises(ModelFileError, match="regular file"):
            file_format.read(path)
    for name in ("a\0b.kws", "x" * 5000, "\ud800.kws"):
        for reader in (file_format.read, load):
            with pytest.raises(ModelFileError):
                reader(name)
    (tmp_path / "link.kws").symlink_to(tmp_path / "real.kws")
    (tmp_path / "real.kws").write_bytes(FILE)
    assert file_format.read(tmp_path / "link.kws").checksum == GOOD.checksum
    (tmp_path / "lfs.kws").write_text("version https://git-lfs.github.com/spec/v1\noid sha256:00\nsize 12\n")
    with pytest.raises(ModelFileError, match=r"lfs\.kws.*git lfs pull"):
        load(tmp_path / "lfs.kws")


# --- hostile files: the checksum is right, the content is not --------------------------------------------------------


def test_the_helper_builds_good_files():
    assert file_format.parse(with_text(GOOD.manifest)).manifest == GOOD.manifest
    assert Model(file_format.parse(with_text(GOOD.manifest))).verify() == 0.0


def test_headers_that_lie():
    for manifest_size in (0, 1, 63, 1 << 31, (1 << 32) - 1, len(FILE)):
        refuse(with_text(GOOD.manifest, manifest=manifest_size))
    for numbers_size in (0, 1, 63, 1 << 31, (1 << 32) - 1, len(FILE)):
        refuse(with_text(GOOD.manifest, numbers=numbers_size))
    for text_size in (0, 1, len(json.dumps(GOOD.manifest)) + 1, 1 << 20, (1 << 20) + 1, (1 << 32) - 1):
        refuse(with_text(GOOD.manifest, text=text_size))
    for size in (0, 63, len(FILE) - 1, len(FILE) + 1, 1 << 63, (1 << 64) - 1):
        refuse(with_text(GOOD.manifest, size=size))
    for version in (0, 1, 3, (1 << 32) - 1):
        refuse(with_text(GOOD.manifest, version=version))


TEXTS = {
    "empty": b"",
    "not JSON": b"{",
    "two values": b"{} {}",
    "null": b"null",
    "list": b"[]",
    "number": b"1",
    "text": b'"a"',
    "nan": b"NaN",
    "not UTF-8": b'{"name": "\xff"}',
    "UTF-16": '{"name": "x"}'.encode("utf-16"),
    "BOM": b"\xef\xbb\xbf{}",
    "NUL": b'{"name": "x"}\0',
    "deep lists": b"[" * 100_000,
    "deep objects": b'{"a":' * 100_000,
    "deep and closed": b"[" * 100_000 + b"]" * 100_000,
    "long number": b'{"name": ' + b"9" * 10_000 + b"}",
    "empty object": b"{}",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=list(TEXTS))
def test_manifests_that_are_no_manifest(text):
    refuse(sealed(zlib.compress(text), b"", b""))
    refuse(with_text(text))


def test_deep_json_inside_a_good_manifest():
    text = json.dumps(GOOD.manifest)[:-1].encode() + b', "x": ' + b"[" * 100_000 + b"]" * 100_000 + b"}"
    refuse(with_text(text))


REQUIRED = [["name"], ["labels"], ["frontend"], ["network"], *(["network", key] for key in GOOD.manifest["network"])]


@pytest.mark.parametrize("path", REQUIRED, ids=".".join)
@pytest.mark.parametrize("value", [..., None, [], {}, -1, 1 << 70, 1.5, float("nan"), "", [None], {"": 1}], ids=str)
def test_missing_and_wrong_values(path, value):
    fits = (path == ["name"] and value == "") or (path == ["frontend"] and value == {"": 1})
    if fits:
        return
    refuse(with_text(with_manifest(path, value)))


NAN, INFINITE = float("nan"), float("inf")
HOSTILE = {
    "name": [3, ["x"]],
    "labels": [
        ["yes", "yes", "no", "x"],
        ["yes"],
        ["yes", ""],
        "yesno",
        ["yes", 1],
        ["yes", None],
        [["yes"], ["no"]],
        [str(i) for i in range(1001)],
        {"yes": 1, "no": 2},
    ],
    "smoothing": [0, -1, 101, 2.5, True, "5", [5]],
    "patience": [0, 1 << 40, None],
    "network.family": ["DFSMN", "dfsmn2"],
    "network.width": [0, 1 << 20, 1 << 31, 8.0, True],
    "network.hidden": [0, 1 << 40],
    "network.frames": [10, 1 << 30],
    "network.bins": [9, 1 << 30],
    "network.conv1": [5, 1 << 16],
    "network.conv2": [6, 1 << 16],
    "network.blocks": [0, 1 << 31],
    "network.taps": [4, 1 << 31],
    "network.planes": [0, 3, True],
    "network.levels": [
        {"full": [0, 2]},
        {"full": [1, 0]},
        {"full": [0, 0]},
        {"full": [-1]},
        {"full": 1},
        {"full": [0.0]},
        {"full": [True]},
        {"full": ["0"]},
        {"full": {"0": 1}},
        {"": [0]},
        [[0, 1]],
        {str(i): [0] for i in range(9)},
    ],
    "frontend": ["log-mel", [1]],
    "frontend.kind": ["plp", 1, None, "mfcc"],
    "frontend.sample_rate": [0, 16000.5, 1 << 40, "16000"],
    "frontend.window": [-1, 1 << 31],
    "frontend.hop": [0, 65537],
    "frontend.n_fft": [100, 1 << 30],
    "frontend.bins": [9, 1 << 31],
    "frontend.fmin": [NAN, None],
    "frontend.fmax": [INFINITE, 10**400, [8000]],
    "frontend.floor": [0, 1e300],
    "frontend.step": [0, NAN],
    "frontend.offset": [-INFINITE],
    "frontend.unknown": [1],
    "frontend.self": [1],
    "frontend.": [1],
}


@pytest.mark.parametrize(
    ("path", "value"), [(path, value) for path, values in HOSTILE.items() for value in values], ids=str
)
def test_hostile_values(path, value):
    refuse(with_text(with_manifest(path.split("."), value)))


def test_networks_of_another_size_do_not_fit():
    for key, value in (("width", 12), ("hidden", 40), ("conv1", 8), ("blocks", 3), ("frames", 12), ("bins", 12)):
        message = refuse(with_text(with_manifest(["network", key], value)))
        known = ("bytes, the file has", "bytes that the manifest asks for", "network.bins")
        assert any(said in message for said in known)
    assert refuse(with_text(with_manifest(["labels"], ["a", "b", "c"])))


def test_huge_networks_cost_nothing():
    largest = {
        "frames": 1024,
        "bins": 256,
        "conv1": 16,
        "conv2": 256,
        "width": 256,
        "hidden": 4096,
        "blocks": 64,
        "taps": 31,
        "levels": {str(i): list(range(64)) for i in range(8)},
    }
    manifest = {
        **GOOD.manifest,
        "network": {**GOOD.manifest["network"], **largest},
        "frontend": {"bins": 256, "n_fft": 8192, "hop": 160, "fmax": 8000},
        "labels": [str(i) for i in range(100)],
    }
    data = with_text(manifest)
    tracemalloc.start()
    try:
        assert "takes" in refuse(data)
        assert tracemalloc.get_traced_memory()[1] < 8e6
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_tensors_that_are_not_finite(value):
    for name, tensor in GOOD.tensors.items():
        if tensor.dtype.kind != "f":
            continue
        broken = tensor.copy()
        broken.reshape(-1)[0] = value
        data = file_format.write(GOOD.manifest, {**GOOD.tensors, name: broken})
        if name.startswith("verify"):  # no layer reads these: enough that the replay does not pass
            assert Model(file_format.parse(data)).verify() != 0.0
        else:
            refuse(data)


@pytest.mark.parametrize("value", [3e38, -3e38])
def test_classifiers_that_overflow_still_give_scores(value):
    # 3e38 times a sum is infinite: scores of infinite logits would be NaN.
    broken = GOOD.tensors["classifier.affine.full"].copy()
    broken[0] = value
    data = file_format.write(GOOD.manifest, {**GOOD.tensors, "classifier.affine.full": broken})
    try:
        model = Model(file_format.parse(data))
    except ModelFileError:
        return
    scores = model.network.run(np.full((1, 8, 8), 50, np.int8), "full")
    assert np.isfinite(scores).all()


BAD_LABELS = [
    "",
    " ",
    "a ",
    "x" * 101,
    "/etc/passwd",
    "..",
    "../up",
    "a/../b",
    "a\nb",
    "a\0b",
    "\x1b[2J",
    "\x7f",
    "\x9b",
    "\ud800",
    "\u202eabc",
    "\u2066x\u2069",
    "\u200bx",
    "\u200d",
    "x\u200c",
    "\ufeffx",
    "a\u2028b",
    "a\tb",
    5,
    None,
    ["yes"],
]
GOOD_LABELS = ["on/off", "two words", "ünï", "да", "می\u200cخواهم", "x" * 100, "-rf", "[bold]", ".", "a.b", "日本語"]


@pytest.mark.parametrize("label", BAD_LABELS, ids=repr)
def test_labels_that_are_not_safe_to_show_are_refused(label):
    manifest = with_manifest(["labels"], [label, "no", "_unknown_", "_silence_"])
    message = refuse(with_text(manifest))
    assert "label" in message
    assert message.isprintable()
    with pytest.raises(ModelFileError, match="label"):
        file_format.write(manifest, GOOD.tensors)


@pytest.mark.parametrize("label", GOOD_LABELS)
def test_labels_in_any_script_are_taken(label):
    manifest = with_manifest(["labels"], [label, "no", "_unknown_", "_silence_"])
    assert Model(file_format.parse(file_format.write(manifest, GOOD.tensors))).labels[0] == label


@pytest.mark.parametrize("name", ["auto", "\x1b[2J", "a\nb", "x" * 101])
def test_thinning_levels_have_names_like_labels(name):
    assert "levels" in refuse(with_text(with_manifest(["network", "levels"], {name: [0]})))


@given(label=st.text(max_size=120))
@settings(max_examples=60, deadline=None)
def test_every_label_that_passes_is_one_line_of_text(label):
    if manifests.is_name(label):
        assert label.translate(manifests.JOINERS).isprintable()
        assert 1 <= len(label) <= 100
        assert label.encode()
        assert not label.startswith("/")
        assert ".." not in label


def test_a_window_lasts_a_minute_at_most():
    network = {
        "frames": 1024,
        "bins": 8,
        "conv1": 4,
        "conv2": 4,
        "width": 4,
        "hidden": 4,
        "blocks": 1,
        "taps": 1,
        "levels": {"full": [0]},
    }
    rates = (({"hop": 65536}, 4190.3), ({"hop": 940}, 60.2), ({"hop": 4693, "sample_rate": 80000}, 60.0))
    for frontend, seconds in rates:
        manifest = {
            **GOOD.manifest,
            "network": {**GOOD.manifest["network"], **network},
            "frontend": {"bins": 8, "window": 1024, "n_fft": 1024, "fmax": 2000.0, **frontend},
        }
        for attempt in (lambda m=manifest: refuse(with_text(m)), lambda m=manifest: manifests.check(m)):
            began = time.monotonic()
            try:
                message = attempt()
            except ModelFileError as error:
                message = str(error)
            assert f"are {seconds:.1f} s of audio" in message
            assert time.monotonic() - began < 1
    largest = make_model(1, frontend={"hop": 936, "bins": 8, "fmax": 2000.0}, **network)
    assert Model(file_format.parse(largest)).verify() == 0.0


@pytest.mark.parametrize("value", [NAN, INFINITE, -INFINITE, 10**400, {"a": [1, {"b": NAN}]}], ids=str)
def test_what_json_cannot_say_is_no_manifest(value):
    manifest = {**GOOD.manifest, "training": {"loss": value}}
    with pytest.raises(ModelFileError, match=r"training\.loss"):
        file_format.write(manifest, GOOD.tensors)
    assert "training.loss" in refuse(with_text(manifest))
    text = json.dumps(GOOD.manifest)[:-1].encode() + b',"training":{"loss":1e999}}'
    assert "training.loss" in refuse(with_text(text))


@pytest.mark.parametrize("value", [b"bytes", {1: "a"}, {"a"}, object()], ids=["bytes", "int keys", "set", "object"])
def test_write_refuses_what_is_no_json(value):
    with pytest.raises(ModelFileError, match=r"invalid manifest: training\.x"):
        file_format.write({**GOOD.manifest, "training": {"x": value}}, GOOD.tensors)


def test_numpy_numbers_and_tuples_are_written_as_json():
    manifest = {**GOOD.manifest, "threshold": np.float32(0.5), "smoothing": np.int64(3), "training": {"a": (1, 2.5)}}
    again = file_format.parse(file_format.write(manifest, GOOD.tensors)).manifest
    assert (again["threshold"], again["smoothing"], again["training"]) == (0.5, 3, {"a": [1, 2.5]})


@pytest.mark.parametrize("depth", [40, 300, 900, 100_000])
@pytest.mark.parametrize("pair", [("[", "]"), ('{"a":', "}")], ids=["lists", "objects"])
def test_deep_manifests_are_refused(depth, pair):
    inner = pair[0] * depth + "1" + pair[1] * depth
    message = refuse(with_text((json.dumps(GOOD.manifest)[:-1] + f',"x":{inner}}}').encode()))
    assert "32 levels deep" in message or "not JSON" in message
    nested = "1"
    for _ in range(depth):
        nested = [nested]
    with pytest.raises(ModelFileError, match="32 levels deep"):
        file_format.write({**GOOD.manifest, "x": nested}, GOOD.tensors)


def test_manifests_that_grow_when_they_are_written_are_refused():
    many = [0]
    for _ in range(25):
        many = [many] * 9
    with pytest.raises(ModelFileError, match="more values"):
        file_format.write({**GOOD.manifest, "x": many}, GOOD.tensors)
    with pytest.raises(ModelFileError, match="bytes long"):
        file_format.write({**GOOD.manifest, "x": "x" * (1 << 20)}, GOOD.tensors)


@pytest.mark.parametrize("threshold", [{"_unknown_": 0.5}, {"yes": 0.5, "_silence_": 0.1}, {"nobody": 0.5}, {"yes": 2}])
def test_thresholds_are_those_of_keywords(threshold):
    assert "threshold" in refuse(with_text({**GOOD.manifest, "threshold": threshold}))
    model = Model(file_format.parse(with_text({**GOOD.manifest, "threshold": {"yes": 0.5}})))
    model.detector()


# --- numbers ---------------------------------------------------------------------------------------------------------

SPECS = [
    layout.TensorSpec(name, np.dtype(dtype), shape)
    for name, dtype, shape in (
        ("scales", "<f4", (3,)),
        ("a.slope", "<f2", (9,)),
        ("conv1.weight", "i1", (2, 5)),
        ("a.affine.full", "<f2", (2, 9)),
        ("a.affine.half", "<f2", (2, 9)),
        ("b.affine", "<f2", (2, 1)),
    )
]
HALVES = st.integers(0, 0xFFFF) | st.sampled_from([0, 0x8000, 0x7C00, 0xFC00, 0x7E01, 1, 0x8001, 0x7BFF, 0x3C00])


@given(seed=st.integers(0, 1 << 30), step=st.integers(-26, 8), odd=st.lists(HALVES, max_size=3))
@settings(max_examples=60, deadline=None)
def test_numbers_lose_no_bit(seed, step, odd):
    rng = np.random.default_rng(seed)
    tensors = {}
    for spec in SPECS:
        if spec.dtype != np.float16:
            tensors[spec.name] = rng.integers(-100, 100, spec.shape).astype(spec.dtype)
            continue
        kinds = ("a", "b") if "affine" in spec.name else ("slope",)
        rows = [numbers.on_grid(rng.integers(-6, 60, spec.shape[-1]), step, kind) for kind in kinds]
        values = np.concatenate(rows).clip(-65504, 65504)
        for value in odd:
            values[rng.integers(len(values))] = np.array(value, np.uint16).view(np.float16)
        tensors[spec.name] = values.reshape(spec.shape)
    again = numbers.unpack(SPECS, numbers.pack(SPECS, tensors))
    assert list(again) == list(tensors)
    assert all(again[name].tobytes() == tensor.tobytes() for name, tensor in tensors.items())
    assert all(again[spec.name].dtype == spec.dtype for spec in SPECS)


def test_coarse_numbers_take_a_few_bits():
    # Gaussian, rounded to half their spread: 3.05 bits of entropy each; the second level's equal the first's.
    spec = [layout.TensorSpec(f"a.affine.{level}", np.dtype("<f2"), (2, 4096)) for level in ("full", "half")]
    multiples = np.round(np.random.default_rng(1).normal(5, 2, (2, 4096)))
    coarse = np.stack([numbers.on_grid(row, -2, kind) for row, kind in zip(multiples, "ab", strict=True)])
    same = numbers.pack(spec, {"a.affine.full": coarse, "a.affine.half": coarse})
    assert 8 * len(same) < 3.3 * coarse.size


def test_numbers_of_another_length():
    content = zlib.decompress(taken_apart(FILE)[1])
    assert Model(file_format.parse(with_numbers(content))).verify() == 0.0
    for other in (b"", content[:-1], content + b"\0", bytes(1 << 20)):
        assert "does not hold the" in refuse(with_numbers(other))
    text, section, weights = taken_apart(FILE)
    for broken in (section[:-5], section + b"\0\0\0\0", b"no zlib" + section, section[:2]):
        refuse(sealed(text, broken, bytes(-(64 + len(text) + len(broken)) % 16) + weights))


# Values that a fuzzer would try, at every place of the manifest.
VALUES = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(),
    st.integers(-2, 300),
    st.floats(),
    st.text(max_size=5),
    st.lists(st.integers(-2, 300) | st.text(max_size=3), max_size=5),
    st.dictionaries(st.text(max_size=3), st.lists(st.integers(-2, 5), max_size=4) | st.integers(), max_size=9),
)
PATHS = [[key] for key in GOOD.manifest]
PATHS += [[part, key] for part in ("network", "frontend") for key in GOOD.manifest[part]]


@given(path=st.sampled_from(PATHS), value=VALUES)
@settings(max_examples=80, deadline=None)
def test_fuzzed_manifests(path, value):
    run_or_refuse(with_text(with_manifest(path, value)))


@given(edits=st.lists(st.tuples(st.integers(64, len(FILE) - 1), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=80, deadline=None)
def test_fuzzed_bytes_with_a_correct_checksum(edits):
    data = bytearray(FILE)
    for at, value in edits:
        data[at] = value
    data[32:64] = hashlib.sha256(data[:32] + bytes(32) + data[64:]).digest()
    run_or_refuse(bytes(data))


@given(edits=st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), min_size=1, max_size=4))
@settings(max_examples=80, deadline=None)
def test_fuzzed_numbers(edits):
    content = bytearray(zlib.decompress(taken_apart(FILE)[1]))
    for at, value in edits:
        content[at % len(content)] = value
    run_or_refuse(with_numbers(bytes(content)))


def run_or_refuse(data):
    """Either a clear refusal, or a model that runs: nothing else."""
    try:
        model = Model(file_format.parse(data))
    except ModelFileError:
        return
    q = np.full((1, model.network.frames, model.network.bins), 50, np.int8)
    for level in model.thin_levels:
        assert model.network.run(q, level).shape == (1, len(model.labels))
    assert not model.verify() < 0  # NaN where the file's own scores are NaN
