"""Verbs about two runs."""

from __future__ import annotations

import argparse
from pathlib import Path

from snakeval.cli.front.verb import Parser, Verb, call, takes_output_dir


def _takes_two(parser: Parser) -> None:
    parser.add_argument("base", help="what is measured against: id, its beginning, or folder")
    parser.add_argument("candidate", help="what it is about: id, its beginning, or folder")
    takes_output_dir(parser)


def _takes_gate(parser: Parser) -> None:
    _takes_two(parser)
    parser.add_argument("--policy", type=Path, help="a policy's file; default: release.yaml")


def _words(given: argparse.Namespace) -> list[str]:
    folders = [word for folder in given.output_dir for word in ("--output-dir", str(folder))]
    return ["--base", given.base, "--candidate", given.candidate, *folders]


def _gate(given: argparse.Namespace) -> int:
    policy = ["--policy", str(given.policy)] if given.policy else []
    return call("gate", [*_words(given), *policy])


COMPARE = Verb(_takes_two, lambda given: call("compare", _words(given)))
GATE = Verb(_takes_gate, _gate)
