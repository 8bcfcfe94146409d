#!/bin/bash
# qemu.sh DEST: builds qemu-aarch64 with plugins, and the plugin that counts instructions, from Debian's backports
# source into DEST (4 minutes on two cores; Debian 12's own qemu-user has no plugins).
set -euo pipefail
mkdir -p "$1"; dest=$(readlink -f "$1")
mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' | awk '$1 == "bookworm" {print $2; exit}')
missing=()
for package in gcc make ninja-build pkg-config libglib2.0-dev python3-venv curl xz-utils flex bison; do
    dpkg-query -W -f '${Status}' "$package" 2> /dev/null | grep -q 'ok installed' || missing+=("$package")
done
if [ ${#missing[@]} -gt 0 ]; then
    DEBIAN_FRONTEND=noninteractive apt-get -qq install --yes --no-install-recommends "${missing[@]}" > /dev/null
fi
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
cd "$work"
read -r checksum file < <(curl -sf "${mirror}dists/bookworm-backports/main/source/Sources.xz" | xz -d |
    awk '$1 == "Package:" {found = $2 == "qemu"} $1 == "Checksums-Sha256:" {sums = found; next} /^[^ ]/ {sums = 0}
         sums && $3 ~ /orig[.]tar[.]xz$/ {print $1, $3; exit}')
curl -sfO "${mirror}pool/main/q/qemu/$file"
echo "$checksum  $file" | sha256sum --check --quiet
mkdir source && tar -xf "$file" -C source --strip-components 1
python3 -m venv venv && venv/bin/pip install -q 'meson>=1.5' tomli pycotap distlib
cd source
PATH=$work/venv/bin:$PATH ./configure --target-list=aarch64-linux-user --without-default-features --enable-plugins \
    --disable-system --disable-install-blobs --python="$work/venv/bin/python" > "$work/log" 2>&1 || { tail "$work/log"; exit 1; }
ninja -C build qemu-aarch64 tests/tcg/plugins/libinsn.so > "$work/log" 2>&1 || { tail "$work/log"; exit 1; }
cp build/qemu-aarch64 build/tests/tcg/plugins/libinsn.so "$dest"
