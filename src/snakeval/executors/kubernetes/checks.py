"""What the plugin and the config have against a start, each with its place in the config."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator

from snakeval.config.execution import KubernetesExecution
from snakeval.errors import Problem
from snakeval.executors.kubernetes.resources import wanted
from snakeval.plan.run import Run, Task


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
