#!/usr/bin/env bash
# Runs inside a container of the base image; what it leaves behind is the evaluation image.
# /build is mounted for the build only: this folder, and the caller's CA bundle and pip settings.
set -euo pipefail

# shellcheck source=/dev/null
. /build/environment
python3 -m venv /opt/venv
/opt/venv/bin/pip install --no-cache-dir --requirement /build/nemo-requirements.txt

# Where the published evaluation images keep their harness's definition.
mkdir -p /opt/metadata
cp /opt/venv/lib/python3*/site-packages/core_evals/lm_evaluation_harness/framework.yml /opt/metadata/
