"""What the executor plugin is told about benchmarks: labels, folders, where their files must be."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_lepton.hooks import Hooks
from snakemake_executor_plugin_lepton.registry import Tracked
from snakemake_executor_plugin_lepton.spec import Variable, Wanted
from snakemake_executor_plugin_lepton.storage import Mount, Unusable, mount_for, seen_in_job
from snakeval.config.execution.common import PER_RUN, READ_ONLY
from snakeval.executors.lepton.resources import NAME, secrets_of_servers
from snakeval.harness import recipe_for
from snakeval.job.cancelled import marked
from snakeval.plan.run import Run, Task
from snakeval.render.task import IN_IMAGE
from snakeval.run_folder.jobs import note

PASSED = ("SNAKEVAL_START", "SNAKEVAL_RETRIES")
"""What run.sh is told about this start; nothing secret."""


class Benchmarks(Hooks):
    """The benchmarks of a start, as the executor plugin asks about them.

    executor  Snakemake's name of it
    title     of the service, in messages
    """

    executor = NAME
    title = "Lepton"

    def __init__(self, tasks: Mapping[str, tuple[Run, Task]], start: str) -> None:
        """tasks: with their runs, by the output of their jobs; start: its id."""
        self._tasks = tasks
        self._start = start

    def _of(self, job: Any) -> tuple[Run, Task] | None:
        return self._tasks.get(str(job.output[0])) if job.output else None

    def wanted(self, job: Any, wanted: Wanted) -> Wanted:
        """Raises Unusable."""
        if (found := self._of(job)) is None:
            return wanted
        run, task = found
        run_folder = run.paths.dir.absolute()
        if seen_in_job(run_folder, wanted.mounts) is None:
            raise Unusable(
                f"execution.output_dir ({run_folder.parent}) is not on the storage of the jobs, "
                f"which is {_places(wanted.mounts)}: choose a folder there"
            )
        further = tuple(
            _shown(folder, at, wanted.mounts, key) for folder, at, key in folders_of(task)
        )
        told = [Variable(name, text=os.environ.get(name, "")) for name in PASSED]
        told.append(Variable("SNAKEVAL_EXECUTOR", text=self.executor))
        return replace(
            wanted, mounts=(*wanted.mounts, *further), variables=(*wanted.variables, *told)
        )

    def secrets_to_come(self) -> set[str]:
        """The tokens of endpoints, which are made with them."""
        runs = {id(run): run for run, _ in self._tasks.values()}.values()
        return {secret for run in runs for secret in secrets_of_servers(run).values()}

    def labels_of(self, job: Any) -> dict[str, str]:
        if (found := self._of(job)) is None:
            return {}
        run, task = found
        return {"snakeval-run": run.paths.id, "snakeval-task": task.name}

    def spec_of(self, job: Any) -> str:
        """The digest of the task alone: a job of an earlier start evaluates the same, whatever
        its limits."""
        found = self._of(job)
        return found[1].digest if found else ""

    def folder_for(self, job: Any, name: str) -> Path | None:
        found = self._of(job)
        return found[1].paths.logs.absolute() / name if found else None

    def refusal(self, job: Any) -> str:
        found = self._of(job)
        if found and marked(found[1].paths.dir, self._start):
            return "was cancelled; the next start continues it"
        return ""

    def submitted(self, tracked: Tracked) -> None:
        self._note(tracked, "")

    def failed(self, tracked: Tracked, cause: str) -> None:
        self._note(tracked, f"{self.title} job {tracked.id or tracked.name} {cause}")

    def _note(self, tracked: Tracked, cause: str) -> None:
        """`job.json`: the job that was created last for a task."""
        if found := self._of(tracked.job):
            task = found[1]
            note(task.paths.job, tracked.id or "", self.executor, task.digest, self._start, cause)


def folders_of(task: Task) -> Iterable[tuple[Path, str, str]]:
    """Folders of this machine that a task's job must see: folder, where, and the key in the
    config."""
    for source, target in task.mounts:
        yield source, target.partition(":")[0], "dataset_dir or execution.mounts.evaluation"
    files = recipe_for(task).files
    if files:
        yield Path(files).absolute(), IN_IMAGE["files"], f"harnesses.{task.benchmark.harness}"
    if task.hf_home not in ("", "no", PER_RUN):
        yield Path(task.hf_home.removesuffix(READ_ONLY)), IN_IMAGE["hf_home"], "execution.hf_home"


def _shown(folder: Path, at: str, mounts: tuple[Mount, ...], key: str) -> Mount:
    found = mount_for(folder, at, mounts)
    if found is None:
        raise Unusable(
            f"{folder} ({key}) is not on the storage of the jobs, which is {_places(mounts)}: "
            "copy it there"
        )
    return found


def _places(mounts: tuple[Mount, ...]) -> str:
    return ", ".join(str(mount.here) for mount in mounts)
