"""The samples of one benchmark in two runs, side by side; or why they are not the same ones."""

from __future__ import annotations

from collections.abc import Hashable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from snakeval.errors import count
from snakeval.plan.run import Run, Task
from snakeval.results.samples import members

if TYPE_CHECKING:
    import numpy as np
    import pandas as pd
    from numpy.typing import NDArray

SAMPLE = ["subtask", "sample"]
"""What tells the samples of a benchmark apart; answers to the same one are repeats."""

COLUMNS = [*SAMPLE, "repeat", "metric", "filter", "score", "prompt_hash", "expected"]
TEXTS = [*SAMPLE, "repeat", "metric", "filter", "prompt", "answer"]

OTHER_QUESTIONS = {
    "prompt_hash": "another prompt (dataset revision, few-shot setting or template)",
    "expected": "another right answer (dataset revision)",
}


class NotComparable(Exception):
    """The two results must not be compared; the text says why."""


@dataclass(frozen=True)
class Pairs:
    """Scores of the same samples under one metric, in the same order; the mean of its repeats.

    filter    None: none
    questions what tells the questions of the samples apart: repeats have the same
    unscored  samples that have no score in one of the runs, and are left out
    """

    metric: str
    filter: str | None
    samples: list[tuple[str | None, str]]
    base: NDArray[np.float64]
    candidate: NDArray[np.float64]
    questions: list[Hashable]
    unscored: int


def samples_of(run: Run, task: Task, columns: list[str] = COLUMNS) -> pd.DataFrame | None:
    """The rows of a task in samples.parquet; None where its harness keeps no samples.

    Raises NotComparable for samples that could not be read.
    """
    import pyarrow.parquet as pq

    member = members(run.paths.samples).get(task.name)
    if member is not None and member.cause:
        raise NotComparable(f"the samples of {run.paths.id} cannot be read: {member.cause}")
    if member is None or not member.rows:
        return None
    with pq.ParquetFile(run.paths.samples) as file:
        frame: pd.DataFrame = file.read_row_groups(
            list(range(*member.groups)), columns=columns
        ).to_pandas()
    # None in a column of text is a key like any other.
    return frame.astype({name: object for name in columns if name in (*SAMPLE, "metric", "filter")})


def pairs(base: pd.DataFrame, candidate: pd.DataFrame) -> list[Pairs]:
    """One element per metric and filter of both runs. Raises NotComparable for other samples."""
    _same_questions(base, candidate)
    one, other = _scores(base), _scores(candidate)
    prompts = _prompts(base)
    found = []
    for name in one:
        if name not in other:
            continue
        both = one[name].to_frame("base").join(other[name].to_frame("candidate"), how="inner")
        scored = both.dropna()
        if len(scored):
            samples = [(_none(subtask), str(sample)) for subtask, sample in scored.index]
            found.append(
                Pairs(
                    name[0],
                    _none(name[1]),
                    samples,
                    scored["base"].to_numpy(float),
                    scored["candidate"].to_numpy(float),
                    [(key[0], prompts.get(key, key)) for key in scored.index],
                    len(both) - len(scored),
                )
            )
    return found


def _prompts(frame: pd.DataFrame) -> dict[Hashable, str]:
    """The prompt of every sample, as far as it is known."""
    first = frame[frame["prompt_hash"].notna()].fillna({"subtask": ""}).drop_duplicates(SAMPLE)
    return dict(zip(first.set_index(SAMPLE).index, first["prompt_hash"], strict=True))


def means_of(frame: pd.DataFrame, metric: str, filtered: str | None) -> dict[str | None, float]:
    """The mean of all scores under a metric, under None, and that of every subtask."""
    rows = frame[(frame["metric"] == metric) & frame["score"].notna()].fillna({"filter": ""})
    rows = rows[rows["filter"] == (filtered or "")]
    by_subtask = rows[rows["subtask"].notna()].groupby("subtask")["score"].mean()
    found: dict[str | None, float] = {str(name): float(mean) for name, mean in by_subtask.items()}
    return {None: float(rows["score"].mean()), **found} if len(rows) else found


def _none(value: Any) -> str | None:
    return None if value in ("", None) else str(value)


def _scores(frame: pd.DataFrame) -> dict[tuple[str, str], pd.Series[float]]:
    """By metric and filter: the mean score of each sample's repeats; NaN: it has none."""
    named = frame[frame["metric"].notna()].fillna({"filter": "", "subtask": ""})
    return {
        (str(name[0]), str(name[1])): group.groupby(SAMPLE, sort=False)["score"].mean()
        for name, group in named.groupby(["metric", "filter"], sort=False)
    }


def _same_questions(base: pd.DataFrame, candidate: pd.DataFrame) -> None:
    one, other = (
        frame[frame["repeat"] == 0]
        .fillna({"subtask": ""})
        .drop_duplicates(SAMPLE)
        .set_index(SAMPLE)
        for frame in (base, candidate)
    )
    only_one = len(one.index.difference(other.index))
    only_other = len(other.index.difference(one.index))
    if only_one or only_other:
        raise NotComparable(
            f"another sample set: {count(len(one), 'sample')} in base, {len(other)} in candidate; "
            f"{only_one} only in base, {only_other} only in candidate"
        )
    other = other.reindex(one.index)
    for column, what in OTHER_QUESTIONS.items():
        known = one[column].notna() & other[column].notna()
        differ = int((one[column] != other[column])[known].sum())
        if differ:
            raise NotComparable(f"{what} in {differ} of {count(len(one), 'sample')}")
