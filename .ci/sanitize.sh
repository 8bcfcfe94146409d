#!/bin/bash
# sanitize.sh [SECONDS]: builds the extensions with gcc's address and undefined-behaviour sanitizers in a scratch folder, and
# runs the tests of everything that reads files, samples or shapes under them, then SECONDS (default 20) of fuzzing.
# PYTHON names an interpreter that has numpy, Cython, setuptools, pytest and hypothesis.
set -euo pipefail
repo=$(readlink -f "$(dirname "$0")/..")
python=${PYTHON:-python3}
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cp -r "$repo"/{csrc,kwsrt,tests,models,setup.py,setup.cfg,pyproject.toml,.ci} "$work"
cd "$work"
rm -f kwsrt/*.so
sanitize="-fsanitize=address,undefined -fno-sanitize-recover=undefined -fsanitize=float-cast-overflow -fno-omit-frame-pointer"
CFLAGS="-g $sanitize" LDFLAGS="-fsanitize=address,undefined" "$python" setup.py build_clib build_ext --inplace > build.log 2>&1 ||
    { cat build.log; exit 1; }
# Python itself never frees everything, and numpy's allocations are no concern of ours: only errors count, no leaks.
export ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1 UBSAN_OPTIONS=print_stacktrace=1 PYTHONMALLOC=malloc
export LD_PRELOAD="$(gcc -print-file-name=libasan.so) $(gcc -print-file-name=libubsan.so)"
"$python" -m pytest -q -p no:cacheprovider tests/test_format.py tests/test_kernels.py tests/test_layers.py tests/test_stream.py
"$python" .ci/fuzz_format.py "${1:-20}"
