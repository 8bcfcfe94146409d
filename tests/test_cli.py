"""The commands: what they print, and one line and exit code 2 for everything that is wrong."""

import dataclasses
import io
import json
import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

import kwsrt
from kwsrt.cli import main
from tests.models import make_model

RATE = 16000
WORDS = ("yes", "no", "_unknown_", "_silence_")
EASY = ("--threshold", "0.3")


@pytest.fixture
def cli(capsys):
    """Run a command in this process: (exit code, standard output, standard error)."""

    def run(*arguments):
        try:
            code = main([str(argument) for argument in arguments])
        except SystemExit as stop:
            code = stop.code
        output = capsys.readouterr()
        assert "Traceback" not in output.err
        return code, output.out, output.err

    return run


@pytest.fixture
def refused(cli):
    """Run a command that must fail with code 2 and one line; that line."""

    def run(*arguments):
        code, out, err = cli(*arguments)
        assert (code, out) == (2, "")
        assert err.startswith("kwsrt: error: ")
        assert err.count("\n") == 1
        return err

    return run


@pytest.fixture(scope="session")
def recording(tmp_path_factory):
    """A recording in which the random model hears something."""
    path = tmp_path_factory.mktemp("recordings") / "recording.wav"
    bursts = np.repeat([0, 1, 0.1, 1, 0, 1, 0.3, 0], RATE // 2)
    wavfile.write(path, RATE, (np.random.default_rng(0).normal(0, 3000, 4 * RATE) * bursts).astype(np.int16))
    return path


def process(*arguments, env=None):
    """What subprocess needs to run the kwsrt that is tested here, whether it is installed or was built in place."""
    environment = os.environ | {"PYTHONPATH": str(Path(kwsrt.__file__).parent.parent)} | (env or {})
    command = [sys.executable, "-m", "kwsrt", *map(str, arguments)]
    return {"args": command, "cwd": Path(__file__).parent, "env": environment}


def python_m_kwsrt(*arguments, env=None):
    return subprocess.run(**process(*arguments, env=env), capture_output=True, timeout=120)


# --- help and usage ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("command", [[], ["detect"], ["eval"], ["info"], ["bench"]])
def test_help_shows_examples(cli, command):
    code, out, err = cli(*command, "--help")
    assert (code, err) == (0, "")
    assert "examples:\n  kwsrt" in out


def test_version(cli):
    assert cli("--version") == (0, f"kwsrt {kwsrt.__version__}\n", "")


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["hear"],
        ["detect"],
        ["detect", "a.wav", "--nonsense"],
        ["eval"],
        ["detect", "a.wav", "--threshold", "high"],
        ["detect", "a.wav", "--thr", "0.5"],
    ],
)
def test_wrong_usage(refused, arguments):
    assert "--help" in refused(*arguments)


# --- detect --------------------------------------------------------------------------------------------------------


def test_detect_prints_a_line_an_event(cli, tiny, tiny_model_path, recording):
    code, out, err = cli("detect", recording, "--model", tiny_model_path, *EASY)
    expected = list(kwsrt.detect(recording, model=tiny, threshold=0.3))
    assert (code, err) == (0, "")
    assert expected
    assert out.splitlines() == [f"{event.time:7.2f} s  {event.label:<10} {event.score:.2f}" for event in expected]


@pytest.mark.parametrize("thin", ["full", "half", "quarter"])
def test_detect_json(cli, tiny, tiny_model_path, recording, thin):
    code, out, err = cli("detect", recording, "--json", "--model", tiny_model_path, "--thin", thin, *EASY)
    expected = kwsrt.detect(recording, model=tiny, thin=thin, threshold=0.3)
    assert (code, err) == (0, "")
    assert [json.loads(line) for line in out.splitlines()] == [
        {"file": str(recording), **dataclasses.asdict(event)} for event in expected
    ]


def test_detect_says_when_it_heard_nothing(cli, tiny_model_path, recording):
    code, out, err = cli("detect", recording, "--model", tiny_model_path, "--threshold", "1")
    assert (code, out) == (0, "")
    assert "no keyword heard" in err
    assert cli("detect", recording, "--model", tiny_model_path, "--threshold", "1", "--json") == (0, "", "")


def test_detect_several_files_goes_on_past_a_bad_one(cli, tiny_model_path, recording, tmp_path):
    code, out, err = cli("detect", recording, tmp_path / "none.wav", recording, "--model", tiny_model_path, *EASY)
    alone = cli("detect", recording, "--model", tiny_model_path, *EASY)[1]
    assert code == 2
    assert out == 2 * f"{recording}:\n{alone}"
    assert err == f"kwsrt: error: {tmp_path}/none.wav: cannot read: No such file or directory\n"


def bad_recordings():
    header = io.BytesIO()
    wavfile.write(header, RATE, np.zeros(100, np.int16))
    nan = io.BytesIO()
    wavfile.write(nan, RATE, np.full(100, np.nan, np.float32))
    loud = io.BytesIO()
    wavfile.write(loud, RATE, np.full(100, 3000, np.float32))
    slow = io.BytesIO()
    wavfile.write(slow, 100, np.zeros(100, np.int16))
    return {
        "text": b"hello\n" * 100,
        "nothing": b"",
        "truncated": header.getvalue()[:30],
        "no samples": header.getvalue()[:44],
        "nan": nan.getvalue(),
        "loud": loud.getvalue(),
        "slow": slow.getvalue(),
    }


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("text", ""),
        ("nothing", ""),
        ("truncated", "damaged"),
        ("no samples", "empty"),
        ("nan", "NaN"),
        ("loud", "divide by 32768"),
        ("slow", "sample rate 100"),
    ],
)
def test_detect_bad_recordings(refused, tiny_model_path, tmp_path, name, said):
    (tmp_path / "a.wav").write_bytes(bad_recordings()[name])
    line = refused("detect", tmp_path / "a.wav", "--model", tiny_model_path)
    assert f"{tmp_path}/a.wav: " in line
    assert said in line


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--thin", "eighth"], "full, half, quarter"),
        (["--threshold", "1.5"], "0 to 1"),
        (["--threshold", "nan"], "0 to 1"),
        (["--threshold=-0.1"], "0 to 1"),
    ],
)
def test_detect_wrong_options(refused, tiny_model_path, recording, arguments, said):
    assert said in refused("detect", recording, "--model", tiny_model_path, *arguments)


def test_wrong_models(refused, tiny_model_path, recording, tmp_path):
    assert "no model" in refused("detect", recording, "--model", "nonsense")
    assert "No such file" in refused("detect", recording, "--model", tmp_path / "none.kws")
    assert "not a kwsrt model" in refused("detect", recording, "--model", recording)
    whole = tiny_model_path.read_bytes()
    (tmp_path / "cut.kws").write_bytes(whole[:5000])
    assert "truncated" in refused("info", tmp_path / "cut.kws")
    (tmp_path / "flipped.kws").write_bytes(whole[:5000] + bytes([whole[5000] ^ 1]) + whole[5001:])
    assert "damaged" in refused("bench", "--model", tmp_path / "flipped.kws")


def standard_input(monkeypatch, data):
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BufferedReader(io.BytesIO(data))))


def test_detect_standard_input(cli, tiny_model_path, recording, monkeypatch):
    samples = wavfile.read(recording)[1]
    standard_input(monkeypatch, samples.astype("<i2").tobytes() + b"\0")  # half a sample at the end is no harm
    expected = cli("detect", recording, "--model", tiny_model_path, *EASY)
    assert cli("detect", "-", "--model", tiny_model_path, *EASY) == expected
    standard_input(monkeypatch, samples.astype("<i2").tobytes())
    assert '"file": "-"' in cli("detect", "-", "--model", tiny_model_path, *EASY, "--json")[1]


def test_detect_standard_input_that_is_wrong(refused, tiny_model_path, recording, monkeypatch):
    standard_input(monkeypatch, b"")
    assert "empty" in refused("detect", "-", "--model", tiny_model_path)
    standard_input(monkeypatch, b"RIFF")
    assert "damaged WAV" in refused("detect", "-", "--model", tiny_model_path)
    monkeypatch.setattr(sys, "stdin", None)
    assert "closed" in refused("detect", "-", "--model", tiny_model_path)


def test_detect_standard_input_is_live_whatever_the_pieces(tiny_model_path, recording):
    """Events come out while the input is still open; pieces may end in the middle of a sample."""
    command = process("detect", "-", "--model", tiny_model_path, "--json", *EASY)
    expected = python_m_kwsrt("detect", recording, "--model", tiny_model_path, "--json", *EASY)
    wanted = [json.loads(line) | {"file": "-"} for line in expected.stdout.splitlines()]
    data = wavfile.read(recording)[1].tobytes()
    with subprocess.Popen(**command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as running:
        for start in range(0, len(data), 4097):
            running.stdin.write(data[start : start + 4097])
            running.stdin.flush()
        first = json.loads(running.stdout.readline())
        running.stdin.close()
        rest = [json.loads(line) for line in running.stdout]
    assert running.returncode == 0
    assert [first, *rest] == wanted


def test_interrupt_is_quiet(tiny_model_path):
    command = process("detect", "-", "--model", tiny_model_path, "--threshold", "0", "--json")
    with subprocess.Popen(**command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE) as running:
        noise = np.random.default_rng(0).normal(0, 3000, 4 * RATE).astype(np.int16)
        running.stdin.write(noise.tobytes())
        running.stdin.flush()
        assert running.stdout.readline()  # it runs
        running.send_signal(signal.SIGINT)
        assert running.wait(60) == 130
        assert running.stderr.read() == b""


def test_output_that_nobody_reads(tiny_model_path):
    read_end, write_end = os.pipe()
    os.close(read_end)
    ended = subprocess.run(**process("info", tiny_model_path), stdout=write_end, stderr=subprocess.PIPE, timeout=120)
    os.close(write_end)
    assert (ended.returncode, ended.stderr) == (141, b"")


# --- eval ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="session")
def clips(tmp_path_factory):
    """Clips in the Speech Commands layout, and other things that lie in such a folder."""
    folder, rng = tmp_path_factory.mktemp("clips"), np.random.default_rng(1)
    for word in ("yes", "no", "_silence_", "_unknown_", "bed", "_background_noise_"):
        (folder / word).mkdir()
        for i in range(3):
            samples = rng.normal(0, 10 ** rng.uniform(1, 3.9), RATE).clip(-32768, 32767).astype(np.int16)
            wavfile.write(folder / word / f"{i}.wav", RATE, samples)
    wavfile.write(folder / "_background_noise_" / "long.wav", RATE, np.zeros(RATE * 60, np.int16))
    wavfile.write(folder / "yes" / "fast.wav", 44100, np.zeros(44100, np.int16))
    (folder / "validation_list.txt").write_text("yes/0.wav\nbed/1.wav\n\n")
    (folder / "README.md").write_text("clips")
    (folder / "yes" / "notes.txt").write_text("nothing")
    return folder


def test_eval_json(cli, tiny, tiny_model_path, clips):
    code, out, err = cli("eval", clips, "--model", tiny_model_path, "--json")
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert list(result) == ["accuracy", "interval", "clips", "speakers", "calibration_error", "per_class", "confusion"]
    assert 0 <= result["interval"][0] <= result["accuracy"] <= result["interval"][1] <= 1
    assert 0 <= result["calibration_error"] <= 1
    assert result["speakers"] == 16
    assert result["clips"] == 16
    confusion = {true: dict.fromkeys(WORDS, 0) for true in WORDS}
    for path in clips.glob("*/*.wav"):
        if path.parent.name != "_background_noise_":
            rate, samples = wavfile.read(path)
            scores = tiny.predict(samples, sample_rate=rate)
            confusion[path.parent.name if path.parent.name in WORDS else "_unknown_"][max(scores, key=scores.get)] += 1
    assert result["confusion"] == confusion
    assert [sum(confusion[word].values()) for word in WORDS] == [4, 3, 6, 3]
    assert result["per_class"] == {word: row[word] / sum(row.values()) for word, row in confusion.items()}
    assert result["accuracy"] == sum(row[word] for word, row in confusion.items()) / 16


def test_eval_list_and_levels(cli, tiny_model_path, clips):
    listed = ("--list", clips / "validation_list.txt")
    code, out, err = cli("eval", clips, "--model", tiny_model_path, "--json", *listed)
    result = json.loads(out)
    assert (code, err, result["clips"], set(result["confusion"])) == (0, "", 2, {"yes", "_unknown_"})
    for thin in ("half", "quarter"):
        assert cli("eval", clips, "--model", tiny_model_path, "--thin", thin, "--json")[0] == 0


def test_eval_table(cli, tiny_model_path, clips):
    code, out, err = cli("eval", clips, "--model", tiny_model_path, "--thin", "half")
    result = json.loads(cli("eval", clips, "--model", tiny_model_path, "--thin", "half", "--json")[1])
    lines = out.splitlines()
    assert (code, err) == (0, "")
    assert lines[0] == f"accuracy {result['accuracy']:.2%} over 16 clips (tiny, half)"
    assert lines[1].startswith(f"95 % interval {result['interval'][0]:.2%} to {result['interval'][1]:.2%}, ")
    assert lines[1].endswith(f"calibration error {result['calibration_error']:.2%}")
    assert lines[3].split() == ["said", "/", "heard", *WORDS, "accuracy"]
    assert len({len(line) for line in lines[3:]}) == 1
    for word, line in zip(WORDS, lines[4:], strict=True):
        counts = [int(cell.replace(".", "0")) for cell in line.split()[1:-1]]
        assert counts == list(result["confusion"][word].values())
        assert line.startswith(word)
        assert line.endswith(f"{result['per_class'][word]:.1%}")


def test_eval_plot(cli, refused, tiny_model_path, clips, tmp_path, monkeypatch):
    pytest.importorskip("matplotlib", reason="pictures need matplotlib")
    plain = cli("eval", clips, "--model", tiny_model_path)
    assert cli("eval", clips, "--model", tiny_model_path, "--plot", tmp_path / "a.png") == plain
    assert (tmp_path / "a.png").read_bytes().startswith(b"\x89PNG")
    assert cli("eval", clips, "--model", tiny_model_path, "--json", "--plot", tmp_path / "a.svg")[0] == 0
    assert "_unknown_" in (tmp_path / "a.svg").read_text()
    wrong = ("eval", clips, "--model", tiny_model_path, "--plot")
    assert ".png" in refused(*wrong, tmp_path / "a.txt")
    assert "no such folder" in refused(*wrong, tmp_path / "none" / "a.png")
    (tmp_path / "b.png").mkdir()
    assert "cannot write" in cli(*wrong, tmp_path / "b.png")[2]
    monkeypatch.setitem(sys.modules, "matplotlib.backend_bases", None)
    assert "pip install" in refused(*wrong, tmp_path / "a.png")


def test_eval_goes_on_past_bad_clips(cli, refused, tiny_model_path, tmp_path):
    for name, size in (("good", RATE), ("long", 3 * RATE), ("none", 0)):
        (tmp_path / "yes").mkdir(exist_ok=True)
        wavfile.write(tmp_path / "yes" / f"{name}.wav", RATE, np.zeros(size, np.int16))
    code, out, err = cli("eval", tmp_path, "--model", tiny_model_path, "--json")
    assert (code, json.loads(out)["clips"]) == (1, 1)
    assert [line.partition(": the ")[0] for line in err.splitlines()] == [
        *(f"kwsrt: error: {tmp_path}/yes/{name}.wav" for name in ("long", "none")),
        "kwsrt: clips left out: 2",
    ]
    (tmp_path / "yes" / "good.wav").write_bytes(b"")
    assert cli("eval", tmp_path, "--model", tiny_model_path)[:2] == (2, "")


def test_eval_wrong_arguments(refused, tiny_model_path, tmp_path, clips):
    model = ("--model", tiny_model_path)
    assert "no such folder" in refused("eval", tmp_path / "none", *model)
    assert "no clips" in refused("eval", tmp_path, *model)
    assert "cannot read the list" in refused("eval", clips, "--list", tmp_path / "none.txt", *model)
    assert "full, half, quarter" in refused("eval", clips, "--thin", "eighth", *model)
    (tmp_path / "strict.kws").write_bytes(make_model(labels=("yes", "no", "_silence_")))
    assert "bed" in refused("eval", clips, "--model", tmp_path / "strict.kws")


@pytest.mark.parametrize(("thin", "least"), [("full", 0.93), ("half", 0.92), ("quarter", 0.91)])
def test_eval_bundled_model_on_real_clips(cli, bundled, validation_clips, thin, least):
    code, out, err = cli("eval", validation_clips, "--thin", thin, "--json")
    result = json.loads(out)
    assert (code, err, result["clips"]) == (0, "", len(list(validation_clips.glob("[!_]*/*.wav"))))
    assert result["accuracy"] > least


def test_progress_bar_only_on_a_terminal(cli, tiny_model_path, clips, monkeypatch):
    pytest.importorskip("tqdm", reason="tqdm is not installed")
    expected = cli("eval", clips, "--model", tiny_model_path)
    monkeypatch.setattr("sys.stderr.isatty", lambda: True, raising=False)
    code, out, err = cli("eval", clips, "--model", tiny_model_path)
    assert (code, out, "") == expected
    assert "0/16" in err
    monkeypatch.setitem(sys.modules, "tqdm", None)
    assert cli("eval", clips, "--model", tiny_model_path) == expected


# --- info and bench ------------------------------------------------------------------------------------------------


def test_info(cli, tiny, tiny_model_path):
    code, out, err = cli("info", tiny_model_path)
    assert (code, err) == (0, "")
    for fact in (
        "tiny",
        f"{tiny.size:,} bytes",
        tiny.checksum,
        "yes, no, _unknown_, _silence_",
        "full, half, quarter",
        tiny.isa,
        "log-mel",
        "dfsmn",
        "random weights",
        "Apache-2.0",
    ):
        assert fact in out


def test_info_json_and_verify(cli, tiny, tiny_model_path):
    code, out, err = cli("info", tiny_model_path, "--json", "--verify")
    facts = json.loads(out)
    assert (code, err) == (0, "")
    assert facts["verified"] is True
    assert facts["size"] == tiny.size == tiny_model_path.stat().st_size
    assert facts["network"] == tiny.manifest["network"]
    code, out, err = cli("info", tiny_model_path, "--verify")
    assert (code, err) == (0, "")
    assert "verified: " in out.splitlines()[-1]


@pytest.mark.parametrize("difference", [1e-6, float("nan")])
def test_info_verify_fails_on_any_difference(cli, tmp_path, difference):
    from kwsrt import format as file_format

    file = file_format.parse(make_model())
    scores = file.tensors["verify.scores"].copy()
    scores[1, 0] += difference
    (tmp_path / "wrong.kws").write_bytes(file_format.write(file.manifest, file.tensors | {"verify.scores": scores}))
    code, out, err = cli("info", tmp_path / "wrong.kws", "--verify")
    assert code == 1
    assert "verified" not in out
    assert err.startswith("kwsrt: error: ")
    assert err.count("\n") == 1


def test_bench(cli, tiny, tiny_model_path):
    code, out, err = cli("bench", "--model", tiny_model_path, "--thin", "quarter", "--json")
    result = json.loads(out)
    assert (code, err) == (0, "")
    assert (result["model"], result["thin"], result["isa"], result["threads"]) == ("tiny", "quarter", tiny.isa, 1)
    assert all(result[key] > 0 for key in ("frontend_frame_us", "frontend_us", "network_us", "stream_us"))
    code, out, err = cli("bench", "--model", tiny_model_path)
    assert (code, err) == (0, "")
    assert "1 thread" in out
    assert tiny.isa in out
    assert out.count("us a decision") == 3


@pytest.mark.parametrize("causal", [False, True])
def test_bench_of_layers(cli, refused, tiny_model_path, tmp_path, causal):
    path = tiny_model_path
    if causal:
        path = tmp_path / "causal.kws"
        path.write_bytes(make_model(1, causal=True, steps=4, frames=25))
    code, out, err = cli("bench", "--model", path, "--layers", "--thin", "half", "--json")
    result = json.loads(out)
    assert (code, err, result["thin"], result["causal"]) == (0, "", "half", causal)
    blocks = [f"blocks.{i}.{part}" for i in (1, 3) for part in ("memory", "expand", "project")]
    assert list(result["layers_us"]) == ["conv1", "conv2, fc1", *blocks, "classifier"]
    assert all(us > 0 for us in result["layers_us"].values())
    assert "together" in cli("bench", "--model", path, "--layers")[1]
    assert "auto" in refused("bench", "--model", path, "--layers", "--thin", "auto")
    assert "one of the two" in refused("bench", "--model", path, "--layers", "--levels")


def test_bench_of_many_streams(cli, refused, tiny_model_path):
    code, out, err = cli("bench", "--model", tiny_model_path, "--streams", 3, "--json")
    result = json.loads(out)
    assert (code, err, result["streams"]) == (0, "", 3)
    assert result["streams_us"] > result["stream_us"] > 0
    assert result["stream_bytes"] == kwsrt.load(tiny_model_path).stream().memory
    assert "x real time" in cli("bench", "--model", tiny_model_path, "--streams", 2)[1]
    assert "--streams" in refused("bench", "--model", tiny_model_path, "--streams", 0)


def test_bench_compares_levels(cli, refused, tiny, tiny_model_path, recording, tmp_path):
    options = ["bench", "--model", tiny_model_path, "--levels"]
    code, out, err = cli(*options, "--json", "--audio", recording)
    result = json.loads(out)
    assert (code, err) == (0, "")
    rows = {row["thin"]: row for row in result["levels"]}
    assert list(rows) == [*tiny.thin_levels, "auto"]
    assert rows["full"]["of_first"] == 1
    assert all(row["network_us"] > 0 for row in rows.values())
    assert result["frontend_us"] > 0
    assert abs(sum(result["auto"].values()) - 1) < 1e-9
    used = tiny.stream(thin="auto").push(kwsrt.audio.prepare(*kwsrt.audio.read(recording), tiny.sample_rate)).thin
    assert result["auto"]["full"] == (used == 0).mean()
    out = cli(*options)[1]
    assert "a live stream of 4 s" in out
    assert "100.0% of full" in out
    assert "auto ended with" in out
    wavfile.write(tmp_path / "short.wav", RATE, np.zeros(RATE, np.int16))
    assert "too short" in refused(*options, "--audio", tmp_path / "short.wav")
    assert "give both" in refused("bench", "--model", tiny_model_path, "--audio", recording)


def test_bench_wrong_level(refused, tiny_model_path):
    assert "full, half, quarter" in refused("bench", "--model", tiny_model_path, "--thin", "eighth")


# --- the program ---------------------------------------------------------------------------------------------------


def test_python_m_kwsrt(tiny_model_path, recording, tmp_path):
    ended = python_m_kwsrt("--help")
    assert (ended.returncode, ended.stderr) == (0, b"")
    ended = python_m_kwsrt("detect", tmp_path / "none.wav", "--model", tiny_model_path)
    assert (ended.returncode, ended.stdout) == (2, b"")
    assert ended.stderr.startswith(b"kwsrt: error: ")
    ended = python_m_kwsrt("detect", recording, "--model", tiny_model_path, *EASY)
    assert (ended.returncode, ended.stderr) == (0, b"")


def test_unknown_instruction_set(tiny_model_path):
    ended = python_m_kwsrt("info", tiny_model_path, env={"KWSRT_ISA": "abacus"})
    assert ended.returncode == 2
    assert b"abacus" in ended.stderr
    assert ended.stderr.count(b"\n") == 1


def test_the_bundled_model_hears_the_recordings_of_this_repository(cli, bundled):
    """Every keyword of the project's own recording is found, and nothing in its other words and noises."""
    folder = Path(__file__).parent / "recordings"
    truth = json.loads((folder / "truth.json").read_text())
    for name, words in truth.items():
        code, out, _ = cli("detect", folder / name, "--json")
        assert code == 0
        heard = [json.loads(line) for line in out.splitlines()]
        assert [event["label"] for event in heard] == [word["word"] for word in words], name
        for event, word in zip(heard, words, strict=True):
            assert word["start"] - 0.3 < event["time"] < word["end"] + 0.3


def test_bundled_model_verifies(cli, bundled):
    assert cli("info", "--verify")[0] == 0
