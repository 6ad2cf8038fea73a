"""What an attempt finds when it begins: the files that the harness is given, and an empty log."""

from __future__ import annotations

from pathlib import Path

from .. import attempt, record
from ..files import link
from .job import Job


def write_files(job: Job) -> None:
    """What the harness and the check are given. Raises OSError."""
    (job.record / "task.yaml").write_bytes(job.paths.spec.read_bytes())
    for name, text in job.texts.items():
        (job.record / name).write_bytes(text.encode("utf-8"))


def keep_answers(job: Job, is_behind: bool) -> None:
    """The harness keeps its answers itself where the gateway does not, and goes on from them where
    an earlier attempt had none. Raises OSError.

    is_behind  whether this attempt's requests go through a gateway
    """
    if not job.settings.own_cache:
        return
    numbers = attempt.of_spec(attempt.read(job.here)["attempts"], job.settings.digest)
    earlier = [number for number in numbers if number < job.number]
    if is_behind and record.is_behind_gateway(job.record, earlier):
        return
    without, alone = job.settings.own_cache
    job.texts = {name: text.replace(without, alone) for name, text in job.texts.items()}
    write_files(job)


def begin_log(folder: Path, number: int, digest: str) -> Path:
    """The log of an attempt; two links lead to the latest one. Raises OSError."""
    log = folder / f"evaluate.{number}.log"
    log.write_bytes(b"")
    for name in ("evaluate.log", f"{digest}.log"):
        link(log.name, folder / name)
    return log
