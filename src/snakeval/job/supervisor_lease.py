"""The lease on a deployment: one supervisor at a time.

Standard library only, Python 3.9 or newer: it runs in the run folder's `lib/`.
"""

from __future__ import annotations

import contextlib
import os
import platform
import shutil
import threading

from .files import read_text, write_atomically
from .lease import BEAT, Owner, holder_of, owner_of, remove
from .paths import ServerPaths


class SupervisorLease:
    """Taken, kept by a heartbeat, and given back.

    owner  this process, as `lease.this_process` has it
    """

    def __init__(self, paths: ServerPaths, owner: str) -> None:
        self._paths, self._lease, self._owner = paths, paths.lease, owner
        self._over = threading.Event()

    def take(self) -> bool:
        """Takes the deployment; False when somebody else supervises it."""
        for _ in range(3):
            try:
                self._lease.mkdir(parents=True)
            except FileExistsError:
                found = owner_of(self._lease)
                if holder_of(self._lease):
                    return False
                if found:
                    self._bury(found)
                continue
            # Before it can be seen that somebody supervises: they are of an earlier one.
            self._paths.stop.unlink(missing_ok=True)
            self._paths.endpoint.unlink(missing_ok=True)
            write_atomically(self._lease / "owner", self._owner)
            (self._lease / "beat").touch()
            threading.Thread(target=self._keep_beating, daemon=True).start()
            return True
        return False

    def _bury(self, dead: Owner) -> None:
        """Removes a lease whose owner was found dead; of two that try, one gets it."""
        grave = self._lease.with_name(f".lease.{platform.node()}.{os.getpid()}")
        with contextlib.suppress(OSError):
            self._lease.rename(grave)
            if owner_of(grave) != dead:  # somebody else was faster, and this is the new one
                grave.rename(self._lease)
                return
            shutil.rmtree(grave)

    @property
    def holds(self) -> bool:
        return read_text(self._lease / "owner") == self._owner.strip()

    def _keep_beating(self) -> None:
        """Also while this program waits for an engine, or for its server's end."""
        while not self._over.wait(BEAT):
            with contextlib.suppress(OSError):
                if self.holds:
                    os.utime(self._lease / "beat")

    def holder(self) -> str:
        """Who has it, in a line."""
        return " ".join((read_text(self._lease / "owner") or "").split("\n")[:2])

    def release(self) -> None:
        self._over.set()
        remove(self._lease, self._owner)
