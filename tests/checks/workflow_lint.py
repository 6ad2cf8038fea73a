"""Runs `snakemake --lint` and allows exactly one of its messages (part of `make check`).

The message asks for a conda environment or container per rule. Benchmarks bring their own
containers, which Snakemake does not know of (`container:` means Apptainer).
"""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ALLOWED = "Specify a conda environment or container for each rule."


def main() -> int:
    snakemake = Path(sys.executable).with_name("snakemake")
    answer = subprocess.run([snakemake, "--lint"], capture_output=True, text=True, check=False)
    lines = (answer.stdout + answer.stderr).splitlines()
    lints = [line.strip() for line in lines if line.startswith("    * ")]
    found = [line for line in lints if line != f"* {ALLOWED}:"]
    if found or not lints:
        print("\n".join(lines))
        return 1
    print("snakemake --lint: nothing but the one allowed message")
    return 0


if __name__ == "__main__":
    sys.exit(main())
