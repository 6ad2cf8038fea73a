"""Records an attempt at a task in its `status.json`, and publishes its result.

Called by `run.sh` from the run folder's `lib/`; standard library only, Python 3.9 or newer.

    attempt.py begin TASK_DIR --digest D ...    prints the attempt's number
    attempt.py end TASK_DIR --number N --state failed --cause "..."
    attempt.py publish TASK_DIR DIGEST          marks the work folder complete, makes the links
    attempt.py fill RECORD_DIR REFERENCE        puts the URL on stdin in place of a reference
    attempt.py disarm WORK_DIR                  tells and takes set-uid bits and devices away
    attempt.py model URL MODEL --key NAME       refuses an endpoint that serves other models
                                                (URL `-`: it is in SNAKEVAL_ASKED)
    attempt.py port                             prints a free port
    attempt.py logs TASK_DIR DIGEST             prints the logs of a spec's attempts, oldest first
    attempt.py redact NAME ...                  copies stdin to stdout without their values
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import platform
import socket
import stat
import sys
import time
from collections.abc import Iterator
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from . import causes, hostile, record
from .endpoint import served_models
from .files import keep_unreadable, link, now, objects_in, read_json, write_atomically
from .paths import TaskPaths
from .redact import copy, values_of
from .text import one_line

ASKED = "SNAKEVAL_ASKED"
"""The variable with the endpoint's address: it may hold a key, which no command line has."""

REFUSED_FOR = 5.0
"""Seconds that an endpoint may refuse connections before the attempt fails."""


def read(task_dir: Path) -> dict[str, Any]:
    """`status.json` of a task; an empty record when there is none, or none that can be read."""
    content = read_json(TaskPaths(task_dir).status)
    return {**content, "attempts": objects_in(content, "attempts")}


def write(task_dir: Path, record: dict[str, Any]) -> None:
    keep_unreadable(TaskPaths(task_dir).status)
    write_atomically(TaskPaths(task_dir).status, json.dumps(record, indent=1) + "\n")


def begin(arguments: argparse.Namespace) -> int:
    """Starts the record of an attempt and puts aside what an earlier one left."""
    told = read(arguments.task_dir)
    attempts = told["attempts"]
    start = os.environ.get("SNAKEVAL_START", "")
    last = attempts[-1] if attempts else {}
    if is_cancelled(arguments.task_dir, last, start):
        print("cancelled in this start; the next start continues it")
        return 1
    if said := causes.why_not_again(last, start, arguments.digest):
        print(said)
        return 1
    if last.get("state") == "running":
        last.update(
            state="interrupted",
            ended=last_sign(arguments.task_dir, last),
            cause="the script was killed before it could say why",
        )
    number = 1 + max(numbers(arguments.task_dir, attempts), default=0)
    paths = TaskPaths(arguments.task_dir)
    work = paths.work(arguments.digest)
    ours, aside = paths.record(arguments.digest), paths.logs / f"left-before-{number}"
    if EMPTY in arguments.stale and has_all_answers(ours, attempts, arguments.digest):
        for entry in sorted(work.iterdir()) if work.is_dir() else []:
            _move(work, Path(entry.name), aside)
    if not work.is_dir() or not any(work.iterdir()):  # never begun, removed by somebody, or above
        record.begin_anew(ours, number)
    put_aside(work, [name for name in arguments.stale if name != EMPTY], aside)
    attempts.append(
        {
            "number": number,
            "digest": arguments.digest,
            "state": "running",
            "started": now(),
            "ended": None,
            "host": platform.node(),
            "pid": arguments.pid,
            "job": os.environ.get("SNAKEVAL_JOB")
            or os.environ.get("SLURM_JOB_ID")
            or os.environ.get("LEPTON_JOB_NAME"),
            "executor": os.environ.get("SNAKEVAL_EXECUTOR") or "local",
            "deadline": arguments.deadline or None,
            "runtime": arguments.runtime,
            "image": arguments.image or None,
            "container": arguments.container
            if arguments.runtime not in ("process", "image")
            else None,
            "log": f"logs/evaluate.{number}.log",
            "start": start,
            "last": arguments.last,
        }
    )
    told["state"], told["digest"], told["cause"] = "running", arguments.digest, None
    room_for_the_end(arguments.task_dir).write_bytes(os.urandom(16 * 1024))
    write(arguments.task_dir, told)
    print(number)
    return 0


def numbers(task_dir: Path, attempts: list[dict[str, Any]]) -> Iterator[int]:
    """The numbers of earlier attempts, also where only their logs tell of them."""
    for item in attempts:
        with contextlib.suppress(TypeError, ValueError):
            yield int(item["number"]) if "number" in item else 0
    for log in TaskPaths(task_dir).logs.glob("evaluate.*.log"):
        with contextlib.suppress(ValueError):
            yield int(log.name.split(".")[1])


def is_cancelled(task_dir: Path, last: dict[str, Any], start: str) -> bool:
    """Whether a person has cancelled the task in this start (`start` is empty: by hand, never).

    A job that Slurm starts again was not cancelled: what it took for a cancel was Slurm's doing.
    """
    mark = TaskPaths(task_dir).cancelled
    with contextlib.suppress(OSError):
        if start and mark.read_text(encoding="utf-8").split() == [start]:
            return True
        mark.unlink()
    if not (last.get("state") == "cancelled" and start and last.get("start") == start):
        return False
    job = os.environ.get("SLURM_JOB_ID")
    if job and last.get("job") == job and os.environ.get("SLURM_RESTART_COUNT"):
        last.update(state="interrupted", cause="requeued by Slurm")
        return False
    return True


def last_sign(task_dir: Path, last: dict[str, Any]) -> str | None:
    """When an attempt that could not say so has ended: when something was logged last."""
    with contextlib.suppress(OSError):
        seconds = (task_dir / str(last.get("log"))).stat().st_mtime
        return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))
    return None


def room_for_the_end(task_dir: Path) -> Path:
    """A file that holds some blocks while an attempt runs, so that its end can be recorded on a
    full disk."""
    return task_dir / ".room"


STAYS = "!"
"""Begins a pattern of what stays, where all else of the harness's goes."""


EMPTY = "?!"
"""Among what is stale: all of it, where every answer is at hand without the harness's folder."""


def has_all_answers(ours: Path, attempts: list[dict[str, Any]], digest: str) -> bool:
    """Whether everything that a spec's earlier attempts were answered came through the gateway,
    and there can be one in this attempt."""
    earlier = [item.get("number") for item in attempts if item.get("digest") == digest]
    behind = record.behind_gateway(ours)
    return bool(find_spec("aiohttp")) and all(number in behind for number in earlier)


def put_aside(work: Path, stale: list[str], aside: Path) -> None:
    """Moves what an earlier attempt left out of the work folder; never a cache of answers.

    Out of it, because NeMo's parser takes the newest `results*.json` anywhere below /results.

    stale  names relative to the work folder, as they are; after `**/` a pattern for the last part
           of a name, wherever it is. A link, a pipe or a folder in a file's place goes as well.
           After `!` a pattern of entries of the work folder that stay: then every other goes. A
           harness's own memory (predictions, judged items) takes an answer that failed for one.
    """
    stays = [name[1:] for name in stale if name.startswith(STAYS)]
    for entry in sorted(work.iterdir()) if stays else []:
        if not any(fnmatchcase(entry.name, pattern) for pattern in stays):
            _move(work, Path(entry.name), aside)
    names = [name for name in stale if not name.startswith(STAYS)]
    found = {first_in_the_way(work, Path(name)) for name in names if not name.startswith("**/")}
    patterns = [name[3:] for name in names if name.startswith("**/")]
    with contextlib.suppress(hostile.Refused):  # the check finds the same, and says so
        found |= {
            name
            for name, _ in hostile.entries(work)
            if any(fnmatchcase(name.name, pattern) for pattern in patterns)
        }
    for name in sorted(name for name in found if name):
        _move(work, name, aside)


def _move(work: Path, name: Path, aside: Path) -> None:
    target = aside / name
    target.parent.mkdir(parents=True, exist_ok=True)
    os.replace(work / name, target)


def first_in_the_way(work: Path, name: Path) -> Path | None:
    """What stands under a name: itself, or the first of its folders that is none but a link; None
    where there is nothing."""
    so_far = Path()
    for part in hostile.parts_of(name):
        so_far = so_far / part
        try:
            mode = (work / so_far).lstat().st_mode
        except OSError:
            return None
        if not stat.S_ISDIR(mode):
            return so_far
    return so_far


def end(arguments: argparse.Namespace) -> int:
    """Records how an attempt ended badly. A number that is not there is left alone."""
    told = read(arguments.task_dir)
    for item in told["attempts"]:
        if item.get("number") == arguments.number:
            item.update(
                state=arguments.state,
                ended=now(),
                exit_code=arguments.exit_code,
                cause=arguments.cause,
            )
            ours = TaskPaths(arguments.task_dir).record(str(item.get("digest")))
            if arguments.state == "failed" and causes.is_lasting(ours, arguments.cause):
                item.update(lasting=True, last=True)  # a server need not wait for another try
    told["state"], told["cause"] = arguments.state, arguments.cause
    room_for_the_end(arguments.task_dir).unlink(missing_ok=True)
    write(arguments.task_dir, told)
    return 0


def publish(arguments: argparse.Namespace) -> int:
    """Marks a checked work folder complete and makes the two links, each in one step.

    Safe to repeat: a folder that is complete already is only linked. Refuses one that has neither a
    mark nor a check that has passed.
    """
    task_dir, digest = arguments.task_dir, arguments.digest
    paths = TaskPaths(task_dir)
    room_for_the_end(task_dir).unlink(missing_ok=True)
    ours = paths.record(digest)
    if not (ours / record.COMPLETE).exists():
        checked = read_json(ours / record.CHECK)
        if checked.get("passed") is not True:
            print(f"{digest} has no result that was checked")
            return 1
        record.mark(ours, checked["files"], now())
    with contextlib.suppress(OSError):  # the record is for people; the links are the truth
        told = read(task_dir)
        for item in told["attempts"]:
            if item.get("number") == arguments.number:
                item.update(state="published", ended=now(), exit_code=0)
        told.update(state="published", digest=digest, cause=None)
        write(task_dir, told)
    paths.published(digest).parent.mkdir(exist_ok=True)
    link(f"../work/{digest}", paths.published(digest))
    link(f"work/{digest}", paths.artifacts)
    return 0


def model(arguments: argparse.Namespace) -> int:
    """Refuses an endpoint that lists models but not this one, or that nobody listens at.

    Everything else (no list, a slow answer, a name only the container can resolve) is left to
    the harness, whose result is checked anyway.
    """
    import urllib.error

    url = os.environ[ASKED] if arguments.url == "-" else arguments.url
    shown = url.partition("?")[0]
    deadline = time.monotonic() + REFUSED_FOR
    while True:
        try:
            served = served_models(url, arguments.key)
            break
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError):
                return 0
            if time.monotonic() > deadline:
                print(f"nothing listens at the endpoint {shown} (connection refused)")
                return 1
            time.sleep(0.5)
        except (OSError, ValueError, KeyError, TypeError):
            return 0
    if served and arguments.model not in served:
        names = one_line(", ".join(served[:5]))
        print(f"the endpoint does not serve '{arguments.model}'; it serves {names}")
        return 1
    return 0


def logs(arguments: argparse.Namespace) -> int:
    """The logs of all attempts at a spec: one that was killed may have cached errors as answers,
    and only its own log says so."""
    for item in read(arguments.task_dir)["attempts"]:
        log = arguments.task_dir / str(item.get("log"))
        if item.get("digest") == arguments.digest and log.exists():
            print(log)
    return 0


def redact(arguments: argparse.Namespace) -> int:
    """Copies stdin to stdout without the values of variables."""
    copy(sys.stdin.buffer, sys.stdout.fileno(), values_of(arguments.names))
    return 0


def fill(arguments: argparse.Namespace) -> int:
    """Puts what stdin says in place of a reference, in the files that the harness is given."""
    url = sys.stdin.read()
    for name in ("command.sh", "harness.sh", "run_config.yaml"):
        path = arguments.record_dir / name
        if path.exists() and arguments.reference in (text := path.read_text(encoding="utf-8")):
            write_atomically(path, text.replace(arguments.reference, url))
    return 0


def disarm(arguments: argparse.Namespace) -> int:
    """Set-uid files and devices that a harness has left: told, and made harmless."""
    for sentence in hostile.disarm(arguments.work_dir):
        print(sentence)
    return 0


def port(_: argparse.Namespace) -> int:
    """A free port. The NeMo adapter listens on ADAPTER_PORT (3825); two of them on one host would
    answer each other's requests."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        print(probe.getsockname()[1])
    return 0


def parser() -> argparse.ArgumentParser:
    outer = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = outer.add_subparsers(required=True)
    command = commands.add_parser("begin")
    command.add_argument("task_dir", type=Path)
    for name in ("digest", "runtime", "image", "container", "deadline"):
        command.add_argument(f"--{name}", default="")
    command.add_argument("--pid", type=int, default=None)
    command.add_argument("--last", action="store_true", help="no further try in this start")
    command.add_argument("--stale", action="append", default=[])
    command.set_defaults(run=begin)
    command = commands.add_parser("end")
    command.add_argument("task_dir", type=Path)
    command.add_argument("--number", type=int, required=True)
    command.add_argument("--state", required=True)
    command.add_argument("--exit-code", type=int, default=None)
    command.add_argument("--cause", required=True)
    command.set_defaults(run=end)
    command = commands.add_parser("publish")
    command.add_argument("task_dir", type=Path)
    command.add_argument("digest")
    command.add_argument("--number", type=int, default=None)
    command.set_defaults(run=publish)
    command = commands.add_parser("model")
    command.add_argument("url")
    command.add_argument("model")
    command.add_argument("--key", default=None)
    command.set_defaults(run=model)
    commands.add_parser("port").set_defaults(run=port)
    command = commands.add_parser("logs")
    command.add_argument("task_dir", type=Path)
    command.add_argument("digest")
    command.set_defaults(run=logs)
    command = commands.add_parser("fill")
    command.add_argument("record_dir", type=Path)
    command.add_argument("reference")
    command.set_defaults(run=fill)
    command = commands.add_parser("disarm")
    command.add_argument("work_dir", type=Path)
    command.set_defaults(run=disarm)
    command = commands.add_parser("redact")
    command.add_argument("names", nargs="*")
    command.set_defaults(run=redact)
    return outer


if __name__ == "__main__":
    given = parser().parse_args()
    try:
        sys.exit(given.run(given))
    except OSError as trouble:
        print(f"{trouble.strerror}: {trouble.filename}")
        sys.exit(1)
