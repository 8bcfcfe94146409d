"""Builds the compiled modules; everything else is declared in pyproject.toml.

One source list serves every architecture: each file of csrc/kernels compiles to nothing where it does not belong, and
functions beyond the architecture's baseline carry their own target attribute, so no per-file flags are needed.

KWSRT_SIMDE=1 builds the AVX-512 kernels through the SIMDe headers (Debian: libsimde-dev), which lets KWSRT_ISA=avx512
be tested on x86-64 processors without it. Never ship that build.
"""
import os
from pathlib import Path

from setuptools import Extension, setup

# -ffp-contract=off and no fast-math: scores are promised to be the same bits everywhere. The two flags after it change
# no result; they let the compiler vectorise selects and roundings.
FLAGS = ["-std=c11", "-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden"]
MACROS = [("Py_LIMITED_API", "0x030B0000"), ("CYTHON_LIMITED_API", "1")]
if os.environ.get("KWSRT_SIMDE"):
    MACROS.append(("KWS_SIMDE", "1"))


def sources(*folders):
    return [str(path) for folder in folders for path in sorted(Path("csrc", folder).glob("*.c"))]


def extension(name, *folders):
    headers = [str(path) for path in sorted(Path("csrc").rglob("*.h"))] + [f"kwsrt/{name}.pxd"]
    return Extension(f"kwsrt.{name}", [f"kwsrt/{name}.pyx", *sources(*folders)], include_dirs=["csrc"],
                     depends=[path for path in headers if Path(path).exists()], define_macros=MACROS,
                     extra_compile_args=FLAGS, py_limited_api=True)


setup(ext_modules=[
    extension("frontend", "frontend", "common"),
    extension("layers", "kernels", "common"),
    extension("network"),
    extension("stream"),
])
