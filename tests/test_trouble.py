"""Everyday trouble of the commands: full disks, closed streams, dead processes, hostile names; one line, never a
traceback, and what was written stays valid."""

import contextlib
import dataclasses
import errno
import io
import os
import resource
import signal
import struct
import subprocess
import sys
import time
import types
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.io import wavfile

import kwsrt
from kwsrt import workers
from kwsrt.cli import listen, main, output, record
from kwsrt.decision import Detection
from kwsrt.errors import AudioError, OptionError
from kwsrt.listening import Step
from tests.models import make_model

RATE = 16000
HOSTILE = "a\x1b]8;;http://x\x07\nkwsrt: error: \u202eb\udcff"


@pytest.fixture
def said(capsys):
    """Run a command in this process: (exit code, lines on standard error)."""

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        return code, capsys.readouterr().err.splitlines()

    return run


def python_m_kwsrt(redirection, *arguments):
    """kwsrt started by a shell: (exit code, standard output, lines on standard error)."""
    command = ["sh", "-c", f'"$@" {redirection}', "sh", sys.executable, "-m", "kwsrt", *map(str, arguments)]
    environment = os.environ | {"PYTHONPATH": str(Path(kwsrt.__file__).parent.parent)}
    done = subprocess.run(command, cwd=Path(__file__).parent, env=environment, capture_output=True, timeout=120)
    return done.returncode, done.stdout, done.stderr.decode().splitlines()


# --- standard streams ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("buffered", [True, False])
@pytest.mark.parametrize("arguments", [["info"], ["info", "--json"], ["--help"], ["--version"], ["bench", "--help"]])
def test_output_on_a_full_disk(said, monkeypatch, tiny_model_path, arguments, buffered):
    with open("/dev/full", "wb", buffering=0) as device, io.TextIOWrapper(device, write_through=not buffered) as full:
        monkeypatch.setattr(sys, "stdout", full)
        code, err = said(*arguments, *([tiny_model_path] if arguments[0] == "info" else []))
    assert (code, err) == (2, ["kwsrt: error: standard output: No space left on device"])


def test_output_that_is_closed(said, monkeypatch, tiny_model_path):
    monkeypatch.setattr(sys, "stdout", None)
    assert said("info", tiny_model_path) == (2, ["kwsrt: error: standard output: it is closed"])


def test_input_that_is_closed(said, monkeypatch, tiny_model_path):
    monkeypatch.setattr(sys, "stdin", None)
    code, err = said("detect", "-", "--model", tiny_model_path)
    assert (code, len(err)) == (2, 1)
    assert "standard input" in err[0]


def test_streams_that_are_closed_when_the_program_starts(tiny_model_path, tmp_path):
    assert python_m_kwsrt(">&-", "info", tiny_model_path) == (2, b"", ["kwsrt: error: standard output: it is closed"])
    # Without output, errors and input there is nothing to complain of, and no file takes their place.
    assert python_m_kwsrt("<&- 2>&-", "info", "none.kws") == (2, b"", [])
    code, out, err = python_m_kwsrt("<&- 2>&-", "info", tiny_model_path, "--json")
    assert (code, out.count(b"\n"), err) == (0, 1, [])


def test_a_warning_is_told_once(capsys, tiny_model_path, tmp_path):
    """A word that is mixed in is read more than once."""
    sound = np.random.default_rng(0).normal(0, 3000, RATE).astype(np.int16)
    (tmp_path / "words" / "yes").mkdir(parents=True)
    wavfile.write(tmp_path / "words" / "yes" / "a.wav", RATE, np.stack([sound, -sound], 1))
    wavfile.write(tmp_path / "long.wav", RATE, np.tile(sound // 10, 8))
    command = ["simulate", str(tmp_path / "long.wav"), "--words", str(tmp_path / "words"), "--processes", "1"]
    assert main([*command, "--model", str(tiny_model_path)]) == 0
    assert capsys.readouterr().err.count("cancel each other") == 1


def test_errors_that_nobody_can_read(monkeypatch, capsys):
    with open("/dev/full", "w") as full:
        monkeypatch.setattr(sys, "stderr", full)
        assert main(["info", "none.kws"]) == 2
    monkeypatch.setattr(sys, "stderr", None)
    output.report("x")
    assert capsys.readouterr().out == ""


def test_a_locale_without_letters(tiny_model_path, tmp_path):
    (tmp_path / "\u3042.txt").write_bytes(b"")
    path = tmp_path / "\u3042.kws"
    path.write_bytes(make_model(name="\u3042\u3044"))
    environment = {
        "LC_ALL": "C",
        "PYTHONUTF8": "0",
        "PYTHONCOERCECLOCALE": "0",
        "PYTHONPATH": str(Path(kwsrt.__file__).parent.parent),
    }
    for locale in (environment, {**environment, "PYTHONUTF8": "1"}):
        done = subprocess.run(
            [sys.executable, "-m", "kwsrt", "info", path],
            cwd=Path(__file__).parent,
            env=os.environ | locale,
            capture_output=True,
            timeout=120,
        )
        assert (done.returncode, done.stderr) == (0, b"")
        assert (b"\\u3042\\u3044" if locale is environment else "\u3042\u3044".encode()) in done.stdout


@pytest.mark.parametrize(
    ("error", "code", "line"),
    [
        (MemoryError(), 2, "out of memory"),
        (OSError(errno.EMFILE, "Too many open files"), 2, "Too many open files"),
        (OSError(errno.EFBIG, "File too large", "a\nb"), 2, r"a\nb: File too large"),
        (KeyboardInterrupt(), 130, None),
        (OverflowError("too large to convert"), 2, "a number is too large: too large to convert"),
        (AudioError(HOSTILE), 2, r"a\x1b]8;;http://x\x07\nkwsrt: error: \u202eb\udcff"),
    ],
)
def test_errors_become_one_line_and_a_code(capsys, error, code, line):
    def work():
        raise error

    assert output.guarded(work) == code
    assert capsys.readouterr().err == ("" if line is None else f"kwsrt: error: {line}\n")
    with pytest.raises(ZeroDivisionError):  # a fault of the program
        output.guarded(lambda: 1 // 0)


@settings(max_examples=30, deadline=None)
@given(st.text())
def test_what_is_shown_is_one_printable_line(text):
    assert output.shown(text).isprintable()
    if text.isprintable():
        assert output.shown(text) == text


@pytest.mark.parametrize(
    ("arguments", "part"),
    [
        (["bench", "--streams", "1000000000"], "--streams"),
        (["bench", "--streams", "0"], "--streams"),
        (["record", "x.wav", "--seconds", "1e400"], "--seconds"),
        (["listen", "--seconds", "nan"], "--seconds"),
        (["simulate", "x.wav", "--processes", "1000000"], "--processes"),
        (["simulate", "x.wav", "--snr", "1e308"], "--snr"),
        (["simulate", "x.wav", "--snr", "nan"], "--snr"),
        (["threshold", "x.wav", "--rate", "nan"], "--rate"),
        (["threshold", "x.wav", "--rate", "inf"], "--rate"),
        (["simulate", "x.wav", "--gate", "nan"], "gate"),
        (["detect", "x.wav", "--smoothing", "9" * 5000], "--smoothing"),
        (["detect", "x.wav", "--debounce", "inf"], ""),
    ],
)
def test_absurd_numbers(said, arguments, part):
    code, err = said(*arguments)
    assert (code, len(err)) == (2, 1)
    assert part in err[0]


@pytest.mark.parametrize("name", [b"\xff\xfe", b"scalar\n", b"\x1b[31m", b"x" * 10000])
def test_an_instruction_set_that_is_no_text(said, monkeypatch, tiny_model_path, name):
    monkeypatch.setenv("KWSRT_ISA", os.fsdecode(name))
    code, err = said("info", tiny_model_path)
    assert (code, len(err)) == (2, 1)
    assert "KWSRT_ISA" in err[0]
    assert err[0].isprintable()


# --- processes -----------------------------------------------------------------------------------------------------


def squared(number):
    if number == 3:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == 99:
        raise OptionError("99")
    return number * number


def test_a_process_that_dies_takes_one_job_with_it():
    assert list(workers.shared(squared, range(8), 3)) == [0, 1, 4, None, 16, 25, 36, 49]
    assert list(workers.shared(squared, [3, 3, 3, 5], 2)) == [None, None, None, 25]
    with pytest.raises(OptionError, match="99"):
        list(workers.shared(squared, [1, 99, 2], 2))
    assert list(workers.shared(squared, [], 4)) == []


# --- files ---------------------------------------------------------------------------------------------------------


@pytest.fixture
def noise(tmp_path):
    """A recording of three seconds."""
    path = tmp_path / "noise.wav"
    wavfile.write(path, RATE, np.random.default_rng(0).normal(0, 300, 3 * RATE).astype(np.int16))
    return path


def test_threshold_on_a_full_disk_leaves_the_model(said, tmp_path, noise):
    model = tmp_path / "own.kws"
    model.write_bytes(make_model(seed=7))
    before = model.read_bytes()
    command = ("threshold", noise, "--rate", "100000", "--processes", "1", "--model", model, "--out", model)
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (4096, limits[1]))
    try:
        code, err = said(*command)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert (code, err) == (2, [f"kwsrt: error: {model}: cannot write: File too large"])
    assert model.read_bytes() == before
    assert sorted(os.listdir(tmp_path)) == ["noise.wav", "own.kws"]
    assert said(*command) == (0, [])
    assert isinstance(kwsrt.load(model).threshold, dict)


def test_what_threshold_found_is_printed_before_it_is_written(capsys, monkeypatch, tmp_path, noise):
    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    (tmp_path / "own.kws").write_bytes(make_model(seed=7))
    monkeypatch.setattr(os, "fsync", full)
    assert (
        main(
            [
                "threshold",
                str(noise),
                "--rate",
                "100000",
                "--processes",
                "1",
                "--model",
                str(tmp_path / "own.kws"),
                "--out",
                str(tmp_path / "new.kws"),
            ]
        )
        == 2
    )
    assert "false alarms" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("out", "part"), [("none/x.kws", "no such folder"), ("noise.wav", "another kind of file"), (".", "it is a folder")]
)
def test_what_threshold_will_write_is_checked_before_the_work(said, monkeypatch, tmp_path, noise, out, part):
    monkeypatch.setattr("kwsrt.simulation.takes", None)
    code, err = said("threshold", noise, "--out", tmp_path / out)
    assert (code, len(err)) == (2, 1)
    assert part in err[0]
    assert wavfile.read(noise)[1].shape == (3 * RATE,)


# --- record --------------------------------------------------------------------------------------------------------


def test_a_recording_is_valid_at_any_moment(tmp_path):
    samples = np.random.default_rng(0).integers(-9, 9, 3 * RATE).astype(np.int16)
    with record.WavFile(tmp_path / "a.wav", RATE) as out:
        for start in range(0, len(samples), 1000):
            out.write(samples[start : start + 1000])
            rate, there = wavfile.read(tmp_path / "a.wav")
            assert (rate, len(there) > start - RATE) == (RATE, True)
            assert np.array_equal(there, samples[: len(there)])
    assert np.array_equal(wavfile.read(tmp_path / "a.wav")[1], samples)
    with pytest.raises(AudioError, match="File exists"):
        record.WavFile(tmp_path / "a.wav", RATE)


def test_a_recording_beyond_the_largest_wav_file_is_rf64(tmp_path, monkeypatch):
    samples = np.arange(4000, dtype=np.int16)
    monkeypatch.setattr(record, "LARGEST", 5000)
    for count in (2000, 4000):
        with record.WavFile(tmp_path / f"{count}.wav", RATE) as out:
            for start in range(0, count, 500):
                out.write(samples[start : start + 500])
        data = (tmp_path / f"{count}.wav").read_bytes()
        assert data[:4] == (b"RF64" if count == 4000 else b"RIFF")
        read, rate = kwsrt.audio.read(tmp_path / f"{count}.wav")
        assert rate == RATE
        assert np.array_equal(np.rint(read * (32768 if read.dtype == np.float32 else 1)), samples[:count])
    assert data[12:16] == b"ds64"
    assert struct.unpack("<IQQQI", data[16:48]) == (28, len(data) - 8, 8000, 4000, 0)


@pytest.mark.parametrize("limit", [79, 80, 1081])
def test_a_recording_on_a_full_disk_keeps_what_was_written(tmp_path, limit):
    path = tmp_path / "a.wav"
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limits[1]))
    try:
        if limit < 80:
            with pytest.raises(AudioError, match=r"a\.wav: cannot write: No space left"):
                record.WavFile(path, RATE)
        else:
            with record.WavFile(path, RATE) as out, pytest.raises(OptionError, match=r"too large; 0\.\d\d s are in it"):
                out.write(np.arange(2000, dtype=np.int16))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert path.exists() == (limit >= 80)
    if path.exists():
        data = path.read_bytes()
        assert struct.unpack("<I", data[4:8])[0] == len(data) - 8 == 72 + (limit - 80) // 2 * 2
        assert np.array_equal(np.frombuffer(data[80:], np.int16), np.arange((limit - 80) // 2))


# --- listen --------------------------------------------------------------------------------------------------------

HEARD = Detection("yes", 0.9, 1.0, 0.8, 1.2)


def test_commands_that_cannot_be_run_cost_nothing_else(capfd, monkeypatch, tmp_path):
    commands = listen.Commands(f'printf "%s" "$KWSRT_LABEL" > {tmp_path}/heard')
    for label, why in (("a\0b", "null byte"), ("\ud800", "encod"), ("x" * 200000, "Argument list too long")):
        commands.start(dataclasses.replace(HEARD, label=label))
        err = capfd.readouterr().err
        assert err.startswith("kwsrt: error: --on-detect: cannot run the command")
        assert err.count("\n") == 1
        assert why in err
    commands.start(dataclasses.replace(HEARD, label="$(touch x); 'a\""))
    deadline = time.monotonic() + 20
    while not (tmp_path / "heard").exists() or not (tmp_path / "heard").read_text():
        assert time.monotonic() < deadline
        time.sleep(0.01)
    assert (tmp_path / "heard").read_text() == "$(touch x); 'a\""

    def too_many(*arguments, **options):
        raise OSError(errno.EMFILE, "Too many open files")

    monkeypatch.setattr(subprocess, "Popen", too_many)
    commands.start(HEARD)
    assert "cannot run the command for 'yes': Too many open files\n" in capfd.readouterr().err


def test_commands_do_not_pile_up(capsys, monkeypatch):
    ended = []
    monkeypatch.setattr(subprocess, "Popen", lambda *_, **__: types.SimpleNamespace(poll=lambda: 0 if ended else None))
    commands = listen.Commands("sleep 100")
    for _ in range(20):
        commands.start(HEARD)
    err = capsys.readouterr().err.splitlines()
    assert len(err) == 4
    assert err[0] == "kwsrt: error: --on-detect: 16 commands run still; none is run for 'yes' at 1.00 s"
    ended.append(True)
    commands.start(HEARD)
    assert capsys.readouterr().err == ""


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("on/off", "on_off"),
        ("../../etc/passwd", "______etc_passwd"),
        ("..", "__"),
        ("a b\n", "a_b_"),
        ("\udcff\0", "__"),
        ("\u3042", "\u3042"),
        ("\u3042" * 100, "\u3042" * 50),
        ("stop-it_2", "stop-it_2"),
    ],
)
def test_labels_become_safe_file_names(tmp_path, label, name):
    keeper = listen.Keeper(tmp_path / "kept")
    event = dataclasses.replace(HEARD, label=label)
    keeper.push(Step(np.ones(3 * RATE, np.int16), None, [event]), RATE)
    (path,) = (tmp_path / "kept").iterdir()
    assert path.name.endswith(f"-000001.00-{name}.wav")
    assert wavfile.read(path)[1].shape == (2 * RATE,)


def test_keeping_a_detection_on_a_full_disk_is_reported(tmp_path, monkeypatch, capsys):
    keeper = listen.Keeper(tmp_path)

    def full(descriptor):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(os, "fsync", full)
    keeper.push(Step(np.ones(3 * RATE, np.int16), None, [HEARD]), RATE)
    err = capsys.readouterr().err
    assert err.startswith("kwsrt: error: ")
    assert err.endswith("cannot write: No space left on device\n")
    assert os.listdir(tmp_path) == []


# --- names ---------------------------------------------------------------------------------------------------------


def test_markup_in_labels_is_text(monkeypatch, tmp_path):
    rich = pytest.importorskip("rich.console", reason="rich is not installed")
    from kwsrt.cli.view import View

    labels = ("[/]", "[link=http://x]y[/link]", "[bold", "_silence_")
    model = types.SimpleNamespace(labels=labels, name="[red]m[/]", sample_rate=RATE)
    listener = types.SimpleNamespace(
        model=model,
        stream=types.SimpleNamespace(thin="full"),
        microphone=types.SimpleNamespace(overflows=0, name=f"[/]{HOSTILE}", native_rate=RATE),
    )
    view = View(listener)
    scores = type("Scores", (), {"loudness": np.zeros(1), "values": np.full((1, 4), 0.25), "__len__": lambda _: 1})()
    view.update(Step(np.zeros(480), scores, [dataclasses.replace(HEARD, label=label) for label in (*labels, HOSTILE)]))
    console = rich.Console(width=300, record=True, file=io.StringIO(), force_terminal=True)
    console.print(view.picture())
    drawn = console.export_text()
    assert all(drawn.count(label) >= 2 for label in labels)
    assert "[red]m[/] on [/]a\\x1b]8;;" in drawn
    assert "http://x\x07" not in drawn


def test_hostile_names_are_escaped_wherever_they_are_shown(capsys, monkeypatch, tiny_model_path, tmp_path):
    name = os.fsdecode(tmp_path / os.fsdecode(b"a\x1b[31m\n\xff.wav"))
    wavfile.write(os.fsencode(name), RATE, np.zeros(RATE, np.int16))
    monkeypatch.setattr(
        kwsrt, "devices", lambda: [{"index": 0, "name": HOSTILE, "channels": 1, "sample_rate": RATE, "default": True}]
    )
    model = ("--model", str(tiny_model_path))
    (tmp_path / "model.kws").write_bytes(make_model(training={"note\x1b": ["x\r\ny\x9b", {"k": "\x07"}]}))
    for command in (
        ["detect", name, name, *model],
        ["detect", name + "x", *model],
        ["simulate", name + "x", *model],
        ["devices"],
        ["info", str(tmp_path / "model.kws")],
        ["info", HOSTILE],
        ["eval", name, *model],
        ["detect", name, "--thin", HOSTILE],
        ["detect", name, f"--{HOSTILE}"],
    ):
        with contextlib.suppress(SystemExit):
            main(command)
        done = capsys.readouterr()
        assert all(line.isprintable() for line in (done.out + done.err).split("\n")), command
        assert "\\x1b" in done.out + done.err or "\\u" in done.out + done.err, command
        assert done.err.count("\n") <= 2, command


def test_mathematics_in_labels_is_text(tmp_path):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    from kwsrt.cli import picture

    labels = ["$\\frac$", "a\x1b\n", "\u3042"]
    result = {"confusion": {said: dict.fromkeys(labels, 1) for said in labels}}
    picture.draw_confusion(result, "$\\x$", tmp_path / "a.PNG")
    assert (tmp_path / "a.PNG").read_bytes().startswith(b"\x89PNG")
