#!/bin/bash
# mk_sysroot.sh DEST ARCH PKG...: unpacks Debian packages of another architecture, with all they depend on, into DEST.
# The system's own packages and package lists stay as they are. For an arm64 Python:
#     mk_sysroot.sh sys64 arm64 python3.11 libpython3.11-dev libstdc++6
set -euo pipefail
dest=$(readlink -f -m "$1"); arch=$2; shift 2
suite=$(. /etc/os-release && echo "$VERSION_CODENAME")
mirror=$(apt-get indextargets --format '$(RELEASE) $(REPO_URI)' 'Created-By: Packages' | awk -v s="$suite" '$1 == s {print $2; exit}')

# A package state of its own, empty, so that apt resolves and fetches everything for ARCH.
state=$(mktemp -d); trap 'rm -rf "$state"' EXIT
mkdir -p "$state"/{lists,cache/archives}/partial "$state"/none
: > "$state/status"
echo "deb [signed-by=/usr/share/keyrings/debian-archive-keyring.gpg] ${mirror:?no mirror in the apt sources} $suite main" > "$state/list"
foreign() {
    apt-get -qq -oAPT::Architecture="$arch" -oAPT::Architectures="$arch" -oAPT::Install-Recommends=0 \
        -oAPT::Sandbox::User=root -oAcquire::Languages=none -oAcquire::Retries=3 -oDebug::NoLocking=1 \
        -oDir::Etc::sourcelist="$state/list" -oDir::Etc::sourceparts="$state/none" -oDir::State::Lists="$state/lists" \
        -oDir::State::status="$state/status" -oDir::Cache="$state/cache" "$@"
}
foreign update
foreign --download-only --yes install "$@" > /dev/null

# Debian's merged /usr: /bin and the like are links.
for folder in bin sbin lib lib64; do
    mkdir -p "$dest/usr/$folder"
    [ -e "$dest/$folder" ] || ln -s "usr/$folder" "$dest/$folder"
done
for package in "$state"/cache/archives/*.deb; do dpkg-deb -x "$package" "$dest"; done
