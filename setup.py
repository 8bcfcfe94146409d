"""Builds the compiled modules; everything else is declared in pyproject.toml.

One source list serves every architecture: each file of csrc/kernels compiles to nothing where it does not belong, and
functions beyond the architecture's baseline carry their own target attribute, so no per-file flags are needed.

KWSRT_SIMDE=1 builds the AVX-512 kernels through the SIMDe headers (Debian: libsimde-dev), which lets KWSRT_ISA=avx512
be tested on x86-64 processors without it. Never ship that build.
"""

import os
import sys
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup

# -ffp-contract=off and no fast-math: scores are promised to be the same bits everywhere. The two flags after it change
# no result; they let the compiler vectorise selects and roundings.
EXACT = ["-std=c11", "-ffp-contract=off", "-fno-math-errno", "-fno-trapping-math", "-fvisibility=hidden", "-g0"]
# An installed package below a megabyte: no unwind tables, no symbols, nothing that is not called, no gaps at page ends.
SMALL = ["-fno-asynchronous-unwind-tables", "-ffunction-sections", "-fdata-sections"]
LINK = ["-Wl,-s,--gc-sections,-z,noseparate-code"] if sys.platform == "linux" else []
MACROS = [("Py_LIMITED_API", "0x030B0000"), ("CYTHON_LIMITED_API", "1")]
SIMDE = [("KWS_SIMDE", "1")] if os.environ.get("KWSRT_SIMDE") else []

# csrc knows no Python: one static library, of which each module links what it calls.
library = (
    "kws",
    {
        "sources": [str(path) for path in sorted(Path("csrc").rglob("*.c"))],
        "obj_deps": {"": [str(path) for path in sorted(Path("csrc").rglob("*.h"))]},
        "include_dirs": ["csrc"],
        "macros": SIMDE,
        "cflags": ["-O3", *EXACT, *SMALL],
    },
)


def extension(name, suffix="pyx"):
    """A compiled module. What it runs in a loop is in the library: beyond -Os it would only grow."""
    return Extension(
        f"kwsrt.{name}",
        [f"kwsrt/{name}.{suffix}"],
        include_dirs=["csrc"],
        define_macros=MACROS,
        depends=[str(path) for pattern in ("kwsrt/*.pxd", "csrc/**/*.[ch]") for path in sorted(Path().glob(pattern))],
        extra_compile_args=["-Os", *EXACT, *SMALL],
        extra_link_args=LINK,
        py_limited_api=True,
    )


MODULES = ("frontend", "layers", "network", "scores", "stream", "trigger")
# What Cython adds to every module, memoryviews above all, is in one of its own; Cython writes its source.
modules = cythonize(
    [*map(extension, MODULES), extension("_cython", "c")], shared_utility_qualified_name="kwsrt._cython"
)
setup(libraries=[library], ext_modules=modules)
