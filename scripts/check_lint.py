"""Runs `snakemake --lint` and allows exactly one of its messages (part of `make check`).

The message asks for a conda environment or container per rule. Benchmarks bring their own
containers, which Snakemake does not know of (`container:` means Apptainer).
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ALLOWED = "Specify a conda environment or container for each rule."


def main() -> int:
    snakemake = Path(sys.executable).with_name("snakemake")
    answer = subprocess.run(
        [snakemake, "--lint", "json"], capture_output=True, text=True, check=False
    )
    start = answer.stdout.find("{")
    if start < 0:
        print(answer.stdout + answer.stderr)
        return 1
    report = json.loads(answer.stdout[start:])
    found = [
        f"{item.get('rule') or item.get('snakefile')}: {lint['title']}"
        for kind in ("rules", "snakefiles")
        for item in report.get(kind, [])
        for lint in item["lints"]
        if lint["title"] != ALLOWED
    ]
    print("\n".join(found) or "snakemake --lint: nothing but the one allowed message")
    return int(bool(found))


if __name__ == "__main__":
    sys.exit(main())
