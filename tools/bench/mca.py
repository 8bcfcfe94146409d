"""Model cycles of the hand-scheduled inner loops of bgemm_neon.c, by llvm-mca: a model, no measurement.

    python -m tools.bench.mca [LLVM_MCA]            (Debian: llvm-14, gcc-aarch64-linux-gnu)

A loop's cycles are divided by its lookups: one looks up 16 outputs x 4 inputs x 2 planes, 128 bits of a popcount
kernel's work, for which EOR, CNT and ADD take 3.0 cycles on a core that starts one such operation a cycle (Cortex-A53,
A55), and 1.5 where it starts two (A72). The bound for a lookup and its add is 2.0, and a share of the nibbles.
"""
import re
import subprocess
import sys
import tempfile

from tools.bench.instructions import COMPILER, FLAGS, ROOT

CPUS = ("cortex-a53", "cortex-a55", "cortex-a72")
ITERATIONS = 100


def loops() -> dict[str, list[str]]:
    """The instructions of each asm loop, by its shape."""
    source = ROOT / "csrc" / "kernels" / "bgemm_neon.c"
    text = subprocess.run([COMPILER, *FLAGS, "-I", str(ROOT / "csrc"), "-S", str(source), "-o", "-"],
                          capture_output=True, text=True, check=True).stdout
    found: dict[str, list[str]] = {}
    for body in re.findall(r"^1:\n(.*?b\.ne 1b)", text, re.MULTILINE | re.DOTALL):
        lines = [line for line in body.splitlines() if line.strip()]
        lines = [line for line in lines if not line.strip().startswith(("//", "#", "b.ne"))]
        lookups = sum("tbl" in line for line in lines)
        found[{32: "4 rows x 4 blocks", 16: "1 row x 8 blocks"}[lookups]] = lines
    return found


def cycles(mca: str, lines: list[str], cpu: str) -> float:
    """Of one iteration."""
    with tempfile.NamedTemporaryFile("w", suffix=".s") as file:
        file.write("\n".join(lines) + "\n")
        file.flush()
        said = subprocess.run([mca, "-mtriple=aarch64", f"-mcpu={cpu}", f"-iterations={ITERATIONS}", file.name],
                              capture_output=True, text=True, check=True).stdout
    match = re.search(r"Total Cycles:\s+(\d+)", said)
    if not match:
        raise SystemExit(said)
    return int(match[1]) / ITERATIONS


def main() -> int:
    """0."""
    mca = sys.argv[1] if len(sys.argv) > 1 else "llvm-mca-14"
    print(f"{'loop':20} instructions  cycles for 128 bits on {', '.join(CPUS)}")
    for shape, lines in loops().items():
        lookups = sum("tbl" in line for line in lines)
        each = [cycles(mca, lines, cpu) / lookups for cpu in CPUS]
        print(f"{shape:20} {(len(lines) + 1) / lookups:12.2f}  {'  '.join(f'{number:.2f}' for number in each)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
