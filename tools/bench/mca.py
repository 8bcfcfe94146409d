"""Model cycles by llvm-mca, a model and no measurement: of the hand-scheduled loops of bgemm_neon.c, and of listening.

    python -m tools.bench.mca [LLVM_MCA]            (Debian: llvm-14, and what tools.bench.instructions needs)

A loop's cycles are divided by its popcounts or lookups: one lookup is of 16 outputs x 4 inputs x 2 planes, 128 bits of
a popcount kernel's work, for which EOR, CNT and ADD take 3.0 cycles on a core that starts one such operation a cycle
(Cortex-A53, A55), and 1.5 where it starts two (A72). The bound for a lookup and its add is 2.0, and a share of the
nibbles.

Listening: every instruction that a kernel executes, in the order in which QEMU saw it (tools.bench.instructions), goes
through the model as one piece of straight code: perfect branch prediction, all loads from the first cache. A second of
audio is its frames and the decisions of a causal network; a Raspberry Pi 3 has 1.2 billion cycles for it.
"""

import argparse
import re
import subprocess
import sys
import tempfile
from pathlib import Path

from tools.bench.instructions import COMPILER, FLAGS, LEVELS, ROOT, decision, second, traces

CPUS = ("cortex-a53", "cortex-a55", "cortex-a72")
ITERATIONS = 100
PI3 = 1.2e9


def loops() -> dict[str, list[str]]:
    """The instructions of each asm loop, by its shape."""
    source = ROOT / "csrc" / "kernels" / "bgemm_neon.c"
    text = subprocess.run(
        [COMPILER, *FLAGS, "-I", str(ROOT / "csrc"), "-S", str(source), "-o", "-"],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found: dict[str, list[str]] = {}
    for body in re.findall(r"^1:\n(.*?b\.ne 1b)", text, re.MULTILINE | re.DOTALL):
        lines = [line for line in body.splitlines() if line.strip()]
        lines = [line for line in lines if not line.strip().startswith(("//", "#", "b.ne"))]
        found["4 rows x 4 blocks, lookups" if units(lines, "tbl") else "1 row x 8 blocks, popcount"] = lines
    return found


def units(lines: list[str], *instructions: str) -> int:
    """How many of a loop's instructions are such."""
    return sum(line.split()[0] in instructions for line in lines)


def cycles(mca: str, lines: list[str], cpu: str, iterations: int = ITERATIONS) -> float:
    """Of one iteration."""
    with tempfile.NamedTemporaryFile("w", suffix=".s") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        said = subprocess.run(
            [mca, "-mtriple=aarch64", f"-mcpu={cpu}", f"-iterations={iterations}", file.name],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    match = re.search(r"Total Cycles:\s+(\d+)", said)
    if not match:
        raise SystemExit(said)
    return int(match[1]) / iterations


def disassembled(program: Path) -> dict[int, str]:
    """Every instruction of a program by its address, as an assembler takes it: branches go four bytes on."""
    text = subprocess.run(
        [COMPILER.replace("gcc", "objdump"), "-d", "--no-show-raw-insn", str(program)],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    found = {}
    for address, line in re.findall(r"^\s*([0-9a-f]+):\t(.*?)(?:\s*//.*)?$", text, re.MULTILINE):
        found[int(address, 16)] = re.sub(r"\b[0-9a-f]+ <[^>]*>", "#0" if line.startswith("adrp") else "#4", line)
    return found


def listening(mca: str, cpu: str) -> dict[str, int]:
    """Model cycles of every call of a step."""
    with tempfile.TemporaryDirectory() as name:
        calls = [(call, addresses) for call, addresses in traces(Path(name)) if call.endswith("|step")]
        code = disassembled(Path(name) / "kernel_calls")
    return {call: round(cycles(mca, [code[address] for address in addresses], cpu, 1)) for call, addresses in calls}


def main() -> int:
    """0."""
    parser = argparse.ArgumentParser(
        prog="python -m tools.bench.mca", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("llvm_mca", nargs="?", default="llvm-mca-14", metavar="LLVM_MCA", help="(%(default)s)")
    mca = parser.parse_args().llvm_mca
    print(f"{'loop':26} instructions  cycles for 128 bits on {', '.join(CPUS)}")
    for shape, lines in loops().items():
        counted = units(lines, "tbl", "cnt")
        each = [cycles(mca, lines, cpu) / counted for cpu in CPUS]
        print(f"{shape:26} {(len(lines) + 1) / counted:12.2f}  {'  '.join(f'{number:.2f}' for number in each)}")
    model = listening(mca, CPUS[0])
    print(
        f"\nmodel cycles on {CPUS[0]}: a frame {model['frame|step']:,}; a causal decision "
        + ", ".join(f"{level} {decision(model, level, 'step'):,}" for level in LEVELS)
    )
    for level in LEVELS:
        print(
            f"listening, {level}: {second(model, level) / 1e6:.2f} million cycles a second of audio, "
            f"{second(model, level) / PI3:.3%} of a Raspberry Pi 3 core"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
