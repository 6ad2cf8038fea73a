"""Processes beside the harness, which end when the lifeline does: the demo's endpoint, and the
gateway between the harness and its endpoints (docs/gateway.md)."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import read_text
from .job import Failed
from .settings import value_in
from .variables import of_caller

if TYPE_CHECKING:
    from .job import Job

STEP = 0.05
OPTIONS, UNPAID = "gateway_options.json", "unpaid"
"""What the gateway is asked for, in the record; and its last word, beside its file of ports."""
LOOPBACK = "127.0.0.1"


def demo_endpoint(job: Job) -> str:
    """Starts the endpoint of the demo; its address. Raises Failed, Stopped."""
    port = job.scratch / "port"
    words = ["-m", "snakeval.demo_endpoint", "--port", "0", "--port-file", str(port)]
    demo = _started(job, words, job.scratch / "demo.log", {})
    while not read_text(port):
        if demo.poll() is not None:
            said = _last_line(job.scratch / "demo.log")
            raise Failed(f"the demo endpoint did not start: {said}")
        job.stop.sleep(STEP)
    return f"http://{LOOPBACK}:{read_text(port)}/v1/{job.settings.endpoint_path}"


class Gateway:
    """The gateway of an attempt. Where it cannot run, the task goes without, and says so."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._log = Path()
        self._process: subprocess.Popen[bytes] | None = None
        self._token = ""
        self._ports: dict[str, str] = {}
        self._ports_file = Path()

    @property
    def is_there(self) -> bool:
        return bool(self._ports)

    def begin(self, endpoints: Mapping[str, str]) -> None:
        """Puts it before the endpoints. The keys stay in its environment: the harness gets a token
        of this task. Raises Stopped, and Failed where it is needed and cannot run.

        endpoints  the model's and those of servers beside it: names, and their addresses
        """
        job = self._job
        if _has_own_network(job):
            self._go_without("a container in a network of its own does not reach it")
            return
        self._token = os.urandom(16).hex()
        ports, self._log = job.scratch / "gateway", job.scratch / "gateway.log"
        self._ports_file = ports
        environment = {"SNAKEVAL_TOKEN": self._token}
        words = ["-B", str(job.lib / "gateway.py"), "serve", "--record", str(job.record)]
        words += ["--attempt", str(job.number), "--token-env", "SNAKEVAL_TOKEN"]
        words += ["--port-file", str(ports), "--patience", f"{job.settings.gateway_patience:g}"]
        if job.settings.max_in_flight:
            words += ["--max-in-flight", str(job.settings.max_in_flight)]
        for number, (name, url) in enumerate(endpoints.items()):
            variable = f"SNAKEVAL_UPSTREAM_{number}"
            environment[variable] = url
            words += ["--endpoint", name, variable]
            if name == "model" and job.variables.key is not None:
                environment["SNAKEVAL_KEY"] = job.variables.key
                words.append("SNAKEVAL_KEY")
        self._process = _started(job, words, self._log, environment)
        while not read_text(ports):
            if self._process.poll() is not None:
                self._go_without(_last_line(self._log))
                return
            job.stop.sleep(STEP)
        self._ports = dict(line.split(" ") for line in read_text(ports).splitlines())
        self._hide_keys()

    def _go_without(self, why: str) -> None:
        """The task does, unless it has a budget that only a gateway can keep."""
        if '"budget"' in self._job.texts.get(OPTIONS, ""):
            raise Failed(f"no gateway, which a budget needs: {why}")
        self._job.say(f"no gateway: {why}")

    @property
    def unpaid(self) -> str:
        """Why it has ended the attempt: its budget is used up; empty: it has not."""
        return read_text(self._ports_file.with_name(UNPAID)) if self._ports else ""

    def _hide_keys(self) -> None:
        """The harness gets the token in place of the key."""
        own = self._job.variables.own
        hidden = [name for name in self._job.settings.gateway_keys if name in own]
        own.update(dict.fromkeys(hidden, self._token))
        if hidden:
            self._job.variables.secrets.append(self._token)

    def address_for(self, name: str, url: str) -> str:
        """The address of an endpoint as the harness gets it: the gateway's, where there is one. Who
        has no key to give shows the token as the first folder of the path."""
        if not self.is_there:
            return url
        _, slash, path = url.partition("://")[2].partition("/")
        gives_key = name == "model" and bool(self._job.settings.gateway_keys)
        token = "" if gives_key else f"/{self._token}"
        return f"http://{LOOPBACK}:{self._ports[name]}{token}{slash}{path}"

    def trouble(self) -> str:
        """What a failed attempt has to say about it."""
        if not self.is_there or self._process is None or self._process.poll() is None:
            return ""
        return f"; the gateway has ended ({_last_line(self._log)})"


def _started(
    job: Job, words: list[str], log: Path, environment: dict[str, str]
) -> subprocess.Popen[bytes]:
    """This Python with other words: it has its own variables, and what it says goes into a log."""
    safe = {"PYTHONSAFEPATH": ""}  # files of lib/ find each other whatever the caller has set
    with log.open("wb") as output:
        return subprocess.Popen(
            [sys.executable, *words],
            stdin=job.lifeline,
            stdout=output,
            stderr=subprocess.STDOUT,
            env={**of_caller(os.environ), **safe, **environment},
        )


def _has_own_network(job: Job) -> bool:
    """Whether the user has put the container into another network than the host's."""
    if job.settings.runtime not in ("docker", "podman"):
        return False
    return value_in(job.settings.extra_args, "--network", "--net") not in (None, "host")


def _last_line(log: Path) -> str:
    return (read_text(log).splitlines() or [""])[-1]
