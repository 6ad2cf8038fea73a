"""One score in two runs, from what was published: the values and their standard errors.

Where nothing says an error, one is taken that n answers of which each counts alike hardly exceed:
the whole range over the root of n, twice what it is at most for a mean. A score that hangs on a few
of its answers (the F1 of a rare class) can vary more. So such an error may show that a score has
dropped, and never that it has not (`verdict.py`).
"""

from __future__ import annotations

import re
from dataclasses import replace

from snakeval.compare import statistics
from snakeval.compare.model import Compared
from snakeval.compare.pairs import NotComparable
from snakeval.compare.sides import Row, better, plain
from snakeval.plan.run import Task
from snakeval.results.clusters import of_repeats
from snakeval.results.published import repeats_of

MEASURED = re.compile(
    r"time|latency|second|token|length|count|cost|throughput|perplexity|ppl|loss|reward|elo|rating"
)
"""Names of what may be below 1 in one run and far above in another."""

AT_MOST_SHARE, AT_LEAST_PERCENT, PERCENT = 1.0, 5.0, 100.0


def unpaired(task: Task, base: Row, candidate: Row, notes: list[str]) -> Compared:
    """A score of a benchmark, from its row in both runs. Raises NotComparable.

    task   in one of the runs
    notes  gets what a reader of the comparison must be told
    """
    _check_samples(base, candidate)
    which_way = better((base, candidate))
    ends = _ends(base, candidate, which_way)
    errors = [_error(row, repeats_of(task), ends) for row in (base, candidate)]
    (one, _), (other, _) = errors
    difference = statistics.unpaired(base["value"], one, candidate["value"], other)
    if difference.p is not None and any(cautious for _, cautious in errors):
        difference = replace(difference, kind="cautious")
        notes.append(
            f"{task.label} {base['metric']} has no standard error; a cautious one is taken, of "
            f"{base['n']} answers"
        )
    return Compared(
        task.name,
        None if base["group"] == task.name else base["group"],
        base["subtask"],
        base["metric"],
        None if plain(base) == base["metric"] else base["score"],
        base["n"],
        base["value"],
        candidate["value"],
        difference,
        which_way,
    )


def check_unit(base: Row, candidate: Row) -> None:
    """Raises NotComparable where one run seems to tell a share and the other one a percentage."""
    low, high = sorted((abs(base["value"]), abs(candidate["value"])))
    mixed = 0 < low <= AT_MOST_SHARE and AT_LEAST_PERCENT <= high <= PERCENT
    if _other_range(base, candidate) or (mixed and not MEASURED.search(_names(base))):
        raise NotComparable(
            f"another unit, it seems: {base['metric']} is {base['value']:g} in base and "
            f"{candidate['value']:g} in candidate"
        )


def _names(row: Row) -> str:
    return f"{row['metric']} {row['score']}".lower()


def _other_range(base: Row, candidate: Row) -> bool:
    ends = [(row["lowest"], row["highest"]) for row in (base, candidate)]
    return all(None not in known for known in ends) and ends[0] != ends[1]


def _check_samples(base: Row, candidate: Row) -> None:
    if base["n"] != candidate["n"] or base["scored"] != candidate["scored"]:
        raise NotComparable(
            f"another sample set: {base['n'] or base['scored']} samples in base, "
            f"{candidate['n'] or candidate['scored']} in candidate"
        )


def _error(row: Row, repeats: int, ends: tuple[float, float] | None) -> tuple[float | None, bool]:
    """The standard error of a published value, and whether it is the cautious one."""
    stderr, n = of_repeats(row["stderr"], row["n"], repeats)
    if stderr is not None and stderr > 0:
        return stderr, False
    if stderr == 0 and n and row["value"] in (0, 1):  # all right, or all wrong
        return statistics.stderr_at_the_end(n), False
    return statistics.cautious_stderr(row["value"], n, *(ends or (None, None))), True


def _ends(base: Row, candidate: Row, which_way: str) -> tuple[float, float] | None:
    """The range of a score: as it is known, else 0 to 1 where both lie in it and more is better."""
    if base["lowest"] is not None and base["highest"] is not None:
        return base["lowest"], base["highest"]
    share = which_way == "higher" and all(0 <= row["value"] <= 1 for row in (base, candidate))
    return (0.0, 1.0) if share else None
