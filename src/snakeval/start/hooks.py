"""What Snakemake's hooks do: from the jobs it has planned to a start, and what comes before its
first job and after its last one."""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, NoReturn

from snakeval.executors import base
from snakeval.executors.profile import DEFAULT_RUNTIME, Profile, of_all_jobs
from snakeval.executors.registry import HERE, executor, servers_at
from snakeval.plan.pending import pending_tasks
from snakeval.plan.run import Run, Task
from snakeval.run_folder import servers
from snakeval.run_folder.controller import Hold
from snakeval.start import forecast, gpus, server_jobs
from snakeval.start import snakemake_internals as snakemake
from snakeval.start.begin import begin
from snakeval.start.this_start import ThisStart

ACTED_ON = ("evaluate", "results", "auto_export")
"""Rules of runs; a start that has none of their jobs is a utility target's."""


class HandedOver(Exception):
    """Another job drives the run from now on; the message says which one."""


def before_the_first_job(
    workflow: Any,
    runs: Sequence[Run],
    as_job: bool,
    named: Callable[[str], str] = str,
) -> list[Hold]:
    """Checks, takes the runs and writes their folders; returns the holds on them.

    as_job  `controller=job`
    named   the name of a rule, which is another one in a workflow that has this one as a module
    Nothing is done for a utility target. Raises InputError, HandedOver.
    """
    jobs = {rule: snakemake.planned(workflow, named(rule)) for rule in ACTED_ON}
    if not any(jobs.values()):
        return []
    os.environ["SNAKEVAL_RETRIES"] = str(snakemake.retries(workflow))
    planned = {str(job.output[0]): job for job in jobs["evaluate"]}
    start = real_start(workflow, runs, planned)
    part = _part_of_executor(workflow, start, planned)
    refused = [base.NO_CONTROLLER_JOB] if as_job and planned and not part.can_hand_over else []
    found = [*refused, *part.check(), *server_jobs.unfit(start)]
    holds = begin(start, found, keeps_files=bool(as_job and planned))
    for line, is_warning in forecast.tell(start.runs, start.pending):
        (start.log.warning if is_warning else start.log.info)(line)
    _count_servers_that_are_up(start)
    part.look()
    part.begin()
    if planned and as_job:
        _hand_over(start, part, holds)
    return holds


def _hand_over(start: ThisStart, part: base.Start, holds: Sequence[Hold]) -> NoReturn:
    """`controller=job`: this start ends here, and a job drives the run."""
    for hold in holds:
        hold.release()
    job = part.hand_over()
    raise HandedOver(f"job {job} drives the run now: {start.runs[0].paths.dir}")


def real_start(workflow: Any, runs: Sequence[Run], planned: Mapping[str, Any]) -> ThisStart:
    """A start whose jobs of benchmarks are planned.

    planned  by their output
    """
    runtimes = {
        output: snakemake.resource_of(job, "container_runtime", DEFAULT_RUNTIME)
        for output, job in planned.items()
    }
    asked = {
        task: runtimes[output]
        for run in runs
        for task in run.tasks
        if (output := str(task.paths.published(task.digest))) in runtimes
    }
    return _start(
        workflow,
        runs,
        asked,
        snakemake.executor_plugin(workflow).name,
        lambda path: snakemake.makes(workflow, path),
    )


def dry_start(workflow: Any, runs: Sequence[Run], is_module: bool = False) -> ThisStart:
    """The start that a dry run stands for. Without a profile the config's word is the best guess
    at the executor.

    is_module  another workflow may make what is missing: its jobs are not planned yet
    """
    types = [run.config.execution.type for run in runs]
    names = [snakemake.executor_stood_for(workflow), *types]
    runtime = _profile(workflow).runtime
    asked = {task: runtime for run in runs for task in pending_tasks(run)}
    return _start(
        workflow,
        runs,
        asked,
        next((each for each in names if each not in ("", HERE)), HERE),
        lambda _: is_module,
    )


def _start(
    workflow: Any,
    runs: Sequence[Run],
    asked: Mapping[Task, str],
    name: str,
    makes: Callable[[Path], bool],
) -> ThisStart:
    """name: the executor's"""
    return ThisStart(
        id=os.environ.get("SNAKEVAL_START", ""),
        runs=tuple(runs),
        asked=asked,
        executor=executor(name),
        profile=_profile(workflow),
        log=snakemake.log(),
        gpu_limit=snakemake.resource_limit(workflow, gpus.RESOURCE),
        provided=executor(name).provided(runs) or {},
        makes=makes,
    )


def _profile(workflow: Any) -> Profile:
    return Profile(of_all_jobs(snakemake.default_resources(workflow)))


def _part_of_executor(workflow: Any, start: ThisStart, jobs: Mapping[str, Any]) -> base.Start:
    """The executor's part in this start; none where nothing is to be evaluated.

    jobs  of benchmarks, by their output
    """
    if not jobs:
        return base.Start()
    plugin = snakemake.executor_of(workflow, next(iter(jobs.values())))
    planned = base.Planned(start.runs, jobs, plugin, start.profile.defaults, start.id)
    return start.executor.for_start(planned)


def _count_servers_that_are_up(start: ThisStart) -> None:
    """Those of an earlier start have GPUs already; elsewhere the queue counts them."""
    if start.gpu_limit is not None and not start.executor.elsewhere:
        gpus.found_up(gpus.claims_file(start.id), start.runs)


def take_servers_down(runs: Sequence[Run], start: str) -> None:
    """What was brought up ends now, unless a benchmark that outlived its start still runs."""
    if not any(run.servers for run in runs):
        return
    for run in runs:
        for paths in servers.deployments_of(run.paths):
            if not servers.was_started_by_hand(paths):
                servers_at(paths).take_down(paths, "unused")
    gpus.forget(start)
