#!/usr/bin/env bash
# Runs inside a container of the base image; what it leaves behind is the server's image.
set -euo pipefail

# shellcheck source=/dev/null
. /build/environment
python3 -m venv /opt/venv
/opt/venv/bin/pip install --no-cache-dir 'xllamacpp>=0.2'
cp /build/serve.py /opt/serve.py
