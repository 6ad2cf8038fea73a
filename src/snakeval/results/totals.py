"""Tokens, latencies and time of the benchmarks of a run."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from snakeval.job import attempt
from snakeval.plan.run import Run, Task
from snakeval.results.clusters import of_questions
from snakeval.results.published import Published, kept_apart

if TYPE_CHECKING:
    import pandas as pd

Spread = tuple[float, float, int]
"""Mean, standard error, number of samples."""


@dataclass(frozen=True)
class FromSamples:
    """What samples.parquet tells.

    spread  by (task, subtask, metric, filter), where no subtask is all of them
    totals  tokens and latencies by task
    """

    spread: dict[tuple[str, str | None, str, str], Spread]
    totals: dict[str, dict[str, float]]


def known_from_samples(run: Run) -> FromSamples:
    """Reads the file; nothing is known where it is not there, or damaged."""
    return kept_apart(lambda: _from_samples(run), lambda _: FromSamples({}, {}))


def _from_samples(run: Run) -> FromSamples:
    import pyarrow.parquet as pq

    if not run.paths.samples.exists():
        return FromSamples({}, {})
    columns = ["task", "subtask", "sample", "repeat", "metric", "filter", "score", "prompt_hash"]
    counted = ["prompt_tokens", "completion_tokens", "latency_ms"]
    frame = pq.read_table(run.paths.samples, columns=[*columns, *counted]).to_pandas()
    frame = frame.fillna({"subtask": "", "filter": "", "metric": ""})
    return FromSamples(dict(_spreads(frame)), dict(_totals(frame)))


def _spreads(frame: pd.DataFrame) -> Iterator[tuple[tuple[str, str | None, str, str], Spread]]:
    for key, group in frame[frame["score"].notna()].groupby(["task", "metric", "filter"]):
        task, metric, filtered = map(str, key)
        yield (task, None, metric, filtered), _spread(group)
        if group["subtask"].nunique() > 1:
            for subtask, part in group.groupby("subtask"):
                yield (task, str(subtask), metric, filtered), _spread(part)


def _spread(group: pd.DataFrame) -> Spread:
    prompts = group["prompt_hash"].where(group["prompt_hash"].notna(), group["sample"])
    questions = list(zip(group["subtask"], prompts, strict=True))
    values = of_questions(group["score"].to_numpy(float), questions)
    n = len(values)
    error = float(values.std(ddof=1)) / n**0.5 if n > 1 else 0.0
    return float(group["score"].mean()), error, n


def _totals(frame: pd.DataFrame) -> Iterator[tuple[str, dict[str, float]]]:
    answers = frame.drop_duplicates(["task", "subtask", "sample", "repeat"])
    for task, group in answers.groupby("task"):
        found = {}
        for name in ("prompt_tokens", "completion_tokens"):
            if group[name].notna().all():
                found[name] = float(group[name].sum())
        if group["latency_ms"].notna().all():
            found["avg_latency_ms"] = float(group["latency_ms"].mean())
            found["max_latency_ms"] = float(group["latency_ms"].max())
        yield str(task), found


def totals(task: Task, published: Published, known: FromSamples) -> dict[str, float]:
    """Tokens and times of a task: what the harness says, else what its samples tell."""
    return {**known.totals.get(task.name, {}), **(published.totals or {})}


def seconds(task: Task) -> float | None:
    """Of all attempts at this spec together; None where none is known."""
    found = [
        lasted
        for item in attempt.read(task.paths.dir)["attempts"]
        if item.get("digest") == task.digest and (lasted := _lasted(item)) is not None
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
