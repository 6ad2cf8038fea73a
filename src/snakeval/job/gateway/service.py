"""The gateway of an attempt as it runs: a port before each endpoint, sums and budget looked at once
a second. `InThread` runs it beside whatever else a process does.

Needs aiohttp.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import gc
import logging
import resource
import socket
import sys
import threading
from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

from aiohttp.web_request import BaseRequest
from aiohttp.web_server import Server

from ..files import read_json
from ..record import note_gateway
from ..redact import without_secrets
from .budget import Budget
from .ledger import Answers, Ledger
from .pace import Pace, private_folder
from .server import Gate, Record
from .tally import Tallies
from .upstream import Upstream, session

OPTIONS = "gateway_options.json"
"""In the record: what is asked of the gateway beside `Wanted`. check_model: whether answers must
come from one model; budget: `Budget`'s; replay_from: records below the output folder."""
BIGGEST_BODY = 1 << 30
LOGGERS = ("aiohttp", "asyncio")
LOOPBACK = "127.0.0.1"
PATIENCE = 120.0
TOLD_EVERY = 1.0
"""Seconds between two looks at what has changed."""
LAST_WORDS = 0.2
"""Seconds that a request has to end by itself when the gateway does: nobody waits for its reply."""
IP_FREEBIND = 15
"""Of Linux; Python has no name for it."""
TRIES = 20
LONGEST_END = 5.0
"""Seconds until who ends it goes on without it: a name may be being looked up."""


class Endpoint(NamedTuple):
    """What is asked: its name in the ledger, its address, the real key; empty: it has none."""

    name: str
    url: str
    key: str = ""


@dataclass(frozen=True)
class Wanted:
    """record: the folder of the ledger. token: what the harness must show. patience: seconds that a
    request may be held back. max_in_flight: see `Pace`. port 0: any that is free, the same one at
    each address of `bind`."""

    record: Path
    attempt: int
    token: str
    endpoints: Iterable[Endpoint]
    patience: float = PATIENCE
    max_in_flight: int | None = None
    bind: tuple[str, ...] = (LOOPBACK,)
    port: int = 0
    pace_folder: Path | None = None


Ports = Mapping[str, int]
"""Of each endpoint, by its name."""


class Gates:
    """The gates of an attempt: opened one after the other, and led to where a server is now."""

    def __init__(self, wanted: Wanted, record: Record, connections: Any) -> None:
        self._wanted, self._record, self._connections = wanted, record, connections
        self._gates: dict[str, Gate] = {}
        self._paces: dict[str, Pace] = {}  # two endpoints of one address share its slots
        self.ports: dict[str, int] = {}

    @property
    def in_flight(self) -> int:
        return sum(pace.in_flight for pace in self._paces.values())

    @property
    def paused(self) -> float:
        """Seconds that nobody is to send."""
        return max((gate.pace.paused for gate in self._gates.values()), default=0.0)

    async def open(self, endpoint: Endpoint, ends: contextlib.AsyncExitStack) -> None:
        wanted, upstream = self._wanted, Upstream(*endpoint)
        pace = self._pace(upstream)
        gate = Gate(upstream, self._connections, self._record, pace, wanted.token, wanted.patience)
        self._gates[endpoint.name] = gate
        self.ports[endpoint.name] = await _listening(gate, wanted, ends)

    def lead(self, name: str, url: str) -> None:
        """What is asked of an endpoint from now on, and what it has not answered, goes to another
        address."""
        gate = self._gates[name]
        upstream = Upstream(name, url, gate.upstream.key)
        gate.lead_to(upstream, self._pace(upstream))

    def _pace(self, upstream: Upstream) -> Pace:
        folder = self._wanted.pace_folder or private_folder()
        pace = self._paces.get(upstream.origin)
        if pace is None:
            pace = Pace(folder, upstream.origin, self._wanted.max_in_flight)
            self._paces[upstream.origin] = pace
        return pace


async def serve(
    wanted: Wanted,
    ready: Callable[[Gates], None],
    unpaid: Callable[[str], None],
    over: asyncio.Event,
) -> None:
    """Serves until it is over. Raises OSError or ValueError where it cannot.

    ready   called when it listens; unpaid: called once, with a sentence, when the budget is used up
            and nothing of ours is in flight any more
    """
    asked = read_json(wanted.record / OPTIONS)
    budget = Budget(wanted.record.parents[1], wanted.record, asked.get("budget") or {})
    ledger, tallies = Ledger(wanted.record), Tallies(wanted.record, wanted.attempt)

    def seen(row: Mapping[str, Any]) -> None:
        tallies.add(row)
        budget.add(row)

    of_one_model = asked.get("check_model") is not False
    others = answers_of_others(wanted.record, asked.get("replay_from") or [], of_one_model)
    answers = Answers(wanted.record, of_one_model, seen, others)
    record = Record(ledger, answers, wanted.attempt, tallies, budget)
    end = End(budget, unpaid)
    async with session() as connections, contextlib.AsyncExitStack() as ends:
        gates = Gates(wanted, record, connections)
        for endpoint in wanted.endpoints:
            await gates.open(endpoint, ends)
        note_gateway(wanted.record, wanted.attempt)
        gc.freeze()  # what is there now stays; looking through it would hold requests up
        ready(gates)
        budget.look()
        end.look(is_hopeless=answers.is_empty)
        try:
            while not over.is_set():
                tallies.write(gates.in_flight, gates.paused)
                with contextlib.suppress(asyncio.TimeoutError):
                    await asyncio.wait_for(over.wait(), TOLD_EVERY)
                budget.look()
                end.look()
        finally:
            tallies.write(0)


async def _listening(gate: Gate, wanted: Wanted, ends: contextlib.AsyncExitStack) -> int:
    """The port at which an endpoint is served now."""
    # Without routes and applications, which cost each request, and each task their imports.
    server = Server(
        gate.serve,
        request_factory=_request,
        access_log=None,
        auto_decompress=False,
        handler_cancellation=True,
        # The harness ends its connections; one that is closed under it is a failed request.
        keepalive_timeout=24 * 3600.0,
        max_line_size=64 * 1024,
        max_field_size=256 * 1024,
    )
    ends.push_async_callback(_ended, server)
    sockets = bound(wanted.bind, wanted.port)
    for each in sockets:
        listens = await asyncio.get_running_loop().create_server(server, sock=each, backlog=4096)
        ends.callback(listens.close)
    return int(sockets[0].getsockname()[1])


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> BaseRequest:
    loop = asyncio.get_running_loop()
    return BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=BIGGEST_BODY)


async def _ended(server: Server) -> None:
    """When it does not listen any more: what has just come in is begun, then all of it ends."""
    await asyncio.sleep(0)
    server.pre_shutdown()
    await server.shutdown(LAST_WORDS)


def bound(addresses: Iterable[str], port: int) -> list[socket.socket]:
    """A socket at each address, all with one port. Raises OSError where there is none."""
    for _ in range(TRIES):
        sockets: list[socket.socket] = []
        try:
            for address in addresses:
                taken = sockets[0].getsockname()[1] if sockets else port
                sockets.append(_bound(address, taken))
        except OSError as error:
            for each in sockets:
                each.close()
            if port or error.errno != errno.EADDRINUSE:
                raise
        else:
            return sockets
    raise OSError(errno.EADDRINUSE, f"no port is free at all of {', '.join(addresses)}")


def _bound(address: str, port: int) -> socket.socket:
    made = socket.socket(socket.AF_INET6 if ":" in address else socket.AF_INET)
    try:
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if address != LOOPBACK and sys.platform == "linux":
            # An engine may make its bridge with its first container.
            made.setsockopt(socket.IPPROTO_IP, IP_FREEBIND, 1)
        made.bind((address, port))
    except OSError:
        made.close()
        raise
    return made


def answers_of_others(
    record: Path, sources: Iterable[str], of_one_model: bool
) -> dict[str, Answers]:
    """Stored answers of other records, by their places below the output folder."""
    found = {}
    for source in sources:
        with contextlib.suppress(FileNotFoundError):  # it was cleaned up since
            folder = record.parents[3] / source
            found[source] = Answers(folder, of_one_model, is_read_only=True)
    return found


class End:
    """Tells once that the budget is used up, when nothing of ours is in flight any more."""

    def __init__(self, budget: Budget, unpaid: Callable[[str], None]) -> None:
        self._budget, self._unpaid = budget, unpaid
        self._is_told = False

    def look(self, is_hopeless: bool = False) -> None:
        """is_hopeless: nothing can be answered from disk, so that the harness need not run."""
        budget = self._budget
        wanted = (budget.waiting or is_hopeless) and not budget.in_flight
        why = budget.used_up() if wanted else None
        if why and not self._is_told:
            self._is_told = True
            self._unpaid(why)


class InThread:
    """The gateway beside what else this process does; with the process it ends, however that does.

    log     what libraries have to say is written there, if anything
    unpaid  see `serve`; broken: called with what has ended it though nobody had asked for it. Both
            from its own thread
    """

    def __init__(
        self,
        wanted: Wanted,
        log: Path,
        unpaid: Callable[[str], None],
        broken: Callable[[Exception], None],
    ) -> None:
        self._wanted, self._unpaid, self._broken = wanted, unpaid, broken
        self._log = logging.FileHandler(log, delay=True, encoding="utf-8")
        self._log.setFormatter(WithoutSecrets("%(asctime)s %(name)s: %(message)s"))
        self._gates: Future[Gates] = Future()
        self._thread = threading.Thread(target=self._run, daemon=True, name="gateway")
        self._loop: asyncio.AbstractEventLoop | None = None
        self._over: asyncio.Event | None = None

    def begin(self) -> Ports:
        """Returns when it listens. Raises what has kept it from that."""
        for name in LOGGERS:
            logging.getLogger(name).addHandler(self._log)
        self._thread.start()
        return self._gates.result().ports

    def lead(self, name: str, url: str) -> None:
        """See `Gates.lead`; any thread may call it."""
        loop, gates = self._loop, self._gates
        if loop is not None and gates.done():
            with contextlib.suppress(RuntimeError):  # it has ended already
                loop.call_soon_threadsafe(gates.result().lead, name, url)

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except Exception as error:
            if self._gates.done():
                self._broken(error)
            else:
                self._gates.set_exception(error)

    async def _serve(self) -> None:
        self._loop, self._over = asyncio.get_running_loop(), asyncio.Event()
        await serve(self._wanted, self._gates.set_result, self._unpaid, self._over)

    def end(self) -> None:
        """Ends it, once; what it has recorded is all that was asked."""
        if self._loop is not None and self._over is not None:
            with contextlib.suppress(RuntimeError):  # it has ended already
                self._loop.call_soon_threadsafe(self._over.set)
            self._thread.join(LONGEST_END)
        for name in LOGGERS:
            logging.getLogger(name).removeHandler(self._log)
        self._log.close()


class WithoutSecrets(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        return without_secrets(super().format(record))


def allow_many_connections() -> None:
    """As many open files as the system lets this process have; what it has begun keeps its own."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
