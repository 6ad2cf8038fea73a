"""The service that runs the jobs: here a folder, and processes of this machine.

$DETACHED_HOME/<job>/   label, pid, log, and exit when it has ended (default: ~/.detached)
"""

from __future__ import annotations

import os
import shlex
import signal
import subprocess
import time
import uuid
from pathlib import Path

import psutil

GRACE = 30.0
"""Seconds that a job has after a TERM: run.sh needs 20."""

# The trap is not inherited, as a signal that is ignored would be: what runs inside gets its TERM.
SCRIPT = "trap : TERM; {command}; echo $? >{folder}/exit.new; mv {folder}/exit.new {folder}/exit"


class Service:
    def __init__(self) -> None:
        self.home = Path(os.environ.get("DETACHED_HOME") or Path.home() / ".detached")

    def create(self, command: str, label: str, niceness: int = 0) -> str:
        """Starts a job in a session of its own; returns its id."""
        number = uuid.uuid4().hex[:12]
        folder = self.home / number
        folder.mkdir(parents=True)
        (folder / "label").write_text(label)
        inside = f"nice -n {niceness} bash -c {shlex.quote(command)}"
        script = SCRIPT.format(command=inside, folder=shlex.quote(str(folder)))
        with self.log(number).open("wb") as log:
            process = subprocess.Popen(
                ["bash", "-c", script],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
                # What snakeval's records and exports say of a job.
                env={**os.environ, "SNAKEVAL_EXECUTOR": "detached", "SNAKEVAL_JOB": number},
            )
        (folder / "pid").write_text(str(process.pid))
        return number

    def log(self, number: str) -> Path:
        return self.home / number / "log"

    def exit_code(self, number: str) -> int | None:
        """None while it runs; 137 of one that was killed before it could say."""
        alive = self._alive(number)
        try:
            return int((self.home / number / "exit").read_text())
        except OSError:
            return None if alive else 137

    def live(self, prefix: str) -> dict[str, str]:
        """The live jobs whose label begins so: id -> label."""
        labels = {file.parent.name: file.read_text() for file in self.home.glob("*/label")}
        return {
            number: label
            for number, label in labels.items()
            if label.startswith(prefix) and self.exit_code(number) is None
        }

    def stop(self, number: str) -> bool:
        """Ends a job with all that it has started; whether it has ended."""
        for what, patience in ((signal.SIGTERM, GRACE), (signal.SIGKILL, 5.0)):
            deadline = time.monotonic() + patience
            if self._alive(number):
                os.killpg(self._pid(number), what)
            while self._alive(number) and time.monotonic() < deadline:
                time.sleep(0.1)
        return not self._alive(number)

    def _pid(self, number: str) -> int:
        return int((self.home / number / "pid").read_text())

    def _alive(self, number: str) -> bool:
        try:
            process = psutil.Process(self._pid(number))
            return process.status() != psutil.STATUS_ZOMBIE
        except (OSError, ValueError, psutil.NoSuchProcess):
            return False
