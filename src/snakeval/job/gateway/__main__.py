"""Prints the accounts of a record, or serves by hand: the keeper has the gateway as a thread.

    python lib/gateway.py account DIR
    python lib/gateway.py serve --record DIR --attempt N --token-env NAME --port-file FILE
        --endpoint model URL_VARIABLE [KEY_VARIABLE] [--endpoint judge ...]

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
import signal
import sys
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from ..files import write_atomically
from . import libraries
from .accounts import accounts

if TYPE_CHECKING:
    from .service import Endpoint, Gates, Wanted

NO_AIOHTTP = 3


def serve(options: argparse.Namespace) -> int:
    try:
        libraries.imported()
        from . import service
    except ImportError as error:
        print(f"this Python ({sys.executable}) has no aiohttp: {error}")
        return NO_AIOHTTP
    token = os.environ.get(options.token_env, "")
    if len(token) < 16:
        print(f"{options.token_env} must hold a token of 16 characters or more")
        return 2
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        signal.signal(number, signal.SIG_IGN)  # the harness may still be at it
    service.allow_many_connections()
    wanted = service.Wanted(
        options.record,
        options.attempt,
        token,
        list(endpoints(options.endpoint)),
        options.patience or service.PATIENCE,
        options.max_in_flight,
        (options.bind,),
        options.port,
        options.pace_folder,
    )
    asyncio.run(until_stdin_ends(wanted, options.port_file))
    return 0


async def until_stdin_ends(wanted: Wanted, port_file: Path) -> None:
    from .service import serve

    loop, over = asyncio.get_running_loop(), asyncio.Event()

    def ready(gates: Gates) -> None:
        lines = (f"{name} {port}\n" for name, port in gates.ports.items())
        write_atomically(port_file, "".join(lines))
        threading.Thread(target=end_with_stdin, daemon=True).start()

    def end_with_stdin() -> None:
        with contextlib.suppress(OSError):
            while os.read(0, 4096):
                pass
        loop.call_soon_threadsafe(over.set)

    await serve(wanted, ready, lambda why: print(why, flush=True), over)


def endpoints(given: list[list[str]]) -> Iterator[Endpoint]:
    """Name, address and key of each; the latter two from the variables that are named."""
    from .service import Endpoint

    for name, url_variable, *key_variable in given:
        key = os.environ.get(key_variable[0], "") if key_variable else ""
        yield Endpoint(name, os.environ.get(url_variable, ""), key)


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
    command.add_argument("--patience", type=float, default=None, help="seconds")
    command.add_argument("--max-in-flight", type=int, default=None)
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
