#!/usr/bin/env bash
# Builds docker/Dockerfile.cpu where there is no Docker engine, with buildah; further arguments are buildah's.
# Where no registry can be reached either, scripts/debian_base.sh makes the base image first (then: --pull-never).
# WHEELHOUSE: a folder with torch's CPU wheel, where PyTorch's index cannot be reached.
# CERTIFICATES: a folder of CA certificates that the build needs to reach its package index.
set -euo pipefail
cd "$(dirname "$0")/.."

arguments=(--format docker --layers --file docker/Dockerfile.cpu --tag "${IMAGE:-localhost/whisper-service:cpu}")
if [ -n "${WHEELHOUSE:-}" ]; then
  arguments+=(--volume "$WHEELHOUSE:/wheelhouse:ro" --build-arg PIP_FIND_LINKS=/wheelhouse --build-arg PIP_EXTRA_INDEX_URL=)
fi
[ -z "${CERTIFICATES:-}" ] || arguments+=(--volume "$CERTIFICATES:/etc/ssl/certs:ro")
exec buildah build "${arguments[@]}" "$@" .
