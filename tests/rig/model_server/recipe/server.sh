#!/usr/bin/env bash
# Runs inside a container of the base image; what it leaves behind is the server's image.
set -euo pipefail

# shellcheck source=/dev/null
. /build/environment
apt-get update -qq
apt-get install -y -qq --no-install-recommends libgomp1 >/dev/null
rm -rf /var/lib/apt/lists/*
python3 -m venv /opt/venv
/opt/venv/bin/pip install --no-cache-dir 'xllamacpp>=0.2'
cp /build/serve.py /opt/serve.py
