"""Instructions of one decision on an emulated Cortex-A53: kwsrt against float32 in onnxruntime, MNN and
ai-edge-litert, and against an int8 DS-CNN in ai-edge-litert.

kwsrt decides in a stream, which gets 120 ms of samples and has to make features of them, too ("stream"), and from the
features of a whole window, as the others do ("window").

    ARM_ROOT=... python -m tools.bench.arm DEST QEMU        (half an hour)

ARM_ROOT as .ci/arm/setup.sh leaves it, with the wheel unpacked into site64 (.ci/arm/build_wheel.sh); DEST/models from
peers.py; QEMU from qemu.sh. The peers' aarch64 wheels are installed into DEST/arm. Every count is of the whole process,
Python included, for REPEATS more calls, divided by them: all are counted alike. Writes DEST/arm.json.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from kwsrt import format as file_format
from tools.bench.common import write
from tools.bench.engines import FORMS

REPEATS = 200
PEERS = [
    "onnxruntime==1.31.1",
    "MNN==3.6.1",
    "ai-edge-litert==2.3.0",
    "flatbuffers",
    "protobuf",
    "packaging",
    "tqdm",
    "typing_extensions",
    "backports.strenum",
]
PLATFORMS = ["any", *(f"manylinux_2_{minor}_aarch64" for minor in (35, 31, 28, 27, 17)), "manylinux2014_aarch64"]
ROOT = Path(__file__).resolve().parents[2]
WORK = """
import sys
import numpy as np
from pathlib import Path
engine, path, level, count = sys.argv[1], sys.argv[2], sys.argv[3], int(sys.argv[4])
rng = np.random.default_rng(1)
if engine in ("window", "stream"):
    import kwsrt.format
    from kwsrt.model import Model
    model = Model(kwsrt.format.read(path))
    q = rng.integers(-100, 100, (1, model.network.frames, model.network.bins)).astype(np.int8)
    chunk = rng.integers(-3000, 3000, 1920).astype(np.int16)
    stream = model.stream(thin=level, stride=4)
    stream.push(np.tile(chunk, 20))
    infer = (lambda: stream.push(chunk)) if engine == "stream" else (lambda: model.network.run(q, level))
else:
    from engines import ENGINES
    infer = ENGINES[engine][0](path, rng.integers(-100, 100, (1, int(level), 32)).astype(np.float32))
for _ in range(count):
    infer()
"""


def install(folder: Path) -> None:
    """The peers' wheels, unpacked."""
    platforms = [option for platform in PLATFORMS for option in ("--platform", platform)]
    subprocess.run(
        [
            sys.executable,
            "-m",
            "pip",
            "install",
            "-q",
            "--only-binary=:all:",
            "--no-deps",
            "--no-compile",
            "--upgrade",
            "--target",
            str(folder),
            "--python-version",
            "3.11",
            "--implementation",
            "cp",
            "--abi",
            "cp311",
            "--abi",
            "abi3",
            "--abi",
            "none",
            *platforms,
            *PEERS,
        ],
        check=True,
    )


def instructions(root: Path, qemu: Path, site: Path, arguments: list[str], count: int) -> int:
    """Of a whole run with `count` calls."""
    path = f"{root}/site64:{site}"
    settings = [
        f"PYTHONHOME={root}/sys64/usr",
        f"PYTHONPATH={path}",
        "PYTHONHASHSEED=0",
        "PYTHONDONTWRITEBYTECODE=1",
        "OPENBLAS_NUM_THREADS=1",
    ]
    command = [
        "setarch",
        "-R",
        "env",
        "-i",
        "PATH=/usr/bin:/bin",
        str(qemu / "qemu-aarch64"),
        "-cpu",
        "cortex-a53",
        "-plugin",
        f"{qemu}/libinsn.so,inline=on",
        "-d",
        "plugin",
        "-L",
        str(root / "sys64"),
        *(item for setting in settings for item in ("-E", setting)),
        f"{root}/sys64/usr/bin/python3.11",
        "-c",
        WORK,
        *arguments,
        str(count),
    ]
    done = subprocess.run(command, cwd=site, capture_output=True, text=True, check=False)
    found = re.findall(r"total insns: (\d+)", done.stdout + done.stderr)
    if done.returncode or not found:
        raise SystemExit(f"{' '.join(arguments)}: {done.stdout}{done.stderr}")
    return int(found[-1])


def main() -> int:
    """0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dest", type=Path)
    parser.add_argument("qemu", type=Path)
    parser.add_argument("--model", type=Path, default=ROOT / "models" / "commands12.kws")
    arguments = parser.parse_args()
    root, models = Path(os.environ["ARM_ROOT"]).resolve(), arguments.dest.resolve() / "models"
    qemu = arguments.qemu.resolve()
    site = arguments.dest.resolve() / "arm"
    install(site)
    shutil.copy(ROOT / "tools" / "bench" / "engines.py", site)
    network = file_format.read(arguments.model).manifest["network"]
    work = {
        f"kwsrt {way} {level}": [way, str(arguments.model.resolve()), level]
        for way in ("stream", "window")
        for level in network["levels"]
    }
    frames = str(network["frames"])
    for form in FORMS:
        for engine, ending in (("onnxruntime", "onnx"), ("MNN", "mnn"), ("ai-edge-litert", "tflite")):
            work[f"{engine} float full {form}"] = [engine, str(models / f"full_{form}.{ending}"), frames]
    work["ai-edge-litert int8 DS-CNN"] = ["ai-edge-litert", str(models / "dscnn.tflite"), "49"]

    def counted(name: str) -> int:
        few, many = (instructions(root, qemu, site, work[name], count) for count in (2, 2 + REPEATS))
        return round((many - few) / REPEATS)

    with ThreadPoolExecutor(2) as pool:
        counts = dict(zip(work, pool.map(counted, work), strict=True))
    best = min(number for name, number in counts.items() if " float " in name)
    int8 = counts["ai-edge-litert int8 DS-CNN"]
    ratios = {
        name: {"float full": best / number, "int8 DS-CNN": int8 / number}
        for name, number in counts.items()
        if name.startswith("kwsrt")
    }
    write(arguments.dest / "arm.json", {"cpu": "cortex-a53, emulated", "instructions": counts, "times fewer": ratios})
    for name, number in sorted(counts.items(), key=lambda item: item[1]):
        print(f"{name:36} {number:12,} instructions")
    for name, peers in ratios.items():
        print(
            f"{name}: {peers['float full']:.1f} times fewer than the best float32, "
            f"{peers['int8 DS-CNN']:.1f} than int8 DS-CNN"
        )
    return 0


if __name__ == "__main__":
    sys.exit(main())
