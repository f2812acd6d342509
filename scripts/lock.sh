#!/usr/bin/env bash
# Writes requirements/dev.txt and cpu.txt anew from pyproject.toml: every package that is installed, with its hashes.
# Needs uv, and a place that offers torch's CPU build: FIND_LINKS=folder, or PyTorch's CPU wheel index.
set -euo pipefail
cd "$(dirname "$0")/.."

source_of_torch=(--index "https://download.pytorch.org/whl/cpu" --index-strategy unsafe-best-match)
[ -z "${FIND_LINKS:-}" ] || source_of_torch=(--find-links "$FIND_LINKS")

lock() { # name of the file, then further arguments
  local file="requirements/$1.txt"
  shift
  uv pip compile pyproject.toml "$@" --override requirements/overrides.txt \
    --python-version 3.11 --python-platform x86_64-manylinux_2_28 --generate-hashes \
    --no-header --no-annotate --no-emit-index-url --no-emit-find-links --quiet \
    "${source_of_torch[@]}" --output-file "$file"
}

lock dev --extra cpu --extra dev
lock cpu --extra cpu --constraint requirements/dev.txt
