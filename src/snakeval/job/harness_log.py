"""What an attempt's log tells that no result file does.

Which requests failed, and how; whether the disk or the memory was full. Nothing of a log is quoted
here: lm-eval logs the headers of failed requests, and with them the API key. (`causes.py` quotes a
harness's last words, without what looks like a secret.)

A copy lies in every run folder's `lib/`, beside `verify.py`; standard library only, Python 3.9.
"""

from __future__ import annotations

import re
from collections import Counter, deque
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

TAIL = 400
"""Lines at the end of a log that are kept, for what has ended the harness."""

LINE = 2000
"""Characters that are kept of each."""


@dataclass
class Log:
    """What an attempt's log tells.

    statuses         failed requests by their status
    without_status   failed requests that got none, by what happened to them instead
    mentioned        the same, and answers of a wrong shape, in lines that are not one per request
    completed        requests that were answered, where the harness logs them
    unparsed         answers with status 200 that held no completion
    tail             its last lines, which tell what has ended the harness
    surroundings     what is wrong around the harness (folders, data, certificates), and the fix
    """

    name: str | None = None
    disk_full: bool = False
    out_of_memory: bool = False
    surroundings: str | None = None
    statuses: Counter[str] = field(default_factory=Counter)
    without_status: Counter[str] = field(default_factory=Counter)
    mentioned: Counter[str] = field(default_factory=Counter)
    completed: int = 0
    unparsed: int = 0
    tail: deque[str] = field(default_factory=lambda: deque(maxlen=TAIL))

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
NAME = r"([A-Za-z0-9][\w.-]*/[\w.-]*\w)"
GATED = re.compile(
    rf"(?:Dataset|repo_id|access (?:dataset|model)|Access to (?:dataset|model)) '?{NAME}'?"
    r" (?:is a gated|is restricted|is awaiting)"
    r"|Cannot access gated repo for url https?://[^/\s]+/(?:api/)?(?:datasets/|models/)?"
    rf"{NAME.replace('*', '*?', 1)}(?=/|\.?\s|\.?$)"
    r"|GatedRepoError"
)
"""As huggingface_hub 2.4 and datasets 5.2 say it, and versions since 2023 did."""

SURROUNDINGS = (
    (
        re.compile(r"^snakeval: user (\d+) of the container cannot write in /results"),
        (
            "the container's user {0} cannot write in the output folder (on a network, where "
            "root may not write; or an image with a user of its own): docs/troubleshooting.md"
        ),
    ),
    (
        re.compile(r"container-init binary not found|catatonit.*(?:no such file|not found)"),
        "podman has no init program: install catatonit, or set init_path in containers.conf",
    ),
    (
        re.compile(
            r"error while creating mount source path|invalid mount config.*(?:permission|stat)"
            r"|statfs .*permission denied"
        ),
        (
            "the container engine cannot read a folder that is mounted (a network folder that root "
            "may not read?): docs/troubleshooting.md"
        ),
    ),
    (
        re.compile(r"CERTIFICATE_VERIFY_FAILED|certificate verify failed"),
        (
            "a server's certificate is not trusted: name the file of your certificate authorities "
            "in SSL_CERT_FILE"
        ),
    ),
)
"""What a line tells about the machine around the harness, and the cause in a sentence."""

HINTS = ("gated", "Gated", "restricted", "awaiting", "snakeval:", "container-init", "catatonit",
         "mount", "statfs", "CERTIFICATE", "certificate")  # fmt: skip
"""One of them is in every line that tells so: quick to look for in a log of a million lines."""

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
    log = Log(name=_name(path) if path else None)
    if path is None or not path.is_file():
        return log
    adapter: Counter[str] = Counter()
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            for event in ("Request started", "Request completed", "Handler error:"):
                adapter[event] += event in line
            log.tail.append(line[:LINE].rstrip())
            _note(log, line)
    # The NeMo adapter begins each request with one line and ends it with one of two; a request
    # that never ended was given up by the harness, which waits less long than the adapter.
    failed = adapter["Handler error:"]
    log.without_status[UNREACHED] += failed
    log.without_status[TOO_LATE] += max(
        0, adapter["Request started"] - adapter["Request completed"] - failed
    )
    return log


def _name(path: Path) -> str:
    """As a person finds it in a run folder: `task/logs/evaluate.1.log`."""
    in_a_run = path.parent.name == "logs"
    return "/".join(path.parts[-3:]) if in_a_run else path.name


def _note(log: Log, line: str) -> None:
    if log.surroundings is None and any(word in line for word in HINTS):
        log.surroundings = around(line)
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


def around(line: str) -> str | None:
    """What a line tells about the machine around the harness, as a cause; None: nothing."""
    gated = GATED.search(line)
    if gated:
        what = gated[1] or gated[2] or "a dataset or model"
        return (
            f"{what} on Hugging Face is gated: ask for access on its page, and pass a token that "
            "has it (env_vars: HF_TOKEN: host:HF_TOKEN)"
        )
    for pattern, cause in SURROUNDINGS:
        found = pattern.search(line)
        if found:
            return cause.format(*found.groups())
    return None


def reason(log: Log, model_id: str | None) -> str | None:
    """Why a harness that failed did so, as far as its log tells."""
    if log.out_of_memory:
        return "it ran out of memory"
    if log.surroundings:
        return log.surroundings
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
