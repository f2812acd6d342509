#!/usr/bin/env bash
# Makes an image of Debian with its Python, under the name of the images' base, where no registry can be reached:
#   scripts/debian_base.sh [docker.io/library/python:3.11-slim-bookworm]
# Needs root, debootstrap, buildah and a Debian mirror. Then: scripts/build_image.sh --pull-never
set -euo pipefail
name=${1:-docker.io/library/python:3.11-slim-bookworm}
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT

debootstrap --variant=minbase --include=python3,python3-venv,python3-pip,ca-certificates bookworm "$folder/root"
rm -rf "$folder"/root/var/cache/apt/* "$folder"/root/var/lib/apt/lists/*
tar --create --directory "$folder/root" --file "$folder/root.tar" .
container=$(buildah from scratch)
buildah add --quiet "$container" "$folder/root.tar" /
buildah config --cmd bash "$container"
buildah commit --quiet --rm "$container" "$name"
