"""What the page shows of a run, as plain values: read from the run folder, changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakeval.compare import statistics
from snakeval.compare.statistics import Interval
from snakeval.executors.registry import left_over
from snakeval.job import attempt
from snakeval.plan.run import Run, Task
from snakeval.results.costs import Costs, costs
from snakeval.results.tables import coverage, metric_name, rows
from snakeval.run_folder import servers as deployments
from snakeval.run_folder.records import TaskState, task_state

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True)
class Axis:
    """Ends of a scale on which scores are drawn."""

    low: float
    high: float

    def at(self, value: float) -> float:
        """Per cent of the way from low to high, within the axis."""
        return round(min(100.0, max(0.0, 100 * (value - self.low) / (self.high - self.low))), 2)


@dataclass(frozen=True)
class ShownScore:
    name: str
    value: float
    interval: Interval | None
    samples: str
    partial: bool
    axis: Axis


@dataclass(frozen=True)
class ShownTask:
    """One benchmark. Seconds of all attempts together; None: not known."""

    name: str
    benchmark: str
    state: TaskState
    scores: tuple[ShownScore, ...]
    cause: str | None
    samples: str
    seconds: float | None
    totals: dict[str, float]
    image: str | None
    dataset: str | None
    log: str | None

    @property
    def published(self) -> bool:
        return self.state.state == "published" and bool(self.scores)


@dataclass(frozen=True)
class Figures:
    run: str
    model: str
    endpoint: str | None
    record: dict[str, Any]
    tasks: tuple[ShownTask, ...]
    comparisons: tuple[dict[str, Any], ...]
    verdicts: tuple[dict[str, Any], ...]
    config: str
    servers: tuple[str, ...]
    costs: Costs | None

    @property
    def missing(self) -> tuple[ShownTask, ...]:
        return tuple(task for task in self.tasks if not task.published)

    def total(self, key: str) -> float | None:
        known = [task.totals[key] for task in self.tasks if key in task.totals]
        return sum(known) if known else None

    @property
    def seconds(self) -> float | None:
        known = [task.seconds for task in self.tasks if task.seconds is not None]
        return sum(known) if known else None

    @property
    def longest(self) -> float:
        return max((task.seconds or 0 for task in self.tasks), default=0) or 1


def figures(run: Run) -> Figures:
    """Everything but the single samples."""
    by_task: dict[str, list[dict[str, Any]]] = {}
    for row in rows(run):
        by_task.setdefault(row["task"], []).append(row)
    known = _from_samples(run)
    record = _read(run.paths.record)
    tasks = tuple(_task(run, task, by_task[task.name], known) for task in run.tasks)
    return Figures(
        run.paths.id,
        str(run.identity["model_id"]),
        run.config.target.api_endpoint.url,
        record,
        tasks,
        tuple(map(_read, sorted((run.paths.results / "compare").glob("*.json")))),
        tuple(map(_read, sorted((run.paths.results / "gate").glob("*.json")))),
        run.paths.config.read_text(encoding="utf-8") if run.paths.config.exists() else "",
        tuple(deployments.told(run.paths, left_over)),
        costs(
            run,
            {task.name: task.totals for task in tasks},
            {task.name: task.seconds for task in tasks},
        ),
    )


@dataclass(frozen=True)
class FromSamples:
    """What samples.parquet tells: mean, stderr and n by (task, subtask, metric, filter), where no
    subtask is all of them; tokens by task."""

    spread: dict[tuple[str, str | None, str, str], tuple[float, float, int]]
    totals: dict[str, dict[str, float]]


def _from_samples(run: Run) -> FromSamples:
    import pyarrow.parquet as pq

    if not run.paths.samples.exists():
        return FromSamples({}, {})
    columns = ["task", "subtask", "sample", "repeat", "metric", "filter", "score"]
    counted = ["prompt_tokens", "completion_tokens", "latency_ms"]
    frame = pq.read_table(run.paths.samples, columns=[*columns, *counted]).to_pandas()
    frame = frame.fillna({"subtask": "", "filter": "", "metric": ""})
    repeated = set(frame[frame["repeat"] > 0]["task"])
    scored = frame[frame["score"].notna() & ~frame["task"].isin(repeated)]
    spread: dict[tuple[str, str | None, str, str], tuple[float, float, int]] = {}
    for key, group in scored.groupby(["task", "metric", "filter"]):
        task, metric, filtered = map(str, key)
        spread[task, None, metric, filtered] = _spread(group["score"])
        if group["subtask"].nunique() > 1:
            for subtask, part in group.groupby("subtask"):
                spread[task, str(subtask), metric, filtered] = _spread(part["score"])
    totals: dict[str, dict[str, float]] = {}
    answers = frame.drop_duplicates(["task", "subtask", "sample", "repeat"])
    for task, group in answers.groupby("task"):
        found = totals.setdefault(str(task), {})
        for name in ("prompt_tokens", "completion_tokens"):
            if group[name].notna().all():
                found[name] = float(group[name].sum())
        if group["latency_ms"].notna().all():
            found["avg_latency_ms"] = float(group["latency_ms"].mean())
            found["max_latency_ms"] = float(group["latency_ms"].max())
    return FromSamples(spread, totals)


def _spread(scores: pd.Series[float]) -> tuple[float, float, int]:
    error = float(scores.std(ddof=1)) / len(scores) ** 0.5 if len(scores) > 1 else 0.0
    return float(scores.mean()), error, len(scores)


def _task(run: Run, task: Task, found: list[dict[str, Any]], known: FromSamples) -> ShownTask:
    state = task_state(task.paths, task.digest)
    checked = _read(task.paths.check(task.digest))
    given = checked.get("totals") if isinstance(checked.get("totals"), dict) else None
    scored = [row for row in found if row["value"] is not None]
    first = found[0]
    return ShownTask(
        task.name,
        task.benchmark.id,
        state,
        tuple(_score(row, task.name, known) for row in scored),
        None if scored else str(first["cause"] or "not run yet"),
        coverage(first),
        _seconds(task),
        {**known.totals.get(task.name, {}), **(given or {})},
        first["image"],
        task.identity["dataset"],
        state.log.relative_to(run.paths.dir).as_posix() if state.log else None,
    )


def _score(row: dict[str, Any], task: str, known: FromSamples) -> ShownScore:
    value, stderr, n = row["value"], row["stderr"], row["n"]
    if stderr is None:
        filtered = "" if row["score"] in (None, "none", row["metric"]) else row["score"]
        found = known.spread.get((task, row["subtask"], row["metric"], filtered))
        # Only where the score is the mean of these samples.
        if found and abs(found[0] - value) < 1e-6:
            _, stderr, n = found
    interval = statistics.score_interval(value, stderr, n)
    ends = [value, *(interval or ())]
    return ShownScore(
        metric_name(row),
        value,
        interval,
        coverage(row),
        row["scored"] != row["expected"] or bool(row["unanswered"]),
        _axis(min(ends), max(ends)),
    )


def _axis(low: float, high: float) -> Axis:
    """0 to 1 for shares, 0 to 100 for per cents, else from 0 (or below) to a round number."""
    for top in (1.0, 100.0):
        if low >= -0.05 * top and high <= 1.05 * top:
            return Axis(0.0, top)
    size = 10.0 ** len(str(int(max(abs(low), abs(high)))))
    return Axis(-size if low < 0 else 0.0, size if high > 0 else 0.0)


def _seconds(task: Task) -> float | None:
    found = [
        seconds
        for item in attempt.read(task.paths.dir)["attempts"]
        if item.get("digest") == task.digest and (seconds := _lasted(item)) is not None
    ]
    return sum(found) if found else None


def _lasted(item: dict[str, Any]) -> float | None:
    try:
        begun, ended = (
            datetime.strptime(item[key], "%Y-%m-%dT%H:%M:%SZ").replace(tzinfo=UTC)
            for key in ("started", "ended")
        )
    except (KeyError, TypeError, ValueError):
        return None
    return max(0.0, (ended - begun).total_seconds())


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def provenance(found: Figures) -> Iterator[tuple[str, str]]:
    """Where the numbers come from: names and values for a table."""
    record = found.record
    start = record.get("last_start", {})
    versions = start.get("versions", {})
    yield "Run", found.run
    yield "Model", found.model
    yield "Endpoint", found.endpoint or "started by the pipeline"
    yield "First start", str(record.get("created", "unknown"))
    yield (
        "Last start",
        f"{start.get('time', 'unknown')}, by {start.get('user', '?')} on {start.get('host', '?')}",
    )
    for name, version in versions.items():
        yield name, str(version)
    yield "git revision of the pipeline", str(start.get("revision") or "unknown")
    for name, pinned in record.get("images", {}).items():
        yield f"Image {name}", str(pinned)
    for warning in record.get("warnings", []):
        yield "Warning at the start", str(warning)
