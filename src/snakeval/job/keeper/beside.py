"""What runs beside the harness: the demo's endpoint, a process that ends with the lifeline; and the
gateway between harness and endpoints, a thread of this process (docs/gateway.md)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import read_text
from ..gateway import libraries
from ..record import forget_gateway, note_without
from ..text import one_line
from .bridge import IPV4
from .job import Failed
from .settings import has_own_network
from .stop import BROKEN, UNPAID, Stopped
from .surroundings import ask_directly
from .variables import of_caller

if TYPE_CHECKING:
    from ..gateway.service import InThread
    from .job import Job

STEP = 0.05
OPTIONS = "gateway_options.json"
"""What the gateway is asked for, in the record."""
LOOPBACK = "127.0.0.1"


def demo_endpoint(job: Job) -> str:
    """Starts the endpoint of the demo; its address. Raises Failed, Stopped.

    Its files lie in the lease: whoever takes that over from a dead owner removes them, too.
    """
    port, log = job.paths.lease / "demo.port", job.paths.lease / "demo.log"
    words = ["-m", "snakeval.demo_endpoint", "--port", "0", "--port-file", str(port)]
    demo = _started(job, words, log, {})
    while not read_text(port):
        if demo.poll() is not None:
            said = _last_line(log)
            raise Failed(f"the demo endpoint did not start: {said}")
        job.stop.sleep(STEP)
    return f"http://{LOOPBACK}:{read_text(port)}/v1/{job.settings.endpoint_path}"


class Gateway:
    """The gateway of an attempt: a thread of this process, so that it ends with it, and no second
    Python is started. Where it cannot run, the task goes without, and says so."""

    def __init__(self, job: Job) -> None:
        self._job = job
        self._token = ""
        self.ports: Mapping[str, int] = {}
        """By endpoint; empty: there is no gateway."""
        self._thread: InThread | None = None
        self._ways: list[str] = []
        """How the harness may reach it, the best one first; the first is tried now."""
        self._hidden: dict[str, str] = {}
        """What the harness would have in place of the token."""
        self.unpaid = ""
        """Why it has ended the attempt: its budget is used up; empty: it has not."""
        self.trouble = ""
        """What has ended it, though nobody had asked for that."""

    @property
    def is_there(self) -> bool:
        return bool(self.ports)

    def prepare(self) -> None:
        """Begins to import what it needs, beside what comes before it."""
        settings = self._job.settings
        if settings.gateway and not has_own_network(settings.runtime, settings.extra_args):
            libraries.begin()

    def begin(self, endpoints: Mapping[str, str], ways: Callable[[], list[str]]) -> None:
        """Puts it before the endpoints. The keys stay with it: the harness gets a token of this
        task. Raises Stopped, and Failed where it is needed and cannot run.

        endpoints  the model's and those of servers beside it: names, and their addresses
        ways       hosts at which the harness may reach this machine, the best one first
        """
        job = self._job
        if has_own_network(job.settings.runtime, job.settings.extra_args):
            self._go_without("a container in a network of its own does not reach it")
            return
        self._token = os.urandom(16).hex()
        try:
            self._ways = job.stop.during(ways)
            self.ports = job.stop.during(lambda: self._begun(endpoints))
        except Stopped:
            raise
        except ImportError as error:
            self._go_without(f"this Python ({sys.executable}) has no aiohttp: {error}")
        except Exception as error:
            self._go_without(one_line(f"{type(error).__name__}: {error}"))
        else:
            self._hide_keys()
            self._take_way()

    def _take_way(self) -> None:
        way = self._ways[0]
        self._job.way = way, self.ports["model"]
        ask_directly(way)

    def take_next_way(self) -> None:
        """The harness has not reached it, and is to be started again. Raises Failed where it is
        needed, and no way is left."""
        host, _ = self._job.way or ("", 0)
        self._ways.pop(0)
        if self._ways:
            self._take_way()
            firewall = "is there a firewall? docs/gateway.md"
            now = "in the host's network" if self._ways[0] == LOOPBACK else f"by {self._ways[0]}"
            self._job.say(f"its container does not reach {host} ({firewall}); again, {now}")
        else:
            self._leave()
            self._go_without(f"the container does not reach this machine at {host}")

    def _leave(self) -> None:
        """As if it had not been there."""
        job = self._job
        job.way, self.ports = None, {}
        self.end()
        job.variables.own.update(self._hidden)
        forget_gateway(job.record, job.number)

    def _begun(self, endpoints: Mapping[str, str]) -> Mapping[str, int]:
        """Its ports. Raises what keeps it from listening."""
        libraries.imported()
        from ..gateway import service

        job, keys = self._job, self._keys()
        wanted = service.Wanted(
            job.record,
            job.number,
            self._token,
            [service.Endpoint(name, url, keys.get(name, "")) for name, url in endpoints.items()],
            job.settings.gateway_patience,
            job.settings.max_in_flight,
            (LOOPBACK, *(way for way in self._ways if way != LOOPBACK and IPV4.fullmatch(way))),
        )
        log = job.paths.logs / f"gateway.{job.number}.log"
        self._thread = service.InThread(wanted, log, self._is_unpaid, self._is_broken)
        return self._thread.begin()

    def _go_without(self, why: str) -> None:
        """The task does, unless it has a budget that only a gateway can keep."""
        if '"budget"' in self._job.texts.get(OPTIONS, ""):
            raise Failed(f"no gateway, which a budget needs: {why}")
        self._job.say(f"no gateway: {why}")
        with contextlib.suppress(OSError):
            note_without(self._job.record, self._job.number, why)

    def _is_unpaid(self, why: str) -> None:
        self.unpaid = why
        self._job.stop.ask(UNPAID)

    def _is_broken(self, error: Exception) -> None:
        """What the harness is told from now on is no answer, and nobody counts it."""
        self.trouble = one_line(f"{type(error).__name__}: {error}")
        self._job.stop.ask(BROKEN)

    def let_many_in(self) -> None:
        """Once the harness has begun: it keeps the caller's limit of open files."""
        if self.is_there:
            from ..gateway.service import allow_many_connections

            allow_many_connections()

    def end(self) -> None:
        """When nothing of the harness runs: all that it has asked is in the ledger then."""
        if self._thread is not None:
            self._thread.end()

    def lead(self, name: str, url: str) -> None:
        """A server is at another address now."""
        if self._thread is not None and name in self.ports:
            self._thread.lead(name, url)

    def _keys(self) -> dict[str, str]:
        """Of each endpoint that has one."""
        job, own = self._job, self._job.variables.own
        beside = job.settings.beside
        keys = {each["name"]: own[each["key"]] for each in beside if each["key"] in own}
        return keys if job.variables.key is None else {**keys, "model": job.variables.key}

    def _hide_keys(self) -> None:
        """The harness gets the token in place of the keys."""
        settings, own = self._job.settings, self._job.variables.own
        beside = [each["key"] for each in settings.beside if each["is_hidden"]]
        hidden = [name for name in (*settings.gateway_keys, *beside) if name in own]
        self._hidden = {name: own[name] for name in hidden}
        own.update(dict.fromkeys(hidden, self._token))
        if hidden:
            self._job.variables.secrets.append(self._token)

    def address_for(self, name: str, url: str) -> str:
        """The address of an endpoint as the harness gets it: the gateway's, where there is one. Who
        has no key to give shows the token as the first folder of the path."""
        if self._job.way is None:
            return url
        host, _ = self._job.way
        _, slash, path = url.partition("://")[2].partition("/")
        gives_key = name == "model" and bool(self._job.settings.gateway_keys)
        token = "" if gives_key else f"/{self._token}"
        return f"http://{host}:{self.ports[name]}{token}{slash}{path}"


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


def _last_line(log: Path) -> str:
    return (read_text(log).splitlines() or [""])[-1]
