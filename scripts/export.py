"""Exports what is published of a run: to every destination of its config, or to one.

A destination that fails is told in one sentence, the others are served all the same, and the exit
code is 1.
"""

from __future__ import annotations

import argparse
import sys

from snakeval.cli.entry import CONFIG, RUNS, entry, parsed, run_at, runs_of
from snakeval.config.load import load
from snakeval.config.model import Config
from snakeval.errors import InputError, Problem
from snakeval.export.destinations import destinations_of, export_run
from snakeval.export.stamps import write_stamp
from snakeval.job.text import plain
from snakeval.plan.make import config_of_run
from snakeval.plan.run import Run
from snakeval.run_folder.layout import RunPaths, runs_in
from snakeval.runs.find import latest


def main() -> int:
    # The config's export sections are used; without one, those of the run's own config.
    arguments = parsed(__doc__, *RUNS, *CONFIG, "--to", "--auto", "--stamp")
    failed = False
    for paths in chosen(arguments):
        run = run_at(paths)
        failed |= not export(run, settings(arguments, paths), arguments)
    return 1 if failed else 0


def chosen(arguments: argparse.Namespace) -> list[RunPaths]:
    """The runs to export. Without a name or a config, the latest one of this output folder: what
    is sent away must not be a run that merely somebody has started last. Raises InputError."""
    if arguments.run or arguments.folder:
        return runs_of(arguments)
    here = [run for folder in arguments.output_dir for run in runs_in(folder)]
    if not here:
        folders = ", ".join(map(str, arguments.output_dir))
        raise InputError(
            [
                Problem(
                    "",
                    f"there is no run in {folders}",
                    "name one with --config run=..., or give its config with --configfile",
                )
            ]
        )
    return latest(here)


def settings(arguments: argparse.Namespace, paths: RunPaths) -> Config:
    """The config whose `export` sections are used."""
    if arguments.configfile:
        return config_of_run(paths, arguments.configfile, arguments.values)
    changes = {key: value for key, value in arguments.values.items() if key == "set"}
    return load([paths.config], changes, interpolate=False).config


def export(run: Run, config: Config, arguments: argparse.Namespace) -> bool:
    """Whether every destination has got everything. Raises InputError where there is nothing."""
    if not any(task.published for task in run.tasks):
        raise InputError(
            [
                Problem(
                    run.paths.id,
                    "no benchmark is published yet",
                    "evaluate first; `snakemake status` shows how far it is",
                )
            ]
        )
    if arguments.auto:
        names = config.execution.auto_export.destinations
    else:
        names = [arguments.to] if arguments.to else destinations_of(config)
    outcomes = export_run(run, config, names)
    for outcome in outcomes:
        for note in outcome.notes:
            print(plain(f"{run.paths.id}: {outcome.destination}: {note}"))
        print(
            plain(f"{run.paths.id}: {outcome}"), file=sys.stderr if outcome.failed else sys.stdout
        )
    complete = not any(outcome.failed for outcome in outcomes)
    if complete and arguments.stamp:
        write_stamp(run, arguments.stamp)
    return complete


if __name__ == "__main__":
    entry(main)
