#!/usr/bin/env bash
# get.sh FOLDER: the folders test/ and tools/ of PyTorch's source, by Debian's source-package client (27 MB). Needs apt, and root to add the source for a moment.
# The text is PyTorch's: FOLDER is one that git ignores.
set -eu
version=2.6.0
mkdir -p "$1"
cd "$1"
[ ! -d "pytorch-v$version/test" ] || exit 0
list=/etc/apt/sources.list.d/rushlight-ptests.sources
trap 'rm -f "$list"' EXIT
mirror=$(grep -hm1 '^URIs' /etc/apt/sources.list.d/debian.sources | awk '{print $2}')
printf 'Types: deb-src\nURIs: %s\nSuites: trixie\nComponents: main\nSigned-By: /usr/share/keyrings/debian-archive-keyring.gpg\n' "$mirror" > "$list"
apt-get update -qq
apt-get source --download-only -qq "pytorch=$version+dfsg-7"
tar xf "pytorch_$version+dfsg.orig.tar.xz" --wildcards "pytorch-v$version/test/*" "pytorch-v$version/tools/*"
