"""Models x benchmarks: one headline score each, with its interval, and what is missing visible.

A column is a benchmark with what it was asked with: another number of samples or of examples in the
prompt is another column, since its scores are not of the same questions. How a model samples its
answers (temperature, top_p, length) makes no column of its own, unless one run has both.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from functools import cached_property
from typing import Any

from snakeval.compare import statistics
from snakeval.compare.changes import flat
from snakeval.compare.same import ANSWERS_NOT_QUESTIONS
from snakeval.compare.statistics import Interval
from snakeval.compare.suite import Suite
from snakeval.errors import InputError, Problem, nearest
from snakeval.plan.identity import digest
from snakeval.plan.labels import LONGEST, Nameless, names
from snakeval.plan.run import Run, Task
from snakeval.results.clusters import of_repeats
from snakeval.results.published import repeats_of
from snakeval.results.steps import step_of
from snakeval.results.tables import metric_name, read_tasks
from snakeval.results.totals import FromSamples, known_from_samples
from snakeval.terminal import middle

ABSENT = "not evaluated"
"""State of a cell whose run does not have the benchmark."""

NAMES = ("version", "name", "model_id")
"""Of a run's identity: what a row is called by anyway."""


@dataclass(frozen=True, eq=False)
class Cell:
    """The headline score of one benchmark of one run.

    state     as in results.csv; `not evaluated` where the run does not have the benchmark
    stderr    of the score; None: not known
    samples   scored of expected; partial: less than was asked for
    sampling  temperature and the like, where they are given
    """

    state: str = ABSENT
    cause: str | None = None
    run: Run | None = None
    task: Task | None = None
    row: dict[str, Any] = field(default_factory=dict)
    value: float | None = None
    stderr: float | None = None
    n: int | None = None
    interval: Interval | None = None
    best: bool = False

    @property
    def partial(self) -> bool:
        return self.value is not None and (
            self.row["scored"] != self.row["expected"] or bool(self.row["unanswered"])
        )

    @property
    def error(self) -> float | None:
        """The standard error as its interval has it: of 20 right answers of 20 it is not 0."""
        if self.interval is None:
            return self.stderr
        return (self.interval[1] - self.interval[0]) / (2 * statistics.normal_quantile())

    @property
    def half(self) -> float | None:
        """The longer side of the interval."""
        if self.value is None or self.interval is None:
            return None
        return max(self.interval[1] - self.value, self.value - self.interval[0])


@dataclass(frozen=True)
class Column:
    """A benchmark, and what it was asked with.

    name    the benchmark; with what tells it from another column of the same one
    metric  the headline score: `exact_match (strict-match)`
    better  which way it is better: higher, lower or unknown
    untested  why no best is marked; empty where one is
    """

    key: str
    name: str
    task: str
    benchmark: str
    metric: str
    better: str = "unknown"
    untested: str = ""


@dataclass(frozen=True, eq=False)
class Row:
    """One run: a model as it was evaluated once. `cells`: by the keys of the columns."""

    run: Run
    model: str
    label: str
    name: str | None
    created: str
    step: int | None
    series: str
    cells: dict[str, Cell]
    average: float | None = None
    average_interval: Interval | None = None
    suite: float | None = None
    suite_interval: Interval | None = None
    suite_missing: tuple[str, ...] = ()

    @property
    def scored(self) -> int:
        return sum(cell.value is not None for cell in self.cells.values())


@dataclass(frozen=True)
class Board:
    """averaged  keys of the columns that every averaged model has
    notes     what a reader must know"""

    columns: tuple[Column, ...]
    rows: tuple[Row, ...]
    averaged: tuple[str, ...] = ()
    average_note: str = ""
    suite: Suite | None = None
    notes: tuple[str, ...] = ()

    @property
    def title(self) -> str:
        """`Leaderboard`, and the name of the config that all runs are of."""
        names = {row.name for row in self.rows}
        return ": ".join(filter(None, ["Leaderboard", names.pop() if len(names) == 1 else None]))

    @cached_property
    def missing(self) -> int:
        """Cells without a score."""
        return len(self.rows) * len(self.columns) - sum(row.scored for row in self.rows)

    @cached_property
    def over_time(self) -> bool:
        """Whether some model has several checkpoints."""
        counted = Counter(row.series for row in self.rows if row.step is not None)
        return any(number > 1 for number in counted.values())


def made(
    runs: Sequence[Run],
    chosen: Sequence[str] = (),
    suite: Suite | None = None,
    notes: Sequence[str] = (),
) -> Board:
    """The board of runs: nothing is marked or averaged yet.

    chosen  patterns of benchmarks (`mmlu*`), each with `:metric` where it is not the first one
    suite   its benchmarks only
    notes   what a reader must know of the runs
    Raises InputError for a pattern that nothing fits.
    """
    read = [_read(run) for run in runs]
    settings = _settings(read)
    wanted = list(chosen) or (list(suite.benchmarks) if suite else [])
    columns = _columns(read, settings, wanted, suite)
    rows = [_row(run, cells, columns, settings) for run, cells in zip(runs, read, strict=True)]
    return Board(tuple(columns), tuple(_labelled(rows)), suite=suite, notes=tuple(notes))


# ---------------------------------------------------------------- what runs hold


@dataclass(frozen=True, eq=False)
class _Found:
    """A task of a run, with the rows of its scores of the whole."""

    run: Run
    task: Task
    state: str
    cause: str | None
    rows: list[dict[str, Any]]
    first: dict[str, Any]


def _read(run: Run) -> list[_Found]:
    return [
        _Found(
            run,
            shown.task,
            shown.rows[0]["state"],
            shown.rows[0]["cause"],
            [row for row in shown.rows if row["value"] is not None],
            shown.rows[0],
        )
        for shown in read_tasks(run)
    ]


def _asked_with(task: Task, strict: bool) -> dict[str, Any]:
    """What decides the questions of a benchmark; `strict`: and how answers are sampled."""
    identity = task.identity
    params = {
        key: value
        for key, value in flat(identity["params"])
        if strict or key not in ANSWERS_NOT_QUESTIONS
    }
    found = {
        **params,
        **{f"adapter.{key}": value for key, value in flat(identity["adapter_config"] or {})},
        "endpoint": identity["endpoint_type"],
        "dataset": identity["dataset"],
        "files": (identity["definition"] or {}).get("files"),
        "judges": identity.get("auxiliary"),
    }
    return {key: value for key, value in found.items() if value not in (None, {}, [])}


def _settings(read: Sequence[Sequence[_Found]]) -> dict[int, dict[str, Any]]:
    """For each task (by its object's id) what it was asked with."""
    loose = {id(each.task): _asked_with(each.task, False) for found in read for each in found}
    twice = set()
    for found in read:
        seen = set()
        for each in found:
            key = each.task.benchmark.id, digest(loose[id(each.task)])
            if key in seen:
                twice.add(each.task.benchmark.id)
            seen.add(key)
    return {
        id(each.task): _asked_with(each.task, True)
        if each.task.benchmark.id in twice
        else loose[id(each.task)]
        for found in read
        for each in found
    }


def _key(each: _Found, settings: dict[int, dict[str, Any]]) -> str:
    return f"{each.task.benchmark.id}-{digest(settings[id(each.task)], 8)}"


# ---------------------------------------------------------------- columns


def _columns(
    read: Sequence[Sequence[_Found]],
    settings: dict[int, dict[str, Any]],
    wanted: Sequence[str],
    suite: Suite | None,
) -> list[Column]:
    by_key: dict[str, list[_Found]] = {}
    for each in (each for found in read for each in found):
        by_key.setdefault(_key(each, settings), []).append(each)
    called = _names(by_key, settings)
    columns = [_column(key, called[key], found, None, suite) for key, found in by_key.items()]
    if not wanted:
        return columns
    problems, chosen = [], []
    for word in wanted:
        pattern, _, metric = word.partition(":")
        fits = [
            column
            for column in columns
            if any(
                fnmatchcase(name.lower(), pattern.lower())
                for name in (column.name, column.task, column.benchmark)
            )
        ]
        if not fits and not suite:  # what a suite lacks is told beside its number
            known = sorted({column.task for column in columns})
            problems.append(
                Problem("--config columns", f"no run has '{pattern}'", nearest(pattern, known))
            )
        for column in fits:
            again = _column(column.key, column.name, by_key[column.key], metric or None, suite)
            if metric and again.metric != metric and not again.metric.startswith(f"{metric} ("):
                there = {metric_name(row) for each in by_key[column.key] for row in each.rows}
                problems.append(
                    Problem(
                        "--config columns",
                        f"{column.name} has no score '{metric}'",
                        nearest(metric, sorted(there)),
                    )
                )
            chosen.append(again)
    if problems:
        raise InputError(dict.fromkeys(problems))
    return list({column.key: column for column in chosen}.values())


def _names(by_key: dict[str, list[_Found]], settings: dict[int, dict[str, Any]]) -> dict[str, str]:
    """As a run calls its benchmarks: `mmlu_instruct`, or `mmlu_instruct [num_fewshot=5]` where that
    tells it from another column; by its label where all runs agree on one."""
    firsts = {key: found[0].task for key, found in by_key.items()}
    ids = {task.benchmark.id: task.benchmark.task for task in firsts.values()}
    tasks = Counter(ids.values())
    called = []
    for key, task in firsts.items():
        base = task.benchmark.task if tasks[task.benchmark.task] == 1 else task.benchmark.id
        own = {each.task.own_label for each in by_key[key]}
        label = own.pop() if len(own) == 1 else ""
        named = Nameless(label, base, base, task.benchmark.id, settings[id(task)], key[-8:])
        called.append(named)
    return dict(zip(firsts, names(called), strict=True))


def _column(
    key: str, name: str, found: Sequence[_Found], metric: str | None, suite: Suite | None
) -> Column:
    benchmark = found[0].task.benchmark
    said = suite.member(benchmark.task, benchmark.id) if suite else None
    metric = metric or (said.score if said else None)
    rows = [row for each in found for row in each.rows]
    chosen = headline(rows, metric)
    better = {row["better"] for row in rows if chosen and _same(row, chosen)} - {"unknown", None}
    if said and said.better:
        better = {said.better}
    return Column(
        key,
        name,
        benchmark.task,
        benchmark.id,
        metric_name(chosen) if chosen else "",
        better.pop() if len(better) == 1 else "unknown",
    )


def headline(rows: Sequence[dict[str, Any]], metric: str | None = None) -> dict[str, Any] | None:
    """The row of a benchmark's headline score.

    metric  `exact_match`, or `exact_match (strict-match)`; None: the first score of the whole
            benchmark whose direction is known, else the first one
    """
    whole = [row for row in rows if row["subtask"] is None] or list(rows)
    if metric:
        fits = [row for row in whole if metric in (metric_name(row), row["metric"], row["score"])]
        return fits[0] if fits else None
    known = [row for row in whole if row["better"] in ("higher", "lower")]
    return next(iter(known or whole), None)


def _same(row: dict[str, Any], other: dict[str, Any]) -> bool:
    return all(row[key] == other[key] for key in ("metric", "score", "subtask")) and (
        metric_name(row) == metric_name(other)
    )


# ---------------------------------------------------------------- rows


def _row(
    run: Run,
    found: Sequence[_Found],
    columns: Sequence[Column],
    settings: dict[int, dict[str, Any]],
) -> Row:
    there = {_key(each, settings): each for each in found}
    known: list[FromSamples] = []

    def from_samples() -> FromSamples:  # heavy: only where a harness gives no standard error
        if not known:
            known.append(known_from_samples(run))
        return known[0]

    cells = {
        column.key: _cell(there[column.key], column, from_samples)
        if column.key in there
        else Cell(run=run)
        for column in columns
    }
    model = str(run.identity["model_id"])
    step, series = step_of(run)
    created = run.paths.id[:19]
    return Row(run, model, model, run.config.name, created, step, series, cells)


def _cell(each: _Found, column: Column, from_samples: Callable[[], FromSamples]) -> Cell:
    row = next((row for row in each.rows if metric_name(row) == column.metric), None)
    if row is None:
        state, cause = each.state, each.cause
        if each.rows:
            state, cause = "no such score", f"it has no score {column.metric}"
        return Cell(state, cause, each.run, each.task, each.first)
    stderr, n = of_repeats(row["stderr"], row["n"], repeats_of(each.task))
    if stderr is None:
        stderr, n = from_samples().error_of(each.task.name, row) or (None, n)
    return Cell(
        each.state,
        None,
        each.run,
        each.task,
        row,
        row["value"],
        stderr,
        n,
        statistics.score_interval(row["value"], stderr, n),
    )


def _labelled(rows: Iterable[Row]) -> list[Row]:
    """Models of one name are told apart by the config's name, else by what they were asked with or
    served from, else by the time of the run; no two rows have one label."""
    found = list(rows)
    counted = Counter(row.model for row in found)
    named = Counter((row.model, row.name) for row in found)
    times = Counter((row.model, _when(row)) for row in found)
    called = []
    for row in found:
        alone = counted[row.model] > 1 and row.name and named[row.model, row.name] == 1
        when = _when(row)
        called.append(
            Nameless(
                f"{row.model} ({row.name})" if alone else "",
                row.model,
                row.model,
                f"{row.model} {row.name}",
                {} if alone else _differs(row),
                when if times[row.model, when] == 1 else f"{when}, {row.run.paths.id[-8:]}",
            )
        )
    labels = names(called)
    return [replace(row, label=label) for row, label in zip(found, labels, strict=True)]


def _differs(row: Row) -> dict[str, Any]:
    """What may differ between two runs of one name: parameters, and where the weights are."""
    identity = {key: value for key, value in row.run.identity.items() if key not in NAMES}
    found = {**dict(flat(identity)), "from": None if row.name else row.run.identity["name"]}
    return {key: middle(str(value), LONGEST) for key, value in found.items() if value is not None}


def _when(row: Row) -> str:
    day, clock = row.created[:10], row.created[11:19].replace("-", ":")
    return f"{row.name + ', ' if row.name else ''}{day} {clock}"
