"""What the job of a benchmark asks Kubernetes for: the config as resources of Snakemake. Pure.

The names are those of the plugin, so that a profile's `default-resources`, `--set-resources` and
`--kubernetes-jobs-...` mean the same things.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable

from snakeval.config.execution.kubernetes import KubernetesExecution
from snakeval.config.sections import seconds_of
from snakeval.config.source import host
from snakeval.plan.run import Run, Task

Resource = int | str

NAME = "kubernetes-jobs"
"""Snakemake's name of the executor, and of the plugin that these resources are for."""


def resources_of(run: Run, task: Task) -> dict[str, Resource]:
    """The resources that the config asks for; the profile's settings stand for the others."""
    execution, own = run.config.execution, task.resources
    found: dict[str, Resource | None] = {"kubernetes_image": task.image}
    if isinstance(execution, KubernetesExecution):
        limit = own.walltime or execution.walltime
        found |= {
            "kubernetes_context": execution.context,
            "kubernetes_namespace": execution.namespace,
            "kubernetes_volumes": _volumes(execution),
            "kubernetes_env": json.dumps(variables(run, task)) if variables(run, task) else None,
            "kubernetes_image_pull_secrets": " ".join(execution.image_pull_secrets),
            "kubernetes_pod": json.dumps(execution.pod) if execution.pod else None,
            "cpus_per_task": own.cpus or execution.cpus,
            "mem_mb": own.mem_mb or execution.mem_mb,
            "runtime": max(1, -(-seconds_of(limit) // 60)) if limit else None,
        }
    return {name: value for name, value in found.items() if value not in (None, "")}


def _volumes(execution: KubernetesExecution) -> str | None:
    mounts = [
        {"from": each.claim, "path": each.path, "mount_path": each.mount_path}
        | ({"here": each.here} if each.here else {})
        for each in execution.volumes
    ]
    return json.dumps(mounts) if mounts else None


def variables(run: Run, task: Task) -> dict[str, str]:
    """The variables of a benchmark's job, as the plugin has them: `secret:SECRET/KEY`.

    A variable of this machine (`host:NAME`) is the key NAME of the Secret that the config names;
    no value leaves this machine. `lit:` text is in run.sh already.
    """
    execution = run.config.execution
    if not isinstance(execution, KubernetesExecution) or not execution.secret:
        return {}
    return {name: f"secret:{execution.secret}/{name}" for name in wanted(run, task)}


def wanted(run: Run, task: Task) -> list[str]:
    """The variables that a benchmark's job needs from outside its config, each once."""
    execution = run.config.execution
    sources = dict(task.env_vars)
    if task.endpoint.api_key_name:
        sources.setdefault(task.endpoint.api_key_name, host(task.endpoint.api_key_name))
    names = [variable for source in sources.values() if (variable := source.wanted_here)]
    if isinstance(execution, KubernetesExecution):
        names += execution.env_var_names
    return list(dict.fromkeys(names))


def provided(runs: Iterable[Run]) -> dict[Task, Collection[str]]:
    """The variables that the benchmarks' jobs will have, whatever this machine has. Where the
    config names no Secret, `checks` says so."""
    return {task: wanted(run, task) for run in runs for task in run.tasks}
