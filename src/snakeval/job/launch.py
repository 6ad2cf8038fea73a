"""Starts a process with its own variables, in place of this one.

    launch.py --caller PID [--keep NAME ...] [--name NAME=HELD ...] -- COMMAND [ARGUMENT ...]

The process gets the variables that the caller's script was started with, those of the script that
are named (`--keep`), and its own: NAME with the value that the script holds under HELD. No value is
on a command line, and nothing that the script itself has made of a variable reaches the process.

A copy lies in every run folder's `lib/`; standard library only, Python 3.9 or newer.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path

OURS = (b"SNAKEVAL_VALUE_", b"SNAKEVAL_GIVEN_", b"SNAKEVAL_TAKEN", b"SNAKEVAL_KEY")
"""Beginnings of the names that are the script's alone."""


def environment(
    begun_with: Mapping[bytes, bytes],
    now: Mapping[bytes, bytes],
    keep: Iterable[str],
    names: Iterable[str],
) -> dict[bytes, bytes]:
    """The variables of the process.

    begun_with  those that the script was started with
    now         those that it has now
    """
    found = {name: value for name, value in begun_with.items() if not name.startswith(OURS)}
    found.update({name.encode(): now[name.encode()] for name in keep if name.encode() in now})
    for name, _, held in (entry.partition("=") for entry in names):
        if held.encode() in now:
            found[name.encode()] = now[held.encode()]
    return found


def begun_with(pid: int) -> dict[bytes, bytes]:
    """What a process was started with, where the system tells; else what this one has."""
    try:
        entries = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return dict(os.environb)
    return dict(entry.split(b"=", 1) for entry in entries if b"=" in entry)


def main() -> None:
    import argparse

    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--caller", type=int, required=True)
    parser.add_argument("--keep", action="append", default=[])
    parser.add_argument("--name", action="append", default=[])
    parser.add_argument("command", nargs="+")
    given = parser.parse_args()
    found = environment(begun_with(given.caller), os.environb, given.keep, given.name)
    # Python ignores these two, and what it ignores a new program ignores as well.
    signal.signal(signal.SIGPIPE, signal.SIG_DFL)
    signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
    try:
        os.execve(given.command[0], given.command, found)
    except OSError as error:
        sys.exit(f"{given.command[0]}: {error.strerror}")


if __name__ == "__main__":
    main()
