"""A real start: from a plan to a run folder in which every pending task can be run.

Called by `onstart` in the main process. Idempotent: it creates what is missing, renews scripts,
and moves or deletes nothing but what `fresh=` names.
"""

from __future__ import annotations

import atexit
import contextlib
import getpass
import json
import os
import platform
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from functools import cache, reduce
from operator import or_
from pathlib import Path
from typing import Any

import yaml

from snakeval import __version__
from snakeval.errors import InputError, Problem
from snakeval.executors.profile import DEFAULT_RUNTIME
from snakeval.executors.registry import note_host, servers_for
from snakeval.job.files import link, now, read_object, trouble_with, write_atomically, write_changed
from snakeval.job.lease import living
from snakeval.job.record import LAYOUT
from snakeval.plan.code import revision
from snakeval.plan.pending import runtime_of
from snakeval.plan.run import Run, Task
from snakeval.render.lib import write_library
from snakeval.render.task import WITHOUT_ENGINE, render
from snakeval.run_folder.controller import Hold
from snakeval.run_folder.layout import run_configs_home, runs_in
from snakeval.run_folder.records import RESTORE
from snakeval.runtime import BringsImages, archives
from snakeval.runtime.on_nodes import reference
from snakeval.runtime.probe import cannot_write
from snakeval.start import checks
from snakeval.start.fresh_images import Look
from snakeval.start.own_copy import copied
from snakeval.start.this_start import Log, NeededServer, ThisStart

Pin = Callable[[str, str, bool, str | None], str]
"""`Runtime.pin` of the runtime that comes first."""


def begin(start: ThisStart, found: Sequence[Problem] = (), keeps_files: bool = False) -> list[Hold]:
    """Takes the runs, checks, brings images here, writes the run folders.

    found        what else is against the start, to be told with everything else
    keeps_files  the run folders get copies of the definition files
    Returns the holds on the runs. Raises InputError; nothing is left behind then but a lock that
    is given back.
    """
    look = Look(start.runs, start.profile.runtime, start.pending, start.runtimes)
    warnings = [str(problem) for problem in _refused_or_told(start, found)]
    holds: list[Hold] = []
    pin = _pinning(start)
    _take_umask(start.runs)
    try:
        for run in start.runs:
            run.paths.dir.mkdir(parents=True, exist_ok=True)
            if run.config.allow_inline_secrets:
                run.paths.dir.chmod(0o700)
            holds.append(Hold(run.paths.controller))
            atexit.register(holds[-1].release)
        for run in start.runs:
            copies = copied(run, start.log) if keeps_files else {}
            _write_run(start, run, pin, warnings, copies)
        look.tell(start.log.warning)
    except BaseException:
        for hold in holds:
            hold.release()
        for run in start.runs:
            with contextlib.suppress(OSError):  # only a folder that was made just now is empty
                run.paths.dir.rmdir()
        raise
    return holds


def _take_umask(runs: Iterable[Run]) -> None:
    """For everything that this start writes: what one of its configs keeps from others is kept."""
    masks = [int(run.config.umask, 8) for run in runs if run.config.umask]
    if masks:
        os.umask(reduce(or_, masks))


def _refused_or_told(start: ThisStart, found: Sequence[Problem]) -> list[Problem]:
    """The warnings of a start, which were logged. Raises InputError with everything else."""
    found = [
        *found,
        *checks.against(start),
        *_races(start.runs),
        *_unreadable(start.runs),
        *_in_other_hands(start),
    ]
    if any(not problem.warning for problem in found):
        raise InputError(problem for problem in found if not problem.warning)
    for problem in found:
        start.log.warning(str(problem))
    return found


def _pinning(start: ThisStart) -> Pin:
    """The runs of a sweep share their images: each is asked for once."""

    @cache
    def pin(runtime: str, image: str, again: bool, mirror: str | None) -> str:
        known = start.runtimes[runtime]
        if start.executor.elsewhere and isinstance(known, BringsImages):
            return known.look_up(image, again, mirror)
        return known.pin(image, again, mirror)

    return pin


def _races(runs: Sequence[Run]) -> list[Problem]:
    """A run of the same identity that appeared since this start has looked."""
    found = []
    for run in runs:
        hex8 = run.paths.id[-8:]
        if run.new and not run.paths.dir.exists():
            newer = [
                other.id
                for other in runs_in(run.paths.dir.parent)
                if other.id.endswith(hex8) and other.controller.exists()
            ]
            if newer and newer[-1] >= run.paths.id:
                found.append(
                    Problem(
                        str(run.paths.dir.parent / newer[-1]),
                        "was just created by another start of the same config",
                        "start again to see its state",
                    )
                )
    return found


def _unreadable(runs: Sequence[Run]) -> list[Problem]:
    """Records that would be written anew, and what stood in them lost."""
    found = []
    for run in runs:
        why = trouble_with(run.paths.record)
        if not why and not isinstance(read_object(run.paths.record).get("images", {}), dict):
            why = "does not hold what a start has written"
        if why:
            found.append(Problem(str(run.paths.record), why, RESTORE))
    return found


def _in_other_hands(start: ThisStart) -> list[Problem]:
    """Tasks that are under way and must not be touched now: with another spec, where the script
    would be replaced; with this one, where its folder would go aside (`fresh=`)."""
    found = []
    fresh = {task for run in start.runs for task in run.fresh}
    holders = living(task.paths.lease for task in start.pending)
    for task in start.pending:
        owner = holders.get(task.paths.lease)
        other = owner is not None and owner.digest not in ("", task.digest)
        if owner and (other or task in fresh):
            found.append(
                Problem(
                    task.label,
                    f"still runs{' with an earlier spec' if other else ''} "
                    f"(pid {owner.pid} on {owner.host})",
                    "wait for it, or `snakemake kill` the run; then start again",
                )
            )
    return found


def _write_run(
    start: ThisStart, run: Run, pin: Pin, warnings: Sequence[str], copies: Mapping[Path, str]
) -> None:
    paths, pending = run.paths, start.pending_of(run)
    record = _record(run)
    record["sweep"] = [each.paths.id for each in start.runs]
    if start.pending:  # else nothing was looked at, and an earlier start's warnings still stand
        record["warnings"] = list(warnings)
    _pin(start, run, record["images"], pin)
    if not start.executor.elsewhere:  # else this machine need not have the image
        _try_to_write(record, pending, start.log)
    write_library(paths.lib)
    write_changed(paths.config, resolved_text(run, copies))
    for task in run.fresh:
        _start_over(task, start.log)
    for needed in start.servers_of(run):
        _write_server(start, needed, record["images"])
    _forget_tables(run, pending)
    turned = _turned_back(run, pending)
    for task in run.tasks:
        if task in pending or task in turned or not task.paths.script.exists():
            runtime = pending.get(task) or runtime_of(task, DEFAULT_RUNTIME)
            _write_task(run, task, runtime, record["images"])
    for task in turned:
        link(f"work/{task.digest}", task.paths.artifacts)
    write_changed(paths.run_all, run_all(run), executable=True)
    write_changed(paths.record, json.dumps(record, indent=1) + "\n")
    _remember(run, start.log)


def _forget_tables(run: Run, pending: Collection[Task]) -> None:
    """Tables of other specs are written anew where something is evaluated, also after a start that
    was killed and an edit that was taken back: then the scripts are looked at again
    (`_turned_back`). Those of these specs stay: Snakemake has planned with them."""
    own = run.paths.tables_stamp(run.members)
    for stamp in run.paths.results.glob("of-*") if pending else ():
        if stamp != own:
            stamp.unlink(missing_ok=True)


def _turned_back(run: Run, pending: Collection[Task]) -> list[Task]:
    """Published tasks whose folder is still about another spec: one that was tried in between.

    One at which somebody still works keeps its scripts.
    """
    found = [
        task for task in run.tasks if task not in pending and task.published and _is_of_other(task)
    ]
    at_work = living(task.paths.lease for task in found)
    return [task for task in found if not at_work.get(task.paths.lease)]


def _is_of_other(task: Task) -> bool:
    try:
        linked = str(task.paths.artifacts.readlink())
        spec = task.paths.spec.read_text(encoding="utf-8")
    except (OSError, ValueError):
        return True
    return linked != f"work/{task.digest}" or task.digest not in spec


def _write_server(start: ThisStart, needed: NeededServer, images: Mapping[str, str]) -> None:
    """The scripts of a server, and who needs it."""
    run, server = needed.run, needed.server
    paths = run.paths.server(server.name)
    paths.logs.mkdir(parents=True, exist_ok=True)
    paths.users.mkdir(exist_ok=True)
    for token in paths.dir.glob("up.*"):
        token.unlink()
    pinned = images.get(server.image, server.image) if server.image else None
    host, servers = servers_for(server, start.executor.name)
    if servers:
        note_host(paths, host)
        servers.write(run, server, needed.runtime, pinned, start.profile.defaults)
    content = {"start": start.id, "tasks": {task.name: task.digest for task in needed.tasks}}
    write_atomically(paths.tasks, json.dumps(content, indent=1) + "\n")


def _record(run: Run) -> dict[str, Any]:
    """What `run.json` says, taken over from an earlier start where it has one."""
    record: dict[str, Any] = {
        "id": run.paths.id,
        "identity": run.identity,
        "created": now(),
        "images": {},
        **read_object(run.paths.record),
    }
    record.setdefault("layout", LAYOUT)
    record["tasks"] = [task.name for task in run.tasks]
    record |= {"name": run.config.name} if run.config.name else {}
    record["last_start"] = {
        "time": now(),
        "host": platform.node(),
        "user": _user(),
        "versions": {"snakeval": __version__, "python": platform.python_version()},
        "revision": revision(),
    }
    return record


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, in a container
        return str(os.getuid())


def _pin(start: ThisStart, run: Run, images: dict[str, str], pin: Pin) -> None:
    """Resolves the tags of pending tasks once per run, and makes sure the images are here.

    images  of `run.json`: as written -> pinned
    A pinned image that is gone is fetched again by its digest. Raises InputError with every
    image that cannot be had; where the jobs run elsewhere, the image stays as it is written.
    """
    found: list[Problem] = []
    for runtime, image in sorted(_images_wanted(start, run)):
        again = run.update_images
        archive = archives.find(run.paths.dir.parent, image, runtime)
        if archive and not again and images.get(image) in (None, archive.pinned):
            images[image] = archive.pinned  # nobody need be asked
            continue
        if archive:
            start.log.warning(
                f"{archive.file} holds another version of {image} than this run's; `snakemake "
                "prefetch` with the same config brings the right one"
            )
        try:
            known = image if again else images.get(image, image)
            if runtime in ("apptainer", "pyxis"):
                known = reference(known, image, None)
            pinned = pin(runtime, known, again, run.config.execution.image_mirror)
        except InputError as error:
            if start.executor.elsewhere:
                start.log.warning(f"image {image} is not pinned: {error.problems[0].what}")
            else:
                found += error.problems
            continue
        if images.get(image) != pinned:
            start.log.info(f"image {image} is {pinned} for this run")
        images[image] = pinned
    if found:
        raise InputError(found)


def _images_wanted(start: ThisStart, run: Run) -> set[tuple[str, str]]:
    """Runtime and image of all that an engine of this machine is asked for."""
    wanted = {(runtime, task.image) for task, runtime in start.pending_of(run).items()}
    wanted |= {
        (needed.runtime, needed.server.image)
        for needed in start.servers_of(run)
        if not needed.server.hosted_by
    }
    return {
        (runtime, image) for runtime, image in wanted if image and runtime not in WITHOUT_ENGINE
    }


def _try_to_write(record: dict[str, Any], pending: Mapping[Task, str], log: Log) -> None:
    """Refuses an output folder that containers cannot write. Raises InputError."""
    found = cannot_write(pending, record["images"])
    if any(not problem.warning for problem in found):
        raise InputError(problem for problem in found if not problem.warning)
    for problem in found:
        log.warning(str(problem))
        record["warnings"].append(str(problem))


def resolved_text(run: Run, copies: Mapping[Path, str] | None = None) -> str:
    """The config of the run: no secret, no absolute path of the run folder itself.

    copies  of folders of definitions, relative to the run folder
    """
    own = run.paths.dir.resolve()
    raw = json.loads(json.dumps(run.raw))
    raw.get("execution", {}).pop("output_dir", None)
    for definition in raw.get("harnesses", {}).values():
        for key in ("include_path", "files"):
            if definition.get(key):
                folder = (run.base / Path(definition[key]).expanduser()).resolve()
                inside = folder.relative_to(own) if folder.is_relative_to(own) else folder
                definition[key] = (copies or {}).get(folder, str(inside))
    for entry in raw["evaluation"]["tasks"]:
        if isinstance(entry, dict) and entry.get("dataset_dir"):
            entry["dataset_dir"] = str(Path(entry["dataset_dir"]).expanduser().resolve())
    return yaml.dump(raw, Dumper=yaml.CSafeDumper, sort_keys=True, allow_unicode=True)


def _write_task(run: Run, task: Task, runtime: str, images: Mapping[str, str]) -> None:
    task.paths.dir.mkdir(exist_ok=True)
    if not task.published:  # its work folder was removed by hand, or the result does not hold
        task.paths.published(task.digest).unlink(missing_ok=True)
    write_changed(task.paths.spec, spec_text(task))
    pinned = images.get(task.image, task.image) if task.image else None
    archive = archives.find(run.paths.dir.parent, task.image, runtime) if task.image else None
    if archive and archive.pinned != pinned:  # of another version than this run's
        archive = None
    write_changed(task.paths.script, render(task, runtime, pinned, archive), executable=True)


def spec_text(task: Task) -> str:
    """`task.yaml`: the resolved spec, and the digest over the part that decides the result."""
    content = {
        "name": task.name,
        **({"label": task.label} if task.label != task.name else {}),
        "digest": task.digest,
        "benchmark": task.benchmark.id,
        "harness": task.benchmark.harness,
        "kind": task.benchmark.definition.kind,
        "image": task.image,
        "model_id": task.endpoint.model_id,
        "endpoint": {
            "url": task.endpoint.url,
            "type": task.endpoint.type,
            "api_key_name": task.endpoint.api_key_name,
        },
        "params": task.params,
        "env_vars": {name: str(source) for name, source in task.env_vars.items()},
        "identity": task.identity,
    }
    return yaml.dump(content, Dumper=yaml.CSafeDumper, sort_keys=False, allow_unicode=True)


def run_all(run: Run) -> str:
    """`run_all.sh`: every task by hand, one after the other; a failed one hides no other."""
    names = " ".join(task.name for task in run.tasks)
    return f"""\
#!/usr/bin/env bash
# Every task of this run, by hand, one after the other: `bash run_all.sh`.
# What is finished is skipped; what failed is named at the end.
cd "$(dirname "${{BASH_SOURCE[0]}}")" || exit 1
failed=''
for task in {names}; do
    bash "$task/run.sh" || failed="$failed $task"
done
[ -z "$failed" ] || {{ echo "failed:$failed"; exit 1; }}
"""


def _start_over(task: Task, log: Log) -> None:
    """`fresh=`: the work folder goes aside, and is kept."""
    work = task.paths.work(task.digest)
    if work.exists():
        aside = task.paths.next_superseded(task.digest)
        for link in (task.paths.published(task.digest), task.paths.artifacts):
            link.unlink(missing_ok=True)
        # The record first: without it the work folder is an unfinished one, whatever comes between.
        if task.paths.record(task.digest).exists():
            task.paths.record(task.digest).rename(task.paths.record(aside))
        work.rename(task.paths.work(aside))
        log.info(f"{task.label} starts over; the old folder is {task.paths.work(aside)}")


def _remember(run: Run, log: Log) -> None:
    """A copy of the config below the home folder, so that runs can be listed from anywhere."""
    home = run_configs_home()
    try:
        home.mkdir(parents=True, exist_ok=True)
        text = f"# run folder: {run.paths.dir.absolute()}\n{resolved_text(run)}"
        write_changed(home / f"{run.paths.id}.yaml", text)
    except OSError as error:
        log.warning(f"the run is not listed in {home}: {error.strerror}")
