"""What goes wrong with requests, and with which of them."""

from __future__ import annotations

import re
import threading
from dataclasses import dataclass, field
from typing import Literal


@dataclass
class Fault:
    """One thing that goes wrong.

    method, path  which requests; `path` is searched for as a regular expression
    times         with how many of them, None: with all
    after         so many matching requests pass unharmed before
    status        answered in place of the real answer; the request is not carried out
    body          likewise, with `status` or 200: garbage, say
    drop          the connection is cut: "request": nothing was carried out; "answer": it was
    delay         seconds before the answer; the request is carried out at once
    """

    method: str
    path: str
    times: int | None = 1
    after: int = 0
    status: int | None = None
    body: bytes | None = None
    drop: Literal["request", "answer"] | None = None
    delay: float = 0.0
    retry_after: str | None = None
    hits: int = 0

    def matches(self, method: str, path: str) -> bool:
        return self.method in (method, "*") and re.search(self.path, path) is not None


@dataclass
class Faults:
    """The faults in force; a request meets the first that matches it."""

    active: list[Fault] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def add(self, method: str, path: str, **settings: object) -> Fault:
        """method: GET, POST, PATCH, DELETE or *; the settings are those of `Fault`."""
        fault = Fault(method, path, **settings)  # type: ignore[arg-type]
        with self.lock:
            self.active.append(fault)
        return fault

    def clear(self) -> None:
        with self.lock:
            self.active.clear()

    def of(self, method: str, path: str) -> Fault | None:
        """The fault that this request meets; counts it."""
        with self.lock:
            for fault in self.active:
                if not fault.matches(method, path):
                    continue
                if fault.after:
                    fault.after -= 1
                elif fault.times is None or fault.hits < fault.times:
                    fault.hits += 1
                    return fault
        return None
