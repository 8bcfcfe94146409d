#!/bin/bash
# test.sh WHEEL: unpacks the aarch64 wheel into $ARM_ROOT/site64 and runs the tests marked `arm` on an emulated
# Cortex-A53 with the NEON kernels, and those from samples to scores with the scalar ones too.
set -euo pipefail
wheel=$(readlink -f "$1")
repo=$(readlink -f "$(dirname "$0")/../..")
export QEMU_CPU=${QEMU_CPU:-cortex-a53} PYTHONDONTWRITEBYTECODE=1
rm -rf "${ARM_ROOT:?set ARM_ROOT (see setup.sh)}"/site64/kwsrt*
python3 -m zipfile -e "$wheel" "$ARM_ROOT/site64"

# A copy of the tests alone, so that it is the wheel that is tested, not the checkout. Only files with the mark are
# collected: the others import what is not there.
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cp -r "$repo/tests" "$repo/pyproject.toml" "$work"
cd "$work"
mapfile -t files < <(grep -rlE 'mark\.arm\b' --include='test_*.py' tests | sort)
declare -A jobs
for isa in neon scalar; do
    # The NEON tests already compare both, kernel by kernel.
    if [ $isa = scalar ]; then files=(tests/test_stream.py); fi
    KWSRT_ISA=$isa "$repo/.ci/arm/py64" -m pytest -q -p no:cacheprovider -m arm "${files[@]}" > "$isa.log" 2>&1 &
    jobs[$isa]=$!
done
status=0
for isa in neon scalar; do
    wait "${jobs[$isa]}" || status=1
    echo "== aarch64 ($QEMU_CPU), KWSRT_ISA=$isa"
    cat "$isa.log"
done
exit $status
