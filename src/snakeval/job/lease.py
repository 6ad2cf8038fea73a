"""Who is alive: the one rule for tasks' leases, controllers, a server's users and supervisors.

A process of this machine is asked for by its number: it lives while a process of that number runs
that began when the owner did. Any other owner lives while its heartbeat *changes*: within `SILENCE`
seconds on the reader's own clock. Times of files are never compared with that clock, since a file
server's may differ by minutes.

Standard library only, Python 3.9 or newer: a copy of this file is in every run folder's `lib/`.
`run.sh` and the supervisor write a lease's `owner` as lines of `key=value`:

host   the host's name, and the namespace in which its pid counts
pid    of the script
born   when that process began, as `/proc/<pid>/stat` or `ps` tells it (not in older leases)
boot   of the machine; another machine of the same name has another one (not in older leases)
"""

from __future__ import annotations

import contextlib
import errno
import math
import os
import platform
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

SILENCE = float(os.environ.get("SNAKEVAL_SILENCE") or 30)
"""Seconds without a change of its heartbeat after which an owner is dead."""
BEAT = float(math.ceil(SILENCE / 10))
"""Seconds between two heartbeats."""
LOOK = 2 * BEAT + 1
"""Seconds that a first look waits for a change: a heartbeat, and one that comes late."""
PAUSE = 0.2
LONGEST = 4096
"""Bytes of a lease's `owner` that are read."""
LARGEST_PID = 2**31 - 1


@dataclass(frozen=True)
class Owner:
    """Who has written a lease. `pid` is 0 where it names none; unknown texts are empty."""

    host: str = ""
    namespace: str = ""
    pid: int = 0
    born: str = ""
    boot: str = ""
    job: str = ""
    container: str = ""
    digest: str = ""
    start: str | None = None

    @property
    def here(self) -> bool:
        """Whether its pid is one of this machine's, and not of a container, or of another machine,
        with the same name."""
        same_boot = not self.boot or not boot_id() or self.boot == boot_id()
        return self.host_id == host_id() and same_boot

    @property
    def host_id(self) -> str:
        return f"{self.host} {self.namespace}"

    @property
    def is_this_process(self) -> bool:
        return self.here and self.pid == os.getpid() and self.born in ("", born(self.pid))

    def runs(self) -> bool | None:
        """Whether its process runs; None where its number does not tell."""
        if not self.here or not self.pid:
            return None
        began = born(self.pid)
        if not began:
            return None if _is_hidden(self.pid) else False
        # In an older lease without it the number may be another program's by now.
        return began == self.born if self.born else None


def this_process(**more: str) -> str:
    """The text of a lease's `owner`, of this process. `more`: further lines."""
    pid = os.getpid()
    fields = {"host": host_id(), "pid": str(pid), "born": born(pid), "boot": boot_id(), **more}
    return "".join(f"{key}={value}\n" for key, value in fields.items())


def parsed(text: str) -> Owner:
    """The owner that a text names; whatever it holds, no error is raised."""
    return named(dict(line.split("=", 1) for line in text.splitlines() if "=" in line))


def named(fields: Mapping[str, object]) -> Owner:
    """The same, of fields."""
    said = {key: value for key, value in fields.items() if isinstance(value, str)}
    host, _, namespace = said.get("host", "").partition(" ")
    keys = ("born", "boot", "job", "container", "digest")
    return Owner(
        host=host,
        namespace=namespace,
        pid=pid_in(fields.get("pid")),
        start=said.get("start"),
        **{key: said.get(key, "") for key in keys},
    )


def pid_in(value: object) -> int:
    """A number that can be a script's process; 0 for anything else, and for 1."""
    text = str(value)
    number = int(text) if len(text) <= 10 and text.isascii() and text.isdigit() else 0
    return number if 1 < number <= LARGEST_PID else 0


def owner_of(lease: Path) -> Owner | None:
    """Who has taken a lease, dead or alive; None where nobody has. One that is just being made, or
    that cannot be read, is somebody's: of whom is not known."""
    if not lease.is_dir():
        return None
    return parsed(text_of(lease))


def text_of(lease: Path) -> str:
    """What a lease says of its owner; empty where there is none."""
    return _text(lease / "owner")


# --- a lease is there with its owner, or not at all -----------------------------------------------


def make(lease: Path, owner: str) -> bool:
    """Takes a lease in one step; False where somebody has it. Raises OSError where it cannot be.

    A folder without an owner would be somebody's, for `SILENCE`: who is killed on the way leaves
    none. owner: its text
    """
    if lease.is_dir():
        return False
    aside = _aside(lease)
    try:
        aside.mkdir()
        (aside / "owner").write_text(owner, encoding="utf-8")
        os.rename(aside, lease)  # onto nothing: a lease has something in it
    except OSError as error:
        shutil.rmtree(aside, ignore_errors=True)
        if error.errno in (errno.EEXIST, errno.ENOTEMPTY):
            return False
        raise
    return True


def remove(lease: Path, owner: str) -> bool:
    """Removes a lease in one step; False where it is not, or no more, of the owner with this text.
    Of two that remove the same one, one does."""
    if text_of(lease) != owner:
        return False
    aside = _aside(lease)
    try:
        os.rename(lease, aside)
    except OSError:
        return False
    is_right = text_of(aside) == owner
    if not is_right:  # somebody else was faster, and this is the next one's
        with contextlib.suppress(OSError):
            os.rename(aside, lease)
    for left in lease.parent.glob(f"{_PREFIX}{lease.name}.*") if is_right else ():
        shutil.rmtree(left, ignore_errors=True)  # also what was left by one that was killed here
    return is_right


_PREFIX = "."


def _aside(lease: Path) -> Path:
    return lease.with_name(f"{_PREFIX}{lease.name}.{os.getpid()}.{os.urandom(4).hex()}")


def _text(file: Path) -> str:
    try:
        descriptor = os.open(file, os.O_RDONLY | os.O_NONBLOCK)
        with os.fdopen(descriptor, "rb") as opened:
            return opened.read(LONGEST).decode(errors="replace")
    except OSError:
        return ""


# --- processes of this machine -------------------------------------------------------------------


def host_id() -> str:
    """As `run.sh` writes it: the host, and the namespace in which a pid counts."""
    try:
        namespace = os.readlink("/proc/self/ns/pid")
    except OSError:
        namespace = ""
    return f"{platform.node()} {namespace}"


def boot_id() -> str:
    """Differs from machine to machine, and from boot to boot; empty where there is none."""
    return _text(Path("/proc/sys/kernel/random/boot_id")).strip()


def born(pid: int) -> str:
    """When a process began, as `run.sh` writes it; empty where no such process runs."""
    if not os.path.isdir("/proc/self"):
        return _born_by_ps(pid)
    fields = _text(Path(f"/proc/{pid}/stat")).rpartition(")")[2].split()
    return fields[19] if len(fields) > 19 and fields[0] not in "ZX" else ""


def _is_hidden(pid: int) -> bool:
    """Whether a process runs of which another user is told nothing else."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except OSError:
        return False
    return False


def _born_by_ps(pid: int) -> str:
    words = ["ps", "-o", "stat=,lstart=", "-p", str(pid)]
    plain = {**os.environ, "LC_ALL": "C"}
    said = subprocess.run(words, capture_output=True, text=True, check=False, env=plain).stdout
    state, _, began = said.strip().partition(" ")
    return "" if state.startswith("Z") else began.strip()


def is_ours(owner: Owner, works_on: Path) -> bool:
    """Whether the process that an owner's pid names now is certainly the owner's.

    works_on  the script that it runs, or another file that it keeps open or names on its command
              line: what a lease says of a number is not believed alone
    """
    if not owner.here or not owner.pid or owner.pid in (os.getpid(), os.getppid()):
        return False
    return owner.runs() is not False and is_at(owner.pid, works_on)


def send(owner: Owner, number: signal.Signals, works_on: Path) -> bool:
    """Sends a signal to an owner's process; False where it is not certainly the owner's."""
    with contextlib.ExitStack() as stack:
        # A handle stays on one process, whatever becomes of its number meanwhile.
        handle = _handle_of(owner.pid) if owner.pid else None
        if handle is not None:
            stack.callback(os.close, handle)
        if not is_ours(owner, works_on):
            return False
        with contextlib.suppress(ProcessLookupError):
            if handle is None:
                os.kill(owner.pid, number)
            else:
                signal.pidfd_send_signal(handle, number)
    return True


def _handle_of(pid: int) -> int | None:
    try:
        return os.pidfd_open(pid)
    except (AttributeError, OSError):
        return None


def is_at(pid: int, file: Path) -> bool:
    """Whether a process has a file open, as bash has its script, or names it."""
    wanted = os.path.realpath(file)
    if not os.path.isdir("/proc/self"):
        words = ["ps", "-o", "command=", "-p", str(pid)]
        return wanted in subprocess.run(words, capture_output=True, text=True, check=False).stdout
    return wanted in _opened_by(pid) or wanted in _named_by(pid)


def _opened_by(pid: int) -> set[str]:
    """The files that a process has open, also those that were replaced since."""
    found = set()
    with contextlib.suppress(OSError):
        for entry in os.listdir(f"/proc/{pid}/fd"):
            with contextlib.suppress(OSError):
                target = os.readlink(f"/proc/{pid}/fd/{entry}")
                found.add(target[: -len(" (deleted)")] if target.endswith(" (deleted)") else target)
    return found


def _named_by(pid: int) -> set[str]:
    """What the words of a process's command line are, as paths."""
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
        folder = os.fsencode(os.readlink(f"/proc/{pid}/cwd"))
    except OSError:
        return set()
    return {os.fsdecode(os.path.realpath(os.path.join(folder, word))) for word in words if word}


# --- heartbeats ----------------------------------------------------------------------------------


@dataclass
class Seen:
    """What a reader has seen of a heartbeat, in seconds of its own clock."""

    mark: tuple[int, int]
    changed: float
    looked: float


class Watch:
    """A reader of heartbeats, which remembers what it has seen.

    Its first look at some lasts up to `LOOK` seconds, however many they are; later ones no time.

    trusting  what is seen for the first time counts as alive at that moment, and nobody waits
    """

    def __init__(self, trusting: bool = False) -> None:
        self._seen: dict[Path, Seen] = {}
        self._trusting = trusting

    def living(self, leases: Iterable[Path]) -> dict[Path, Owner]:
        """Those leases whose owner lives, with the owner."""
        owners = {lease: owner for lease in leases if (owner := owner_of(lease))}
        runs = {lease: owner.runs() for lease, owner in owners.items()}
        asked = [lease / "beat" for lease, told in runs.items() if told is None]
        beats = self.beating(asked)
        return {
            lease: owner
            for lease, owner in owners.items()
            if runs[lease] or (runs[lease] is None and lease / "beat" in beats)
        }

    def beating(self, signs: Iterable[Path], silence: float | None = None) -> set[Path]:
        """Those files that were touched within `silence` seconds (default: SILENCE)."""
        silence = SILENCE if silence is None else silence
        signs = list(signs)
        unknown = [sign for sign in signs if not self._is_known(sign, silence)]
        unknown = self._not_fresh(unknown, silence)
        deadline = time.monotonic() + LOOK
        while unknown and time.monotonic() < deadline:
            time.sleep(PAUSE)
            unknown = [sign for sign in unknown if not self._has_changed(sign)]
        now = time.monotonic()
        seen = {sign: self._seen[sign] for sign in signs if sign in self._seen}
        return {sign for sign, each in seen.items() if now - each.changed < silence}

    def _is_known(self, sign: Path, silence: float) -> bool:
        """Whether this reader can say without waiting when a file has changed."""
        mark, before, now = mark_of(sign), self._seen.get(sign), time.monotonic()
        if mark is None:
            self._seen.pop(sign, None)
            return True
        long_ago = before is not None and now - before.looked >= silence
        if before is None or (long_ago and mark != before.mark):
            self._seen[sign] = Seen(mark, now if self._trusting else -math.inf, now)
            return self._trusting
        changed = before.changed if mark == before.mark else now
        self._seen[sign] = Seen(mark, changed, now)
        return True

    def _has_changed(self, sign: Path) -> bool:
        mark, before = mark_of(sign), self._seen[sign]
        if mark is None or mark == before.mark:
            return False
        now = time.monotonic()
        self._seen[sign] = Seen(mark, now, now)
        return True

    def _not_fresh(self, signs: Iterable[Path], silence: float) -> list[Path]:
        """Those files of which their own file server's clock does not say that they are fresh."""
        clocks: dict[int, float | None] = {}
        left = []
        for sign in signs:
            age = _age(sign, self._seen[sign].mark[0], clocks)
            # A time to come is of a clock that is not the file server's: it says nothing.
            if age is not None and -1 <= age < silence:
                self._seen[sign].changed = time.monotonic() - max(age, 0)
            else:
                left.append(sign)
        return left


def mark_of(sign: Path) -> tuple[int, int] | None:
    """What tells a heartbeat from the one before; None where there is no such file.

    A lease that is just being made has none yet: its folder stands for it. Network file systems
    ask their server when a file is opened; what is only looked at may be a minute old.
    """
    for path in (sign, sign.parent) if sign.name == "beat" else (sign,):
        with contextlib.suppress(OSError):
            descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                found = os.fstat(descriptor)
            finally:
                os.close(descriptor)
            return found.st_mtime_ns, found.st_ino
    return None


def _age(sign: Path, touched: int, clocks: dict[int, float | None]) -> float | None:
    """Seconds since a file was touched, by the clock of its file server; None: nobody can say.

    clocks  what was found before, by file system
    """
    folder = sign.parent.parent if sign.parent.name in ("lease", "users") else sign.parent
    try:
        device = os.stat(folder).st_dev
    except OSError:
        return None
    if device not in clocks:
        clocks[device] = file_servers_clock(folder)
    clock = clocks[device]
    return None if clock is None else clock - touched / 1e9


def file_servers_clock(folder: Path) -> float | None:
    """The time that a file gets which is touched now; None where none can be made."""
    try:
        descriptor, name = tempfile.mkstemp(prefix=".clock.", dir=folder)
        os.close(descriptor)
        try:
            os.utime(name)
            return os.stat(name).st_mtime
        finally:
            os.unlink(name)
    except OSError:
        return None


_watch = Watch()
"""What this process has seen: who asks again, and again, waits once."""


def living(leases: Iterable[Path]) -> dict[Path, Owner]:
    """Those leases whose owner lives, with the owner. The first question about owners on other
    machines takes up to `LOOK` seconds, however many they are: ask about all at once."""
    return _watch.living(leases)


def holder_of(lease: Path) -> Owner | None:
    """The live owner of a lease; None where nobody holds it."""
    return _watch.living([lease]).get(lease)


def beating(signs: Iterable[Path], silence: float | None = None) -> set[Path]:
    """Those files that were touched within `silence` seconds (default: SILENCE); asked as above."""
    return _watch.beating(signs, silence)
