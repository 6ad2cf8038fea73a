"""The automatic export of a run that is not finished: the rule `auto_export` waits for all
benchmarks; those that are published go now."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

from snakeval.plan.run import Run


def export_what_is_there(run: Run, scripts: Path) -> None:
    """In a process of its own: its clients are heavy, and leave threads behind.

    scripts  the folder of the entry points
    """
    if not run.config.execution.auto_export.destinations:
        return
    if any(task.published for task in run.tasks):
        command = [sys.executable, str(scripts / "export.py"), "--folder", str(run.paths.dir)]
        subprocess.run([*command, "--auto"], check=False)
