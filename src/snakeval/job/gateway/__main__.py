"""Starts the gateway of an attempt, or prints the accounts of a record.

    python lib/gateway.py serve --record DIR --attempt N --token-env NAME --port-file FILE
        --endpoint model URL_VARIABLE [KEY_VARIABLE] [--endpoint judge ...]
    python lib/gateway.py account DIR

Addresses, keys and the token come by the names of variables: a command line can be read by anybody.
When it listens, it writes a line `NAME PORT` for each endpoint into the port file. It ends when its
standard input does, and by no signal but KILL. Exit code 3: aiohttp is not there.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import os
import resource
import signal
import sys
import threading
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any, NoReturn

from ..files import read_json, write_atomically
from ..record import note_gateway
from .accounts import accounts
from .budget import Budget
from .ledger import Answers
from .pace import private_folder
from .tally import Tallies

OPTIONS = "gateway_options.json"
"""In the record: what is asked of the gateway beside the command line. check_model: whether answers
must come from one model; budget: `Budget`'s; replay_from: records below the output folder."""
UNPAID = "unpaid"
NO_AIOHTTP = 3
PATIENCE = 120.0
TOLD_EVERY = 1.0
"""Seconds between two looks at what has changed."""


def serve(options: argparse.Namespace) -> int:
    try:
        import aiohttp  # noqa: F401
    except ImportError as error:
        print(f"this Python ({sys.executable}) has no aiohttp: {error}")
        return NO_AIOHTTP
    token = os.environ.get(options.token_env, "")
    if len(token) < 16:
        print(f"{options.token_env} must hold a token of 16 characters or more")
        return 2
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the harness may still be at it
    allow_many_connections()
    asyncio.run(listen(options, token))
    return 0


async def listen(options: argparse.Namespace, token: str) -> None:
    """Serves until standard input ends."""
    from aiohttp import web

    from .ledger import Ledger
    from .pace import Pace
    from .server import Gate, Record
    from .upstream import Upstream, session

    asked = read_json(options.record / OPTIONS)
    budget = Budget(options.record.parents[1], options.record, asked.get("budget") or {})
    ledger, tallies = Ledger(options.record), Tallies(options.record, options.attempt)

    def seen(row: Mapping[str, Any]) -> None:
        tallies.add(row)
        budget.add(row)

    of_one_model = asked.get("check_model") is not False
    others = answers_of_others(options.record, asked.get("replay_from") or [], of_one_model)
    answers = Answers(options.record, of_one_model, seen, others)
    record = Record(ledger, answers, options.attempt, tallies, budget)
    end = End(budget, options.port_file.with_name(UNPAID))
    folder = options.pace_folder or private_folder()
    paces: dict[str, Pace] = {}  # two endpoints of one address share its slots
    ports = []
    async with session() as connections:
        for name, url, key in endpoints(options.endpoint):
            upstream = Upstream(name, url, key)
            pace = paces.get(upstream.origin)
            if pace is None:
                pace = Pace(folder, upstream.origin, options.max_in_flight)
                paces[upstream.origin] = pace
            gate = Gate(upstream, connections, record, pace, token, options.patience)
            runner = web.AppRunner(
                gate.application(),
                access_log=None,
                handler_cancellation=True,
                # The harness ends its connections; one that is closed under it is a failed request.
                keepalive_timeout=24 * 3600.0,
                max_line_size=64 * 1024,
                max_field_size=256 * 1024,
            )
            await runner.setup()
            site = web.TCPSite(runner, options.bind, options.port, backlog=4096)
            await site.start()
            ports.append(f"{name} {runner.addresses[0][1]}\n")
        note_gateway(options.record, options.attempt)
        write_atomically(options.port_file, "".join(ports))
        threading.Thread(target=end_with_stdin, args=(tallies,), daemon=True).start()
        budget.look()
        end.look(is_hopeless=answers.is_empty)
        while True:
            tallies.write(sum(pace.in_flight for pace in paces.values()))
            await asyncio.sleep(TOLD_EVERY)
            budget.look()
            end.look()


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
    """Ends the attempt when its budget is used up, and nothing of ours is in flight any more.

    Whoever has started this process finds the cause in a file beside the port file.
    """

    def __init__(self, budget: Budget, cause: Path) -> None:
        self._budget, self._cause, self._owner = budget, cause, os.getppid()
        self._asked = False

    def look(self, is_hopeless: bool = False) -> None:
        """is_hopeless: nothing can be answered from disk, so that the harness need not run."""
        budget = self._budget
        wanted = (budget.waiting or is_hopeless) and not budget.in_flight
        why = budget.used_up() if wanted else None
        if why and not self._asked and os.getppid() == self._owner:
            self._asked = True
            write_atomically(self._cause, why)
            os.kill(self._owner, signal.SIGTERM)


def endpoints(given: list[list[str]]) -> list[tuple[str, str, str]]:
    """Name, address and key of each; the latter two from the variables that are named."""
    found = []
    for name, url_variable, *key_variable in given:
        key = os.environ.get(key_variable[0], "") if key_variable else ""
        found.append((name, os.environ.get(url_variable, ""), key))
    return found


def end_with_stdin(tallies: Tallies) -> NoReturn:
    """At once: what is in the ledger is on disk, and nobody waits for the rest."""
    with contextlib.suppress(OSError):
        while os.read(0, 4096):
            pass
    with contextlib.suppress(Exception):  # the other thread may be at the same sums
        tallies.write(0)
    os._exit(0)


def allow_many_connections() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65536 if hard == resource.RLIM_INFINITY else min(hard, 65536)
    if soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def account(options: argparse.Namespace) -> int:
    found = {name: each.as_json() for name, each in accounts(options.record).items()}
    print(json.dumps(found, indent=1))
    return 0


def parser() -> argparse.ArgumentParser:
    outer = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    commands = outer.add_subparsers(required=True)
    command = commands.add_parser("serve")
    command.add_argument("--record", type=Path, required=True, help="folder of the ledger")
    command.add_argument("--attempt", type=int, required=True)
    command.add_argument("--endpoint", nargs="+", action="append", required=True)
    command.add_argument("--token-env", required=True, help="variable with the task's token")
    command.add_argument("--port-file", type=Path, required=True)
    command.add_argument("--bind", default="127.0.0.1")
    command.add_argument("--port", type=int, default=0)
    command.add_argument("--patience", type=float, default=PATIENCE, help="seconds")
    command.add_argument("--max-in-flight", type=int, default=None)
    command.add_argument("--any-model", action="store_true", help="answers may name several models")
    command.add_argument("--pace-folder", type=Path, default=None)
    command.set_defaults(run=serve)
    command = commands.add_parser("account")
    command.add_argument("record", type=Path)
    command.set_defaults(run=account)
    return outer


def main() -> int:
    options = parser().parse_args()
    try:
        return int(options.run(options))
    except (OSError, ValueError) as error:
        print(f"the gateway cannot serve: {error}")
        return 1


if __name__ == "__main__":
    sys.exit(main())
