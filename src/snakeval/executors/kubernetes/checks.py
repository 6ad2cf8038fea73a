"""What the plugin and the config have against a start, each with its place in the config."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable, Collection, Iterable, Iterator
from pathlib import Path

from snakemake_executor_plugin_kubernetes_jobs import refusals
from snakemake_executor_plugin_lepton.client import ServiceError
from snakeval.config.execution.kubernetes import KubernetesExecution
from snakeval.errors import Problem
from snakeval.executors.kubernetes.resources import variables, wanted
from snakeval.plan.run import Run, Task

NOT_INSTALLED = "the client of Kubernetes is not installed: pip install -e '.[kubernetes]'"
ASKED_FOR = 5.0
"""Seconds that a call may take in a dry run."""


def without_a_secret(
    tasks: Iterable[tuple[Run, Task]], given: Callable[[Task], Collection[str]]
) -> Iterator[Problem]:
    """Variables of this machine that no Secret is named for.

    given  the variables that a benchmark's job will have
    """
    lacking: dict[str, set[str]] = {}
    for run, task in tasks:
        if names := set(wanted(run, task)) - set(given(task)):
            lacking.setdefault(run.place("execution", "secret"), set()).update(names)
    for place, names in lacking.items():
        words = " ".join(f"--from-literal={name}=..." for name in sorted(names))
        yield Problem(
            place,
            f"is missing, and benchmarks need {', '.join(sorted(names))}: values stay on this "
            "machine, pods get them from a Secret of the cluster",
            f"`kubectl create secret generic eval-keys {words}`, then write execution: "
            "{type: kubernetes, secret: eval-keys}",
        )


def in_a_dry_run(planned: Iterable[tuple[Run, Task]]) -> Iterator[Problem]:
    """What a real start would be refused for, as far as the config says where it goes; nothing is
    created, and a cluster that does not answer is asked once."""
    tasks = list(planned)
    given = {task: list(variables(run, task)) for run, task in tasks}
    yield from without_a_secret(tasks, lambda task: given[task])
    runs = list({id(run): run for run, _ in tasks}.values())
    if importlib.util.find_spec("kubernetes") is None:
        yield Problem("kubernetes", NOT_INSTALLED)
        return
    for execution in {
        id(run): run.config.execution
        for run in runs
        if isinstance(run.config.execution, KubernetesExecution)
    }.values():
        yield from (told(text, runs) for text in _lacking(execution, tasks))


def _lacking(execution: KubernetesExecution, tasks: list[tuple[Run, Task]]) -> Iterator[str]:
    """What of a config's volumes and Secret is not there: on this machine, and in the cluster."""
    for volume in execution.volumes[:1]:
        here = Path(volume.here or volume.mount_path)
        if not here.is_dir():
            yield (
                f"the volume '{volume.claim}' is not at {here} on this machine: mount it, or say "
                "where it is (`here` of the volume)"
            )
    keys = {
        (execution.secret, name)
        for run, task in tasks
        if execution.secret and run.config.execution is execution
        for name in variables(run, task)
    }
    from snakemake_executor_plugin_kubernetes_jobs.client import Kubernetes, in_words

    try:
        cluster = Kubernetes(execution.context or "", execution.namespace or "", ASKED_FOR)
    except ServiceError as error:  # says what to do
        yield str(error)
        return
    try:
        yield from refusals.claims(cluster, {each.claim for each in execution.volumes}, 0)
        yield from refusals.keys(cluster, keys, 0)
    except ServiceError as error:
        yield in_words(error)


def told(text: str, runs: Iterable[Run]) -> Problem:
    """A sentence of the plugin, which knows no config, with the place in the config that names
    what it quotes."""
    places = (
        place
        for run in runs
        for name, place in _named(run)
        if f"'{name}'" in text or f'.{name}"' in text
    )
    return Problem(next(places, "kubernetes"), text)


def _named(run: Run) -> Iterator[tuple[str, str]]:
    """What of the cluster a config names, and where."""
    execution = run.config.execution
    if not isinstance(execution, KubernetesExecution):
        return
    for number, volume in enumerate(execution.volumes):
        yield volume.claim, run.place("execution", "volumes", number, "claim")
    if execution.secret:
        yield execution.secret, run.place("execution", "secret")
    for key in execution.pod:
        yield key, run.place("execution", "pod", key)
    if execution.namespace:
        yield execution.namespace, run.place("execution", "namespace")
