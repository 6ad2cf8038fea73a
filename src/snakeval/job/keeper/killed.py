"""Who has killed a harness: what the kernel has counted, and an engine has seen.

A log's words are no evidence: a harness that evaluates programs prints what those have said.
"""

from __future__ import annotations

import re
import subprocess
import threading
import time
from pathlib import Path

from ..causes import AT_ITS_LIMIT, BY_SOMEBODY, NOT_SAID, OF_THE_MACHINE

CGROUPS = Path("/sys/fs/cgroup")
COUNT = re.compile(r"^oom_kill (\d+)$", re.MULTILINE)
OF_A_JOB = re.compile(r"^.*/job_\d+")
"""The part of a cgroup's path that is all of a Slurm job: a step has one of its own below."""

WITH_CODE = '{{.Action}} {{index .Actor.Attributes "exitCode"}}'
KILLED = "137"
"""The exit code of a container that was ended by SIGKILL."""
PATIENCE = 5.0
"""Seconds that an engine may take to say what it has seen."""


class Counts:
    """What the kernel has ended for lack of memory, counted from now on."""

    def __init__(self) -> None:
        self._machine = _count(Path("/proc/vmstat"))
        self._own = {file: _count(file) for file in _own_counts()}

    def say(self) -> str:
        """Whether it was something in this job's cgroup, or anything on this machine."""
        if any(_has_grown(file, before) for file, before in self._own.items()):
            return AT_ITS_LIMIT
        if self._machine is None:
            return NOT_SAID
        return OF_THE_MACHINE if _has_grown(Path("/proc/vmstat"), self._machine) else BY_SOMEBODY


def _own_counts() -> list[Path]:
    """Of the cgroup that this process is in, and of the Slurm job around it: version 2, or 1."""
    try:
        lines = Path("/proc/self/cgroup").read_text(encoding="utf-8").splitlines()
    except OSError:
        return []
    found = []
    for line in lines:
        _, controllers, path = line.split(":", 2)
        if controllers == "":
            root, name = CGROUPS, "memory.events"
        elif "memory" in controllers.split(","):
            root, name = CGROUPS / "memory", "memory.oom_control"
        else:
            continue
        job = OF_A_JOB.match(path)
        for each in {path, job[0] if job else path}:
            if each != "/":  # the whole machine's is counted by itself
                found.append(root / each.lstrip("/") / name)
    return found


def _count(file: Path) -> int | None:
    try:
        found = COUNT.search(file.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return int(found[1]) if found else None


def _has_grown(file: Path, before: int | None) -> bool:
    after = _count(file)
    return before is not None and after is not None and after > before


def seen_by_docker(container: str, since: float) -> str:
    """What Docker has seen of a container since then (seconds since 1970); it keeps its events for
    a while, and the container itself is gone. They come a moment after the container's end, and
    word of a lack of memory may come after that of its removal."""
    until = time.time() + PATIENCE
    asked = ["docker", "events", "--since", f"{since:.3f}", "--until", f"{until:.3f}"]
    asked += ["--filter", f"container={container}", "--format", WITH_CODE]
    actions, was_killed = set(), False
    try:
        with subprocess.Popen(
            asked,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.DEVNULL,
            text=True,
            start_new_session=True,
        ) as events:
            assert events.stdout
            give_up = threading.Timer(PATIENCE + 1, events.kill)  # a clock may be another one there
            give_up.start()
            for line in events.stdout:
                action, _, code = line.strip().partition(" ")
                actions.add(action)
                was_killed = was_killed or code == KILLED
                if "destroy" in actions and (actions & {"oom", "kill"} or not was_killed):
                    break
            give_up.cancel()
            events.kill()
    except OSError:
        return NOT_SAID
    if "oom" in actions:
        return AT_ITS_LIMIT
    return BY_SOMEBODY if "kill" in actions else NOT_SAID
