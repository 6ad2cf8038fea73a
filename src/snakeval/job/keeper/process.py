"""How the harness runs without a container: from the environment, or inside its own image."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from typing import TYPE_CHECKING

from .. import processes
from ..endpoint import CA_VARIABLES, free_port
from .group import Group
from .runtime import Launch
from .surroundings import DIRECT, hf_cache
from .variables import of_caller

if TYPE_CHECKING:
    from .hold import Hold
    from .job import Job

LAST_WORDS = 5.0
"""Seconds in which what is killed must have ended."""


class Process(Group):
    """A process of this machine. Its own background children become this process's, and end with
    it, whatever session or group they have made for themselves (on Linux)."""

    def __init__(self, job: Job, hold: Hold) -> None:
        super().__init__(job, hold)
        self._beside: set[int] = set()

    def lacking(self) -> str:
        """A missing program is told by the shell that looks for it."""
        return ""

    def take_archive(self, file: str) -> None:
        """No image is needed."""

    def launch(self) -> Launch:
        job = self.job
        environment = of_caller(job.begun_with)
        for name in (*DIRECT, *CA_VARIABLES):
            if name in os.environ:
                environment[name] = os.environ[name]
        cache = hf_cache(job)
        # A home that cannot be written has no cache; without one, no dataset can be loaded.
        home = os.environ.get("HOME") or "/nonexistent"
        if not cache and not os.environ.get("HF_HOME") and not os.access(home, os.W_OK):
            cache = str(job.run_dir / ".cache" / "huggingface")
            job.say(f"no home folder to write to: datasets are kept in {cache}")
        if cache:
            environment["HF_HOME"] = cache
        path = os.environ.get("PATH", os.defpath)
        environment |= {
            "PATH": f"{os.path.dirname(sys.executable)}:{path}",
            "SNAKEVAL_RESULTS": str(job.work),
            "SNAKEVAL_RECORD": str(job.record),
            "SNAKEVAL_FILES": job.settings.files,
            "SNAKEVAL_ENDPOINT_URL": job.endpoint_url,
            "SNAKEVAL_MODEL_ID": job.settings.endpoint_model,
            # Adapters on one host would answer each other's requests.
            "ADAPTER_PORT": str(free_port("127.0.0.1")),
            **job.variables.own,
        }
        return Launch([_shell(path), str(job.record / "command.sh")], environment, str(job.work))

    def start(self, launch: Launch, output: int) -> subprocess.Popen[bytes]:
        processes.adopt_orphans()
        self._beside = processes.begun_by(os.getpid())
        return super().start(launch, output)

    def tend(self) -> None:
        """Lets go of what was adopted, and has ended."""
        known = {*self._beside, *self.begun}
        adopted = processes.children_of(os.getpid()) - known
        processes.reap(pid for pid in adopted if processes.has_ended(pid))

    def after(self) -> None:
        super().after()
        until = time.monotonic() + LAST_WORDS
        while left := processes.begun_by(os.getpid(), self._beside):
            processes.kill(left)
            processes.reap(left)
            if time.monotonic() >= until:
                break
            time.sleep(0.02)


def _shell(path: str) -> str:
    """Where `sh` is, whatever PATH the harness has."""
    for folder in path.split(os.pathsep):
        if os.access(found := os.path.join(folder, "sh"), os.X_OK):
            return found
    return "/bin/sh"
