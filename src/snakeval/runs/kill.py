"""Stops everything of a run on this machine and on Slurm, and proves that it is gone.

A mark goes first, so that what is stopped does not come back in the start that is under way; then
the controller, so that it starts nothing anew; then Slurm's jobs and the scripts, which end their
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
from dataclasses import dataclass, field

from snakeval.executors.places import place_at
from snakeval.job.slurm_job import mark
from snakeval.run_folder import controller
from snakeval.run_folder import servers as state
from snakeval.run_folder.layout import RunPaths
from snakeval.run_folder.lease import owner_of
from snakeval.run_folder.records import task_names

SCRIPT_GRACE = 25.0
"""Seconds that a script has: 10 for its harness, then the removal of the container."""
JOB_GRACE = 5.0
"""Seconds until the end of a job is seen in the folder that it shares with this machine."""
CONTROLLER_GRACE = 20.0
ENGINES = ("docker", "podman")


@dataclass
class Stopped:
    """What was found and ended, and what is still there."""

    ended: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


def kill_run(run: RunPaths, task: str | None = None) -> Stopped:
    """Stops controller, jobs, scripts and containers of a run, or those of one task.

    Parts on other machines that no Slurm runs are reported.
    """
    report = Stopped()
    names = [name for name in task_names(run) if task in (None, name)]
    driving = controller.read(run.controller)
    if driving:
        for name in names:
            mark(run.task(name).dir, driving.start)
    if task is None:
        _signal_controller(run)
    _stop_jobs(run, task, report)
    _stop_lepton_jobs(run, task, report)
    _stop_scripts(run, names, report)
    if task is None:
        _stop_servers(run, report)
        _stop_controller(run, report)
    for engine in ENGINES:
        _remove_containers(engine, run, task, report)
    return report


def _signal_controller(run: RunPaths) -> None:
    """SIGINT: Snakemake starts nothing more and waits for what runs."""
    found = controller.alive(run.controller)
    if found and found.host == platform.node():
        _send(found.pid, signal.SIGINT)


def _stop_jobs(run: RunPaths, task: str | None, report: Stopped) -> None:
    from snakeval.executors.slurm.queue import QueryFailed
    from snakeval.executors.slurm.stop import is_on_slurm, stop_jobs

    if not is_on_slurm(run):
        return
    try:
        ended, left = stop_jobs(run, lambda name: task in (None, name))
    except QueryFailed as error:
        report.left.append(f"Slurm jobs: nobody knows, Slurm does not answer ({error})")
        return
    report.ended += ended
    report.left += left


def _stop_lepton_jobs(run: RunPaths, task: str | None, report: Stopped) -> None:
    from snakemake_executor_plugin_lepton.client import ServiceError
    from snakemake_executor_plugin_lepton.spec import label_value
    from snakeval.executors.lepton.stop import is_on_lepton, stop_jobs

    if not is_on_lepton(run):
        return
    try:
        ended, left = stop_jobs(run, lambda name: task is None or name == label_value(task))
    except ServiceError as error:
        report.left.append(f"Lepton jobs: nobody knows, Lepton does not answer ({error})")
        return
    report.ended += ended
    report.left += left


def _stop_scripts(run: RunPaths, names: list[str], report: Stopped) -> None:
    owners = {
        name: owner for name in names if (owner := owner_of(run.task(name).lease)) and owner.alive
    }
    here = {name: owner for name, owner in owners.items() if owner.here}
    for name, owner in owners.items():
        paths = run.task(name).lease
        # A cancelled job gives its lease back when it ends; one that was shot does not.
        gone = owner.job and (
            _has_ended(run, owner.job) or _wait(lambda paths=paths: not _holds(paths), JOB_GRACE)  # type: ignore[misc]
        )
        if name not in here and not gone:
            where = "another host" if owner.host != platform.node() else "in a container"
            report.left.append(f"{name}: pid {owner.pid} on {owner.host} ({where})")
    for owner in here.values():
        _send(owner.pid, signal.SIGTERM)
    for name, owner in here.items():
        paths = run.task(name).lease
        gone = _wait(lambda paths=paths: not _holds(paths), SCRIPT_GRACE)  # type: ignore[misc]
        if not gone:
            _send(owner.pid, signal.SIGKILL)
            gone = _wait(lambda paths=paths: not _holds(paths), 5)  # type: ignore[misc]
        (report.ended if gone else report.left).append(f"{name}: pid {owner.pid}")


def _has_ended(run: RunPaths, job: str) -> bool:
    """Whether Slurm knows a job as ended."""
    from snakeval.executors.slurm import queue
    from snakeval.executors.slurm.stop import is_on_slurm

    try:
        return is_on_slurm(run) and queue.states([job]).get(job) in queue.ENDED
    except queue.QueryFailed:
        return False


def _stop_servers(run: RunPaths, report: Stopped) -> None:
    for paths in state.deployments_of(run):
        place = place_at(paths)
        if where := place.where(paths):
            gone = place.take_down(paths)
            (report.ended if gone else report.left).append(f"server {paths.dir.name}: {where}")


def _holds(lease: os.PathLike[str]) -> bool:
    from pathlib import Path

    owner = owner_of(Path(lease))
    return bool(owner and owner.alive)


def _stop_controller(run: RunPaths, report: Stopped) -> None:
    found = controller.alive(run.controller)
    if found is None:
        return
    if found.host != platform.node():
        if any("(controller, " in ended for ended in report.ended):
            return  # it was a job, and that job is gone
        report.left.append(f"controller: pid {found.pid} on {found.host} (another host)")
        return
    gone = _wait(lambda: controller.alive(run.controller) is None, CONTROLLER_GRACE)
    if not gone:
        _send(found.pid, signal.SIGKILL)
        gone = _wait(lambda: controller.alive(run.controller) is None, 5)
    (report.ended if gone else report.left).append(f"controller: pid {found.pid}")


def _remove_containers(engine: str, run: RunPaths, task: str | None, report: Stopped) -> None:
    for container in containers(engine, run, task):
        subprocess.run([engine, "rm", "-f", container], capture_output=True, check=False)
        report.ended.append(f"container {container}")
    report.left += [f"container {container}" for container in containers(engine, run, task)]


def containers(engine: str, run: RunPaths, task: str | None = None) -> list[str]:
    """Names of the run's (or one task's) containers on this machine, by their label."""
    if shutil.which(engine) is None:
        return []
    label = f"snakeval.task={run.id}/{task}" if task else f"snakeval.run={run.id}"
    answer = subprocess.run(
        [engine, "ps", "-a", "--filter", f"label={label}", "--format", "{{.Names}}"],
        capture_output=True,
        text=True,
        check=False,
    )
    return answer.stdout.split()


def _send(pid: int, number: signal.Signals) -> None:
    try:
        os.kill(pid, number)
    except ProcessLookupError:
        return


def _wait(condition: Callable[[], bool], seconds: float) -> bool:
    """Whether a condition came true in time."""
    deadline = time.monotonic() + seconds
    while not condition():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.1)
    return True
