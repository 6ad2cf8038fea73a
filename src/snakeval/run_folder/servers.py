"""What a deployment of a run folder is doing: read from its folder, changes nothing."""

from __future__ import annotations

import subprocess
import time
from collections.abc import Callable
from typing import Any

from snakeval.job.files import objects_in, read_json, read_text
from snakeval.job.lease import Owner, beating, holder_of
from snakeval.job.supervise import IDLE, UNUSED
from snakeval.run_folder.layout import RunPaths, ServerPaths


def supervisor_of(paths: ServerPaths) -> Owner | None:
    """The live supervisor of a deployment; None when there is none."""
    return holder_of(paths.lease)


def was_started_by_hand(paths: ServerPaths) -> bool:
    """Whether a supervisor lives that a person has started."""
    owner = supervisor_of(paths)
    return owner is not None and owner.start == ""


def users_of(paths: ServerPaths) -> list[str]:
    """The benchmarks that have used the server a short while ago."""
    if not paths.users.is_dir():
        return []
    return sorted(file.name for file in beating(paths.users.iterdir()))


def ask_to_end(paths: ServerPaths, when: str, patience: float) -> bool:
    """Asks a supervisor to end, wherever it runs, and waits so many seconds; whether it is gone.

    when  `now`, or `unused`: as soon as no benchmark uses the server
    """
    deadline = time.monotonic() + patience
    while supervisor_of(paths):
        if read_text(paths.stop) != when:
            paths.stop.write_text(when, encoding="utf-8")
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True


def script_digest(paths: ServerPaths) -> str:
    """What tells one `server.sh` from another, as the script itself computes it."""
    with paths.script.open("rb") as script:
        answer = subprocess.run(["cksum"], stdin=script, capture_output=True, text=True, check=True)
    return answer.stdout.split()[0]


def endpoint_of(paths: ServerPaths) -> dict[str, Any]:
    """The live address; empty while the server is not healthy."""
    return read_json(paths.endpoint) if supervisor_of(paths) else {}


def record_of(paths: ServerPaths) -> dict[str, Any]:
    """State, cause and cost, as the supervisor has recorded them."""
    return read_json(paths.status)


def devices_of(paths: ServerPaths) -> list[int]:
    """The GPUs that a limit has given to a live server on this machine."""
    lives = objects_in(record_of(paths), "lives") or [{}]
    given = str(lives[-1].get("devices") or "") if supervisor_of(paths) else ""
    return [int(number) for number in given.split(",") if number]


def why_down(paths: ServerPaths) -> str | None:
    """Why a server did not come up, in one line; None when that is not so."""
    record = record_of(paths)
    if record.get("state") != "failed":
        return None
    return f"the server '{paths.dir.name}': {_sentence(record)}"


def ended_unasked(paths: ServerPaths) -> bool:
    """Whether a supervisor that was up has ended because nobody used its server, or was killed: not
    at somebody's request, and not because the server failed."""
    record = record_of(paths)
    if record.get("state") == "stopped":
        return str(record.get("cause")).startswith((UNUSED, IDLE))
    return record.get("state") in ("starting", "up")


def _sentence(record: dict[str, Any]) -> str:
    """The cause without the server's last lines."""
    return str(record.get("cause") or "").partition("; its last lines")[0]


def cost_of(paths: ServerPaths) -> dict[str, Any]:
    """What a server has cost so far, over all its supervisors.

    loads, restarts; seconds_to_healthy of each load; seconds_in_use by at least one benchmark;
    seconds_idle: healthy, and used by none
    """
    lives = objects_in(record_of(paths), "lives")
    return {
        "loads": sum(life.get("loads", 0) for life in lives),
        "restarts": sum(life.get("restarts", 0) for life in lives),
        "seconds_to_healthy": [
            each for life in lives for each in life.get("seconds_to_healthy") or []
        ],
        "seconds_in_use": round(sum(life.get("seconds_in_use", 0) for life in lives), 1),
        "seconds_idle": round(sum(life.get("seconds_idle", 0) for life in lives), 1),
    }


def told(run: RunPaths, left_over: Callable[[ServerPaths], str]) -> list[str]:
    """A line for each server of a run: what it does, and what it has cost.

    left_over  what of one is there although nobody supervises it, in words
    """
    lines = []
    for paths in deployments_of(run):
        record = record_of(paths)
        if not record:
            continue
        cost = cost_of(paths)
        state = _now(record) if supervisor_of(paths) else _ended(record)
        if left := left_over(paths):
            state = f"{state}; {left} is still there, and costs: `snakemake kill` deletes it"
        waited = ", ".join(f"{seconds:g} s" for seconds in cost["seconds_to_healthy"])
        healthy = f"healthy after {waited}" if waited else "never healthy"
        lines.append(
            f"server {paths.dir.name}: {state}; {healthy}, in use "
            f"{cost['seconds_in_use']:g} s, idle {cost['seconds_idle']:g} s, restarts "
            f"{cost['restarts']}"
        )
    return lines


def _now(record: dict[str, Any]) -> str:
    """The state of a server that is supervised."""
    life = (objects_in(record, "lives") or [{}])[-1]
    queued = life.get("queued")
    if record.get("state") != "up" or life.get("users") or not queued:
        return str(record.get("state"))
    return f"idle, waiting for {queued} queued benchmark{'s' if queued > 1 else ''}"


def _ended(record: dict[str, Any]) -> str:
    """The state of a server that nobody supervises now."""
    if record.get("state") in ("up", "starting"):
        return "its supervisor was killed"
    return f"{record.get('state')} ({_sentence(record)})"


def deployments_of(run: RunPaths) -> list[ServerPaths]:
    """The deployments of a run folder."""
    folder = run.dir / "deployments"
    if not folder.is_dir():
        return []
    return [ServerPaths(each) for each in sorted(folder.iterdir()) if each.is_dir()]
