"""Commands that take minutes (a pull, an export): a person sees their lines as they come."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence


def run_with_progress(command: Sequence[str]) -> tuple[int, str]:
    """Runs a command with its lines on stderr; its exit code and the last of them."""
    last = ""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        text=True,
    ) as process:
        assert process.stderr
        for line in process.stderr:
            last = line.strip() or last
            print(line, end="", file=sys.stderr)
    return process.returncode, last
