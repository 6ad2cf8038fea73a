"""The processes of a server, or below this one: which they are, who listens at a port, their end.

Read from /proc: where there is none, nothing is known. Standard library only, Python 3.9 or newer.
"""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import time
from collections.abc import Collection, Iterable
from pathlib import Path

MARK = "SNAKEVAL_SERVER_OF"
"""A variable of all processes of a server: its folder. Children in sessions of their own, or of a
supervisor that was killed, have it too."""
SUBREAPER = 36
LISTENING = "0A"
LAST_WORDS = 1.0
"""Seconds that processes have to end by themselves when their server has ended."""


def adopt_orphans() -> None:
    """What this process has begun becomes its own child when the parent in between ends."""
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(SUBREAPER, 1, 0, 0, 0)


def of_server(folder: Path) -> set[int]:
    """The live processes of the server in a folder: what this process has begun, and what bears
    its mark."""
    wanted = f"{MARK}={folder}".encode()
    parents = {pid: parent for pid in _all() if (parent := _parent(pid))}
    ours = {os.getpid()}
    while more := {pid for pid, parent in parents.items() if parent in ours} - ours:
        ours |= more
    return (ours | {pid for pid in parents if wanted in _environment(pid)}) - {os.getpid()}


def begun_by(pid: int, without: Collection[int] = ()) -> set[int]:
    """What a process has begun, with all that these have begun, dead or alive; adopted ones count.

    without  left out, with all that they have begun
    """
    found: set[int] = set()
    left = [pid]
    while left:
        more = children_of(left.pop()) - found - set(without)
        found |= more
        left += more
    return found


def children_of(pid: int) -> set[int]:
    try:
        tasks = os.listdir(f"/proc/{pid}/task")
        lists = [Path(f"/proc/{pid}/task/{each}/children").read_text() for each in tasks]
    except FileNotFoundError:  # it has ended, or its kernel has no such list
        return {each for each in _all() if _parent(each) == pid}
    except OSError:
        return set()
    return {int(each) for text in lists for each in text.split()}


def has_ended(pid: int) -> bool:
    return _parent(pid) == 0


def kill(pids: Iterable[int]) -> None:
    for pid in pids:
        with contextlib.suppress(OSError):
            os.kill(pid, signal.SIGKILL)


def reap(pids: Iterable[int]) -> None:
    """Lets go of children that have ended; nobody else waits for any of these."""
    for pid in pids:
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def _all() -> list[int]:
    try:
        return [int(name) for name in os.listdir("/proc") if name.isdigit()]
    except OSError:
        return []


def _parent(pid: int) -> int:
    """0 for one that has ended."""
    try:
        state, parent = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[:2]
    except (OSError, ValueError):
        return 0
    return 0 if state in "ZX" else int(parent)


def _environment(pid: int) -> list[bytes]:
    try:
        return Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    except OSError:
        return []


def all_listeners_are(own: set[int], port: int) -> bool | None:
    """Whether whoever listens at a TCP port of this machine is one of some processes; None where
    that cannot be seen."""
    sockets = _listening(port)
    if sockets is None:
        return None
    return bool(sockets) and sockets <= {each for pid in own for each in _sockets(pid)}


def _listening(port: int) -> set[str] | None:
    """The sockets that listen at a port."""
    found = set()
    try:
        for table in ("/proc/net/tcp", "/proc/net/tcp6"):
            if not os.path.exists(table) and table.endswith("6"):
                continue
            for line in Path(table).read_text().splitlines()[1:]:
                fields = line.split()
                if fields[3] == LISTENING and int(fields[1].rpartition(":")[2], 16) == port:
                    found.add(f"socket:[{fields[9]}]")
    except (OSError, ValueError, IndexError):
        return None
    return found


def _sockets(pid: int) -> set[str]:
    found = set()
    with contextlib.suppress(OSError):
        for entry in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                found.add(os.readlink(f"/proc/{pid}/fd/{entry}"))
    return found


def end(folder: Path) -> int:
    """Ends what is left of the server in a folder; how many processes had to be killed."""
    deadline = time.monotonic() + LAST_WORDS
    while (left := of_server(folder)) and time.monotonic() < deadline:
        _reap()
        time.sleep(0.05)
    killed = len(left)
    deadline = time.monotonic() + 5
    while left and time.monotonic() < deadline:
        for pid in left:
            with contextlib.suppress(OSError):
                os.kill(pid, signal.SIGKILL)
        _reap()
        time.sleep(0.05)
        left = of_server(folder)
    return killed


def _reap() -> None:
    """Lets go of children that have ended; nobody else waits for any then."""
    with contextlib.suppress(ChildProcessError):
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
