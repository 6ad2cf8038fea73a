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
import subprocess
from collections.abc import Callable, Collection, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

from snakeval import __version__
from snakeval.errors import InputError, Problem
from snakeval.executors.profile import DEFAULT_RUNTIME, Profile
from snakeval.executors.registry import note_host, servers_for
from snakeval.job.files import now, write_atomically, write_changed
from snakeval.job.lease import living
from snakeval.plan.run import Run, Task
from snakeval.render.lib import write_library
from snakeval.render.task import WITHOUT_ENGINE, Pending, render, runtime_of
from snakeval.run_folder.controller import Hold
from snakeval.run_folder.layout import run_configs_home, runs_in
from snakeval.runtime import RUNTIMES, Runtime, archives
from snakeval.runtime.on_nodes import reference
from snakeval.runtime.probe import cannot_write
from snakeval.start import checks
from snakeval.start.servers import servers_of

Pin = Callable[[str, str, bool, str | None], str]
"""`Runtime.pin` of the runtime that comes first."""


def begin(
    runs: Sequence[Run],
    wanted: Mapping[str, str],
    log: Any,
    profile: Profile,
    found: Sequence[Problem] = (),
    provided: Mapping[Task, Collection[str]] | None = None,
) -> list[Hold]:
    """Takes the runs, checks, brings images here, writes the run folders.

    wanted     for each pending task's output path the runtime its job asks for
    log        has `info` and `warning`
    found      what the executor has against the start, to be told with everything else
    provided   the variables that jobs get whatever this machine has
    Returns the holds on the runs. Raises InputError; nothing is left behind then but a lock that
    is given back.
    """
    pending = Pending(
        {
            task: wanted[output]
            for run in runs
            for task in run.tasks
            if (output := str(task.paths.published(task.digest))) in wanted
        }
    )
    runtimes: dict[str, Runtime] = {name: kind() for name, kind in RUNTIMES.items()}
    found = [
        *found,
        *checks.problems(runs, pending, runtimes, profile.executor, profile.elsewhere, provided),
        *_races(runs),
        *_in_other_hands(runs, pending),
    ]
    if any(not problem.warning for problem in found):
        raise InputError(problem for problem in found if not problem.warning)
    warnings = [str(problem) for problem in found]
    for warning in warnings:
        log.warning(warning)
    holds: list[Hold] = []

    @cache  # the runs of a sweep share their images: each is asked for once
    def pin(runtime: str, image: str, again: bool, mirror: str | None) -> str:
        return runtimes[runtime].pin(image, again, mirror)

    try:
        for run in runs:
            run.paths.dir.mkdir(parents=True, exist_ok=True)
            holds.append(Hold(run.paths.controller))
            atexit.register(holds[-1].release)
        for run in runs:
            _write_run(run, pending, pin, warnings, log, profile)
    except BaseException:
        for hold in holds:
            hold.release()
        for run in runs:
            with contextlib.suppress(OSError):  # only a folder that was made just now is empty
                run.paths.dir.rmdir()
        raise
    return holds


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


def _in_other_hands(runs: Sequence[Run], pending: Mapping[Task, str]) -> list[Problem]:
    """Tasks that are under way and must not be touched now: with another spec, where the script
    would be replaced; with this one, where its folder would go aside (`fresh=`)."""
    found = []
    fresh = {task for run in runs for task in run.fresh}
    holders = living(task.paths.lease for task in pending)
    for task in pending:
        owner = holders.get(task.paths.lease)
        other = owner is not None and owner.digest not in ("", task.digest)
        if owner and (other or task in fresh):
            found.append(
                Problem(
                    task.name,
                    f"still runs{' with an earlier spec' if other else ''} "
                    f"(pid {owner.pid} on {owner.host})",
                    "wait for it, or `snakemake kill` the run; then start again",
                )
            )
    return found


def _write_run(
    run: Run,
    pending: Mapping[Task, str],
    pin: Pin,
    warnings: Sequence[str],
    log: Any,
    profile: Profile,
) -> None:
    paths = run.paths
    record = _record(run)
    if pending:  # else nothing was looked at, and an earlier start's warnings still stand
        record["warnings"] = list(warnings)
    _pin(record, run, pending, pin, log, profile.elsewhere)
    if not profile.elsewhere:  # else this machine need not have the image
        _try_to_write(record, run, pending, log)
    write_library(paths.lib)
    write_changed(paths.config, resolved_text(run))
    for task in run.fresh:
        _start_over(task, log)
    _write_servers(run, pending, record["images"], profile)
    for task in run.tasks:
        if task in pending or not task.paths.script.exists():
            _write_task(
                run,
                task,
                pending.get(task) or runtime_of(task, DEFAULT_RUNTIME),
                record["images"],
            )
    write_changed(paths.run_all, run_all(run), 0o755)
    write_changed(paths.record, json.dumps(record, indent=1) + "\n")
    _remember(run, log)


def _write_servers(
    run: Run, pending: Mapping[Task, str], images: Mapping[str, str], profile: Profile
) -> None:
    """The scripts of every server that a pending benchmark needs, and who needs it."""
    start = os.environ.get("SNAKEVAL_START", "")
    for server, runtime in servers_of(run, pending):
        paths = run.paths.server(server.name)
        paths.logs.mkdir(parents=True, exist_ok=True)
        paths.users.mkdir(exist_ok=True)
        for token in paths.dir.glob("up.*"):
            token.unlink()
        pinned = images.get(server.image, server.image) if server.image else None
        host, servers = servers_for(server, profile.executor)
        if servers:
            note_host(paths, host)
            servers.write(run, server, runtime, pinned, profile.defaults)
        tasks = {
            task.name: task.digest
            for task in run.tasks
            if task in pending and server.name in task.servers
        }
        write_atomically(paths.tasks, json.dumps({"start": start, "tasks": tasks}, indent=1) + "\n")


def _record(run: Run) -> dict[str, Any]:
    """What `run.json` says, taken over from an earlier start where it has one."""
    try:
        record: dict[str, Any] = json.loads(run.paths.record.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        record = {"id": run.paths.id, "identity": run.identity, "created": now(), "images": {}}
    record["tasks"] = [task.name for task in run.tasks]
    record["last_start"] = {
        "time": now(),
        "host": platform.node(),
        "user": _user(),
        "versions": {"snakeval": __version__, "python": platform.python_version()},
        "revision": _revision(),
    }
    return record


def _user() -> str:
    try:
        return getpass.getuser()
    except (KeyError, OSError):  # a uid without a name, in a container
        return str(os.getuid())


def _revision() -> str | None:
    """The git revision of the pipeline, where it is a clone."""
    answer = (
        subprocess.run(
            ["git", "-C", str(Path(__file__).parent), "rev-parse", "HEAD"],
            capture_output=True,
            text=True,
            check=False,
        )
        if _has_git()
        else None
    )
    return answer.stdout.strip() or None if answer else None


def _has_git() -> bool:
    import shutil

    return shutil.which("git") is not None


def _pin(
    record: dict[str, Any],
    run: Run,
    pending: Mapping[Task, str],
    pin: Pin,
    log: Any,
    elsewhere: bool,
) -> None:
    """Resolves the tags of pending tasks once per run, and makes sure the images are here.

    A pinned image that is gone is fetched again by its digest. Raises InputError with every
    image that cannot be had; where the jobs run elsewhere, the image stays as it is written.
    """
    images: dict[str, str] = record["images"]
    found: list[Problem] = []
    wanted = {(pending[task], task.image) for task in run.tasks if task in pending and task.image}
    wanted |= {
        (runtime, server.image)
        for server, runtime in servers_of(run, pending)
        if server.image and not server.hosted_by
    }
    for runtime, image in sorted(wanted):
        if runtime in WITHOUT_ENGINE:  # nothing of it comes to this machine
            continue
        again = run.update_images
        archive = archives.find(run.paths.dir.parent, image, runtime)
        if archive and not again and images.get(image) in (None, archive.pinned):
            images[image] = archive.pinned  # nobody need be asked
            continue
        if archive:
            log.warning(
                f"{archive.file} holds another version of {image} than this run's; `snakemake "
                "prefetch` with the same config brings the right one"
            )
        try:
            known = image if again else images.get(image, image)
            if runtime in ("apptainer", "pyxis"):
                known = reference(known, image, None)
            pinned = pin(runtime, known, again, run.config.execution.image_mirror)
        except InputError as error:
            if elsewhere:
                log.warning(f"image {image} is not pinned: {error.problems[0].what}")
            else:
                found += error.problems
            continue
        if images.get(image) != pinned:
            log.info(f"image {image} is {pinned} for this run")
        images[image] = pinned
    if found:
        raise InputError(found)


def _try_to_write(record: dict[str, Any], run: Run, pending: Mapping[Task, str], log: Any) -> None:
    """Refuses an output folder that containers cannot write. Raises InputError."""
    tasks = {task: pending[task] for task in run.tasks if task in pending}
    found = cannot_write(tasks, record["images"])
    if any(not problem.warning for problem in found):
        raise InputError(problem for problem in found if not problem.warning)
    for problem in found:
        log.warning(str(problem))
        record["warnings"].append(str(problem))


def resolved_text(run: Run) -> str:
    """The config of the run: no secret, no path of the run folder itself."""
    raw = json.loads(json.dumps(run.raw))
    raw.get("execution", {}).pop("output_dir", None)
    for definition in raw.get("harnesses", {}).values():
        for key in ("include_path", "files"):
            if definition.get(key):
                definition[key] = str((run.base / Path(definition[key]).expanduser()).resolve())
    for entry in raw["evaluation"]["tasks"]:
        if isinstance(entry, dict) and entry.get("dataset_dir"):
            entry["dataset_dir"] = str(Path(entry["dataset_dir"]).expanduser().resolve())
    return yaml.dump(raw, Dumper=yaml.CSafeDumper, sort_keys=True, allow_unicode=True)


def _write_task(run: Run, task: Task, runtime: str, images: Mapping[str, str]) -> None:
    task.paths.dir.mkdir(exist_ok=True)
    write_changed(task.paths.spec, spec_text(task))
    pinned = images.get(task.image, task.image) if task.image else None
    archive = archives.find(run.paths.dir.parent, task.image, runtime) if task.image else None
    if archive and archive.pinned != pinned:  # of another version than this run's
        archive = None
    write_changed(task.paths.script, render(task, runtime, pinned, archive), 0o755)


def spec_text(task: Task) -> str:
    """`task.yaml`: the resolved spec, and the digest over the part that decides the result."""
    content = {
        "name": task.name,
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


def _start_over(task: Task, log: Any) -> None:
    """`fresh=`: the work folder goes aside, and is kept."""
    work = task.paths.work(task.digest)
    if work.exists():
        aside = task.paths.next_superseded(task.digest)
        for link in (task.paths.published(task.digest), task.paths.artifacts):
            link.unlink(missing_ok=True)
        work.rename(aside)
        log.info(f"{task.name} starts over; the old folder is {aside}")


def _remember(run: Run, log: Any) -> None:
    """A copy of the config below the home folder, so that runs can be listed from anywhere."""
    home = run_configs_home()
    try:
        home.mkdir(parents=True, exist_ok=True)
        text = f"# run folder: {run.paths.dir.absolute()}\n{resolved_text(run)}"
        write_changed(home / f"{run.paths.id}.yaml", text)
    except OSError as error:
        log.warning(f"the run is not listed in {home}: {error.strerror}")
