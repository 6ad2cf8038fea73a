"""What the pending benchmarks will ask, cost and take, from earlier results of the same benchmarks.

They are looked for in the newest runs of the same output folder, the same model's first, and scaled
by samples. Nobody knows better how a benchmark asks than one that has: what was never evaluated
here is unknown. Two digits are meant, and no more are told.
"""

from __future__ import annotations

import contextlib
import math
from collections import Counter
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from snakeval.config.prices import Prices
from snakeval.job.checked import totals_in
from snakeval.job.files import read_json
from snakeval.job.gateway.budget import Spent
from snakeval.job.gateway.ledger import MODEL
from snakeval.job.gateway.tally import live, totals_of
from snakeval.plan.run import Run, Task
from snakeval.results.spent import in_accounts
from snakeval.run_folder.layout import runs_in
from snakeval.run_folder.records import read_yaml

SHOWN = 10
"""Benchmarks that have a line of their own."""

NEWEST = 50
"""Runs that are looked at."""

MILLION = 1_000_000


@dataclass(frozen=True)
class Amounts:
    """Requests, tokens of prompts and answers, money, seconds; None is unknown."""

    requests: float | None = None
    prompt_tokens: float | None = None
    completion_tokens: float | None = None
    cost: float | None = None
    seconds: float | None = None

    @property
    def tokens(self) -> float | None:
        known = self.prompt_tokens, self.completion_tokens
        return None if None in known else sum(each or 0.0 for each in known)

    def told(self, currency: str) -> str:
        parts = [
            f"{about(self.requests)} requests" if self.requests is not None else "",
            f"{about(self.tokens)} tokens" if self.tokens is not None else "",
            f"{about(self.cost)} {currency}" if self.cost is not None else "",
            duration(self.seconds) if self.seconds is not None else "",
        ]
        return f"about {', '.join(filter(None, parts))}"


@dataclass(frozen=True)
class Forecast:
    """Of one benchmark. `left`: without what was answered already; `whole`: all of it."""

    task: Task
    whole: Amounts
    left: Amounts
    basis: str


def tell(runs: Iterable[Run], pending: Iterable[Task]) -> Iterator[tuple[str, bool]]:
    """Lines for the person who starts it, and whether each is a warning."""
    asked, told = set(pending), set()
    for run in runs:
        tasks = [task for task in run.tasks if task in asked]
        if not tasks:
            continue
        found = {task: forecast(run, task) for task in tasks}
        known = [each for each in found.values() if each]
        unknown = [task.label for task, each in found.items() if not each]
        lines = [line for line in _lines(run, known, unknown) if line not in told]
        told.update(lines)  # of the models of a sweep the same is to be said
        yield from ((line, False) for line in lines)
        yield from ((line, True) for line in _too_small(run, known, tasks))


def _lines(run: Run, known: Sequence[Forecast], unknown: Sequence[str]) -> Iterator[str]:
    currency = run.config.prices.currency if run.config.prices else ""
    for each in known[:SHOWN]:
        yield f"forecast of {each.task.label}: {each.left.told(currency)} ({each.basis})"
    if len(known) > 1:
        all_of = _sum([each.left for each in known])
        names = "all" if not unknown else f"these {len(known)}"
        # They run beside each other: nobody knows how their times add up.
        yield f"forecast of {names}: {_without_time(all_of).told(currency)}"
    if unknown:
        more = f" and {len(unknown) - SHOWN} more" if len(unknown) > SHOWN else ""
        yield (
            f"forecast of {', '.join(unknown[:SHOWN])}{more}: unknown, as no earlier run beside "
            "this one has it (limit_samples=10 makes one)"
        )


def _without_time(amounts: Amounts) -> Amounts:
    return replace(amounts, seconds=None)


def _too_small(run: Run, known: Sequence[Forecast], pending: Sequence[Task]) -> Iterator[str]:
    """Budgets that will not suffice, as far as is known; or are used up already."""
    left = _sum([each.left for each in known])
    if limits := run.config.budget.limits:
        options, records = pending[0].budget, run.paths.dir.glob("*/record/*")
        used = _used(records, options, limits)
        yield from _told_of("budget", limits, used, left, "the known benchmarks")
    of_task = {each.task: each.left for each in known}
    for task in pending:
        if limits := task.budget.get("task") or {}:
            used = _used(task.paths.dir.glob("record/*"), task.budget, limits)
            name = f"budget of {task.label}"
            yield from _told_of(name, limits, used, of_task.get(task, Amounts()), "it")


def _told_of(
    name: str,
    limits: Mapping[str, float],
    used: Mapping[str, float],
    left: Amounts,
    what: str,
) -> Iterator[str]:
    needed = {"usd": left.cost, "tokens": left.tokens, "requests": left.requests}
    for kind, limit in limits.items():
        amount, spent = needed.get(kind), used.get(kind, 0.0)
        if spent >= limit:
            yield (
                f"{name}: {kind} {limit:,.10g} is used up (about {about(spent)}): nothing more is "
                "asked before it is larger"
            )
        elif amount is not None and spent + amount > limit:
            gone = f", beside {about(spent)} that are used" if spent else ""
            yield (
                f"{name}: {kind} {limit:,.10g} is less than what {what} will need (about "
                f"{about(amount)}{gone}): it will stop there, and continue with a larger one"
            )


def _used(
    records: Iterable[Path], options: Mapping[str, Any], limits: Mapping[str, float]
) -> dict[str, float]:
    """What was asked and paid so far, by the kinds of limits; of hours only the ledgers know."""
    spent = Spent()
    for record in records:
        said = live(record)
        for endpoint in said.get("endpoints") or ():
            totals = totals_of(said, endpoint)
            used = spent.used.setdefault(endpoint, Counter())
            for kind in ("prompt", "completion"):
                used[kind] += int(totals.get(f"{kind}_tokens", 0.0))
            spent.requests += int(totals.get("requests", 0.0))
    spent.tokens = sum(used.total() for used in spent.used.values())
    prices = options.get("prices") or {}
    return {kind: spent.of(kind, prices) for kind in limits if kind != "hours"}


def _sum(parts: Sequence[Amounts]) -> Amounts:
    found = {}
    for each in fields(Amounts):
        values = [getattr(part, each.name) for part in parts]
        found[each.name] = sum(values) if values and None not in values else None
    return Amounts(**found)


def _times(amounts: Amounts, factor: float) -> Amounts:
    given = {each.name: getattr(amounts, each.name) for each in fields(Amounts)}
    return Amounts(**{name: None if n is None else n * factor for name, n in given.items()})


# ---------------------------------------------------------------- from earlier results


def forecast(run: Run, task: Task) -> Forecast | None:
    """Of one pending benchmark; None: nothing is known."""
    ours = {each.name for each in task.auxiliary}
    for checked, spec, record in _earlier(run, task):
        share = _share(task, checked, spec)
        if share is None:
            continue
        amounts = _amounts(checked, run.config.prices, ours)
        if amounts.requests is None and amounts.tokens is None:
            continue
        whole = _times(amounts, share)
        done = totals_of(live(task.paths.record(task.digest)), MODEL)
        answered = done.get("answers", 0.0) / whole.requests if whole.requests else 0.0
        left = _times(whole, max(0.0, 1.0 - answered))
        scored = f"{checked['scored']} samples" if checked.get("scored") else "all samples"
        basis = f"from {scored} in {record.parents[2].name}"
        if task.replay_from:
            basis += "; less what the stored answers hold"
        return Forecast(task, whole, left, basis)
    return None


def _earlier(run: Run, task: Task) -> list[tuple[dict[str, Any], dict[str, Any], Path]]:
    """Checked results of the same benchmark: check, spec and record, the best basis first."""
    found = []
    for other in runs_in(run.paths.dir.parent)[-NEWEST:]:
        for records in {
            other.task(name).dir / "record" for name in (task.name, task.benchmark.task)
        }:
            for file in records.glob("*/check.json") if records.is_dir() else ():
                spec, checked = _spec(file.parent), read_json(file)
                if checked.get("passed") is True and spec.get("benchmark") == task.benchmark.id:
                    same_model = spec.get("model_id") == task.endpoint.model_id
                    found.append((same_model, _time(file), checked, spec, file.parent))
    found.sort(key=lambda each: each[:2], reverse=True)
    return [(checked, spec, record) for _, _, checked, spec, record in found]


def _spec(record: Path) -> dict[str, Any]:
    """What was asked for: the task.yaml of that time."""
    return read_yaml(record / "task.yaml")


def _time(file: Path) -> float:
    with contextlib.suppress(OSError):
        return file.stat().st_mtime
    return 0.0


def _share(task: Task, checked: Mapping[str, Any], spec: Mapping[str, Any]) -> float | None:
    """How many times the samples of then are asked for now; None where nobody can know."""
    given = spec.get("params")
    was = given.get("limit_samples") if isinstance(given, dict) else None
    limit = task.params.get("limit_samples")
    if was == limit:
        return 1.0
    size, scored = task.benchmark.details.samples, checked.get("scored")
    if isinstance(limit, float) and not limit.is_integer():
        wanted = limit * size if size else None
    else:
        known = [each for each in (limit, size) if each is not None]
        wanted = min(known) if known else None
    return wanted / scored if wanted and scored else None


def _amounts(checked: Mapping[str, Any], prices: Prices | None, ours: Collection[str]) -> Amounts:
    """What a result has taken; a rescored one took less than it tells."""
    totals = totals_in(checked)
    gateway = checked.get("gateway")
    account = gateway.get(MODEL) if isinstance(gateway, dict) else None
    account = account if isinstance(account, dict) else {}
    if account.get("sources"):
        return Amounts()
    prompts, answers = totals.get("prompt_tokens"), totals.get("completion_tokens")
    seconds = account.get("seconds") or totals.get("runtime_seconds")
    judges = in_accounts(gateway)
    cost = _cost(prices, totals, judges, ours)
    return Amounts(totals.get("requests"), prompts, answers, cost, seconds)


def _cost(
    prices: Prices | None,
    used: Mapping[str, float],
    judges: Mapping[str, Mapping[str, float]],
    ours: Collection[str],
) -> float | None:
    """ours: servers of the pipeline, whose tokens cost nothing where they have no price"""
    if prices is None or not prices.known:
        return None
    priced = {name: prices.endpoints.get(name) for name in judges}
    parts = [prices.cost(used)]
    for name, price in priced.items():
        if price is not None:
            parts.append(price.cost(judges[name]))
        elif name not in ours:
            parts.append(None)
    return None if None in parts else sum(part or 0.0 for part in parts)


# ---------------------------------------------------------------- as it is told


def about(amount: float | None) -> str:
    """Two digits: `12`, `1,300`, `1.2M`, `0.85`."""
    if not amount:
        return "0"
    digits = 1 - math.floor(math.log10(abs(amount)))
    rounded = round(amount, digits)
    if rounded >= MILLION:
        return f"{rounded / MILLION:,.10g}M"
    return f"{rounded:,.10g}" if digits > 0 else f"{rounded:,.0f}"


def duration(seconds: float) -> str:
    """`40 s`, `12 min`, `3.5 h`."""
    for size, unit in ((3600.0, "h"), (60.0, "min")):
        if seconds >= 1.5 * size:
            return f"{about(seconds / size)} {unit}"
    return f"{about(max(1.0, seconds))} s"
