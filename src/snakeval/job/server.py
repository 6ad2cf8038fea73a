"""What a benchmark asks about the servers that it needs.

The keeper calls it. Scripts of earlier versions that still run start it as a program from the run
folder's `lib/`; standard library only, Python 3.9 or newer.

    server.py wait FOLDER [--timeout S]    prints the live address once the server answers
    server.py gone FOLDER --seen FILE      succeeds where the server has gone, or is elsewhere
    server.py trouble FOLDER --seen FILE   prints what has become of it; nothing: it is up

FILE is a copy of the server's endpoint.json, made when the attempt began.
"""

from __future__ import annotations

import json
import platform
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from .endpoint import answers
from .files import objects_in, read_json, read_text, tail
from .lease import holder_of
from .paths import ServerPaths
from .slurm_job import state_of

if TYPE_CHECKING:
    import argparse

ASK_AGAIN = 10.0
"""Seconds between two questions to Slurm."""
SUCCESSOR = 120.0
"""Seconds that the controller has to submit another job for one that Slurm did not let go on."""

LAST_WORD = 10.0
"""Seconds until a supervisor that is ended together with its server has taken the address away."""


class NoServer(Exception):
    """There is none, and none will come in time; the text says why."""


def address(folder: Path, timeout: float) -> str:
    """The address of a healthy server that serves the model; waits for it. Raises NoServer.

    timeout  seconds; the time that it waits in a cluster's queue does not count
    """
    began = time.monotonic()
    job = ServersJob(folder)
    while True:
        live = read_json(ServerPaths(folder).endpoint)
        url = str(live.get("url", ""))
        supervised = holder_of(ServerPaths(folder).lease) is not None
        # What a killed supervisor has left may be the address of another one's server by now.
        stale = not supervised and live.get("host") == platform.node()
        if url and not stale and answers(url + str(live.get("health", "")), live.get("key_name")):
            return url
        if not supervised and job.comes():
            began = time.monotonic()  # the time in Slurm's queue does not count
        waited = time.monotonic() - began
        if not supervised and not job.may_come():
            raise NoServer(why_none(folder))
        if waited > timeout:
            raise NoServer(
                f"the server '{folder.name}' was not healthy after {waited:.0f} s; its last "
                f"lines:\n{last_lines(folder)}"
            )
        time.sleep(0.5)


class ServersJob:
    """The Slurm job of a server whose supervisor is not there: whether it is yet to come."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._asked = 0.0
        self._state: str | None = None
        self._seen = time.monotonic()

    def comes(self) -> bool:
        """Whether Slurm has the job, or had it when it was asked last."""
        job = self._job()
        if not job or self._ended():
            return False
        if not self._asked or time.monotonic() - self._asked > ASK_AGAIN:
            self._asked = time.monotonic()
            state = state_of(str(job))
            self._state = "UNKNOWN" if state is None else state  # not known is not ended
        if self._state:
            self._seen = time.monotonic()
        return bool(self._state)

    def may_come(self) -> bool:
        """Whether a job that Slurm has ended, or says nothing about, may still have a successor."""
        if not self._job() or self._ended():
            return False
        return time.monotonic() - self._seen < SUCCESSOR

    def _job(self) -> str:
        """Its id; empty where there is none, or another executor has it."""
        noted = read_json(ServerPaths(self._folder).job)
        return str(noted.get("job", "")) if noted.get("on", "slurm") == "slurm" else ""

    def _ended(self) -> bool:
        """Whether its supervisor has ended it, and has said why."""
        return read_json(ServerPaths(self._folder).status).get("state") in ("stopped", "failed")


def why_none(folder: Path) -> str:
    """Why no server is up, and what to do."""
    record = read_json(ServerPaths(folder).status)
    script = f"bash {folder / 'server.sh'}"
    if record.get("state") == "failed":
        return f"the server '{folder.name}' is down: {record.get('cause')}"
    why = was_killed(folder) or record.get("cause")
    return (
        f"server '{folder.name}' is not running{f' ({why})' if why else ''}: run "
        f"snakemake again, or start it by hand with `{script}` (it ends when it is idle)"
    )


def was_killed(folder: Path) -> str:
    """That the supervisor ended without a word, and its server with it; empty: it did not."""
    record = read_json(ServerPaths(folder).status)
    if record.get("state") not in ("starting", "up") or holder_of(ServerPaths(folder).lease):
        return ""
    last = (objects_in(record, "lives") or [{}])[-1]
    where = f"job {last['job']}" if last.get("job") else last.get("host")
    return f"its supervisor ({where}) was killed, and the server ended with it"


def died(folder: Path, seen: str) -> str:
    """That a server's supervisor was killed, and that nobody brings it up in this start: it does
    not answer any more. Empty: it does, or it is a cluster's job, which may come back."""
    known = _object_in(seen)
    why = "" if known.get("job") else was_killed(folder)
    health = f"{known.get('url', '')}{known.get('health', '')}"
    return why if why and not answers(health, known.get("key_name")) else ""


def last_lines(folder: Path) -> str:
    return tail(ServerPaths(folder).server_log)


def is_a_job(seen: str) -> bool:
    """Whether a server's endpoint.json says that it is a job of a cluster, which may move."""
    return bool(_object_in(seen).get("job"))


def address_in(text: str) -> str:
    """Where a server is by its endpoint.json; empty: it is nowhere."""
    return str(_object_in(text).get("url", ""))


def _object_in(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except ValueError:
        return {}
    return found if isinstance(found, dict) else {}


def has_gone(folder: Path, seen: str) -> bool:
    """Whether the server has gone, or has another address than endpoint.json had (`seen`); asks
    for some seconds, until a supervisor that ends with it has had its last word."""
    known = _object_in(seen)
    health = f"{known.get('url', '')}{known.get('health', '')}"
    deadline = time.monotonic() + LAST_WORD
    while read_text(ServerPaths(folder).endpoint) == seen:
        if time.monotonic() > deadline or answers(health, known.get("key_name")):
            return False
        time.sleep(0.2)
    return True


def trouble(folder: Path, seen: str) -> str:
    """What a failed attempt has to say about its server, in brackets; empty: it is up."""
    killed, live = was_killed(folder), read_text(ServerPaths(folder).endpoint)
    if killed or not live or live != seen:
        return (
            f" (the server '{folder.name}' ended during this attempt"
            f"{f': {killed}' if killed else ''}; its log: {folder / 'logs'})"
        )
    return ""


# --- commands ------------------------------------------------------------------------------------


def wait(given: argparse.Namespace) -> int:
    try:
        print(address(given.folder, given.timeout))
    except NoServer as why:
        print(why)
        return 1
    return 0


def gone(given: argparse.Namespace) -> int:
    return 0 if has_gone(given.folder, read_text(given.seen)) else 1


def print_trouble(given: argparse.Namespace) -> int:
    if said := trouble(given.folder, read_text(given.seen)):
        print(said)
    return 0


def parser() -> argparse.ArgumentParser:
    import argparse

    outer = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = outer.add_subparsers(required=True)
    command = commands.add_parser("wait")
    command.add_argument("folder", type=Path)
    command.add_argument("--timeout", type=float, default=600.0)
    command.set_defaults(run=wait)
    for name, run in (("gone", gone), ("trouble", print_trouble)):
        command = commands.add_parser(name)
        command.add_argument("folder", type=Path)
        command.add_argument("--seen", type=Path, required=True)
        command.set_defaults(run=run)
    return outer


if __name__ == "__main__":
    given = parser().parse_args()
    sys.exit(given.run(given))
