"""`replay_from=`: whose stored answers a benchmark may be scored from, at no cost.

The gateway of an attempt takes them where it has none of its own; what they do not hold is asked.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

from snakeval.errors import InputError, Problem, nearest
from snakeval.job.gateway.ledger import LEDGER
from snakeval.plan.run import Task
from snakeval.run_folder.layout import RunPaths, runs_in
from snakeval.run_folder.records import read_yaml

KEY = "--config replay_from"
DIGEST = re.compile(r"[0-9a-f]{6,12}(\.[0-9]+)?\Z")


def with_sources(
    tasks: Sequence[Task], own: RunPaths, wanted: str, fresh: Collection[Task]
) -> tuple[tuple[Task, ...], list[Problem]]:
    """The tasks with the records to take answers from, and a warning for each that has none.

    own     the run of these tasks; the others lie beside it
    wanted  a run by its id or the beginning of it (or of its 8 hex digits), or a spec by its digest
    fresh   tasks that are started over: their own record is another one by then
            (a path to the run's folder is its id)
    Raises InputError where no task has any.
    """
    wanted = Path(wanted).name
    runs = runs_in(own.dir.parent)
    found = [run for run in runs if run.id.startswith(wanted) or run.id[-8:].startswith(wanted)]
    digest = wanted if not found and DIGEST.match(wanted) else ""
    within = runs if digest else found
    sources = {task: tuple(_sources(task, within, own, digest, task in fresh)) for task in tasks}
    if not any(sources.values()):
        what = "has no stored answers of these benchmarks" if found else "is no run and no spec"
        close = nearest(wanted, [run.id for run in runs]) or "`snakemake ls_runs` lists the runs"
        fix = "only what was evaluated behind the gateway has any" if found else close
        raise InputError([Problem(KEY, f"'{wanted}' {what} here", fix)])
    warnings = [
        Problem(KEY, f"'{wanted}' has no stored answers of {task.label}: it is asked", warning=True)
        for task, records in sources.items()
        if not records and not task.published
    ]
    warnings += [
        Problem(
            KEY,
            f"'{wanted}' has answers of another model ({', '.join(others)}): {task.label} is asked",
            warning=True,
        )
        for task, records in sources.items()
        if records and not task.published and (others := _of_others(task, records, own))
    ]
    changed = [
        replace(task, replay_from=records, gateway=True) if records else task
        for task, records in sources.items()
    ]
    return tuple(changed), warnings


def _sources(
    task: Task, runs: Sequence[RunPaths], own: RunPaths, digest: str, is_fresh: bool
) -> Iterator[str]:
    """Records relative to the output folder, the newest ledger first."""
    ledgers = [
        ledger
        for run in runs
        for ledger in run.task(task.name).dir.glob(f"record/{digest}*/{LEDGER}")
    ]
    for ledger in sorted(ledgers, key=_written, reverse=True):
        record = ledger.parent
        if record == task.paths.record(task.digest):
            if not is_fresh:
                continue
            record = task.paths.record(task.paths.next_superseded(task.digest))
        yield record.relative_to(own.dir.parent).as_posix()


def _of_others(task: Task, records: Sequence[str], own: RunPaths) -> list[str]:
    """The models of the records; none where one of them may be the task's: who is asked for is a
    part of each question."""
    specs = [read_yaml(own.dir.parent / record / "task.yaml") for record in records]
    models = {str(spec.get("model_id") or task.endpoint.model_id) for spec in specs}
    return [] if task.endpoint.model_id in models else sorted(models)


def _written(ledger: Path) -> float:
    try:
        return ledger.stat().st_mtime
    except OSError:
        return 0.0
