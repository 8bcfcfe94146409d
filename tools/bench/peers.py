"""Installs the runtimes that kwsrt is measured against, and gives each the network in its own format.

    python -m tools.bench.peers DEST            (ten minutes and 2 GB, most of it TensorFlow, which only converts)

It needs onnx (pip install 'kwsrt[convert]'). DEST/run is a virtual environment with the peers and this checkout's
kwsrt; DEST/models holds, for every thinning level and both forms of float_graph.py, LEVEL_FORM.onnx, .mnn and .tflite,
and dscnn.tflite (dscnn.py).
"""

import argparse
import subprocess
import sys
from pathlib import Path

from kwsrt import format as file_format
from tools.bench.engines import FORMS

ROOT = Path(__file__).resolve().parents[2]
MODEL = ROOT / "models" / "commands12.kws"
#: that run; later versions may do as well, these are the ones of the README's figures
RUN = [
    "numpy",
    "scipy",
    "onnx==1.23.2",
    "onnxruntime==1.31.1",
    "MNN==3.6.1",
    "openvino==2026.4.1",
    "ai-edge-litert==2.3.0",
    "pymicro-wakeword==2.5.0",
    "soundfile",
]
#: that convert for ai-edge-litert
CONVERT = [
    "tensorflow-cpu==2.19.0",
    "tf_keras==2.19.0",
    "onnx2tf==1.29.24",
    "onnx",
    "onnxruntime",
    "onnx-graphsurgeon",
    "sng4onnx",
    "psutil",
    "ai-edge-litert",
]


def environment(folder: Path, packages: list[str]) -> Path:
    """A virtual environment with these packages; its Python."""
    python = folder / "bin" / "python"
    if not python.exists():
        subprocess.run([sys.executable, "-m", "venv", str(folder)], check=True)
    subprocess.run([str(python), "-m", "pip", "install", "-q", *packages], check=True)
    return python


def export_models(folder: Path, model: Path, run: Path, convert: Path) -> None:
    """The files of every level and form."""
    import onnx

    from tools.bench.float_graph import export

    file = file_format.read(model)
    folder.mkdir(parents=True, exist_ok=True)
    for level in file.manifest["network"]["levels"]:
        for form in FORMS:
            name = f"{level}_{form}"
            onnx.save(export(file.manifest, file.tensors, level, form), folder / f"{name}.onnx")
            subprocess.run(
                [
                    str(run.parent / "mnnconvert"),
                    "-f",
                    "ONNX",
                    "--modelFile",
                    f"{name}.onnx",
                    "--MNNModel",
                    f"{name}.mnn",
                    "--bizCode",
                    "kwsrt",
                ],
                cwd=folder,
                check=True,
                capture_output=True,
            )
            subprocess.run(
                [str(convert.parent / "onnx2tf"), "-i", f"{name}.onnx", "-o", f"tf_{name}", "-n"],
                cwd=folder,
                check=True,
                capture_output=True,
            )
            (folder / f"tf_{name}" / f"{name}_float32.tflite").rename(folder / f"{name}.tflite")
    subprocess.run(
        [str(convert), str(Path(__file__).with_name("dscnn.py")), str(folder / "dscnn.tflite")],
        check=True,
        capture_output=True,
    )


def main() -> int:
    """0."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("dest", type=Path)
    parser.add_argument("--model", type=Path, default=MODEL, help="the packed network (default: commands12)")
    arguments = parser.parse_args()
    run = environment(arguments.dest / "run", [*RUN, str(ROOT)])
    convert = environment(arguments.dest / "convert", CONVERT)
    export_models(arguments.dest / "models", arguments.model, run, convert)
    return 0


if __name__ == "__main__":
    sys.exit(main())
