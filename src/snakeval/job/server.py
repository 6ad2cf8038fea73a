"""What a benchmark's `run.sh` asks about the servers that it needs.

Called by `run.sh` from the run folder's `lib/`; standard library only, Python 3.9 or newer.

    server.py wait FOLDER [--timeout S]    prints the live address once the server answers
    server.py last FOLDER                  prints the server's last log lines
"""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING or __package__:
    from snakeval.job.supervise import answers, holder_lives, read_json, tail
else:  # in a run folder's lib/, where these files lie side by side
    from supervise import answers, holder_lives, read_json, tail

BEGINNING = 10.0
"""Seconds that a supervisor has to appear: one that was just told to start takes its lease."""


def wait(arguments: argparse.Namespace) -> int:
    """Prints the address of a healthy server that serves the model, or why there is none."""
    folder: Path = arguments.folder
    began = time.monotonic()
    while True:
        live = read_json(folder / "endpoint.json")
        url = str(live.get("url", ""))
        if url and answers(url + str(live.get("health", ""))):
            print(url)
            return 0
        waited = time.monotonic() - began
        if not holder_lives(folder / "lease") and waited >= arguments.beginning:
            print(why_none(folder))
            return 1
        if waited > arguments.timeout:
            print(
                f"the server '{folder.name}' was not healthy after {waited:.0f} s; its last "
                f"lines:\n{last_lines(folder)}"
            )
            return 1
        time.sleep(0.5)


def why_none(folder: Path) -> str:
    """Why no server is up, and what to do."""
    record = read_json(folder / "status.json")
    script = f"bash {folder / 'server.sh'}"
    if record.get("state") == "failed":
        return f"the server '{folder.name}' is down: {record.get('cause')}"
    return (
        f"no server '{folder.name}' is up: start snakeval, which brings it up, or start it by "
        f"hand with `{script}` (it ends when it is idle)"
    )


def last_lines(folder: Path) -> str:
    return tail(folder / "logs" / "server.log")


def last(arguments: argparse.Namespace) -> int:
    print(last_lines(arguments.folder))
    return 0


def parser() -> argparse.ArgumentParser:
    outer = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = outer.add_subparsers(required=True)
    command = commands.add_parser("wait")
    command.add_argument("folder", type=Path)
    command.add_argument("--timeout", type=float, default=600.0)
    command.add_argument("--beginning", type=float, default=0.0)
    command.set_defaults(run=wait)
    command = commands.add_parser("last")
    command.add_argument("folder", type=Path)
    command.set_defaults(run=last)
    return outer


if __name__ == "__main__":
    given = parser().parse_args()
    sys.exit(given.run(given))
