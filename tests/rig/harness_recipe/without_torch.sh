#!/usr/bin/env bash
# As harness.sh, for harnesses that import PyTorch and do not use it where the model is at an endpoint.
set -euo pipefail
bash /build/harness.sh "$1"
packages=$(echo /opt/venv/lib/python3*/site-packages)
cp /build/stand_in.py "$packages"
echo "import stand_in" >"$packages/stand_in.pth"
