"""Verbs about two runs, or several."""

from __future__ import annotations

import argparse
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from snakeval.cli.front.verb import (
    Parser,
    Verb,
    call,
    elsewhere,
    takes_output_dir,
    takes_runs,
    words_of_runs,
)
from snakeval.errors import InputError, Problem

if TYPE_CHECKING:
    from snakeval.remote.notes import Note


def _takes_two(parser: Parser) -> None:
    parser.add_argument("base", help="what is measured against: id, its beginning, or folder")
    parser.add_argument("candidate", help="what it is about: id, its beginning, or folder")
    parser.add_argument("--suite", help="a suite of config/suites, or its file: its number too")
    takes_output_dir(parser)


def _takes_gate(parser: Parser) -> None:
    _takes_two(parser)
    parser.add_argument("--policy", type=Path, help="a policy's file; default: release.yaml")


def _compare(given: argparse.Namespace) -> int:
    return _about_both("compare", given, {"--suite": given.suite})


def _gate(given: argparse.Namespace) -> int:
    policy = str(given.policy) if given.policy else None
    return _about_both("gate", given, {"--suite": given.suite, "--policy": policy})


def _about_both(verb: str, given: argparse.Namespace, chosen: Mapping[str, str | None]) -> int:
    """A verb about two runs, where both are."""
    more = [word for name, value in chosen.items() if value for word in (name, value)]
    both = [_on_login_nodes(given, [name]) for name in (given.base, given.candidate)]
    if not any(both):
        folders = [word for folder in given.output_dir for word in ("--output-dir", str(folder))]
        return call(verb, ["--base", given.base, "--candidate", given.candidate, *folders, *more])
    if not all(both):
        here, (there,) = (given.base, both[1]) if both[1] else (given.candidate, both[0])
        what = f"is on this machine, and {there.run} is on {there.login.target}"
        fix = f"bring the whole run here first: rsync -a {there.login.target}:{there.dir}"
        raise InputError([Problem(here, what, f"{fix} {there.here}/")])
    return _asked_together([*both[0], *both[1]], verb, more)


def _on_login_nodes(given: argparse.Namespace, named: list[str]) -> list[Note]:
    """The runs of these names that are on login nodes; none: they are here."""
    chosen = {"run": named, "config": [], "override": []}
    return elsewhere(argparse.Namespace(**{**vars(given), **chosen}))


def _asked_together(notes: Sequence[Note], verb: str, words: list[str]) -> int:
    """One question about several runs of a login node; files that it names are brought."""
    from snakeval.remote.verbs import ask

    return ask(notes, verb, words, [word for word in words if Path(word).is_file()])


def _takes_leaderboard(parser: Parser) -> None:
    takes_runs(parser)
    parser.add_argument("--columns", help="benchmarks, as `mmlu*` or `ifeval:metric`, with commas")
    parser.add_argument("--suite", help="a suite of config/suites, or its file")


def _leaderboard(given: argparse.Namespace) -> int:
    chosen = {"--columns": given.columns, "--suite": given.suite}
    more = [word for name, value in chosen.items() if value for word in (name, value)]
    if notes := elsewhere(given) if given.run or given.config else []:
        return _asked_together(notes, "leaderboard", more)
    named, given.run = given.run, []
    (words,) = words_of_runs(given)
    more += ["--runs", ",".join(named)] if named else []
    return call("leaderboard", [*words, *more])


LEADERBOARD = Verb(_takes_leaderboard, _leaderboard)
COMPARE = Verb(_takes_two, _compare)
GATE = Verb(_takes_gate, _gate)
