"""Verbs about runs on disk."""

from __future__ import annotations

import argparse

from snakeval.cli.front.verb import (
    Parser,
    Verb,
    about_runs,
    call,
    for_each_run,
    takes_config,
    takes_output_dir,
    takes_runs,
    words_of_runs,
)
from snakeval.config.export import DESTINATIONS


def _takes_status(parser: Parser) -> None:
    takes_runs(parser)
    parser.add_argument(
        "-w", "--watch", action="store_true", help="show it anew until nothing is at work"
    )


def _status(given: argparse.Namespace) -> int:
    return for_each_run("status", given, *(["--watch"] if given.watch else []))


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


def _words_about_a_task(given: argparse.Namespace) -> list[str]:
    """The run and the task: `RUN`, or `RUN.TASK`, as the launcher names a job."""
    run, task = given.run or "", given.task
    if not task and "/" not in run:
        run, _, task = run.partition(".")
    given.run = [run] if run else []
    (words,) = words_of_runs(given)
    return [*words, *(["--task", task] if task else [])]


def _logs(given: argparse.Namespace) -> int:
    follow = ["--no-follow"] if given.no_follow else []
    return call("logs", [*_words_about_a_task(given), "--lines", str(given.lines), *follow])


LOGS = Verb(_takes_logs, _logs)
KILL = Verb(_about_a_task, lambda given: call("kill", _words_about_a_task(given)))


def _takes_export(parser: Parser) -> None:
    takes_runs(parser)
    parser.add_argument(
        "--dest", "--to", choices=DESTINATIONS, help="where to; default: the config's destinations"
    )


def _export(given: argparse.Namespace) -> int:
    import json

    from snakeval.cli.front.verb import values_of

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
    return for_each_run("clean", given, *flags)


CLEAN = Verb(_takes_clean, _clean)
