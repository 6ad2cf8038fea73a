"""How many requests may be in flight at an endpoint: shared by the tasks of a user on a machine.

A request in flight holds a *slot*: a byte of a file, locked. Slots end with their process, so a
gateway that was killed holds none. Who is told to slow down (429, 503, resets) halves the number of
slots; every answer adds a little, one slot in a round: additive increase, multiplicative decrease.
Beside the slots the file has two numbers, which all processes see at once: the limit, and until
when nothing is to be sent. A lost update of theirs does no harm, so they have no lock.

Standard library only (no Windows).
"""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import mmap
import os
import random
import struct
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from ..files import make_private

MOST = 65536
"""Slots of a file: no limit at all."""
LOOKED_FOR_EVERY = 0.02
"""Seconds; others free slots without a word."""
LONGEST_PAUSE = 600.0
"""Seconds; a pause that is longer was written before this machine started."""

_NUMBERS = struct.Struct("=dd")  # limit (0: none yet), no sending before (monotonic seconds)
_FIRST_SLOT = 4096  # bytes before it are the two numbers; locks need no bytes there


def private_folder() -> Path:
    """The folder of this user on this machine for files like these. Raises OSError where somebody
    else has made it."""
    path = Path(f"/tmp/snakeval-{os.getuid()}-pace")
    make_private(path)
    return path


class Pace:
    """The slots of one endpoint, for one process.

    origin  what shares the slots: scheme, host and port of the endpoint
    most    requests in flight over all processes, at most; None: as many as the endpoint takes
    """

    def __init__(self, folder: Path, origin: str, most: int | None = None) -> None:
        name = hashlib.sha256(origin.encode()).hexdigest()[:16]
        flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW
        self._file = os.open(folder / name, flags, 0o600)
        os.ftruncate(self._file, _FIRST_SLOT)
        self._numbers = mmap.mmap(self._file, _NUMBERS.size)
        self._most = min(most or MOST, MOST)
        self._held: set[int] = set()
        self._free_below = 0  # all slots of ours below it are taken
        self._turn = asyncio.Lock()
        self._freed = asyncio.Event()
        self._slowed_at = 0.0

    @property
    def limit(self) -> int:
        """Slots that may be taken now."""
        shared, _ = self._read()
        return max(1, min(self._most, int(shared) if shared else MOST))

    @property
    def in_flight(self) -> int:
        return len(self._held)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[float]:
        """Waits for a slot and holds it; gives the time (monotonic) at which it was had."""
        number = await self._wait()
        try:
            yield time.monotonic()
        finally:
            self._release(number)

    async def _wait(self) -> int:
        if not self._turn.locked() and not self.paused:
            number = self._take()
            if number is not None:
                return number
        async with self._turn:  # first come, first served
            while True:
                pause = self.paused
                number = None if pause else self._take()
                if number is not None:
                    return number
                self._freed.clear()
                with suppress(asyncio.TimeoutError):
                    wait = min(max(pause, LOOKED_FOR_EVERY), 1.0)
                    await asyncio.wait_for(self._freed.wait(), wait * random.uniform(0.75, 1.25))

    def _take(self) -> int | None:
        for number in range(self._free_below, self.limit):
            if number in self._held:
                continue
            if self._lock(number):
                self._held.add(number)
                self._free_below = number + 1
                return number
        self._free_below = 0  # others may have let go of lower ones
        return None

    def _lock(self, number: int) -> bool:
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, _FIRST_SLOT + number)
        except OSError:
            return False
        return True

    def _release(self, number: int) -> None:
        fcntl.lockf(self._file, fcntl.LOCK_UN, 1, _FIRST_SLOT + number)
        self._held.discard(number)
        self._free_below = min(self._free_below, number)
        self._freed.set()

    # ---- what the endpoint's replies do to the limit

    def faster(self) -> None:
        """After an answer: one slot more for each round of answers."""
        limit, pause = self._read()
        if limit:
            limit += 1 / max(limit, 1.0)
            self._write(0.0 if limit >= MOST else min(limit, self._most), pause)

    def slower(self, asked_at: float, pause: float = 0.0) -> None:
        """After a refusal: half of the slots, once for all that were asked before it was known.

        asked_at  when the refused request got its slot; pause: seconds that nobody is to send
        """
        limit, until = self._read()
        until = max(until, time.monotonic() + pause) if pause else until
        if asked_at >= self._slowed_at:
            self._slowed_at = time.monotonic()
            # Slots are taken from the lowest, so the highest tells how many others have.
            used = max(self._held, default=0) + 1
            limit = max(1.0, min(limit or MOST, used) / 2)
        self._write(limit, until)

    @property
    def paused(self) -> float:
        """Seconds that nobody is to send, from now on."""
        left = self._read()[1] - time.monotonic()
        return left if 0 < left <= LONGEST_PAUSE else 0.0

    def _read(self) -> tuple[float, float]:
        limit, until = _NUMBERS.unpack(self._numbers[: _NUMBERS.size])
        return limit if 0 < limit < MOST else 0.0, until

    def _write(self, limit: float, until: float) -> None:
        self._numbers[: _NUMBERS.size] = _NUMBERS.pack(limit, until)

    def close(self) -> None:
        self._numbers.close()
        os.close(self._file)


class Patience:
    """How long one request is held back when the endpoint is in trouble.

    A request waits as long as its own patience, and no longer than the endpoint has been away for:
    a service that is gone fails all that ask it, not each after a wait of its own.
    """

    STATUSES = (429, 502, 503, 529)
    """Come back later: too many requests, or the service behind a proxy is away or overloaded."""

    def __init__(self, seconds: float) -> None:
        self._seconds = seconds
        self._away_since: float | None = None
        self._last_trouble = 0.0

    def back(self) -> None:
        """The endpoint has given an answer."""
        self._away_since = None

    def pause(self, began: float, tries: int, wanted: float | None = None) -> float | None:
        """Seconds until the next try; None: no more of them.

        began   when the request came (monotonic); tries: so far; wanted: the endpoint's Retry-After
        """
        now = time.monotonic()
        if self._away_since is None or now - self._last_trouble > self._seconds:
            self._away_since = now
        self._last_trouble = now
        backoff = min(0.25 * 2.0 ** min(tries, 6), 10.0) * random.uniform(0.75, 1.25)
        wait = max(backoff, wanted or 0.0)
        end = min(began, self._away_since) + self._seconds
        return wait if now + wait <= end else None


def retry_after(value: str | None) -> float | None:
    """Seconds of a `Retry-After` header, or of its date; None where there is none."""
    if not value:
        return None
    with suppress(ValueError):
        return max(0.0, float(value))
    from email.utils import parsedate_to_datetime

    with suppress(ValueError, TypeError):
        return max(0.0, parsedate_to_datetime(value).timestamp() - time.time())
    return None
