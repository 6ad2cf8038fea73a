"""The sbatch command of a benchmark's job, as the plugin makes it from the job's resources."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Mapping, Sequence
from types import SimpleNamespace
from typing import Any

from snakemake_executor_plugin_slurm.submit_string import get_submit_command
from snakemake_executor_plugin_slurm.utils import set_gres_string

from snakeval.executors.slurm import scripts
from snakeval.executors.slurm.resources import Resource, resources_of
from snakeval.plan.run import Run, Task


def described(
    job: Any,
    run: Run,
    task: Task,
    workdir: str,
    settings: Any = None,
    failed_nodes: Collection[str] = (),
) -> str:
    """What is asked for, in the plugin's words.

    job       of Snakemake, or `planned`
    settings  the plugin's own
    """
    account = job.resources.get("slurm_account")
    partition = job.resources.get("slurm_partition")
    params = {
        "run_uuid": scripts.name_of(task),
        "slurm_logfile": task.paths.logs.absolute() / "slurm-%j.log",
        "comment_str": scripts.comment_of(run, task),
        "account": f"-A {shlex.quote(str(account))}" if account else "",
        "partition": f"-p {shlex.quote(str(partition))}" if partition else "",
        "workdir": workdir,
    }
    command: str = get_submit_command(job, params, settings=settings, failed_nodes=failed_nodes)
    return command + str(set_gres_string(job))


class _Resources(dict[str, Resource]):
    __getattr__ = dict.__getitem__


def planned(run: Run, task: Task, defaults: Mapping[str, Resource]) -> Any:
    """A job that Snakemake has not made, for `described`.

    defaults  the profile's `default-resources`
    """
    return SimpleNamespace(resources=_Resources({**defaults, **resources_of(run, task)}), threads=1)


def words_of(command: str, resources: Any) -> list[str]:
    """The whole sbatch command of one submission, without the script."""
    words = [word for group in scripts.flags(command, resources) for word in group]
    given = shlex.split(command)
    kept = ["sbatch", "--parsable", "--export=ALL"]
    for index, word in enumerate(given):
        if word in ("--output", "-D"):
            kept += [word, given[index + 1]]
    return [*kept, *words]


def asked_for(command: Sequence[str]) -> list[str]:
    """The part of an sbatch command that Slurm may refuse: without names, logs and comments."""
    words, skip = [], False
    for word in command[1:]:
        if skip:
            skip = False
        elif word in ("--output", "--job-name", "--comment", "-D", "--parsable"):
            skip = word != "--parsable"
        else:
            words.append(word)
    return words
