"""The paths of a task and of a deployment, written once for the scripts in `lib/` and the library.

Standard library only, Python 3.9 or newer. Those of a run are in `run_folder/layout.py`.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from . import record


@dataclass(frozen=True)
class TaskPaths:
    """The paths of one task; `dir` is `<run>/<task>`."""

    dir: Path

    @property
    def spec(self) -> Path:
        return self.dir / "task.yaml"

    @property
    def script(self) -> Path:
        return self.dir / "run.sh"

    @property
    def status(self) -> Path:
        return self.dir / "status.json"

    @property
    def job(self) -> Path:
        """The job that was created last, noted by the controller (`jobs.note`)."""
        return self.dir / "job.json"

    @property
    def cancelled(self) -> Path:
        """Left before a task is cancelled: which start it is not to come back in."""
        return self.dir / "cancelled"

    @property
    def artifacts(self) -> Path:
        return self.dir / "artifacts"

    @property
    def lease(self) -> Path:
        return self.dir / "lease"

    @property
    def logs(self) -> Path:
        return self.dir / "logs"

    @property
    def log(self) -> Path:
        """The log of the latest attempt."""
        return self.logs / "evaluate.log"

    def work(self, digest: str) -> Path:
        return self.dir / "work" / digest

    def published(self, digest: str) -> Path:
        return self.dir / "published" / digest

    def record(self, digest: str) -> Path:
        """Ours, about one spec. No container sees it writable; its files: `job/record.py`."""
        return self.dir / "record" / digest

    def complete(self, digest: str) -> Path:
        """The mark of a result that was checked."""
        return self.record(digest) / record.COMPLETE

    def check(self, digest: str) -> Path:
        return self.record(digest) / record.CHECK

    def check_spec(self, digest: str) -> Path:
        """What the check must know of the task to read its result."""
        return self.record(digest) / record.SPEC

    def mark_of_version_1(self, digest: str) -> Path:
        """In the folder that the harness may write: never believed without a check."""
        return self.work(digest) / "snakeval" / "complete"

    def left_before(self, attempt: object) -> Path:
        """What the attempts before this one left in the work folder, and it must not find."""
        return self.logs / f"left-before-{attempt}"

    def is_complete(self, digest: str) -> bool:
        """Whether there is a result that was checked, and its work folder."""
        return self.complete(digest).exists() and self.work(digest).is_dir()

    def next_superseded(self, digest: str) -> str:
        """A free name beside `work/<digest>` and `record/<digest>` for the folders that a fresh
        start puts aside."""
        number = 1
        while any(of(f"{digest}.{number}").exists() for of in (self.work, self.record)):
            number += 1
        return f"{digest}.{number}"


@dataclass(frozen=True)
class ServerPaths:
    """The paths of one deployment; `dir` is `<run>/deployments/<name>`."""

    dir: Path

    @property
    def script(self) -> Path:
        return self.dir / "server.sh"

    @property
    def endpoint(self) -> Path:
        """The live address; there only while the server is healthy."""
        return self.dir / "endpoint.json"

    @property
    def lease(self) -> Path:
        return self.dir / "lease"

    @property
    def batch_script(self) -> Path:
        """Runs `server.sh` as a job of a cluster."""
        return self.dir / "sbatch_server.sh"

    @property
    def job(self) -> Path:
        """The job that was created last (`jobs.note`), where the server is one."""
        return self.dir / "job.json"

    @property
    def executor(self) -> Path:
        """With which executor the server was brought up: its name."""
        return self.dir / "place"

    @property
    def tasks(self) -> Path:
        """The benchmarks of the latest start that need the server."""
        return self.dir / "tasks.json"

    @property
    def users(self) -> Path:
        return self.dir / "users"

    @property
    def stop(self) -> Path:
        """A request to the supervisor: `unused` or `now`."""
        return self.dir / "stop"

    @property
    def status(self) -> Path:
        return self.dir / "status.json"

    @property
    def logs(self) -> Path:
        return self.dir / "logs"

    @property
    def server_log(self) -> Path:
        """The log of the server's latest start."""
        return self.logs / "server.log"

    @property
    def supervisor_log(self) -> Path:
        return self.logs / "supervisor.log"

    def up(self, start: str) -> Path:
        """Says that the server was up for one start; no other start takes it for a live one."""
        return self.dir / f"up.{start}"


def folder_mark(folder: Path) -> str:
    """What tells the containers of one folder from those of its copy: two copies of a run folder
    on one machine must not end each other's."""
    return str(cksum(os.fsencode(os.path.realpath(folder))))


def cksum(data: bytes) -> int:
    """As POSIX's program of that name has it; scripts of servers call that."""
    length = len(data)
    size = length.to_bytes((length.bit_length() + 7) // 8, "little")
    found = 0
    for byte in data + size:
        found ^= byte << 24
        for _ in range(8):
            found = (found << 1) ^ (0x104C11DB7 if found & 0x80000000 else 0)
    return found ^ 0xFFFFFFFF
