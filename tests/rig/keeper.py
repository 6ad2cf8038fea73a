"""A task on its way, as the keeper of its `run.sh` knows it."""

from __future__ import annotations

import os
from pathlib import Path

from snakeval.job.keeper.job import Job
from snakeval.job.keeper.settings import read


def a_job(folder: Path, script: str) -> Job:
    """The job of a script that is written into a folder, which is the task's then."""
    (folder / "run.sh").write_text(script, encoding="utf-8")
    (folder / "task.yaml").touch()
    settings, texts = read(folder / "run.sh")
    return Job(folder / "run.sh", settings, texts, os.environ)
