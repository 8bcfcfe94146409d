#!/bin/bash
# setup.sh: makes $ARM_ROOT/sys64 (an arm64 Python 3.11) and $ARM_ROOT/site64 (what the tests marked `arm` import).
# Needs Debian 12 and qemu-user-static; about 15 s and 200 MB.
set -euo pipefail
here=$(dirname "$(readlink -f "$0")")
root=${ARM_ROOT:?set ARM_ROOT to a scratch folder}
"$here/mk_sysroot.sh" "$root/sys64" arm64 python3.11 libpython3.11-dev libstdc++6
platforms=()
for p in any manylinux_2_28_aarch64 manylinux_2_27_aarch64 manylinux_2_17_aarch64 manylinux2014_aarch64; do
    platforms+=(--platform "$p")
done
python3 -m pip install -q --only-binary=:all: --no-deps --no-compile --upgrade --target "$root/site64" --python-version 3.11 \
    --implementation cp --abi cp311 --abi abi3 --abi none "${platforms[@]}" \
    numpy pytest pluggy iniconfig packaging pygments hypothesis sortedcontainers attrs
