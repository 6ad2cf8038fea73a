"""Tokens, latencies and time of the benchmarks of a run."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from snakeval.job import attempt
from snakeval.job.checked import totals_in
from snakeval.job.files import read_json
from snakeval.job.gateway.ledger import MODEL
from snakeval.job.gateway.tally import live, totals_of
from snakeval.job.paths import TaskPaths
from snakeval.job.scores import is_mean
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

    def error_of(self, task: str, row: Mapping[str, Any]) -> tuple[float, int] | None:
        """Standard error and number of questions of a score of the results table; None where it is
        not the mean of the samples."""
        filtered = "" if row["score"] in (None, "none", row["metric"]) else row["score"]
        found = self.spread.get((task, row["subtask"], row["metric"], filtered))
        return found[1:] if found and is_mean(row["value"], found[0]) else None


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
    """Tokens and times of a task: what gateway or harness say, else what its samples tell; of one
    without a result what it has used so far."""
    return {
        **known.totals.get(task.name, {}),
        **(published.totals or so_far(task.paths, task.digest)),
    }


def so_far(paths: TaskPaths, digest: str) -> dict[str, float]:
    """What a task has used: as its check says, or its gateway has told last."""
    checked = {} if not paths.is_complete(digest) else totals_in(read_json(paths.check(digest)))
    return checked or totals_of(live(paths.record(digest)), MODEL)


def asked(used: Mapping[str, Mapping[str, float | None]]) -> list[str]:
    """A sentence on what some tasks have asked for; none where nothing is known.

    used  by task: requests, replayed, prompt_tokens, completion_tokens, as far as they are known
    """
    requests = [each["requests"] for each in used.values() if each.get("requests") is not None]
    if not requests:
        return []
    parts = [f"{_sum(requests):,} requests"]
    if replayed := _sum(each.get("replayed") for each in used.values()):
        parts.append(f"{replayed:,} answers from disk")
    known = [each for each in used.values() if each.get("completion_tokens") is not None]
    if known:
        prompts, answers = (
            _sum(each.get(name) for each in known)
            for name in ("prompt_tokens", "completion_tokens")
        )
        parts.append(f"{prompts:,} tokens of prompts and {answers:,} of answers")
    unknown = [
        name for name, each in used.items() if each not in known and each.get("requests") != 0
    ]
    left_out = f" (tokens of {', '.join(unknown)} are not known)" if unknown else ""
    return [f"asked: {', '.join(parts)}{left_out}"]


def _sum(numbers: Iterable[float | None]) -> int:
    return int(sum(number or 0 for number in numbers))


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
