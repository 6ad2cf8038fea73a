"""What an attempt finds when it begins: the files that the harness is given, and an empty log."""

from __future__ import annotations

from pathlib import Path

from ..files import link
from .job import Job


def write_files(job: Job) -> None:
    """What the harness and the check are given. Raises OSError."""
    (job.record / "task.yaml").write_bytes(job.paths.spec.read_bytes())
    for name, text in job.texts.items():
        (job.record / name).write_bytes(text.encode("utf-8"))


def begin_log(folder: Path, number: int, digest: str) -> Path:
    """The log of an attempt; two links lead to the latest one. Raises OSError."""
    log = folder / f"evaluate.{number}.log"
    log.write_bytes(b"")
    for name in ("evaluate.log", f"{digest}.log"):
        link(log.name, folder / name)
    return log
