"""Where benchmarks of a deployed server run: in jobs beside it, or as steps inside its job."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from snakeval.config.execution.slurm import SlurmExecution
from snakeval.errors import Problem
from snakeval.executors.slurm.resources import (
    asks_for_whole_nodes,
    notation,
    seconds,
    written_walltime,
)
from snakeval.executors.slurm.server_job import gpus_asked
from snakeval.plan.run import Run, Task
from snakeval.plan.server import Server
from snakeval.run_folder.layout import ServerPaths


def hosting(run: Run, task: Task) -> ServerPaths | None:
    """The deployment in whose allocation a benchmark runs; None: it is a job of its own."""
    execution = run.config.execution
    if not isinstance(execution, SlurmExecution) or execution.placement == "separate":
        return None
    server = _server(run, task)
    if server is None or (execution.placement == "auto" and not _why_inside(run, task, server)):
        return None
    return run.paths.server(server.name)


def remarks(planned: Iterable[tuple[Run, Task]], runtime: int | str | None) -> Iterator[Problem]:
    """What a person should know about where the planned benchmarks run, and what it costs.

    runtime  minutes that a job may take where the config does not say
    """
    of_runs: dict[int, tuple[Run, list[Task]]] = {}
    for run, task in planned:
        of_runs.setdefault(id(run), (run, []))[1].append(task)
    for run, tasks in of_runs.values():
        yield from _inside(run, tasks)
        alone = [task for task in tasks if not hosting(run, task)]
        if alone and _is_exclusive(run):
            yield _whole_nodes(run, alone, runtime)


def _inside(run: Run, tasks: list[Task]) -> Iterator[Problem]:
    """That `placement: auto` has put benchmarks into their server's job, and why."""
    execution = run.config.execution
    if not isinstance(execution, SlurmExecution) or execution.placement != "auto":
        return
    reasons = {
        f"{len([each for each in tasks if hosting(run, each)])} benchmarks run inside the job of "
        f"their server '{server.name}': {_why_inside(run, task, server)}"
        for task in tasks
        if hosting(run, task) and (server := _server(run, task))
    }
    for reason in sorted(reasons):
        yield Problem(
            run.place("execution", "placement"),
            f"auto: {reason}",
            "placement: separate insists on jobs of their own",
            warning=True,
        )


def _whole_nodes(run: Run, tasks: list[Task], runtime: int | str | None) -> Problem:
    """That each of some benchmarks takes a node of its own, and what that may cost."""
    default = written_walltime(run) or (int(runtime) * 60 if isinstance(runtime, int) else 0)
    limits = [
        seconds(task.resources.walltime) if task.resources.walltime else default for task in tasks
    ]
    hours = f"up to {sum(limits) / 3600:g} node-hours" if all(limits) else "for as long as it runs"
    longest = f", by time limits of {notation(max(limits))}" if all(limits) else ""
    return Problem(
        run.place("execution", "sbatch_extra_flags", "exclusive"),
        f"{len(tasks)} benchmark{'s take' if len(tasks) > 1 else ' takes'} a whole node each "
        f"({hours}{longest}), and a benchmark mostly waits for its model",
        "write exclusive: false to share nodes",
        warning=True,
    )


def _server(run: Run, task: Task) -> Server | None:
    """The server in whose job a benchmark could run."""
    ours = [run.servers[name] for name in task.servers if not run.servers[name].hosted_by]
    return ours[0] if ours else None


def _why_inside(run: Run, task: Task, server: Server) -> str:
    """Why a benchmark beside its server would take a whole node; empty: it would not."""
    execution = run.config.execution
    if not isinstance(execution, SlurmExecution) or task.resources.partition:
        return ""
    if _is_exclusive(run):
        return "with sbatch_extra_flags.exclusive each would take a whole node"
    written = "partition" in execution.model_fields_set
    if written and not execution.cpu_partition and gpus_asked(run, server):
        return (
            f"there is no cpu_partition beside the partition of GPUs ('{execution.partition}'), "
            "whose nodes they would take"
        )
    return ""


def _is_exclusive(run: Run) -> bool:
    execution = run.config.execution
    return isinstance(execution, SlurmExecution) and asks_for_whole_nodes(
        execution.sbatch_extra_flags
    )
