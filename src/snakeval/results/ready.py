"""The process that writes tables, ready before they are wanted.

Most of what writing them costs is imports (the config model, Parquet): half a second that a person
waits for at the end of each run. Where benchmarks run on this machine, a start begins the process
while they do; `scripts/results.py` hands its work over, or does it itself where nobody answers.
"""

from __future__ import annotations

import contextlib
import json
import os
import socket
import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, NoReturn

if TYPE_CHECKING:
    from pathlib import Path

ADDRESS = "SNAKEVAL_TABLES"
"""The variable that names the socket, for the jobs of this start."""

AFTER = 3.0
"""Seconds before it imports: the first benchmarks begin then, and want the processors."""

Write = Callable[[str, str], int]
"""Writes the tables of a run folder that show these members; the exit code."""


class Ready:
    """The process as the start has it: it ends with `end`, and with the start."""

    def __init__(self, script: Path) -> None:
        import subprocess

        address = str(_place())
        self._process = subprocess.Popen(
            [sys.executable, str(script), "--ready", address],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )
        os.environ[ADDRESS] = address

    def end(self) -> None:
        """May be called twice."""
        os.environ.pop(ADDRESS, None)
        if self._process.stdin:
            self._process.stdin.close()
        self._process.wait()


def _place() -> Path:
    """Where the socket of this start is made, among those of this user's starts on this machine.
    Those of starts that were shot go; a path in the run folder would be too long for a socket.

    Raises OSError where somebody else has made the folder.
    """
    from pathlib import Path

    from snakeval.job.files import make_private
    from snakeval.job.lease import born

    folder = Path(f"/tmp/snakeval-{os.getuid()}-tables")
    make_private(folder)
    for left in folder.iterdir():
        with contextlib.suppress(OSError, ValueError):
            if not born(int(left.name.partition(".")[0])):
                left.unlink()
    return folder / f"{os.getpid()}.{time.monotonic_ns():x}"


def begin(script: Path) -> Callable[[], None]:
    """Begins the process; what is returned ends it. Tables are written without it too."""
    try:
        return Ready(script).end
    except OSError:
        return lambda: None


# --- who wants tables -----------------------------------------------------------------------------


def handed_over(run: str, members: str) -> int | None:
    """The exit code of the one that is ready, after what it said; None: nobody is."""
    address = os.environ.get(ADDRESS)
    if not address:
        return None
    try:
        with socket.socket(socket.AF_UNIX) as asked:
            asked.connect(address)
            asked.sendall(json.dumps([_here(), run, members]).encode() + b"\n")
            with asked.makefile() as answer:
                code, said = json.loads(answer.readline())
    except (OSError, ValueError):
        return None
    sys.stderr.write(said)
    return int(code)


def _here() -> str:
    return os.getcwd()  # noqa: PTH109 # pathlib is not imported by who only asks


# --- who writes them ------------------------------------------------------------------------------


def serve(address: str, imports: Callable[[], Write]) -> int:
    """Waits for work until standard input ends, which the start holds. Each work is done by a copy
    of this process: several at once, and none changes what the next one finds."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # a Ctrl-C is for the start, and ends this with it
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # the kernel forgets them by itself
    with socket.socket(socket.AF_UNIX) as door:
        door.bind(f"{address}.new")
        door.listen(64)
        os.rename(f"{address}.new", address)  # noqa: PTH104 # whoever sees it is heard
        if _waits(door, AFTER):
            write = imports()
            while _waits(door, None):
                asked, _ = door.accept()
                with asked:
                    if os.fork() == 0:
                        door.close()
                        _answer_and_end(asked, write)
    with contextlib.suppress(OSError):
        os.unlink(address)  # noqa: PTH108
    return 0


def _waits(door: socket.socket, seconds: float | None) -> bool:
    """Waits until somebody asks, or for so long; False: standard input has ended."""
    import select

    heard, _, _ = select.select([door, sys.stdin], [], [], seconds)
    return sys.stdin not in heard


def _answer_and_end(asked: socket.socket, write: Write) -> NoReturn:
    """Whatever comes, the copy does not go on as its original."""
    try:
        _answer(asked, write)
    finally:
        os._exit(0)


def _answer(asked: socket.socket, write: Write) -> None:
    import io

    with asked.makefile() as words:
        folder, run, members = json.loads(words.readline())
    if folder != _here():
        return  # who asks does it there
    said = io.StringIO()
    with contextlib.redirect_stderr(said):
        code = _written(write, run, members)
    asked.sendall(json.dumps([code, said.getvalue()]).encode() + b"\n")


def _written(write: Write, run: str, members: str) -> int:
    """As `snakeval.cli.entry` has it."""
    from snakeval.errors import InputError

    try:
        return write(run, members)
    except InputError as error:
        print("\n".join(str(problem) for problem in error.problems), file=sys.stderr)
    except Exception:  # the job fails with it, as it would by itself
        import traceback

        traceback.print_exc()
    return 1
