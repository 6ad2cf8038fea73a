"""What the executor plugin is told about benchmarks: labels, folders, where their files must be."""

from __future__ import annotations

import json
import os
from collections.abc import Iterable
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_lepton.executor import Executor as Plugin
from snakemake_executor_plugin_lepton.registry import Tracked
from snakemake_executor_plugin_lepton.spec import Variable, Wanted
from snakemake_executor_plugin_lepton.storage import Mount, Unusable, mount_for, seen_in_job
from snakeval.executors.lepton.resources import secrets_of_servers
from snakeval.harness import recipe_for
from snakeval.job.files import write_atomically
from snakeval.job.slurm_job import marked
from snakeval.plan.run import Run, Task
from snakeval.render.task import IN_IMAGE

PASSED = ("SNAKEVAL_START", "SNAKEVAL_RETRIES")
"""What run.sh is told about this start; nothing secret."""


@dataclass(frozen=True)
class Followed:
    """A task of this start, and its run."""

    run: Run
    task: Task


class Executor(Plugin):
    """The plugin's executor, with benchmarks handled as said above."""

    followed: dict[str, Followed]

    @classmethod
    def take_over(cls, plugin: Plugin, followed: dict[str, Followed]) -> Executor:
        """Makes the plugin's executor, which Snakemake has made already, one of this class.

        followed  by the output of the task's job
        """
        plugin.__class__ = cls
        assert isinstance(plugin, cls)
        plugin.followed = followed
        return plugin

    def _of(self, job: Any) -> Followed | None:
        return self.followed.get(str(job.output[0])) if job.output else None

    def wanted(self, job: Any) -> Wanted:
        """Raises Unusable."""
        found = super().wanted(job)
        followed = self._of(job)
        if followed is None:
            return found
        task = followed.task
        run_folder = followed.run.paths.dir.absolute()
        if seen_in_job(run_folder, found.mounts) is None:
            raise Unusable(
                f"execution.output_dir ({run_folder.parent}) is not on the storage of the jobs, "
                f"which is {_places(found.mounts)}: choose a folder there"
            )
        further = tuple(
            _shown(folder, at, found.mounts, key) for folder, at, key in folders_of(task)
        )
        told = tuple(Variable(name, text=os.environ.get(name, "")) for name in PASSED)
        return replace(found, mounts=(*found.mounts, *further), variables=(*found.variables, *told))

    @property
    def secrets_to_come(self) -> set[str]:
        """The tokens of endpoints, which are made with them."""
        runs = {id(each.run): each.run for each in self.followed.values()}.values()
        return {secret for run in runs for secret in secrets_of_servers(run).values()}

    def labels_of(self, job: Any) -> dict[str, str]:
        followed = self._of(job)
        if followed is None:
            return {}
        return {"snakeval-run": followed.run.paths.id, "snakeval-task": followed.task.name}

    def spec_of(self, job: Any, wanted: Wanted) -> str:
        """The digest of the task alone: a job of an earlier start evaluates the same, whatever
        its limits."""
        followed = self._of(job)
        return followed.task.digest if followed else super().spec_of(job, wanted)

    def folder_for(self, job: Any, name: str, wanted: Wanted) -> Path:
        followed = self._of(job)
        if followed is None:
            return super().folder_for(job, name, wanted)
        return followed.task.paths.logs.absolute() / name

    def refusal(self, job: Any) -> str:
        followed = self._of(job)
        start = os.environ.get("SNAKEVAL_START", "")
        if followed and marked(followed.task.paths.dir, start):
            return "was cancelled; the next start continues it"
        return ""

    def submitted(self, tracked: Tracked) -> None:
        self._note(tracked, "")

    def failed(self, tracked: Tracked, cause: str) -> None:
        self._note(tracked, cause)

    def _note(self, tracked: Tracked, cause: str) -> None:
        """`job.json`: the job that was created last for a task."""
        followed = self._of(tracked.job)
        if followed is None:
            return
        content = {
            "job": tracked.id,
            "on": "lepton",
            "digest": followed.task.digest,
            "start": os.environ.get("SNAKEVAL_START", ""),
            **({"cause": f"Lepton job {tracked.id or tracked.name} {cause}"} if cause else {}),
        }
        write_atomically(followed.task.paths.job, json.dumps(content) + "\n")


def folders_of(task: Task) -> Iterable[tuple[Path, str, str]]:
    """Folders of this machine that a task's job must see: folder, where, and the key in the
    config."""
    for source, target in task.mounts:
        yield source, target.partition(":")[0], "dataset_dir or execution.mounts.evaluation"
    files = recipe_for(task).files
    if files:
        yield Path(files).absolute(), IN_IMAGE["files"], f"harnesses.{task.benchmark.harness}"
    if task.hf_home not in ("", "no"):
        yield Path(task.hf_home), IN_IMAGE["hf_home"], "execution.hf_home"


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
