"""Text files as people have them, files written whole or not at all, and which files are clips."""

import os
import stat
from pathlib import Path

import pytest

from kwsrt import clips, files
from kwsrt.errors import AudioError, OptionError

NAMES = ["yes/a.wav", "no/ b c.wav", "ja/\u3042.wav"]


@pytest.mark.parametrize("encoding", ["utf-8", "utf-8-sig", "utf-16"])
@pytest.mark.parametrize("end", ["\n", "\r\n", "\r"])
def test_lists_are_read_with_any_mark_and_any_line_end(tmp_path, encoding, end):
    path = tmp_path / "list.txt"
    path.write_bytes((end.join([*NAMES, "", "  "]) + end).encode(encoding))
    assert files.read_lines(path) == NAMES
    assert files.read_text(path) == "\n".join([*NAMES, "", "  "]) + "\n"


def test_names_that_are_no_utf8_stay_the_same_file(tmp_path):
    path = tmp_path / "list.txt"
    path.write_bytes(b"yes/caf\xe9.wav\n")
    assert [os.fsencode(name) for name in files.read_lines(path)] == [b"yes/caf\xe9.wav"]
    with pytest.raises(OptionError, match=r"list\.txt: cannot read the file: it is no UTF-8 text"):
        files.read_text(path)


@pytest.mark.parametrize("data", [b"a\0b", b"\xff\xfea", b"\xfe\xff\xd8\x00\x00a"])
def test_what_is_no_text_is_refused(tmp_path, data):
    path = tmp_path / "list.txt"
    path.write_bytes(data)
    for read in (files.read_text, files.read_lines):
        with pytest.raises(OptionError, match="it is no text"):
            read(path)
    with pytest.raises(OptionError, match="cannot read the list: Is a directory"):
        files.read_lines(tmp_path)


def test_a_file_is_replaced_whole_and_keeps_its_rights(tmp_path):
    path, link = tmp_path / "a.txt", tmp_path / "link.txt"
    files.write(path, "gr\u00fc\u00df\n")
    assert path.read_bytes() == "gr\u00fc\u00df\n".encode()
    path.chmod(0o640)
    link.symlink_to(path)
    files.write(link, b"new")
    assert (path.read_bytes(), link.is_symlink(), stat.S_IMODE(path.stat().st_mode)) == (b"new", True, 0o640)
    assert sorted(os.listdir(tmp_path)) == ["a.txt", "link.txt"]


def test_what_cannot_be_written_leaves_what_was_there(tmp_path, monkeypatch):
    path = tmp_path / "a.kws"
    path.write_bytes(b"old")

    def full(descriptor):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    with pytest.raises(OptionError, match=r"a\.kws: cannot write: No space left on device"):
        files.write(path, b"new")
    with pytest.raises(OptionError, match="No space left"):
        files.write(tmp_path / "b.kws", b"new")
    assert (path.read_bytes(), os.listdir(tmp_path)) == (b"old", ["a.kws"])


def test_only_its_own_kind_is_replaced(tmp_path):
    path = tmp_path / "notes.txt"
    path.write_bytes(b"KWS notes")
    with pytest.raises(OptionError, match="another kind of file"):
        files.check_writable(path, replaces=b"KWSRT")
    with pytest.raises(OptionError, match="another kind of file"):
        files.write(path, b"x", replaces=b"KWSRT")
    assert path.read_bytes() == b"KWS notes"
    for there in (b"", b"KWSRT..."):
        path.write_bytes(there)
        files.write(path, b"KWSRT!", replaces=b"KWSRT")
        assert path.read_bytes() == b"KWSRT!"


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("none/a.kws", "no such folder"),
        (".", "it is a folder"),
        ("a" * 300, "File name too long"),
        ("file/a.kws", "Not a directory"),
    ],
)
def test_what_will_not_be_written_is_known_before(tmp_path, name, said):
    (tmp_path / "file").write_bytes(b"")
    with pytest.raises(OptionError, match=f"cannot write: {said}"):
        files.check_writable(tmp_path / name)
    assert os.listdir(tmp_path) == ["file"]


def test_devices_are_written_to_as_they_are(tmp_path):
    files.write("/dev/null", b"x", replaces=b"KWSRT")
    assert stat.S_ISCHR(os.stat("/dev/null").st_mode)
    if Path("/dev/full").exists():
        with pytest.raises(OptionError, match="/dev/full: cannot write: No space left on device"):
            files.write("/dev/full", b"x")


def test_what_is_a_clip(tmp_path):
    real = ["yes/a.wav", "yes/b.WAV", "yes/c.Flac", "no/d.opus", "no/e.mp3"]
    other = [
        "yes/._a.wav",
        "yes/.hidden.wav",
        "yes/notes.txt",
        "__MACOSX/yes.wav",
        "__MACOSX/yes/a.wav",
        ".cache/f.wav",
        ".cache/yes/f.wav",
        "yes/wav",
        "yes/.wav",
    ]
    for name in [*real, *other, "_background_noise_/g.wav", "yes/deep/h.wav"]:
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_bytes(b"")
    (tmp_path / "yes" / "folder.wav").mkdir()
    (tmp_path / "no" / "lost.wav").symlink_to(tmp_path / "nowhere.wav")
    os.mkfifo(tmp_path / "no" / "pipe.wav")
    listed = [str(path.relative_to(tmp_path)) for path, _ in clips.find_clips(tmp_path, None, ("yes", "_unknown_"))]
    assert listed == sorted([*real, "no/lost.wav"])
    below = [str(path.relative_to(tmp_path)) for path in clips.recordings([tmp_path, tmp_path / "yes", tmp_path / "x"])]
    assert below == [*sorted([*real, "no/lost.wav", "_background_noise_/g.wav", "yes/deep/h.wav"]), "x"]
    # What hides the folder itself is no matter.
    assert len(clips.recordings([tmp_path / ".cache"])) == 2


def test_a_folder_that_cannot_be_read_is_named(tmp_path, monkeypatch):
    def refuse(path=".", *rest):
        raise PermissionError(13, "Permission denied", str(path))

    (tmp_path / "yes").mkdir()
    monkeypatch.setattr(os, "scandir", refuse)
    with pytest.raises(AudioError, match=f"{tmp_path}: cannot read the folder: Permission denied"):
        clips.recordings([tmp_path])
