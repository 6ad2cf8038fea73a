"""What is published of a task, read once and in one way: tables, exports, report, comparison."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TypeVar

from snakeval.job import verify
from snakeval.job.checked import results_in, totals_in
from snakeval.job.files import read_json
from snakeval.job.result_formats import Coverage, Results, Score
from snakeval.plan.run import Task

DEFINITION_CHANGED = "the benchmark's definition has changed since; this is the result of before"


@dataclass(frozen=True)
class Published:
    """A published result.

    totals  tokens and times, in the units they name
    notes   what a reader of the scores must be told, a sentence each
    cause   why there is no score to show although it is published; else None
    """

    scores: tuple[Score, ...] = ()
    coverage: Coverage = field(default_factory=Coverage)
    totals: dict[str, float] | None = None
    notes: tuple[str, ...] = ()
    cause: str | None = None


def published_of(task: Task) -> Published:
    """The scores that the check has let pass. Never raises: what one task holds must not keep the
    others from being shown."""
    return kept_apart(lambda: _read(task), lambda cause: Published(cause=cause))


def _read(task: Task) -> Published:
    notes = (DEFINITION_CHANGED,) if task.definition_changed else ()
    found = _results(task)
    return Published(
        tuple(found.scores), found.coverage, found.totals, (*notes, *found.notes), None
    )


def _results(task: Task) -> Results:
    """From check.json; from the harness's files where an earlier version has made it."""
    checked = read_json(task.paths.check(task.digest))
    found = results_in(checked)
    if found is not None:
        return found
    read = verify.read_results(
        task.paths.work(task.digest), read_json(task.paths.check_spec(task.digest))
    )
    # Only the logs tell who got no answer, and the check has read them.
    unanswered = checked.get("unanswered")
    coverage = Coverage(
        read.coverage.expected,
        read.coverage.scored,
        unanswered if isinstance(unanswered, int) else None,
    )
    return Results(read.scores, coverage, totals_in(checked), read.notes)


def repeats_of(task: Task) -> int:
    """How often each question was asked, as far as the config tells."""
    repeats = read_json(task.paths.check_spec(task.digest)).get("repeats")
    return repeats if isinstance(repeats, int) and repeats > 1 else 1


Read = TypeVar("Read")


def kept_apart(read: Callable[[], Read], instead: Callable[[str], Read]) -> Read:
    """What `read` returns; where it fails in whatever way, what `instead` makes of the cause."""
    try:
        return read()
    except verify.CheckFailed as error:
        return instead(error.cause)
    except OSError as error:
        return instead(f"{error.filename}: {error.strerror}" if error.filename else str(error))
    except Exception as error:
        said = " ".join(str(error).split())[:300]
        return instead(f"it cannot be read: {type(error).__name__}{f': {said}' if said else ''}")
