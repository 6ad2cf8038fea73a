"""`snakeval ls`: benchmarks, one benchmark, runs; and what a config comes to."""

from __future__ import annotations

import argparse
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snakeval.cli.front.verb import (
    ROOT,
    Parser,
    Verb,
    call,
    takes_config,
    takes_output_dir,
    values_of,
)
from snakeval.errors import InputError, Problem, nearest

WHAT = ("tasks", "task", "runs")


def _takes_ls(parser: Parser) -> None:
    parser.add_argument("what", help="tasks, task NAME, or runs")
    parser.add_argument("name", nargs="?", help="of `ls task`")
    parser.add_argument("--match", help="only benchmarks with this text in their name")
    parser.add_argument("--harness", help="only benchmarks of this harness")
    parser.add_argument("--json", action="store_true", help="print JSON")
    takes_config(parser)
    takes_output_dir(parser)


def _ls(given: argparse.Namespace) -> int:
    if given.what not in WHAT:
        fix = nearest(given.what, WHAT)
        raise InputError([Problem("ls", f"there is nothing to list called '{given.what}'", fix)])
    if given.what == "runs":
        folders = given.output_dir or ["results"]
        code = call("ls_runs", [word for each in folders for word in ("--output-dir", str(each))])
        _list_elsewhere([Path(folder) for folder in folders])
        return code
    values: dict[str, Any] = {
        key: getattr(given, key) for key in ("match", "harness") if getattr(given, key)
    }
    if given.name:
        values["task"] = given.name
    return _about_a_config(f"ls_{given.what}", given, values)


def _list_elsewhere(folders: Sequence[Path]) -> None:
    """The runs that were started from here on login nodes."""
    if not any((folder / "remote").is_dir() for folder in folders):
        return
    from snakeval.remote.notes import notes_in

    for note in notes_in(folders):
        print(f"{note.run}  on {note.login.target}: {note.dir}")


def _takes_show(parser: Parser) -> None:
    takes_config(parser)
    parser.add_argument("--json", action="store_true", help="print JSON")


def _about_a_config(script: str, given: argparse.Namespace, more: Mapping[str, Any]) -> int:
    shown = {"as": "json"} if given.json else {}
    values = json.dumps({**values_of(given), **more, **shown})
    files = given.config or [ROOT / "config" / "config.yaml"]
    words = [word for file in files for word in ("--configfile", str(file))]
    return call(script, [*words, "--values", values])


LS = Verb(_takes_ls, _ls)
SHOW = Verb(_takes_show, lambda given: _about_a_config("show_config", given, {}))
