"""Which benchmarks a start has to evaluate, which servers they need, and how both are started:
decided here and nowhere else."""

from __future__ import annotations

import contextlib
from collections.abc import Collection

from snakeval.plan.run import Run, Task
from snakeval.plan.server import Server


def is_pending(run: Run, task: Task) -> bool:
    """Whether a benchmark is to be evaluated: it is not published, or `fresh=` names it."""
    return not task.published or task in run.fresh


def pending_tasks(run: Run) -> list[Task]:
    """The benchmarks of this start (`tasks=`) that are to be evaluated."""
    return [task for task in run.selected if is_pending(run, task)]


def forced(run: Run) -> list[Task]:
    """`Run.again`. A link whose work folder was removed goes: no plan can be made beside one, not
    even a dry one."""
    for task in run.tasks:
        link = task.paths.published(task.digest)
        if link.is_symlink() and not link.exists():
            with contextlib.suppress(OSError):
                link.unlink()
    return run.again


def servers_needed(run: Run, tasks: Collection[Task]) -> list[tuple[Server, list[Task]]]:
    """The servers that pending ones among these tasks need, the model's first, each with them."""
    if not run.servers:
        return []  # a look at every task's folder would tell nothing
    pending = [task for task in run.tasks if task in tasks and is_pending(run, task)]
    users = {name: [task for task in pending if name in task.servers] for name in run.servers}
    return [(run.servers[name], tasks) for name, tasks in users.items() if tasks]


def runtime_of(task: Task, wanted: str) -> str:
    """The runtime of a task: what the profile wants, or `process` for a task without an image.

    With `image` the job is in an image already, the executor's where the task has none.
    """
    return wanted if task.image or wanted == "image" else "process"


def runtime_of_server(server: Server, wanted: str) -> str:
    """The runtime of a server: what the profile wants, or `process` for one without an image; of
    one with a host of its own that host's name."""
    if server.hosted_by:
        return server.hosted_by
    return wanted if server.image else "process"
