"""Which runs a board is of, and where it is shown: on the terminal, in files, in a page."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from snakeval.across.averages import averaged
from snakeval.across.board import Board, made
from snakeval.across.chance import marked
from snakeval.across.curves import panels, told
from snakeval.across.page import write_page
from snakeval.across.table import print_board
from snakeval.across.written import write_csv, write_json
from snakeval.compare.suite import Suite
from snakeval.errors import InputError, Problem, count
from snakeval.plan.run import Run
from snakeval.run_folder.layout import RunPaths, runs_in
from snakeval.runs.find import find_run
from snakeval.terminal import Terminal


def chosen_runs(
    named: Sequence[str],
    of_config: Sequence[Path],
    output_dirs: Sequence[Path],
    read: Callable[[RunPaths], Run],
) -> tuple[list[Run], list[str]]:
    """The runs that are named, else those of the config, else the newest of every model and
    setting in the output folders; and what is to be said of the others.

    Raises InputError where there is none, and for a name that is none.
    """
    notes: list[str] = []
    if named:
        paths = _named(named, output_dirs)
    else:
        existing = [RunPaths(folder) for folder in of_config if (folder / "run.json").exists()]
        paths = existing or _newest(output_dirs, notes)
    runs = []
    for each in paths:
        try:
            runs.append(read(each))
        except InputError as error:  # one folder that cannot be read hides no other
            notes.append(f"{each.id}: cannot be read: {error.problems[0]}".replace("\n", " "))
    if not runs:
        where = ", ".join(map(str, output_dirs))
        fix = "evaluate first: snakemake --profile profiles/local --configfile ..."
        raise InputError([Problem("leaderboard", f"there is no run in {where}", fix)])
    return runs, notes


def _named(named: Sequence[str], output_dirs: Sequence[Path]) -> list[RunPaths]:
    problems, found = [], {}
    for name in named:
        try:
            paths = find_run(name, list(output_dirs), "--config runs")
            found[paths.dir.resolve()] = paths
        except InputError as error:
            problems += error.problems
    if problems:
        raise InputError(problems)
    return list(found.values())


def _newest(output_dirs: Sequence[Path], notes: list[str]) -> list[RunPaths]:
    """Of runs of the same identity (`new_run=true`) the newest."""
    every = [run for folder in output_dirs for run in runs_in(folder) if run.record.exists()]
    newest = {run.id[-8:]: run for run in sorted(every, key=lambda run: run.id)}
    if older := len(every) - len(newest):
        notes.append(
            f"{count(older, 'older run')} of the same models and settings not shown; "
            "runs=<id>,<id> names them"
        )
    return sorted(newest.values(), key=lambda run: run.id)


def show(
    runs: Sequence[Run],
    folder: Path,
    columns: Sequence[str] = (),
    suite: Suite | None = None,
    notes: Sequence[str] = (),
) -> Board:
    """Prints the board of runs, and writes its files into a folder. Raises InputError."""
    board = averaged(marked(made(runs, columns, suite, notes)))
    drawn = panels(board)
    print_board(board, list(told(drawn)))
    csv, json, html = (folder / f"leaderboard.{suffix}" for suffix in ("csv", "json", "html"))
    try:
        write_csv(board, csv)
        write_json(board, json)
        write_page(board, drawn, html)
    except OSError as error:
        raise InputError(
            [Problem(str(error.filename or folder), f"cannot be written: {error.strerror}")]
        ) from None
    Terminal(200).say(f"Leaderboard (also .csv, .json): {html}")
    return board
