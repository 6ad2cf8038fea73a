#!/usr/bin/env bash
# Runs inside a container of the evaluation image: another of NVIDIA's harnesses in place of lm-eval.
# /build is mounted for the build only: this folder, and the caller's CA bundle and pip settings.
set -euo pipefail
name=$1
packages=$(echo /opt/venv/lib/python3*/site-packages)

# shellcheck source=/dev/null
. /build/environment
# Complete lists: nothing is resolved, and what the base has stays.
/opt/venv/bin/pip uninstall --quiet --yes nvidia_lm_eval
/opt/venv/bin/pip install --quiet --no-deps --requirement "/build/requirements/$name.txt"

rm -rf /opt/metadata/*
cp "$packages"/core_evals/*/framework.yml /opt/metadata/

# What a harness would bring from the internet while it runs is in packages, or not needed.
if [ -d "$packages"/llama_index ]; then # its wheel carries NLTK's data
    cp -r "$packages"/llama_index/core/_static/nltk_cache /usr/share/nltk_data
    /opt/venv/bin/pip uninstall --quiet --yes llama-index-core
fi
case $name in
    # A model of spaCy that it downloads and never loads.
    ifbench) sed -i "s/^download('en_core_web_sm')$/pass/" "$packages"/ifbench/instructions.py ;;
esac
