"""Stops everything of a run, here and with every executor, and proves that it is gone.

A mark goes first, so that what is stopped does not come back in the start that is under way; then
the controller, so that it starts nothing anew; then the jobs and the scripts, which end their
harnesses and record why; then the servers; then whatever containers are left.
"""

from __future__ import annotations

import os
import platform
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

from snakeval.executors.base import CannotAsk, Stopped
from snakeval.executors.registry import executors, servers_at
from snakeval.job.cancelled import mark
from snakeval.job.lease import Owner, holder_of, host_id, is_ours, living, send
from snakeval.run_folder import controller
from snakeval.run_folder import servers as state
from snakeval.run_folder.layout import RunPaths
from snakeval.run_folder.records import called, task_names

SCRIPT_GRACE = 25.0
"""Seconds that a script has: 10 for its harness, then the removal of the container."""
JOB_GRACE = 5.0
"""Seconds until the end of a job is seen in the folder that it shares with this machine."""
CONTROLLER_GRACE = 20.0
ENGINES = ("docker", "podman")


def kill_run(run: RunPaths, task: str | None = None) -> Stopped:
    """Stops controller, jobs, scripts and containers of a run, or those of one task.

    Parts on other machines that no executor runs are reported.
    """
    report = Stopped()
    names = [name for name in task_names(run) if task in (None, name)]
    driving = controller.read(run.controller)
    if driving:
        for name in names:
            mark(run.task(name).dir, driving.start)
    told = _signal_controller(run) if task is None else None
    _stop_jobs(run, task, report)
    _stop_scripts(run, names, report)
    if task is None:
        _stop_servers(run, report)
        _stop_controller(run, told, report)
    for engine in ENGINES:
        _remove_containers(engine, run, task, report)
    return report


def _signal_controller(run: RunPaths) -> controller.Controller | None:
    """SIGINT: Snakemake starts nothing more and waits for what runs. Returns whom it reached."""
    found = controller.alive(run.controller)
    if found and send(found.owner, signal.SIGINT, run.controller):
        return found
    return None


def _stop_jobs(run: RunPaths, task: str | None, report: Stopped) -> None:
    """The jobs of every executor that the run may have some with."""
    for executor in executors():
        if not executor.was_used(run):
            continue
        try:
            found = executor.stop(run, lambda name: task in (None, name))
        except CannotAsk as error:
            report.left.append(
                f"{executor.title} jobs: unknown, {executor.title} does not answer ({error})"
            )
        else:
            report.ended += found.ended
            report.left += found.left


def _stop_scripts(run: RunPaths, names: list[str], report: Stopped) -> None:
    leases = {run.task(name).lease: name for name in names}
    shown = {name: called(run.task(name)) for name in names}
    owners = {leases[lease]: owner for lease, owner in living(leases).items()}
    here = {name: owner for name, owner in owners.items() if owner.here and owner.pid}
    for name, owner in owners.items():
        paths = run.task(name).lease
        # A cancelled job gives its lease back when it ends; one that was shot does not.
        gone = owner.job and (
            _has_ended(run, owner.job) or _wait(lambda paths=paths: not holder_of(paths), JOB_GRACE)  # type: ignore[misc]
        )
        if name not in here and not gone:
            report.left.append(f"{shown[name]}: {_elsewhere(owner, paths)}")
    told = {name for name, owner in here.items() if _send(run, name, owner, signal.SIGTERM)}
    for name, owner in here.items():
        if name not in told:
            report.left.append(f"{shown[name]}: {_not_ours(owner.pid, run.task(name).lease)}")
            continue
        paths = run.task(name).lease
        gone = _wait(lambda paths=paths: not holder_of(paths), SCRIPT_GRACE)  # type: ignore[misc]
        if not gone:
            _send(run, name, owner, signal.SIGKILL)
            gone = _wait(lambda paths=paths: not holder_of(paths), 5)  # type: ignore[misc]
        (report.ended if gone else report.left).append(f"{shown[name]}: pid {owner.pid}")


def _send(run: RunPaths, name: str, owner: Owner, number: signal.Signals) -> bool:
    """Whether a task's script was told; False where its lease names something else."""
    return send(owner, number, run.task(name).script) or not holder_of(run.task(name).lease)


def _elsewhere(owner: Owner, lease: Path) -> str:
    if not owner.pid:
        return f"somebody works on it, and {lease}/owner does not say who"
    where = "another host"
    if owner.host == platform.node():
        same = owner.host_id == host_id()
        where = "another machine of that name" if same else "in a container"
    return f"pid {owner.pid} on {owner.host} ({where})"


def _not_ours(pid: int, file: Path) -> str:
    return f"pid {pid} was left alone, as it is not a process of this run: remove {file}"


def _has_ended(run: RunPaths, job: str) -> bool:
    """Whether an executor knows a job as ended."""
    return any(each.was_used(run) and each.has_ended(run, job) for each in executors())


def _stop_servers(run: RunPaths, report: Stopped) -> None:
    for paths in state.deployments_of(run):
        servers = servers_at(paths)
        if where := servers.where(paths):
            gone = servers.take_down(paths)
            (report.ended if gone else report.left).append(f"server {paths.dir.name}: {where}")


def _stop_controller(run: RunPaths, told: controller.Controller | None, report: Stopped) -> None:
    """Waits for the controller. One that was `told` may be gone before anybody looks again."""
    found = controller.alive(run.controller)
    if found is None:
        if told:
            report.ended.append(f"controller: pid {told.pid}")
        return
    if not found.owner.here or not found.pid:
        if any("(controller, " in ended for ended in report.ended):
            return  # it was a job, and that job is gone
        report.left.append(f"controller: {_elsewhere(found.owner, run.controller)}")
        return
    if not is_ours(found.owner, run.controller) and controller.alive(run.controller):
        report.left.append(f"controller: {_not_ours(found.pid, run.controller)}")
        return
    gone = _wait(lambda: controller.alive(run.controller) is None, CONTROLLER_GRACE)
    if not gone:
        send(found.owner, signal.SIGKILL, run.controller)
        gone = _wait(lambda: controller.alive(run.controller) is None, 5)
    (report.ended if gone else report.left).append(f"controller: pid {found.pid}")


def _remove_containers(engine: str, run: RunPaths, task: str | None, report: Stopped) -> None:
    for container in containers(engine, run, task):
        subprocess.run([engine, "rm", "-f", container], capture_output=True, check=False)
        report.ended.append(f"container {container}")
    report.left += [f"container {container}" for container in containers(engine, run, task)]


def containers(engine: str, run: RunPaths, task: str | None = None) -> list[str]:
    """Names of the run's (or one task's) containers on this machine, by their labels: of this very
    folder, not of a copy of it."""
    if shutil.which(engine) is None:
        return []
    label = f"snakeval.task={run.id}/{task}" if task else f"snakeval.run={run.id}"
    listed = _said(engine, "ps", "-aq", "--filter", f"label={label}").split()
    found = _said(engine, "inspect", "--format", LABELS, *listed) if listed else ""
    folders = {"task": run.dir, "server": run.dir / "deployments"}
    names = []
    for line in found.splitlines():
        name, folder, of_task, of_server = line.split("|")
        kind, said = ("task", of_task) if of_task else ("server", of_server)
        where = folders[kind] / said.rpartition("/")[2]
        if said and folder == folder_mark(where):
            names.append(name.removeprefix("/"))
    return names


LABELS = "{{.Name}}|" + "|".join(
    f'{{{{with index .Config.Labels "snakeval.{name}"}}}}{{{{.}}}}{{{{end}}}}'
    for name in ("folder", "task", "deployment")
)
"""What an engine is asked to say about a container."""


def folder_mark(folder: Path) -> str:
    """What tells the containers of one folder from those of its copy, as the scripts compute it."""
    path = os.fsencode(os.path.realpath(folder))
    said = subprocess.run(["cksum"], input=path, capture_output=True, check=True).stdout
    return said.split()[0].decode()


def _said(*command: str) -> str:
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether a condition came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
