"""Budgets, prices and caps: what the gateway is told of them, and those that nobody can keep."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from snakeval.config.load import Loaded
from snakeval.config.model import Config, TaskEntry
from snakeval.errors import Problem, nearest
from snakeval.plan.run import Task
from snakeval.plan.server import MODEL


def budget_of(config: Config, entry: TaskEntry) -> dict[str, Any]:
    """What the gateway must know to keep the budgets of a run and a task; empty: there is none."""
    limits = {"run": config.budget.limits, "task": entry.budget.limits}
    if not any(limits.values()):
        return {}
    prices = config.prices
    if prices is None:
        return limits
    known = {MODEL: prices.known, **{name: each.known for name, each in prices.endpoints.items()}}
    return {**limits, "prices": known, "currency": prices.currency}


def unpriced(task: Task) -> Iterator[Problem]:
    """A budget in money cannot be kept of an endpoint whose tokens have no price."""
    for of, keys in (("run", ()), ("task", ("evaluation", "tasks", task.number))):
        if "usd" not in (task.budget.get(of) or {}):
            continue
        known = task.budget.get("prices") or {}
        for each in task.beside:
            if not known.get(each.name):
                yield Problem(
                    task.place(*keys, "budget", "usd"),
                    f"the tokens of '{each.name}', which '{task.name}' asks, have no price",
                    f"write prices.endpoints.{each.name}, or limit tokens",
                )


def cap_of_nobody(loaded: Loaded, tasks: Iterable[Task]) -> Iterator[Problem]:
    """A cap that no gateway keeps; a warning."""
    if loaded.config.execution.max_in_flight and not any(task.gateway for task in tasks):
        yield Problem(
            loaded.where("execution", "max_in_flight"),
            "is not kept: the gateway would keep it, and it is switched off",
            "remove `gateway: false`",
            warning=True,
        )


def prices_of_nobody(loaded: Loaded, tasks: Iterable[Task]) -> Iterator[Problem]:
    """Prices of endpoints that no benchmark asks."""
    prices = loaded.config.prices
    known = [*loaded.config.auxiliary_deployments]
    known += [each.name for task in tasks for each in task.beside]
    for name in prices.endpoints if prices else ():
        if name not in known:
            near = nearest(name, known)
            yield Problem(
                loaded.where("prices", "endpoints", name),
                "no benchmark asks an endpoint of this name",
                near or "name it as the auxiliary server, or the parameter with its address",
            )
