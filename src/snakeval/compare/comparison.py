"""Compares two runs, benchmark by benchmark, on the samples that both have answered.

A benchmark whose questions are not the same in both runs is refused with the reason, and hides no
other one. p values are corrected by Holm over all scores that were tested.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from snakeval.compare.changes import changes
from snakeval.compare.from_samples import not_published, paired
from snakeval.compare.from_values import check_unit, unpaired
from snakeval.compare.model import Compared, Comparison, Refused, corrected
from snakeval.compare.pairs import NotComparable, pairs, samples_of
from snakeval.compare.same import both, same_questions_asked
from snakeval.compare.sides import Side, plain, score_key
from snakeval.errors import InputError, Problem
from snakeval.job.files import write_atomically
from snakeval.job.text import one_line
from snakeval.plan.run import Run
from snakeval.results.published import DEFINITION_CHANGED
from snakeval.results.samples import write_samples
from snakeval.results.tables import bring_up_to_date, rows

if TYPE_CHECKING:
    import pandas as pd


def compare(base: Run, candidate: Run) -> Comparison:
    """Compares two runs. Raises InputError where there is nothing to compare."""
    if base.paths.dir.resolve() == candidate.paths.dir.resolve():
        raise InputError(
            [Problem("--config candidate", "is the same run as base", "name two different runs")]
        )
    ours = {task.name: task for task in base.tasks}
    theirs = {task.name: task for task in candidate.tasks}
    if not ours.keys() & theirs.keys():
        raise InputError(
            [
                Problem(
                    "--config base, candidate",
                    f"the runs have no benchmark in common: {', '.join(ours)} against "
                    + ", ".join(theirs),
                    "compare runs of the same benchmarks",
                )
            ]
        )
    for run in (base, candidate):
        _bring_up_to_date(run)
    scored = {run: _rows_by_task(run) for run in (base, candidate)}
    scores: list[Compared] = []
    refused: list[Refused] = []
    notes = _told(base, candidate)
    labels = {**base.labels, **candidate.labels}
    for name in dict.fromkeys([*ours, *theirs]):
        try:
            one, other = both(ours.get(name), theirs.get(name))
            found = list(
                _compare_task(
                    Side(base, one, scored[base].get(name, [])),
                    Side(candidate, other, scored[candidate].get(name, [])),
                    notes,
                )
            )
            if not found:
                raise NotComparable("the runs have no score in common")
            scores += [replace(each, label=labels[name]) for each in found]
        except NotComparable as reason:
            refused.append(Refused(name, str(reason), labels[name]))
        except Exception as error:  # whatever one benchmark holds, the others are compared
            refused.append(
                Refused(name, one_line(f"{type(error).__name__}: {error}"), labels[name])
            )
    return Comparison(
        base.paths.id,
        candidate.paths.id,
        str(base.identity["model_id"]),
        str(candidate.identity["model_id"]),
        tuple(corrected(scores)),
        tuple(refused),
        tuple(changes(base, candidate)),
        tuple(dict.fromkeys(notes)),
    )


def _told(base: Run, candidate: Run) -> list[str]:
    """What is to be said of the runs themselves."""
    return [
        f"{task.label} of {which}: {DEFINITION_CHANGED}"
        for which, run in (("base", base), ("candidate", candidate))
        for task in run.tasks
        if task.definition_changed
    ]


def write(comparison: Comparison, run: Run) -> None:
    """Puts the comparison into the candidate's run folder."""
    path = run.paths.comparison(comparison.base)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(comparison.content(), indent=1, default=str) + "\n")


def _bring_up_to_date(run: Run) -> None:
    bring_up_to_date(run)
    try:
        write_samples(run)
    except OSError as error:
        raise InputError(
            [
                Problem(
                    str(run.paths.samples),
                    f"cannot be brought up to date: {error.strerror}",
                    "copy the run folder to a place where it can be written",
                )
            ]
        ) from None


def _rows_by_task(run: Run) -> dict[str, list[dict[str, Any]]]:
    found: dict[str, list[dict[str, Any]]] = {}
    for row in rows(run):
        if row["state"] == "published":
            found.setdefault(row["task"], []).append(row)
    return found


def _compare_task(base: Side, candidate: Side, notes: list[str]) -> Iterator[Compared]:
    """`notes`: gets what a reader of the comparison must be told."""
    name = base.task.name
    one, other = samples_of(base.run, base.task), samples_of(candidate.run, candidate.task)
    if one is None or other is None or not (_hashed(one) and _hashed(other)):
        same_questions_asked(base.task, candidate.task)
    theirs = {score_key(row): row for row in candidate.rows}
    common = [(row, theirs[score_key(row)]) for row in base.rows if score_key(row) in theirs]
    for row, same in common:
        check_unit(row, same)
    covered = set()
    if one is not None and other is not None:
        for each in pairs(one, other):
            differs = not_published(each, (one, base.rows), (other, candidate.rows))
            if differs is None:
                covered.add((each.metric, each.filter or each.metric))
                yield paired(name, each, base, candidate)
            elif differs:
                notes.append(
                    f"{candidate.task.label} {differs}; decided from the published values and "
                    "errors"
                )
    for row, same in common:
        if (row["metric"], plain(row)) not in covered:
            yield unpaired(base.task, row, same, notes)


def _hashed(frame: pd.DataFrame) -> bool:
    return bool(frame["prompt_hash"].notna().all())
