"""Code that is killed before one of its steps, and what it leaves."""

from __future__ import annotations

import itertools
import os
import subprocess
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from snakeval.job import lease

STEPS = ("mkdir", "open", "rename", "replace", "unlink", "rmdir")
"""What changes a folder, of module os."""


class Killed(BaseException):
    """Nothing of ours catches it, as nothing catches SIGKILL."""


@contextmanager
def killed_before(step: int, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """Ends what runs in it before its n-th step (from 0)."""
    steps = itertools.count()

    def counted(name: str, real: Callable[..., object]) -> Callable[..., object]:
        def does(*given: object, **named: object) -> object:
            if next(steps) >= step:
                raise Killed(name)
            return real(*given, **named)

        return does

    with monkeypatch.context() as patched:
        for name in STEPS:
            patched.setattr(os, name, counted(name, getattr(os, name)))
        yield


def dead_owner() -> str:
    """What a process that was killed says of itself in a lease."""
    gone = subprocess.Popen(["true"])
    gone.wait()
    return lease.this_process().replace(f"pid={os.getpid()}", f"pid={gone.pid}")


def a_lease(folder: Path, owner: str) -> Path:
    folder.parent.mkdir(parents=True, exist_ok=True)
    assert lease.make(folder, owner)
    (folder / "beat").touch()
    (folder / "group").write_text("1")
    return folder


def kills(doing: Callable[[], object], monkeypatch: pytest.MonkeyPatch, step: int) -> bool:
    """Whether it was killed before that step; False: it has fewer."""
    try:
        with killed_before(step, monkeypatch):
            doing()
    except Killed:
        return True
    return False
