"""What the page shows of a run, as plain values: read from the run folder, changes nothing."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from snakeval.compare import statistics
from snakeval.compare.statistics import Interval
from snakeval.config.secrets import without
from snakeval.executors.registry import left_over
from snakeval.job.files import read_text
from snakeval.plan.run import Run
from snakeval.results.clusters import of_repeats
from snakeval.results.costs import Costs, costs
from snakeval.results.published import repeats_of
from snakeval.results.tables import Shown, coverage, metric_name, read_tasks
from snakeval.results.totals import FromSamples, known_from_samples, seconds, totals
from snakeval.run_folder import servers as deployments
from snakeval.run_folder.records import TaskState


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
    better: str = "unknown"


@dataclass(frozen=True)
class ShownTask:
    """One benchmark. Seconds of all attempts together; None: not known."""

    name: str
    label: str
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
    notes: tuple[str, ...] = ()

    @property
    def harness(self) -> str:
        return self.benchmark.partition(".")[0]

    @property
    def published(self) -> bool:
        return self.state.state == "published" and bool(self.scores)


@dataclass(frozen=True)
class Standing:
    """A benchmark of this run on the leaderboard that was written last beside its run folder.

    place  among `models` with a score, 1 for the first; better, best: as the leaderboard says
    """

    name: str
    metric: str
    value: float
    first: float
    first_model: str
    place: int
    models: int
    best: bool | None


@dataclass(frozen=True)
class Figures:
    run: str
    name: str
    model: str
    endpoint: str | None
    record: dict[str, Any]
    tasks: tuple[ShownTask, ...]
    comparisons: tuple[dict[str, Any], ...]
    verdicts: tuple[dict[str, Any], ...]
    config: str
    servers: tuple[str, ...]
    costs: Costs | None
    standings: tuple[Standing, ...] = ()

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
    known = known_from_samples(run)
    record = _read(run.paths.record)
    tasks = tuple(_task(run, shown, known) for shown in read_tasks(run))
    return Figures(
        run.paths.id,
        run.config.name or "",
        str(run.identity["model_id"]),
        without(run.config.target.api_endpoint.url, run.secrets),
        record,
        tasks,
        tuple(map(_read, sorted((run.paths.results / "compare").glob("*.json")))),
        tuple(map(_read, sorted((run.paths.results / "gate").glob("*.json")))),
        without(read_text(run.paths.config), run.secrets),
        tuple(deployments.told(run.paths, left_over)),
        costs(
            run,
            {task.name: task.totals for task in tasks},
            {task.name: task.seconds for task in tasks},
        ),
        tuple(_standings(run)),
    )


def _standings(run: Run) -> Iterator[Standing]:
    """None where there is no leaderboard, or this run is not on it."""
    board = _read(run.paths.dir.parent / "leaderboard.json")
    models = {model["run"]: model for model in board.get("models", ())}
    own = models.get(run.paths.id)
    if own is None or len(models) < 2:
        return
    for column in board["benchmarks"]:
        name, better = column["name"], column["better"]
        values = {
            each["label"]: value
            for each in models.values()
            if (value := each["scores"][name].get("value")) is not None
        }
        value = values.get(own["label"])
        if value is None or better == "unknown":
            continue
        sign = -1 if better == "higher" else 1
        first = min(values, key=lambda label: sign * values[label])
        place = 1 + sum(sign * other < sign * value for other in values.values())
        best = own["scores"][name].get("best")
        yield Standing(
            name, column["metric"], value, values[first], first, place, len(values), best
        )


def _task(run: Run, shown: Shown, known: FromSamples) -> ShownTask:
    task, first, state = shown.task, shown.rows[0], shown.state
    scored = [row for row in shown.rows if row["value"] is not None]
    return ShownTask(
        task.name,
        task.label,
        task.benchmark.id,
        state,
        tuple(_score(row, task.name, known, repeats_of(task)) for row in scored),
        None if scored else str(first["cause"] or "not run yet"),
        coverage(first),
        seconds(task),
        totals(task, shown.published, known),
        first["image"],
        task.identity["dataset"],
        state.log.relative_to(run.paths.dir).as_posix() if state.log else None,
        shown.published.notes,
    )


def _score(row: dict[str, Any], task: str, known: FromSamples, repeats: int) -> ShownScore:
    value, stderr, n = row["value"], row["stderr"], row["n"]
    found = known.error_of(task, row)
    # Only where nothing better is known; of repeated questions a harness may have counted every
    # repeat as one more.
    if found and (stderr is None or (n and found[1] < n)):
        stderr, n = found
    else:
        stderr, n = of_repeats(stderr, n, repeats)
    interval = statistics.score_interval(value, stderr, n)
    ends = [value, *(interval or ())]
    return ShownScore(
        metric_name(row),
        value,
        interval,
        coverage(row),
        row["scored"] != row["expected"] or bool(row["unanswered"]),
        _axis(min(ends), max(ends)),
        str(row["better"] or "unknown"),
    )


def _axis(low: float, high: float) -> Axis:
    """0 to 1 for shares, 0 to 100 for per cents, else from 0 (or below) to a round number."""
    for top in (1.0, 100.0):
        if low >= -0.05 * top and high <= 1.05 * top:
            return Axis(0.0, top)
    size = 10.0 ** len(str(int(max(abs(low), abs(high)))))
    return Axis(-size if low < 0 else 0.0, size if high > 0 else 0.0)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return content if isinstance(content, dict) else {}


def provenance(found: Figures) -> Iterator[tuple[str, str, bool]]:
    """Where the numbers come from: names and values for a table, and whether a value is copied
    rather than read (a digest, an id), so that it must not be broken into lines."""
    record = found.record
    start = record.get("last_start", {})
    versions = start.get("versions", {})
    yield "Run", found.run, True
    yield "Model", found.model, False
    yield "Endpoint", found.endpoint or "started by the pipeline", False
    yield "First start", str(record.get("created", "unknown")), False
    who = f"by {start.get('user', '?')} on {start.get('host', '?')}"
    yield "Last start", f"{start.get('time', 'unknown')}, {who}", False
    for name, version in versions.items():
        yield name, str(version), False
    yield "git revision of the pipeline", str(start.get("revision") or "unknown"), True
    for name, pinned in record.get("images", {}).items():
        yield f"Image {name}", str(pinned), True
    for warning in record.get("warnings", []):
        yield "Warning at the start", str(warning), False
