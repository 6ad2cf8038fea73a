"""A run folder with nothing but a server's script, started by hand: `bash server.sh`."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import psutil

from rig.pipeline import as_in_a_terminal
from rig.waiting import PATIENCE
from snakeval.config.model import Config
from snakeval.executors.lepton import server as lepton
from snakeval.plan.server import MODEL, servers_of
from snakeval.render.lib import write_library
from snakeval.render.server import render
from snakeval.run_folder.layout import RunPaths, ServerPaths


@dataclass
class Supervised:
    """One server's folder in a run folder, and its supervisor."""

    run: RunPaths
    environment: dict[str, str]

    @property
    def paths(self) -> ServerPaths:
        return self.run.server(MODEL)

    def write(
        self,
        deployment: dict[str, Any],
        timeout: int = 60,
        runtime: str = "process",
        endpoint: str | None = None,
        **execution: Any,
    ) -> None:
        """Writes `server.sh` as a start does; `endpoint`: what is asked of Lepton."""
        kind = "lepton" if endpoint else "local"
        config = Config.model_validate(
            {
                "execution": {"type": kind, "endpoint_readiness_timeout": timeout, **execution},
                "deployment": deployment,
                "evaluation": {"tasks": ["t"]},
            }
        )
        write_library(self.run.lib)
        self.paths.users.mkdir(parents=True, exist_ok=True)
        server = servers_of(config)[MODEL]
        own = lepton.body() if endpoint else None
        text = render(server, runtime, server.image, command=endpoint, body=own)
        self.paths.script.write_text(text)

    @contextlib.contextmanager
    def started(self, **variables: str) -> Iterator[subprocess.Popen[bytes]]:
        """`bash server.sh`, as a person starts it; ended with the test at the latest."""
        with (self.run.dir / "said").open("ab") as log:
            process = subprocess.Popen(
                ["bash", str(self.paths.script)],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                cwd=self.run.dir,
                env={**os.environ, **self.environment, **variables},
                start_new_session=True,
                preexec_fn=as_in_a_terminal,
            )
        try:
            yield process
        finally:
            with contextlib.suppress(ProcessLookupError):
                process.send_signal(signal.SIGTERM)
            process.wait(PATIENCE)

    def ended(self, **variables: str) -> str:
        """Starts it and waits for its end; what it said."""
        with self.started(**variables) as process:
            process.wait(PATIENCE)
        return self.said

    @property
    def said(self) -> str:
        return (self.run.dir / "said").read_text()

    @property
    def record(self) -> dict[str, Any]:
        try:
            content: dict[str, Any] = json.loads(self.paths.status.read_text())
        except (OSError, ValueError):
            return {}
        return content

    @property
    def address(self) -> str:
        try:
            return str(json.loads(self.paths.endpoint.read_text())["url"])
        except (OSError, ValueError):
            return ""

    def servers(self) -> list[psutil.Process]:
        """The scripted server's processes."""
        return [
            each
            for each in psutil.process_iter(["cmdline"])
            if "scripted_server.py" in " ".join(each.info["cmdline"] or [])
            and sys.executable in (each.info["cmdline"] or [])[:1]
            and str(self.run.dir) in " ".join(each.info["cmdline"] or [])
        ]

    def use(self, task: str = "t") -> None:
        """As a benchmark's `run.sh` does while it runs."""
        (self.paths.users / task).touch()
