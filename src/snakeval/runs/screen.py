"""A live block below everything that a start and its jobs print; a plain line where nobody looks
through a terminal.

Jobs write to the terminal that Snakemake was started in. While the block is there, they (and
Snakemake) write into a pipe instead, whose lines are printed above it: one writer only. Should this
process be shot, they write into a pipe that nobody reads, as with a terminal that was closed.
"""

from __future__ import annotations

import contextlib
import os
import sys
import threading
import time
from typing import Any

from rich.console import Console
from rich.text import Text

from snakeval.job.text import plain
from snakeval.runs import progress_view
from snakeval.runs.progress import Watch

MODE = "SNAKEVAL_PROGRESS"
"""The variable that chooses: live, plain or off."""

AT_WORK = ("running", "pending")

LOOKS = 2.0
"""Seconds between two looks; longer where a look takes long."""

SPEAKS = 60.0
"""Seconds between two lines in a log."""


def mode() -> str:
    """How progress is told: as MODE says, else live in a terminal and plain elsewhere."""
    said = os.environ.get(MODE, "").strip().lower()
    if said in ("live", "plain", "off"):
        return said
    return "live" if sys.stderr.isatty() and os.environ.get("TERM") != "dumb" else "plain"


def begin(watch: Watch) -> Progress:
    """Shows progress until `end`."""
    chosen = mode()
    shown = {"live": LiveBlock, "plain": PlainLines}.get(chosen, Progress)(watch)
    shown.begin()
    return shown


def follow(watch: Watch) -> None:
    """Shows progress until no benchmark of the runs is at work or will be soon."""
    shown = begin(watch)
    try:
        while any(line.state in AT_WORK for line in watch.look()):
            time.sleep(LOOKS)
    finally:
        shown.end()


class Progress:
    """Tells nothing."""

    def __init__(self, watch: Watch) -> None:
        self._watch = watch
        self._since = time.monotonic()
        self._over = threading.Event()
        self._thread: threading.Thread | None = None

    has_drawn = False
    """Whether something was shown by now."""

    def begin(self) -> None:
        """Starts what shows it."""

    def end(self) -> None:
        """Once more as it was before; may be called twice."""
        self._over.set()
        if self._thread:
            self._thread.join()
            self._thread = None

    def _start(self, work: Any) -> None:
        self._thread = threading.Thread(target=work, name="progress", daemon=True)
        self._thread.start()

    @property
    def _elapsed(self) -> float:
        return time.monotonic() - self._since


class PlainLines(Progress):
    """A line every so often, on stderr."""

    def begin(self) -> None:
        self._start(self._speak)

    def _speak(self) -> None:
        while not self._over.wait(SPEAKS):
            with contextlib.suppress(Exception):  # whatever a look ends in, the run goes on
                line = progress_view.plain_line(self._watch.look(), self._elapsed)
                print(plain(f"progress: {line}"), file=sys.stderr, flush=True)


class LiveBlock(Progress):
    """A block that is drawn anew."""

    def begin(self) -> None:
        terminals = [fd for fd in (1, 2) if os.isatty(fd)]
        if not terminals:
            return
        sys.stdout.flush()
        sys.stderr.flush()
        self._saved = {fd: os.dup(fd) for fd in terminals}
        self._copied = threading.Event()
        self._board = Board(os.dup(terminals[-1]))
        read, write = os.pipe()
        for fd in terminals:
            os.dup2(write, fd)
        os.close(write)
        threading.Thread(target=self._copy, args=(read,), name="lines", daemon=True).start()
        self._start(self._draw)

    def end(self) -> None:
        if not getattr(self, "_saved", None):
            return
        super().end()
        sys.stdout.flush()
        sys.stderr.flush()
        for fd, saved in self._saved.items():
            os.dup2(saved, fd)
            os.close(saved)
        self._saved = {}
        self._copied.wait(1)  # a job that outlives its start still has the pipe
        self._board.show("")

    def _draw(self) -> None:
        while True:
            began = time.monotonic()
            with contextlib.suppress(Exception):  # whatever a look ends in, the run goes on
                width, height = self._board.size
                shown = progress_view.block(self._watch.look(), width - 1, height, self._elapsed)
                self._board.show(coloured(shown, width))
                self.has_drawn = True
            if self._over.wait(max(LOOKS, 10 * (time.monotonic() - began))):
                return

    def _copy(self, read: int) -> None:
        """Every line that is written into the pipe, above the block. It ends with the last writer:
        a job that lives longer than the block may still have something to say."""
        rest = b""
        while data := os.read(read, 65536):
            whole, newline, rest = (rest + data).rpartition(b"\n")
            if newline:
                self._board.above(whole + newline)
        if rest:
            self._board.above(rest + b"\n")
        self._copied.set()


class Board:
    """The last lines of a terminal (a file descriptor), and what is written above them. What is
    written is not folded: the terminal does that, and a path can still be copied."""

    def __init__(self, terminal: int) -> None:
        self._terminal = terminal
        self._shown = ""
        self._lock = threading.Lock()

    @property
    def size(self) -> tuple[int, int]:
        """Columns and lines."""
        try:
            columns, lines = os.get_terminal_size(self._terminal)
        except OSError:  # the terminal was closed
            columns, lines = 0, 0
        return columns or 80, lines or 24

    def show(self, text: str) -> None:
        """Puts other lines in the place of those that are there."""
        with self._lock:
            before, self._shown = self._erased(), text
            self._write(before + text.encode())

    def above(self, text: bytes) -> None:
        """Writes whole lines."""
        with self._lock:
            self._write(self._erased() + text + self._shown.encode())

    def _erased(self) -> bytes:
        """Up over the block, from the beginning of the line: a terminal writes `^C` into it. A
        window that became narrower has folded its lines, as all but the oldest do."""
        if not self._shown:
            return b""
        columns = self.size[0]
        widths = [Text.from_ansi(line).cell_len for line in self._shown.splitlines()]
        return b"\r\x1b[%dA\x1b[J" % sum(max(1, -(-width // columns)) for width in widths)

    def _write(self, data: bytes) -> None:
        with contextlib.suppress(OSError):  # the terminal was closed
            while data:
                data = data[os.write(self._terminal, data) :]


def coloured(text: Text, width: int) -> str:
    """Lines for a terminal; empty for no text."""
    console = Console(force_terminal=True, width=width, highlight=False, emoji=False)
    with console.capture() as captured:
        console.print(text, soft_wrap=True)
    return captured.get()
