"""What the job of a benchmark asks Lepton for: the config as resources of Snakemake. Pure.

The names are those of the plugin, so that a profile's `default-resources`, `--set-resources` and
`--lepton-...` mean the same things.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Iterable, Mapping
from typing import Any

from snakeval.config.execution.lepton import LeptonExecution
from snakeval.config.source import host
from snakeval.plan.run import Run, Task

Resource = int | str

NAME = "lepton"
"""Snakemake's name of the executor, and of the plugin that these resources are for."""


def resources_of(run: Run, task: Task) -> dict[str, Resource]:
    """The resources that the config asks for; the profile's settings stand for the others."""
    execution = run.config.execution
    found: dict[str, Resource | None] = {
        "lepton_image": task.image,
        "lepton_env": json.dumps(variables(run, task)) if variables(run, task) else None,
    }
    if isinstance(execution, LeptonExecution):
        tasks = execution.lepton_platform.tasks
        mounts = [mount.model_dump(by_alias=True, exclude_none=True) for mount in tasks.mounts]
        minutes = -(-(execution.evaluation_tasks.timeout or 0) // 60)
        found |= {
            "lepton_resource_shape": execution.evaluation_tasks.resource_shape,
            "lepton_node_group": tasks.node_group,
            "lepton_mounts": json.dumps(mounts) if mounts else None,
            "lepton_image_pull_secrets": " ".join(tasks.image_pull_secrets),
            "runtime": minutes if minutes and not task.resources.walltime else None,
        }
    return {name: value for name, value in found.items() if value not in (None, "")}


def variables(run: Run, task: Task) -> dict[str, str]:
    """The variables of a benchmark's job, as the plugin has them: `secret:NAME` or `lit:TEXT`.

    A variable of this machine (`host:NAME`) is a secret of the workspace there: the one that
    `lepton_platform.tasks.env_vars` names, else the one of the same name. No value leaves this
    machine; `lit:` text is in run.sh already. The token of an endpoint of this run is the secret
    that goes with it.
    """
    execution = run.config.execution
    given: Mapping[str, Any] = {}
    names: list[str] = []
    if isinstance(execution, LeptonExecution):
        given = execution.lepton_platform.tasks.env_vars
        names = list(execution.env_var_names)
    mapped = {name: source_of(value) for name, value in given.items()}
    found = mapped | {name: f"secret:{secret}" for name, secret in secrets_of_servers(run).items()}
    sources = dict(task.env_vars)
    if task.endpoint.api_key_name:
        sources.setdefault(task.endpoint.api_key_name, host(task.endpoint.api_key_name))
    for name, source in sources.items():
        if variable := source.wanted_here:
            found.setdefault(variable, mapped.get(name, f"secret:{variable}"))
    for name in names:
        found.setdefault(name, f"secret:{name}")
    return found


def provided(runs: Iterable[Run]) -> dict[Task, Collection[str]]:
    """The variables that the benchmarks' jobs will have, whatever this machine has."""
    return {task: variables(run, task).keys() for run in runs for task in run.tasks}


def secrets_of_servers(run: Run) -> dict[str, str]:
    """A variable that holds the token of an endpoint of this run -> its secret."""
    if not any(server.hosted_by for server in run.servers.values()):
        return {}
    from snakeval.executors.lepton.server import job_secrets

    return job_secrets(run)


def source_of(value: Any) -> str:
    """A value of `env_vars` in the config's Lepton section.

    Lepton's own form names a secret, and so does `host:NAME`; other text was written by the user,
    as text that everybody may read.
    """
    if isinstance(value, Mapping):
        reference = value.get("value_from")
        if isinstance(reference, Mapping) and reference.get("secret_name_ref"):
            return f"secret:{reference['secret_name_ref']}"
        value = value.get("value", "")
    text = str(value)
    if text.startswith("host:"):
        return f"secret:{text.removeprefix('host:')}"
    return text if text.startswith(("lit:", "secret:")) else f"lit:{text}"
