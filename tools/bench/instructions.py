"""Counts the instructions that kwsrt executes on an emulated Cortex-A53, function by function.

    ARM_ROOT=... python -m tools.bench.instructions            the table (see README.md for ARM_ROOT)
    ARM_ROOT=... python -m tools.bench.instructions --check    fails where a kernel got more than 2 % slower
    ARM_ROOT=... python -m tools.bench.instructions --write    a new baseline, instructions.json beside this file

QEMU writes a line for every instruction inside the functions of kwsrt's C and Cython code; the lines are counted. The
numbers are exact and repeat to the last instruction, on any host; they are instructions, not cycles. What is counted is
one call of each workload below, by the wheel in $ARM_ROOT/site64.
"""
import argparse
import bisect
import json
import os
import re
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path

HERE = Path(__file__).parent
BASELINE = HERE / "instructions.json"
#: of a function's count, that a change may add
TOLERANCE = 0.02
#: smaller functions may change by so many instructions
SLACK = 50
MODULES = ("frontend", "layers", "network")
# Functions of csrc, and those of the modules that run without Python (Cython's names for cdef functions).
COUNTED = re.compile(r"^(kws_\w+|__pyx_f_5kwsrt_\w+|[a-z]\w*)(\.\w+)*$")
# What Cython and the C runtime bring along, and set-up that happens once.
LEFT_OUT = re.compile(r"^(__pyx_f_5kwsrt_7network_7Network_(workspace|kept)|_?_?Pyx|pyx|cstring|frame_dummy|call_weak_fn|"
                      r"deregister_tm_clones|register_tm_clones|kws_(frontend_init|fft_init|cos_turns|sin_turns)|"
                      r"bufferinfo|init_|triangle|cos_octant|sin_octant|unellipsify)")
SEPARATOR = "kws_isa_name"

# Runs inside the emulated Python: one call of each workload, with a call of the separator before it.
WORK = """
import sys
import numpy as np
import kwsrt.format
from kwsrt.layers import Kernels, available_isas
from kwsrt.frontend import FrontEnd
from kwsrt.network import Network
from kwsrt.model import Model

for module in {modules!r}:
    path = sys.modules["kwsrt." + module].__file__
    base = min(int(line.split("-")[0], 16) for line in open("/proc/self/maps") if line.rstrip().endswith(path))
    print(module, path, base)
for path in sys.argv[1:]:
    model = Model(kwsrt.format.read(path))
    sound = kwsrt.format.verification_audio(2 * model.window)
    frames = model.frontend.quantized(sound)
    window = frames[None, :model.network.frames]
    ends = sound[:model.frontend.window]
    model.frontend.quantized(ends)
    print("workload", "frame")
    available_isas()
    model.frontend.quantized(ends)
    for level in model.thin_levels:
        print("workload", "window", level)
        available_isas()
        model.network.run(window, level)
available_isas()
print("done")
"""


def emulate(root: Path, models: list[Path], folder: Path, trace: str | None) -> tuple[list[str], Path]:
    """What the workloads print, and QEMU's log of the address ranges in `trace`."""
    log, script = folder / "log", folder / "work.py"
    script.write_text(WORK.format(modules=MODULES))
    options = ["-singlestep", "-d", "nochain,exec", "-dfilter", trace, "-D", str(log)] if trace else []
    # An environment of its own, and no randomised addresses: the modules then lie where they lay in the run before.
    command = ["setarch", "-R", "env", "-i", "PATH=/usr/bin:/bin", "qemu-aarch64-static", "-cpu", "cortex-a53", *options,
               "-L", str(root / "sys64"), "-E", f"PYTHONHOME={root}/sys64/usr", "-E", f"PYTHONPATH={root}/site64",
               "-E", "PYTHONHASHSEED=0", "-E", "PYTHONDONTWRITEBYTECODE=1",
               str(root / "sys64/usr/bin/python3.11"), str(script), *map(str, models)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode or not done.stdout.endswith("done\n"):
        raise SystemExit(f"the emulated Python failed:\n{done.stdout}{done.stderr}")
    return done.stdout.splitlines(), log


def functions(module: Path, base: int) -> list[tuple[int, int, str]]:
    """Start, end and name of each function of a module that is counted, where it lies in memory."""
    listed = subprocess.run(["aarch64-linux-gnu-nm", "-S", str(module)], capture_output=True, text=True, check=True)
    found = []
    for line in listed.stdout.splitlines():
        parts = line.split()
        if len(parts) == 4 and parts[2] in "tT" and COUNTED.match(parts[3]) and not LEFT_OUT.match(parts[3]):
            start = base + int(parts[0], 16)
            found.append((start, start + int(parts[1], 16), re.sub(r"^__pyx_f_5kwsrt_\d+", "", parts[3].split(".")[0])))
    return found


def count(root: Path, models: list[Path]) -> dict[str, dict[str, int]]:
    """{workload: {function: instructions}}, the workloads of each model in turn."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        printed, _ = emulate(root, models, folder, None)
        spans = sorted(span for line in printed[:len(MODULES)] for _, path, base in [line.split()]
                       for span in functions(Path(path), int(base)))
        trace = ",".join(f"{start:#x}..{end - 1:#x}" for start, end, _ in spans)
        printed, log = emulate(root, models, folder, trace)
        workloads = [" ".join(line.split()[1:]) for line in printed if line.startswith("workload")]
        return dict(zip(_names(workloads, models), _segments(log, spans), strict=True))


def _names(workloads: list[str], models: list[Path]) -> list[str]:
    each = len(workloads) // len(models)
    return [f"{models[i // each].stem} {workload}" for i, workload in enumerate(workloads)]


def _segments(log: Path, spans: list[tuple[int, int, str]]) -> list[dict[str, int]]:
    """The counts between the separators, by function."""
    starts = [start for start, _, _ in spans]
    segments: list[Counter[str]] = []
    separated = False
    address = re.compile(rb"^Trace \d+: 0x[0-9a-f]+ \[[0-9a-f]+/([0-9a-f]+)/")
    with log.open("rb") as lines:
        for line in lines:
            match = address.match(line)
            if not match:
                continue
            pc = int(match[1], 16)
            _, end, name = spans[bisect.bisect_right(starts, pc) - 1]
            if name == SEPARATOR:
                separated = True
                continue
            if separated:
                segments.append(Counter())
                separated = False
            if segments and pc < end:
                segments[-1][name] += 1
    return [dict(sorted(segment.items(), key=lambda item: -item[1])) for segment in segments]


def slower(counts: dict[str, dict[str, int]], baseline: dict[str, dict[str, int]]) -> list[str]:
    """What takes more than TOLERANCE beyond the baseline: a workload, or a function of it."""
    found = []
    for workload, was in baseline.items():
        now = counts.get(workload, {})
        pairs = [("all of it", sum(was.values()), sum(now.values()))]
        pairs += [(name, was.get(name, 0), instructions) for name, instructions in now.items() if name in was]
        found += [f"{workload}: {name} {before:,} -> {after:,} instructions ({after / before - 1:+.1%})"
                  for name, before, after in pairs if after > before * (1 + TOLERANCE) + SLACK]
        if not now:
            found.append(f"{workload}: not measured any more")
    return found


def main() -> int:
    """0; 1 where --check finds something slower."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("models", nargs="*", type=Path, default=sorted((HERE.parents[1] / "models").glob("*.kws")))
    parser.add_argument("--check", action="store_true", help="fail where it is slower than the baseline")
    parser.add_argument("--write", action="store_true", help="write the baseline")
    arguments = parser.parse_args()
    counts = count(Path(os.environ["ARM_ROOT"]).resolve(), [path.resolve() for path in arguments.models])
    if arguments.write:
        BASELINE.write_text(json.dumps(counts, indent=1) + "\n")
    for workload, segment in counts.items():
        print(f"{workload}: {sum(segment.values()):,} instructions")
        if not arguments.check:
            for name, instructions in segment.items():
                print(f"    {instructions:9,}  {name}")
    problems = slower(counts, json.loads(BASELINE.read_text())) if arguments.check else []
    print("\n".join(problems) if problems else "" if not arguments.check else "nothing slower than the baseline by 2 %")
    return 1 if problems else 0


if __name__ == "__main__":
    sys.exit(main())
