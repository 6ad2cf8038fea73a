"""What a run has cost in money, by the config's `prices`.

Tokens cost what they cost wherever they are known. A server is paid for by the hour, whoever uses
it: its cost is divided among the benchmarks by their time.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from snakeval.config.prices import Prices
from snakeval.plan.run import Run, Task
from snakeval.results.spent import tokens_beside
from snakeval.run_folder.servers import cost_of, deployments_of


@dataclass(frozen=True)
class Costs:
    """Money by task; None: what was used is not known. `total` is of the known ones."""

    currency: str
    tasks: dict[str, float | None]

    @property
    def total(self) -> float | None:
        known = [cost for cost in self.tasks.values() if cost is not None]
        return sum(known) if known else None

    @property
    def unknown(self) -> list[str]:
        return [name for name, cost in self.tasks.items() if cost is None]

    def content(self) -> dict[str, Any]:
        """As results.json has it."""
        return {"currency": self.currency, "total": self.total, "tasks": self.tasks}

    def __str__(self) -> str:
        if self.total is None:
            return "cost: not known"
        left_out = f", without {', '.join(self.unknown)} (not known)" if self.unknown else ""
        return f"cost: {money(self.total)} {self.currency}{left_out}"


def costs(
    run: Run,
    totals: Mapping[str, Mapping[str, float]],
    seconds: Mapping[str, float | None],
) -> Costs | None:
    """The costs of a run's tasks; None where the config has no prices.

    totals   prompt_tokens and completion_tokens by task, where known
    seconds  time of all attempts by task, where known
    """
    prices = run.config.prices
    if prices is None:
        return None
    servers = _servers(run, prices)
    whole = sum(each or 0.0 for each in seconds.values())
    tasks: dict[str, float | None] = {}
    for task in run.tasks:
        parts = [prices.cost(totals.get(task.name, {})), _beside(task, prices)]
        if servers is not None:
            lasted = seconds.get(task.name)
            parts.append(servers * lasted / whole if lasted is not None and whole else None)
        tasks[task.name] = None if None in parts else sum(part or 0.0 for part in parts)
    return Costs(prices.currency, tasks)


def _beside(task: Task, prices: Prices) -> float | None:
    """What its judges have cost; None where one has a provider and no price, or unknown tokens.

    A server of the pipeline is paid by the hour, if at all, where its tokens have no price.
    """
    if not any((prices.known, prices.endpoints)):
        return 0.0
    used = tokens_beside(task)
    names = dict.fromkeys([*(each.name for each in task.beside), *used])
    ours = {each.name for each in task.auxiliary}
    parts = []
    for name in names:
        price = prices.endpoints.get(name)
        if price is None:
            parts.append(0.0 if name in ours else None)
        else:
            parts.append(price.cost(used.get(name, {})))
    return None if None in parts else sum(part or 0.0 for part in parts)


def _servers(run: Run, prices: Prices) -> float | None:
    """What the run's servers have cost; None where nothing is asked for them."""
    if prices.server_hour is None:
        return None
    seconds = 0.0
    for paths in deployments_of(run.paths):
        used = cost_of(paths)
        seconds += sum(used["seconds_to_healthy"]) + used["seconds_in_use"] + used["seconds_idle"]
    return seconds / 3600 * prices.server_hour


def money(amount: float) -> str:
    """`12.35`, `0.0042`: two places, more where nothing would be left."""
    return f"{amount:,.2f}" if amount >= 1 or amount == 0 else f"{amount:.2g}"
