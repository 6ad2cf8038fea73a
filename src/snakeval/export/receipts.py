"""What a destination has got: one file per task, with the digest of what was sent."""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterable, Iterator
from typing import Any

from snakeval.job.files import now, write_atomically
from snakeval.run_folder.layout import RunPaths


class Receipts:
    """The receipts of one run at one destination: `exports/<destination>/<task>.json`."""

    def __init__(self, paths: RunPaths, destination: str) -> None:
        self.folder = paths.exports(destination)

    @contextlib.contextmanager
    def alone(self) -> Iterator[None]:
        """Waits until no other process exports this run to this destination: two of them at once
        would each look, and each make what is missing."""
        self.folder.mkdir(parents=True, exist_ok=True)
        with (self.folder / ".lock").open("a") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield

    def digest(self, task: str) -> str | None:
        """Of what was sent last; None where nothing was, or the receipt cannot be read."""
        found = self.read(task).get("digest")
        return str(found) if found else None

    def read(self, task: str) -> dict[str, Any]:
        try:
            content = json.loads((self.folder / f"{task}.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            return {}
        return content if isinstance(content, dict) else {}

    def write(self, task: str, digest: str, target: str, reference: str | None) -> None:
        """`reference`: what the destination calls it, such as the id of a run there."""
        self.folder.mkdir(parents=True, exist_ok=True)
        content = {"digest": digest, "exported": now(), "to": target, "reference": reference}
        write_atomically(self.folder / f"{task}.json", json.dumps(content, indent=1) + "\n")

    def drop_others(self, tasks: Iterable[str]) -> list[str]:
        """Removes receipts of tasks that are no longer published; their names."""
        kept = set(tasks)
        gone = [
            path
            for path in self.folder.glob("*.json")
            if path.stem not in kept and "digest" in self.read(path.stem)
        ]
        for path in gone:
            path.unlink(missing_ok=True)
        return [path.stem for path in gone]
