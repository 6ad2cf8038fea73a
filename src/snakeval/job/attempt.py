"""Records an attempt at a task in its `status.json`, and publishes its result.

The keeper calls it. Scripts of earlier versions that still run, and those of servers, start it as a
program from the run folder's `lib/`; standard library only, Python 3.9 or newer.

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

import contextlib
import json
import os
import platform
import stat
import sys
import time
from collections.abc import Iterable, Iterator
from fnmatch import fnmatchcase
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from . import causes, hostile, record
from .endpoint import free_port, served_models
from .files import keep_unreadable, link, now, objects_in, read_json, write_atomically
from .paths import TaskPaths
from .redact import copy, values_of
from .text import one_line

if TYPE_CHECKING:
    import argparse

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


class Refused(Exception):
    """What is asked for is not done; the text says why."""


def begin(
    task_dir: Path,
    digest: str,
    runtime: str = "",
    image: str = "",
    container: str = "",
    deadline: str = "",
    pid: int | None = None,
    is_last: bool = False,
    stale: Iterable[str] = (),
) -> int:
    """Starts the record of an attempt and puts aside what an earlier one left; its number.

    deadline  when the job's time limit strikes, in seconds since 1970; empty: none, or unknown
    is_last   nobody tries again in this start
    stale     see `put_aside`
    Raises Refused, or OSError where the record cannot be written.
    """
    told = read(task_dir)
    attempts = told["attempts"]
    start = os.environ.get("SNAKEVAL_START", "")
    last = attempts[-1] if attempts else {}
    if is_cancelled(task_dir, last, start):
        raise Refused("cancelled in this start; the next start continues it")
    if said := causes.why_not_again(last, start, digest):
        raise Refused(said)
    if last.get("state") == "running":
        last.update(
            state="interrupted",
            ended=last_sign(task_dir, last),
            cause="the script was killed before it could say why",
        )
    number = 1 + max(numbers(task_dir, attempts), default=0)
    paths = TaskPaths(task_dir)
    work = paths.work(digest)
    ours, aside = paths.record(digest), paths.left_before(number)
    stale = list(stale)
    if record.is_doubted(ours) or (EMPTY in stale and has_all_answers(ours, attempts, digest)):
        for entry in sorted(work.iterdir()) if work.is_dir() else []:
            _move(work, Path(entry.name), aside)
    if not work.is_dir() or not any(work.iterdir()):  # never begun, removed by somebody, or above
        record.begin_anew(ours, number)
    put_aside(work, [name for name in stale if name != EMPTY], aside)
    attempts.append(
        {
            "number": number,
            "digest": digest,
            "state": "running",
            "started": now(),
            "ended": None,
            "host": platform.node(),
            "pid": pid,
            "job": os.environ.get("SNAKEVAL_JOB")
            or os.environ.get("SLURM_JOB_ID")
            or os.environ.get("LEPTON_JOB_NAME"),
            "executor": os.environ.get("SNAKEVAL_EXECUTOR") or "local",
            "deadline": deadline or None,
            "runtime": runtime,
            "image": image or None,
            "container": container if runtime not in ("process", "image") else None,
            "log": f"logs/evaluate.{number}.log",
            "start": start,
            "last": is_last,
        }
    )
    told["state"], told["digest"], told["cause"] = "running", digest, None
    room_for_the_end(task_dir).write_bytes(os.urandom(16 * 1024))
    write(task_dir, told)
    return number


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
    """Whether everything that is in a spec's work folder came through the gateway, and there can
    be one in this attempt. What was before the folder was last empty does not matter."""
    given = of_spec(attempts, digest)
    return bool(find_spec("aiohttp")) and record.is_behind_gateway(ours, given)


def of_spec(attempts: list[dict[str, Any]], digest: str) -> list[int]:
    """The numbers of a spec's attempts."""
    return [int(item.get("number") or 0) for item in attempts if item.get("digest") == digest]


def put_aside(work: Path, stale: Iterable[str], aside: Path) -> None:
    """Moves what an earlier attempt left out of the work folder; never a cache of answers.

    Out of it, because NeMo's parser takes the newest `results*.json` anywhere below /results.

    stale  names relative to the work folder, as they are; after `**/` a pattern for the last part
           of a name, wherever it is. A link, a pipe or a folder in a file's place goes as well.
           After `!` a pattern of what stays (`cache/responses`): then all else goes. A harness's
           own memory (predictions, judged items) takes an answer that failed for one.
    """
    stale = list(stale)
    stays = [Path(name[1:]).parts for name in stale if name.startswith(STAYS)]
    for name in _beside(work, stays) if stays else []:
        _move(work, name, aside)
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


def _beside(work: Path, stays: list[tuple[str, ...]], folder: Path = Path()) -> list[Path]:
    """What is in a folder beside that which stays; `stays`: patterns of the parts of a name."""
    found = []
    for entry in sorted((work / folder).iterdir()):
        deeper = [parts[1:] for parts in stays if fnmatchcase(entry.name, parts[0])]
        if deeper and all(deeper) and entry.is_dir() and not entry.is_symlink():
            found += _beside(work, deeper, folder / entry.name)
        elif not deeper or all(deeper):
            found.append(folder / entry.name)
    return found


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


def end(task_dir: Path, number: int, state: str, exit_code: int | None, cause: str) -> None:
    """Records how an attempt ended badly. A number that is not there is left alone."""
    told = read(task_dir)
    for item in told["attempts"]:
        if item.get("number") == number:
            item.update(state=state, ended=now(), exit_code=exit_code, cause=cause)
            ours = TaskPaths(task_dir).record(str(item.get("digest")))
            if state == "failed" and causes.is_lasting(ours, cause):
                item.update(lasting=True, last=True)  # a server need not wait for another try
    told["state"], told["cause"] = state, cause
    room_for_the_end(task_dir).unlink(missing_ok=True)
    write(task_dir, told)


def publish(task_dir: Path, digest: str, number: int | None = None) -> str:
    """Marks a checked work folder complete and makes the two links, each in one step.

    Safe to repeat: a folder that is complete already is only linked. Refuses one that has neither a
    mark nor a check that has passed: then it returns a sentence, else nothing. Raises OSError.
    """
    paths = TaskPaths(task_dir)
    room_for_the_end(task_dir).unlink(missing_ok=True)
    ours = paths.record(digest)
    if not (ours / record.COMPLETE).exists():
        checked = read_json(ours / record.CHECK)
        if checked.get("passed") is not True:
            return f"{digest} has no result that was checked"
        record.mark(ours, checked["files"], now())
    with contextlib.suppress(OSError):  # the record is for people; the links are the truth
        told = read(task_dir)
        for item in told["attempts"]:
            if item.get("number") == number:
                item.update(state="published", ended=now(), exit_code=0)
        told.update(state="published", digest=digest, cause=None)
        write(task_dir, told)
    paths.published(digest).parent.mkdir(exist_ok=True)
    link(f"../work/{digest}", paths.published(digest))
    link(f"work/{digest}", paths.artifacts)
    return ""


def refused(url: str, model: str, key_name: str | None) -> str:
    """Why an endpoint is not asked: it lists models but not this one, or nobody listens there.

    Everything else (no list, a slow answer, a name only the container can resolve) is left to
    the harness, whose result is checked anyway: empty.
    """
    import urllib.error

    shown = url.partition("?")[0]
    deadline = time.monotonic() + REFUSED_FOR
    while True:
        try:
            others = _only_others(url, model, key_name)
            break
        except urllib.error.URLError as error:
            if not isinstance(error.reason, ConnectionRefusedError):
                return ""
            if time.monotonic() > deadline:
                return f"nothing listens at the endpoint {shown} (connection refused)"
            time.sleep(0.5)
        except (OSError, ValueError, KeyError, TypeError):
            return ""
    return f"the endpoint does not serve '{model}'; it serves {others}" if others else ""


def no_longer_served(url: str, model: str, key_name: str | None) -> str:
    """Why the answers of an attempt that has ended may be of another model: the endpoint lists
    others only. Where no list can be had nothing follows from it: empty."""
    try:
        others = _only_others(url, model, key_name)
    except (OSError, ValueError, KeyError, TypeError):
        return ""
    return (
        f"the model was changed on the way: the endpoint does not serve '{model}' any more, it "
        f"serves {others}"
        if others
        else ""
    )


def _only_others(url: str, model: str, key_name: str | None) -> str:
    """The models that an endpoint lists, where ours is none of them. Raises what keeps the list
    from being read."""
    served = served_models(url, key_name)
    return one_line(", ".join(served[:5])) if model not in served else ""


def logs(task_dir: Path, digest: str) -> list[Path]:
    """The logs of all attempts at a spec, oldest first: one that was killed may have cached errors
    as answers, and only its own log says so."""
    found = []
    for item in read(task_dir)["attempts"]:
        log = task_dir / str(item.get("log"))
        if item.get("digest") == digest and log.exists():
            found.append(log)
    return found


FILLED = ("command.sh", "harness.sh", "run_config.yaml")
"""Files of a record that may name addresses."""


def fill(record_dir: Path, reference: str, url: str) -> None:
    """Puts a URL in place of a reference, in the files that the harness is given."""
    for name in FILLED:
        path = record_dir / name
        if path.exists() and reference in (text := path.read_text(encoding="utf-8")):
            write_atomically(path, text.replace(reference, url))


# --- commands ------------------------------------------------------------------------------------


def _begin(given: argparse.Namespace) -> str:
    told = vars(given)
    words = {name: told[name] for name in ("digest", "runtime", "image", "container", "deadline")}
    number = begin(given.task_dir, pid=given.pid, is_last=given.last, stale=given.stale, **words)
    return str(number)


def _end(given: argparse.Namespace) -> str:
    end(given.task_dir, given.number, given.state, given.exit_code, given.cause)
    return ""


def _publish(given: argparse.Namespace) -> str:
    why_not = publish(given.task_dir, given.digest, given.number)
    if why_not:
        raise Refused(why_not)
    return ""


def _model(given: argparse.Namespace) -> str:
    url = os.environ[ASKED] if given.url == "-" else given.url
    why = refused(url, given.model, given.key)
    if why:
        raise Refused(why)
    return ""


def _fill(given: argparse.Namespace) -> str:
    fill(given.record_dir, given.reference, sys.stdin.read())
    return ""


def _redact(given: argparse.Namespace) -> str:
    copy(sys.stdin.buffer, sys.stdout.fileno(), values_of(given.names))
    return ""


def _run(given: argparse.Namespace) -> int:
    """Prints what a command has to say; 1 where it was refused."""
    try:
        said = given.said(given)
    except Refused as why:
        print(why)
        return 1
    if said:
        print(said)
    return 0


def parser() -> argparse.ArgumentParser:
    import argparse

    outer = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    commands = outer.add_subparsers(required=True)
    outer.set_defaults(run=_run)
    command = commands.add_parser("begin")
    command.add_argument("task_dir", type=Path)
    for name in ("digest", "runtime", "image", "container", "deadline"):
        command.add_argument(f"--{name}", default="")
    command.add_argument("--pid", type=int, default=None)
    command.add_argument("--last", action="store_true", help="no further try in this start")
    command.add_argument("--stale", action="append", default=[])
    command.set_defaults(said=_begin)
    command = commands.add_parser("end")
    command.add_argument("task_dir", type=Path)
    command.add_argument("--number", type=int, required=True)
    command.add_argument("--state", required=True)
    command.add_argument("--exit-code", type=int, default=None)
    command.add_argument("--cause", required=True)
    command.set_defaults(said=_end)
    command = commands.add_parser("publish")
    command.add_argument("task_dir", type=Path)
    command.add_argument("digest")
    command.add_argument("--number", type=int, default=None)
    command.set_defaults(said=_publish)
    command = commands.add_parser("model")
    command.add_argument("url")
    command.add_argument("model")
    command.add_argument("--key", default=None)
    command.set_defaults(said=_model)
    command = commands.add_parser("port")
    command.set_defaults(said=lambda _: str(free_port("127.0.0.1")))
    command = commands.add_parser("logs")
    command.add_argument("task_dir", type=Path)
    command.add_argument("digest")
    command.set_defaults(said=lambda given: "\n".join(map(str, logs(given.task_dir, given.digest))))
    command = commands.add_parser("fill")
    command.add_argument("record_dir", type=Path)
    command.add_argument("reference")
    command.set_defaults(said=_fill)
    command = commands.add_parser("disarm")
    command.add_argument("work_dir", type=Path)
    command.set_defaults(said=lambda given: "\n".join(hostile.disarm(given.work_dir)))
    command = commands.add_parser("redact")
    command.add_argument("names", nargs="*")
    command.set_defaults(said=_redact)
    return outer


if __name__ == "__main__":
    given = parser().parse_args()
    try:
        sys.exit(given.run(given))
    except OSError as trouble:
        print(f"{trouble.strerror}: {trouble.filename}")
        sys.exit(1)
