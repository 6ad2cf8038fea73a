"""Commands of an engine, in sessions of their own: a Ctrl-C does not reach them."""

from __future__ import annotations

import subprocess


def said_by(*words: str) -> str:
    """What a command prints."""
    try:
        asked = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            start_new_session=True,
            check=False,
        )
    except OSError:
        return ""
    return asked.stdout.decode(errors="replace")


def quietly(*words: str) -> bool:
    """Whether a command could do something."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            start_new_session=True,
            check=False,
        )
    except OSError:
        return False
    return done.returncode == 0
