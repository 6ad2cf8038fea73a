"""What a person sees of a start while it runs and at its end: progress, tables, the leaderboard of
a sweep, a notice to somebody else. What cannot be shown hides no result."""

from __future__ import annotations

import atexit
import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from snakeval.start import snakemake_internals as snakemake

if TYPE_CHECKING:
    from snakeval.plan.run import Run

Runs = Sequence["Run"]


def show_progress(runs: Runs) -> Callable[[], None]:
    """Begins to show how far the runs are; what is returned ends it."""
    from snakeval.runs import screen
    from snakeval.runs.progress import Watch

    selected = {run.paths.dir: [task.name for task in run.selected] for run in runs}
    progress = screen.begin(Watch([run.paths for run in runs], selected))
    atexit.register(progress.end)
    return progress.end


def begin_tables(scripts: Path) -> Callable[[], None]:
    """Begins the process that will write the tables; what is returned ends it."""
    from snakeval.results import ready

    return ready.begin(scripts / "results.py")


def end_once() -> None:
    """The first Ctrl-C ends the benchmarks, which takes up to 20 s; the second says so, where it
    would end Snakemake in a traceback before they have; the third leaves at once."""
    if signal.getsignal(signal.SIGINT) is not signal.default_int_handler:
        return  # whoever started this ignores it, or does something of their own

    def first(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, second)
        raise KeyboardInterrupt

    def second(number: int, frame: object) -> None:
        signal.signal(signal.SIGINT, signal.default_int_handler)
        told = b"the benchmarks are being ended, their answers are kept (up to 20 s); Ctrl-C once "
        os.write(2, told + b"more does not wait for them\n")  # no lock: it interrupts anything

    signal.signal(signal.SIGINT, first)


def show_results(runs: Runs, scripts: Path) -> None:
    """The tables of every run, over what is published now; of a sweep its models side by side.

    scripts  where the entry points are that export what there is of an unfinished run
    """
    in_short = len(runs) > 1 and sum(len(run.tasks) for run in runs) > TABLES_OF
    for run in runs:
        _show(run, scripts, in_short)
    if len(runs) > 1:
        _show_sweep(runs)


TABLES_OF = 24
"""Benchmarks of a sweep that have a table for each model; of more, the leaderboard has them."""


def _show(run: Run, scripts: Path, in_short: bool) -> None:
    from snakeval.export.unfinished import export_what_is_there
    from snakeval.results.samples import write_if_possible
    from snakeval.results.tables import print_table, rows, write_tables

    complete = run.paths.tables_stamp(run.members).exists() and all(
        task.published for task in run.tasks
    )
    # The rule has written both where all is published: the reader of Parquet is heavy.
    if not (complete and run.paths.samples.exists()) and (failed := write_if_possible(run)):
        snakemake.log().warning(failed)
    # What a server has cost is known only now.
    final = complete and not run.servers
    print_table(run, rows(run) if final else write_tables(run, run.members), in_short)
    if not complete:
        export_what_is_there(run, scripts)


def _show_sweep(runs: Runs) -> None:
    from snakeval.across.boards import show
    from snakeval.results.published import kept_apart

    failed = kept_apart(lambda: show(runs, runs[0].paths.dir.parent) and None, str)
    if failed:
        snakemake.log().warning(f"no leaderboard: {failed}")


def show_again_at_exit(runs: Runs, runtime: str) -> None:
    """The tables of runs that were finished before, when Snakemake has said its last word, and
    which of their images are others by now.

    runtime  of the profile
    """
    from snakeval.start.fresh_images import Look

    look = Look(runs, runtime)

    def show_again() -> None:
        from snakeval.results.tables import print_table, rows

        for run in runs:
            print_table(run, rows(run))
        look.tell(snakemake.log().warning)

    atexit.register(show_again)


def notify(runs: Runs) -> None:
    """Tells whom the config wants to be told."""
    if any(run.config.execution.notify.is_wanted for run in runs):
        from snakeval.results import notice
        from snakeval.results.published import kept_apart

        for failed in kept_apart(lambda: list(notice.notify(runs)), lambda why: [str(why)]):
            snakemake.log().warning(f"nobody was told: {failed}")
