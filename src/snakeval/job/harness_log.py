"""What an attempt's log tells that no result file does.

Which requests failed, and how; whether the disk or the memory was full. No line of a log is ever
quoted: lm-eval logs the headers of failed requests, and with them the API key.

A copy lies in every run folder's `lib/`, beside `verify.py`; standard library only, Python 3.9.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path


@dataclass
class Log:
    """What an attempt's log tells.

    statuses         failed requests by their status
    without_status   failed requests that got none, by what happened to them instead
    mentioned        the same, and answers of a wrong shape, in lines that are not one per request
    completed        requests that were answered, where the harness logs them
    unparsed         answers with status 200 that held no completion
    """

    name: str | None = None
    disk_full: bool = False
    out_of_memory: bool = False
    statuses: Counter[str] = field(default_factory=Counter)
    without_status: Counter[str] = field(default_factory=Counter)
    mentioned: Counter[str] = field(default_factory=Counter)
    completed: int = 0
    unparsed: int = 0

    @property
    def failures(self) -> Counter[str]:
        """Failed requests by status, or by what happened to them instead."""
        return self.statuses + self.without_status


DISK_FULL = re.compile(
    r"No space left on device|disk is full|Errno 28\b|Disk quota exceeded|Errno 122\b"
)
STATUS = re.compile(
    r"(?:API request failed! Status code: |Request completed status_code="
    r"|HTTPError: (?=\d{3} .*/completions))(\d{3})"
)
UNREACHED, TOO_LATE, MISSHAPEN = "no connection", "no answer in time", "misshapen"
MENTIONS = {
    TOO_LATE: re.compile(r"TimeoutError|Read timed out"),
    UNREACHED: re.compile(
        r"ClientConnectorError|Connection refused|NewConnectionError|NameResolutionError"
        r"|RemoteDisconnected|Connection reset by peer|ServerDisconnectedError"
    ),
    MISSHAPEN: re.compile(r"KeyError: 'choices'"),
}
REASONS = {
    TOO_LATE: "the endpoint did not answer in time",
    UNREACHED: "the endpoint could not be reached",
    MISSHAPEN: "the endpoint's answers were no completions",
}


def read_log(path: Path | None) -> Log:
    """Read a log once, line by line; a log that is not there tells nothing."""
    log = Log(name=path.name if path else None)
    if path is None or not path.is_file():
        return log
    adapter: Counter[str] = Counter()
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            for event in ("Request started", "Request completed", "Handler error:"):
                adapter[event] += event in line
            _note(log, line)
    # The NeMo adapter begins each request with one line and ends it with one of two; a request
    # that never ended was given up by the harness, which waits less long than the adapter.
    failed = adapter["Handler error:"]
    log.without_status[UNREACHED] += failed
    log.without_status[TOO_LATE] += max(
        0, adapter["Request started"] - adapter["Request completed"] - failed
    )
    return log


def _note(log: Log, line: str) -> None:
    status = STATUS.search(line)
    if status and status[1].startswith("2"):
        log.completed += 1
    elif status:
        log.statuses[status[1]] += 1
    elif "Could not parse generations" in line:
        log.unparsed += 1
    elif DISK_FULL.search(line):
        log.disk_full = True
    elif "MemoryError" in line or "Cannot allocate memory" in line:
        log.out_of_memory = True
    else:
        # lm-eval ends its line on a failed request so; all others come in any number.
        counts = log.without_status if "retrying." in line else log.mentioned
        counts.update(what for what, pattern in MENTIONS.items() if pattern.search(line))


def reason(log: Log, model_id: str | None) -> str | None:
    """Why a harness that failed did so, as far as its log tells."""
    if log.out_of_memory:
        return "it ran out of memory"
    refused = sum(log.statuses.values())
    if log.mentioned[MISSHAPEN] and not refused:
        # What ends the harness; requests in flight at that moment end without an answer, too.
        return REASONS[MISSHAPEN]
    what, most = max((+log.without_status or log.mentioned).most_common(1), default=("", 0))
    if refused and refused >= log.without_status[what]:
        hint = f'; is the model "{model_id}" served there?' if "404" in log.statuses else ""
        times = f"{refused} request{'' if refused == 1 else 's'}"
        return f"the endpoint refused {times} ({listed(log.statuses)}){hint}"
    return REASONS.get(what) if most else None


def listed(counts: Mapping[str, int]) -> str:
    """`400: 8, no connection: 2`"""
    return ", ".join(f"{what}: {n}" for what, n in sorted(counts.items()))
