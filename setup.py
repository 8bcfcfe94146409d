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
EXACT = ["-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden", "-g0"]
MACROS = [("Py_LIMITED_API", "0x030B0000"), ("CYTHON_LIMITED_API", "1")]
SIMDE = [("KWS_SIMDE", "1")] if os.environ.get("KWSRT_SIMDE") else []

# csrc knows no Python: one static library, of which each module links what it calls.
library = ("kws", {"sources": [str(path) for path in sorted(Path("csrc").rglob("*.c"))],
                   "obj_deps": {"": [str(path) for path in sorted(Path("csrc").rglob("*.h"))]},
                   "include_dirs": ["csrc"], "macros": SIMDE, "cflags": ["-O3", *EXACT]})


def extension(name):
    """A compiled module. What it runs in a loop is in the library: more than -O1 would only make it slow to build."""
    return Extension(f"kwsrt.{name}", [f"kwsrt/{name}.pyx"], include_dirs=["csrc"], define_macros=MACROS,
                     depends=[str(path) for pattern in ("kwsrt/*.pxd", "csrc/**/*.[ch]")
                              for path in sorted(Path().glob(pattern))],
                     extra_compile_args=["-O1", *EXACT], py_limited_api=True)


MODULES = ("frontend", "layers", "network", "stream", "trigger")
setup(libraries=[library], ext_modules=[extension(name) for name in MODULES])
