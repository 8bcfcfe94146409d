"""Documents: every command that one names is there and knows the options shown; training and conversion run as written.

From the checkout, whose kwsrt/ need not be compiled: what is installed must be found all the same.
"""

import ast
import json
import os
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
from scipy.io import wavfile

ROOT = Path(__file__).resolve().parent.parent
PAGES = [
    "README.md",
    "CONTRIBUTING.md",
    "tools/train/README.md",
    "tools/bench/README.md",
    *(str(path.relative_to(ROOT)) for path in sorted((ROOT / "models").glob("*.md"))),
]
#: files whose docstring, help text or comments show commands
SOURCES = [
    str(path.relative_to(ROOT))
    for folder in ("tools", "kwsrt/cli")
    for suffix in ("py", "toml")
    for path in sorted((ROOT / folder).rglob(f"*.{suffix}"))
]
SOURCES.append("tests/soak.py")
PROGRAM = re.compile(r"(?:python3?|torchrun)[^|;&`\n]*? (?:-m )?((?:tools|tests)[./][\w./]+\w)([^|;&`#\n]*)")
COMMAND = re.compile(r"(?:^|[|] |[A-Z_]+=\S+ |\$ |bin/|-m )kwsrt ([a-z]+)([^|;&`#\n]*)", re.MULTILINE)
#: extras that a page may name instead of one that every reader has
EXTRAS = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["optional-dependencies"]
#: Runs [program, ...arguments] for each line of its input in a process that is forked, as `python -m` or as a script;
#: prints [exit code, what it said] for each. What many of them import is imported once.
RUNNER = """
import contextlib, json, os, runpy, sys, tempfile, traceback
for name in ("numpy", "torch", "kwsrt.cli"):
    with contextlib.suppress(ImportError):
        __import__(name)
for line in sys.stdin:
    sys.argv = json.loads(line)
    with tempfile.TemporaryFile("w+") as said:
        child = os.fork()
        if not child:
            os.dup2(said.fileno(), 1)
            os.dup2(said.fileno(), 2)
            code = 1
            try:
                runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
                code = 0
            except SystemExit as end:
                code = end.code if isinstance(end.code, int) else int(end.code is not None)
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(code)
        code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        said.seek(0)
        print(json.dumps([code, said.read()]), flush=True)
"""


def shown_by(page):
    """The text of a file that readers of it see."""
    text = (ROOT / page).read_text()
    if page.endswith(".py"):
        tree = ast.parse(text)
        help_texts = [
            node.value.value
            for node in tree.body
            if isinstance(node, ast.Assign)
            and isinstance(node.value, ast.Constant)
            and node.targets[0].id == "DESCRIPTION"
        ]
        return "\n".join([ast.get_docstring(tree) or "", *help_texts])
    if page.endswith(".toml"):
        return "\n".join(re.findall("#(.*)", text))
    return text


def written(page):
    """The commands that a file shows: (program, arguments as shown)."""
    text = re.sub(r"\\\n\s*", "", shown_by(page))
    prose, fenced = (re.split(r"^```.*$", text, flags=re.MULTILINE)[start::2] for start in (0, 1))
    spans = [" ".join(span.split()) for part in prose for span in re.findall(r"`([^`]+)`", part)]
    indented = re.findall(r"^  +(\S.*)", "\n".join(prose), re.MULTILINE)
    code = "\n".join([*fenced, *spans, *indented])
    for program, rest in PROGRAM.findall(code if page.endswith(".md") else text):
        if not program.startswith("tests/test_"):  # what pytest is told to run
            yield program.removesuffix(".py").replace("/", "."), rest.split()
    for command, rest in COMMAND.findall(code):
        yield "kwsrt", [command, *rest.split()]


def shown():
    """{(program, command of kwsrt or ""): {option: pages that show it}} of all documents."""
    found = {}
    for page in (*PAGES, *SOURCES):
        for program, rest in written(page):
            command = rest[0] if program == "kwsrt" and rest else ""
            options = found.setdefault((program, command), {"--help": set()})
            options["--help"].add(page)
            for option in re.findall(r"(?<!\S)\[?(--[a-z][\w-]*)", " ".join(rest)):
                options.setdefault(option, set()).add(page)
    return found


def test_commands_are_found_in_documents():
    """The patterns above see what people see."""
    found = shown()
    expected = {
        "tools.convert",
        "tools.cascade",
        "tools.silence_clips",
        "tools.card",
        "tests.soak",
        *(f"tools.train.{name}" for name in ("train", "evaluate", "table", "speed", "voices")),
        *(f"tools.bench.{name}" for name in ("peers", "mca", "latency", "arm", "footprint", "picture")),
    }
    assert expected <= {program for program, _ in found}
    assert {command for program, command in found if program == "kwsrt"} == {
        "detect",
        "listen",
        "devices",
        "record",
        "eval",
        "simulate",
        "threshold",
        "info",
        "bench",
    }
    assert "README.md" in found["tools.train.train", ""]["--ship"]
    assert "README.md" in found["kwsrt", "bench"]["--streams"]
    assert "tools/bench/README.md" in found["tools.bench.picture", ""]["--float"]


def test_every_command_of_a_document_answers_help():
    """And knows the options that the document shows. Where a package is missing here, the document names its extra."""
    commands = shown()
    asked = [[program, *filter(None, [command]), "--help"] for program, command in commands]
    done = subprocess.run(
        [sys.executable, "-c", RUNNER],
        cwd=ROOT,
        input="\n".join(map(json.dumps, asked)),
        capture_output=True,
        text=True,
        timeout=400,
        check=True,
    )
    wrong = []
    for ((program, command), options), line in zip(commands.items(), done.stdout.splitlines(), strict=True):
        code, said = json.loads(line)
        name = f"{program} {command}".strip()
        missing = re.search(r"^ModuleNotFoundError: No module named '(\w+)'$", said, re.MULTILINE)
        if missing and missing[1] != "kwsrt":
            extras = [
                extra
                for extra, packages in EXTRAS.items()
                if any(re.match(rf"{missing[1]}\b", package) for package in packages)
            ]
            pages = [page for page in options["--help"] if page.endswith(".md")] or [str(Path(*program.split(".")[:2]))]
            wrong += [
                f"{page} shows {name}, which needs {missing[1]}, and does not say how to install it"
                for page in pages
                if not re.search(rf"\[[\w,]*\b({'|'.join(extras)})\b", text_of(page))
            ]
        elif code or not said.lower().startswith("usage:"):
            wrong.append(f"{name} --help: exit code {code}, {said.strip()[-300:]}")
        else:
            wrong += [
                f"{', '.join(sorted(pages))}: {name} has no option {option}"
                for option, pages in options.items()
                if not re.search(rf"{option}\b", said)
            ]
    assert not wrong, "\n".join(wrong)


def text_of(page):
    """A page's text; of a folder, that of the page in it."""
    path = ROOT / page
    return (path / "README.md" if path.is_dir() else path).read_text()


@pytest.mark.parametrize("page", PAGES)
def test_what_a_document_points_to_is_there(page):
    text, folder = (ROOT / page).read_text(), (ROOT / page).parent
    links = [link for link in re.findall(r"\]\(([^)#]+)", text) if "://" not in link]
    names = re.findall(r"`((?:tools|tests|csrc|kwsrt|models)/[\w./]+\.\w+)`", text)
    assert [link for link in links if not (folder / link).exists()] == []
    assert [name for name in names if not (ROOT / name).exists()] == []
    for extra in re.findall(r"pip install[^\n]*\[([\w,-]+)\]", text):
        assert set(extra.split(",")) <= EXTRAS.keys()


@pytest.mark.parametrize(
    "arguments",
    [["-m", "kwsrt"], ["-m", "tools.train.voices"], ["tools/convert.py"], ["-m", "tests.soak"], ["-c", "import kwsrt"]],
)
def test_a_checkout_that_is_not_built_says_so_in_a_line(tmp_path, arguments):
    """With nothing installed: all that Python finds is the sources, and the packages that they need."""
    for name in ("kwsrt", "tools", "tests"):
        for source in (ROOT / name).rglob("*.py"):
            target = tmp_path / source.relative_to(ROOT)
            target.parent.mkdir(parents=True, exist_ok=True)
            target.write_bytes(source.read_bytes())
    (tmp_path / "kwsrt" / "frontend.pyx").touch()
    packages = tmp_path / "packages"
    packages.mkdir()
    for name in ("numpy", "scipy"):
        (packages / name).symlink_to(Path(sys.modules[name].__file__).parent)
    environment = {**os.environ, "PYTHONPATH": str(packages), "PYTHONDONTWRITEBYTECODE": "1"}
    done = subprocess.run(
        [sys.executable, "-S", *arguments], cwd=tmp_path, capture_output=True, text=True, timeout=60, env=environment
    )
    assert done.returncode != 0
    assert re.fullmatch(rf".*kwsrt is not built: run `.* -m pip install \.` in {tmp_path}\)?\n", done.stderr)


def block(page, start):
    """The lines of the fenced block of a page that begins with `start`."""
    blocks = re.findall(r"^```sh\n(.*?)^```", (ROOT / page).read_text(), re.MULTILINE | re.DOTALL)
    (found,) = [text for text in blocks if text.startswith(start)]
    return found.splitlines()


def run_as_written(line, places, more=()):
    """Run a command of a document in the checkout, with places of the reader's own put in; what it printed."""
    words = [places.get(word, word) for word in line.partition(" #")[0].split()]
    words = [re.sub("^RUN", places["RUN"], word) for word in words]
    assert words[0] == "python"
    done = subprocess.run([sys.executable, *words[1:], *more], cwd=ROOT, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return done.stdout


#: what makes a run of kws12 take seconds
SMALL = ["data.target=4", "data.unknown_target=4", "data.partials=4", "data.silence_cuts=50", "data.speech_cuts=0"]
STAGE = '{name="%s", planes=%d, init="%s", epochs=1, samples=32, batch=16, settle=2, teachers=[%s]}'
STAGES = [
    STAGE % ("teacher", 0, "", ""),
    STAGE % ("binary", 2, "teacher", '"teacher"'),
    STAGE % ("tuned", 2, "binary", '"teacher"'),
]


def test_own_words_are_trained_and_converted_as_written(tmp_path):
    """README, "Your own words", on tones instead of words, in a run that is as short as can be."""
    pytest.importorskip("torch", reason="training needs PyTorch")
    onnx = pytest.importorskip("onnx", reason="--onnx writes with onnx")
    rng, clips = np.random.default_rng(0), tmp_path / "clips"
    for number, word in enumerate(("yes", "no", "up", "down", "left", "right", "on", "off", "stop", "go", "cat")):
        (clips / word).mkdir(parents=True)
        for clip in range(3):
            tone = 8000 * np.sin(np.arange(16000) * 0.05 * (number + 1)) * np.hanning(16000)
            sound = (tone + rng.normal(0, 30, 16000)).astype(np.int16)
            wavfile.write(clips / word / f"{clip}_nohash_0.wav", 16000, sound)
    (clips / "_background_noise_").mkdir()
    hiss = rng.normal(0, 300, 160000).astype(np.int16)
    wavfile.write(clips / "_background_noise_" / "hiss.wav", 16000, hiss)
    install, train, convert = block("README.md", "pip install '.[train")
    assert "train,convert" in install
    model, graph = tmp_path / "my_words.kws", tmp_path / "my_words.onnx"
    places = {
        "SPEECH_COMMANDS_FOLDER": str(clips),
        "RUN": str(tmp_path / "RUN"),
        model.name: str(model),
        graph.name: str(graph),
    }
    small = ["--set", *SMALL, f"stage=[{', '.join(STAGES)}]", "--workers", "1", "--threads", "1"]
    run_as_written(train, places, small)
    card = model.with_suffix(".md").read_text()
    assert "Accuracy" in card
    trained = model.read_bytes()
    model.unlink()
    assert "same label in" in run_as_written(convert, places)
    assert model.read_bytes() == trained
    onnx.checker.check_model(onnx.load(graph))
