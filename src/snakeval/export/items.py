"""What is sent: one item per published task, with the same names for every destination."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache, partial
from typing import Any

from snakeval.compare import statistics
from snakeval.config.export import Destination
from snakeval.executors.registry import executor_of
from snakeval.job import attempt
from snakeval.job.record import completed
from snakeval.plan.identity import digest
from snakeval.plan.run import Run, Task
from snakeval.results.clusters import of_repeats
from snakeval.results.published import repeats_of
from snakeval.results.samples import write_if_possible
from snakeval.results.tables import USED, part_of, rows
from snakeval.results.totals import FromSamples, known_from_samples

ABOUT_SCORES = ("label", "better", "lowest", "highest", *USED)
"""Columns that say what it is called, how a score is to be read, and what it has cost; they change
no score."""


UNCERTAINTY = "uncertainty"
"""Section of the metrics that say how sure a score is: `uncertainty/<score>_stderr`."""

NAME = 18
"""Characters of a model in a run's name, of the thirty that MLflow shows: the time has the rest."""


@dataclass(frozen=True, eq=False)
class Item:
    """A published task. `rows`: its rows of the results table; `attempt`: the one that made it;
    `samples`: what is known from the single ones, read when it is asked for."""

    run: Run
    task: Task
    rows: tuple[dict[str, Any], ...]
    attempt: dict[str, Any]
    samples: Callable[[], FromSamples]

    @property
    def name(self) -> str:
        """Its folder's: what programs find it by."""
        return self.task.name

    @property
    def label(self) -> str:
        """What it is called where people read, and what its scores are named after."""
        return self.task.label

    @property
    def has_own_label(self) -> bool:
        """Whether `name` says less."""
        return self.label != self.name

    @property
    def invocation_id(self) -> str:
        return self.run.paths.id

    @property
    def job_id(self) -> str:
        return f"{self.invocation_id}.{self.name}"

    @property
    def harness(self) -> str:
        return self.task.benchmark.harness

    @property
    def model(self) -> str:
        return self.task.endpoint.model_id

    @property
    def image(self) -> str | None:
        image: str | None = self.rows[0]["image"]
        return image

    @property
    def executor(self) -> str:
        """Where it ran, in the launcher's words."""
        said = self.attempt.get("executor")
        return str(said) if said else executor_of(self.task.paths, self.attempt).name

    @property
    def finished(self) -> str:
        """When the result was made (UTC)."""
        ended: str | None = self.attempt.get("ended")
        return ended or self._completed

    @property
    def _completed(self) -> str:
        return completed(self.task.paths.record(self.task.digest))

    def metrics(self, options: Destination) -> dict[str, float]:
        """Scores by their names at a destination, as far as `log_metrics` wants them."""
        wanted = [text.lower() for text in options.log_metrics]
        return {
            name: value
            for name, value in self.scores.items()
            if not wanted or any(text in f"{self.name} {name}".lower() for text in wanted)
        }

    @property
    def scores(self) -> dict[str, float]:
        """All scores by their names."""
        return {name: float(row["value"]) for name, row in self.rows_by_name.items()}

    @property
    def rows_by_name(self) -> dict[str, dict[str, Any]]:
        """The row of every score; of two with one name the later one has a number."""
        found: dict[str, dict[str, Any]] = {}
        for row in self.rows:
            name, number = score_name(row), 2
            while name in found:
                name, number = f"{score_name(row)}_{number}", number + 1
            found[name] = row
        return found

    @property
    def used(self) -> dict[str, float]:
        """What was asked and paid for it: the columns `USED` that are known."""
        row = self.rows[0]
        return {name: float(row[name]) for name in USED if row[name] is not None}

    def digest(self, options: Destination, target: str) -> str:
        """Of everything that decides what is sent, and where to."""
        # Without the columns that came later: receipts of version 0.1.0 hold.
        rows = [
            {
                key: value
                for key, value in row.items()
                if key not in ABOUT_SCORES and (key != "subtask" or value)
            }
            for row in self.rows
        ]
        content = {
            "rows": rows,
            "result": [self.task.digest, self._completed],
            "options": options.as_sent(),
            "target": target,
        }
        return digest(content)


def items(run: Run) -> list[Item]:
    """The published tasks of a run, in the order of its config."""
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows(run):
        if row["state"] == "published":
            found.setdefault(row["task"], []).append(row)
    samples = cache(partial(_from_samples, run))
    return [
        Item(run, task, tuple(found[task.name]), _attempt(task), samples)
        for task in run.tasks
        if task.name in found
    ]


def _from_samples(run: Run) -> FromSamples:
    write_if_possible(run)  # it may be there already; where it cannot be, less is known
    return known_from_samples(run)


def _attempt(task: Task) -> dict[str, Any]:
    """The attempt that has published the result; empty where another machine's run.sh did."""
    for item in reversed(attempt.read(task.paths.dir)["attempts"]):
        if item.get("digest") == task.digest and item.get("state") == "published":
            found: dict[str, Any] = item
            return found
    return {}


def score_name(row: dict[str, Any]) -> str:
    """`<label>[_<subtask or group>]_<metric>_<score>`, or without the score where it says the
    same."""
    part = part_of(row)
    score = [row["score"]] if row["score"] not in (None, row["metric"]) else []
    return "_".join([row["label"], *([part] if part else []), row["metric"], *score])


def around(item: Item, row: dict[str, Any]) -> dict[str, float]:
    """Standard error, number of questions and 95% interval of a score, as far as they are known."""
    stderr, n = of_repeats(row["stderr"], row["n"], repeats_of(item.task))
    if stderr is None:
        stderr, n = item.samples().error_of(item.name, row) or (None, n)
    interval = statistics.score_interval(row["value"], stderr, n)
    low, high = interval or (None, None)
    known = {"stderr": stderr, "n": n, "ci95_low": low, "ci95_high": high}
    return {name: float(value) for name, value in known.items() if value is not None}


def run_name(run: Run) -> str:
    """`Llama-3...Instruct 11-22 03:00`: model and time in thirty characters, then the config's
    name, and what the run is called by elsewhere: two of one model may begin in one minute."""
    model = str(run.identity["model_id"]).rstrip("/").rpartition("/")[2]
    if len(model) > NAME:  # the end tells checkpoints apart
        model = f"{model[:7]}..{model[-(NAME - 9) :]}"
    month, day, hour, minute = run.paths.id[5:16].split("-")
    name = f", {run.config.name}" if run.config.name else ""
    return f"{model} {month}-{day} {hour}:{minute}{name}, {run.paths.id[-8:]}"
