"""Counts the instructions of every kernel of csrc on an emulated Cortex-A53.

    python -m tools.bench.instructions              the table, and what a decision and a second of audio add up to
    python -m tools.bench.instructions --check      fails where a kernel got more than 2 % slower than instructions.json
    python -m tools.bench.instructions --write      a new instructions.json

kernel_calls.c, built with the wheel's flags, calls each kernel once at the shapes of the bundled network, for a window
of eight steps and for one step of a causal network. QEMU writes a line for every instruction inside csrc's functions,
and the lines are counted: exact, and the same on any host with the same compiler. Instructions are not cycles. Needs
gcc-aarch64-linux-gnu, libc6-dev-arm64-cross and qemu-user-static (Debian).
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

HERE = Path(__file__).parent
ROOT = HERE.parents[1]
BASELINE = HERE / "instructions.json"
COMPILER = "aarch64-linux-gnu-gcc"
#: what setup.py compiles csrc with
FLAGS = ["-O3", "-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden", "-g0"]
#: of a count, that a change may add without anyone being asked
TOLERANCE = 0.02
#: frames and decisions in a second of audio: hops of 480 samples, a causal network decides every four of them
FRAMES, STEPS = 16000 / 480, 16000 / 1920
#: what all levels share, and how often each block's work is done, by the first word of a call
STEM = (
    "widen",
    "conv1",
    "staircase 16x16",
    "patches",
    "conv2",
    "staircase 8x32",
    "fc1",
    "affine 128",
    "levels",
    "to_int8",
    "dense",
    "softmax",
)
BLOCK = ("memory", "affine_codes", "expand", "staircase 256", "project", "affine_levels")
LEVELS = {"full": 8, "half": 4, "quarter": 2}


def build(folder: Path) -> Path:
    """The program, linked statically, and csrc's objects beside it."""
    program = folder / "kernel_calls"
    sources = [HERE / "kernel_calls.c", *sorted((ROOT / "csrc").rglob("*.c"))]
    subprocess.run([COMPILER, *FLAGS, "-c", "-I", str(ROOT / "csrc"), *map(str, sources)], check=True, cwd=folder)
    subprocess.run([COMPILER, "-static", *map(str, folder.glob("*.o")), "-o", str(program)], check=True)
    return program


def symbols(binary: Path) -> list[tuple[int, int, str]]:
    """Start, end and name of each function."""
    names = subprocess.run(
        [COMPILER.replace("gcc", "nm"), "-S", str(binary)], capture_output=True, text=True, check=True
    ).stdout
    parts = [line.split() for line in names.splitlines()]
    return [
        (int(start, 16), int(start, 16) + int(size, 16), name)
        for start, size, kind, name in (part for part in parts if len(part) == 4)
        if kind in "tT"
    ]


def functions(program: Path) -> list[tuple[int, int, str]]:
    """The same of csrc's functions alone, in order; mark is among them."""
    ours = {name for binary in program.parent.glob("*.o") for _, _, name in symbols(binary)} - {"main"}
    return sorted(found for found in symbols(program) if found[2] in ours)


def traces(folder: Path, isa: str = "neon") -> Iterator[tuple[str, list[int]]]:
    """Each call's name, "expand bgemm 128x256|window" or "...|step", and the addresses of the instructions that it
    executes, in turn. The program is left in `folder`."""
    program, log = build(folder), folder / "log"
    spans = functions(program)
    ranges = ",".join(f"{start:#x}..{end - 1:#x}" for start, end, _ in spans)
    command = [
        "qemu-aarch64-static",
        "-cpu",
        "cortex-a53",
        "-singlestep",
        "-d",
        "nochain,exec",
        "-dfilter",
        ranges,
        "-D",
        str(log),
        str(program),
        isa,
    ]
    names = iter(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split("\n")[:-1])
    start, end = next((start, end) for start, end, name in spans if name == "mark")
    call: list[int] | None = None
    with log.open("rb") as lines:
        for line in lines:
            match = re.match(rb"Trace \d+: 0x[0-9a-f]+ \[[0-9a-f]+/([0-9a-f]+)/", line)
            if not match:
                continue
            address = int(match[1], 16)
            if not start <= address < end:
                if call is not None:
                    call.append(address)
            elif call is None or call:  # the first instruction of mark, behind a call or before the first
                if call:
                    yield next(names), call
                call = []


def count(isa: str = "neon") -> dict[str, int]:
    """Instructions by call."""
    with tempfile.TemporaryDirectory() as name:
        return {call: len(addresses) for call, addresses in traces(Path(name), isa)}


def decision(counts: dict[str, int], level: str, rows: str) -> int:
    """Kernels of one decision, without the front end: of a "window", or the new "step" of a causal network."""
    stem = sum(number for name, number in counts.items() if name.startswith(STEM) and name.endswith(rows))
    block = sum(number for name, number in counts.items() if name.startswith(BLOCK) and name.endswith(rows))
    return stem + LEVELS[level] * block


def second(counts: dict[str, int], level: str) -> float:
    """Kernels of a second of audio through a causal network, front end included."""
    return FRAMES * counts["frame|step"] + STEPS * decision(counts, level, "step")


def slower(counts: dict[str, int], baseline: dict[str, int]) -> list[str]:
    """One line for every call that takes more than TOLERANCE beyond the baseline, or is gone."""
    lines = [
        f"{name}: {before:,} -> {counts[name]:,} instructions ({counts[name] / before - 1:+.1%})"
        for name, before in baseline.items()
        if name in counts and counts[name] > before * (1 + TOLERANCE)
    ]
    return lines + [f"{name}: not counted any more" for name in baseline if name not in counts]


def main() -> int:
    """0; 1 where --check finds something slower."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--check", action="store_true", help="fail where a kernel is slower than the baseline")
    parser.add_argument("--write", action="store_true", help="write the baseline")
    arguments = parser.parse_args()
    counts = count()
    if arguments.write:
        BASELINE.write_text(json.dumps(counts, indent=1) + "\n")
    width = max(map(len, counts)) - len("|window")
    print(f"{'call':{width}}   window     step")
    for name in counts:
        if name.endswith("|window"):
            kernel = name.removesuffix("|window")
            print(f"{kernel:{width}} {counts[name]:8,} {counts[kernel + '|step']:8,}")
    for level in LEVELS:
        print(f"{level:{width}} {decision(counts, level, 'window'):8,} {decision(counts, level, 'step'):8,}")
    print(
        "a second of audio, causal, front end included, million instructions: "
        + ", ".join(f"{level} {second(counts, level) / 1e6:.2f}" for level in LEVELS)
    )
    problems = slower(counts, json.loads(BASELINE.read_text())) if arguments.check else []
    print(*problems, sep="\n")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
