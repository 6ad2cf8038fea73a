"""Verbs about runs on disk."""

from __future__ import annotations

import argparse
import sys

from snakeval.cli.front.verb import (
    Parser,
    Verb,
    about_runs,
    asked_there,
    call,
    elsewhere,
    for_each_run,
    takes_config,
    takes_output_dir,
    takes_runs,
    wherever,
    words_of_runs,
)
from snakeval.config.export import DESTINATIONS
from snakeval.errors import InputError, Problem


def _takes_status(parser: Parser) -> None:
    takes_runs(parser)
    parser.add_argument(
        "-w", "--watch", action="store_true", help="show it anew until nothing is at work"
    )


def _status(given: argparse.Namespace) -> int:
    return wherever("status", given, *(["--watch"] if given.watch else []))


STATUS = Verb(_takes_status, _status)
REPORT = about_runs("report")
SAMPLES = about_runs("samples")


def _about_a_task(parser: Parser) -> None:
    parser.add_argument("run", nargs="?", help="id of a run, or its beginning; default: latest")
    parser.add_argument("-t", "--task", help="a task of the run")
    takes_config(parser)
    takes_output_dir(parser)


def _takes_logs(parser: Parser) -> None:
    _about_a_task(parser)
    parser.add_argument("--lines", type=int, default=50, help="lines that are shown first")
    parser.add_argument("--no-follow", action="store_true", help="show what is there, and end")


def _name_task(given: argparse.Namespace) -> list[str]:
    """Takes `RUN.TASK`, as the launcher names a job, apart; the words for the task."""
    run, task = given.run or "", given.task
    if not task and "/" not in run:
        run, _, task = run.partition(".")
    given.run = [run] if run else []
    return ["--task", task] if task else []


def _logs(given: argparse.Namespace) -> int:
    words = [*_name_task(given), "--lines", str(given.lines)]
    words += ["--no-follow"] if given.no_follow else []
    if notes := elsewhere(given):
        return asked_there(notes, "logs", words)
    (runs,) = words_of_runs(given)
    return call("logs", [*runs, *words])


def _kill(given: argparse.Namespace) -> int:
    words = _name_task(given)
    # `kill` wants to be told which run: the latest one may not be the one that is meant.
    if (given.run or given.config) and (notes := elsewhere(given)):
        return asked_there(notes, "kill", words)
    (runs,) = words_of_runs(given)
    return call("kill", [*runs, *words])


LOGS = Verb(_takes_logs, _logs)
KILL = Verb(_about_a_task, _kill)


def _fetch(given: argparse.Namespace) -> int:
    from snakeval.remote.verbs import fetch

    if notes := elsewhere(given):
        return max(map(fetch, notes))
    fix = "`snakeval run` with execution.hostname starts one there; results of others are here"
    raise InputError([Problem("fetch", "no run on a login node is meant", fix)])


FETCH = Verb(takes_runs, _fetch)


def _takes_export(parser: Parser) -> None:
    takes_runs(parser)
    parser.add_argument(
        "--dest", "--to", choices=DESTINATIONS, help="where to; default: the config's destinations"
    )


def _export(given: argparse.Namespace) -> int:
    import json

    from snakeval.cli.front.verb import values_of

    if notes := elsewhere(given):
        if given.config:
            print(
                "the destinations are those of the config that the run has there", file=sys.stderr
            )
        return asked_there(notes, "export", ["--dest", given.dest] if given.dest else [])
    files = [word for file in given.config for word in ("--configfile", str(file))]
    to = ["--to", given.dest] if given.dest else []
    values = ["--values", json.dumps(values_of(given))]
    return for_each_run("export", given, *files, *values, *to)


EXPORT = Verb(_takes_export, _export)


def _takes_clean(parser: Parser) -> None:
    takes_runs(parser)
    parser.add_argument("--yes", action="store_true", help="remove what is shown")
    parser.add_argument("--json", action="store_true", help="print JSON")


def _clean(given: argparse.Namespace) -> int:
    flags = [f"--{name}" for name in ("yes", "json") if getattr(given, name)]
    return wherever("clean", given, *flags)


CLEAN = Verb(_takes_clean, _clean)
