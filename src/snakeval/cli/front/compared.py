"""Verbs about two runs, or several."""

from __future__ import annotations

import argparse
from pathlib import Path

from snakeval.cli.front.verb import (
    Parser,
    Verb,
    call,
    takes_output_dir,
    takes_runs,
    words_of_runs,
)


def _takes_two(parser: Parser) -> None:
    parser.add_argument("base", help="what is measured against: id, its beginning, or folder")
    parser.add_argument("candidate", help="what it is about: id, its beginning, or folder")
    parser.add_argument("--suite", help="a suite of config/suites, or its file: its number too")
    takes_output_dir(parser)


def _takes_gate(parser: Parser) -> None:
    _takes_two(parser)
    parser.add_argument("--policy", type=Path, help="a policy's file; default: release.yaml")


def _words(given: argparse.Namespace) -> list[str]:
    folders = [word for folder in given.output_dir for word in ("--output-dir", str(folder))]
    suite = ["--suite", given.suite] if given.suite else []
    return ["--base", given.base, "--candidate", given.candidate, *suite, *folders]


def _gate(given: argparse.Namespace) -> int:
    policy = ["--policy", str(given.policy)] if given.policy else []
    return call("gate", [*_words(given), *policy])


def _takes_leaderboard(parser: Parser) -> None:
    takes_runs(parser)
    parser.add_argument("--columns", help="benchmarks, as `mmlu*` or `ifeval:metric`, with commas")
    parser.add_argument("--suite", help="a suite of config/suites, or its file")


def _leaderboard(given: argparse.Namespace) -> int:
    named, given.run = given.run, []
    (words,) = words_of_runs(given)
    chosen = {"--runs": ",".join(named), "--columns": given.columns, "--suite": given.suite}
    more = [word for name, value in chosen.items() if value for word in (name, value)]
    return call("leaderboard", [*words, *more])


LEADERBOARD = Verb(_takes_leaderboard, _leaderboard)
COMPARE = Verb(_takes_two, lambda given: call("compare", _words(given)))
GATE = Verb(_takes_gate, _gate)
