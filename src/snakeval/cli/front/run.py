"""`snakeval run`: the snakemake command that a config stands for, shown and then executed."""

from __future__ import annotations

import argparse
import os
import shlex
import sys
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakeval.cli.front.overrides import as_words
from snakeval.cli.front.verb import ROOT, Parser, Verb, takes_config, values_of
from snakeval.errors import InputError, Problem, nearest
from snakeval.executors.registry import executor

if TYPE_CHECKING:
    from snakeval.config.model import Config
    from snakeval.executors.login import Login


def arguments(parser: Parser) -> None:
    takes_config(parser)
    parser.add_argument("-n", "--dry-run", action="store_true", help="say what would run, and end")
    parser.add_argument(
        "-t", "--task", action="append", default=[], help="only this task of the config"
    )
    parser.add_argument(
        "--profile",
        help="a folder of profiles/, or any other; default: the config's execution.type",
    )
    parser.add_argument(
        "--yes", action="store_true",
        help="where the config names a login node: make the pipeline there if it is not there yet",
    )  # fmt: skip
    parser.add_argument(
        "snakemake", nargs="*", metavar="-- WORDS", help="anything else that snakemake takes"
    )


def main(given: argparse.Namespace) -> int:
    """Does not return where all is well: snakemake takes the place of this process. Where the
    config names a login node, and this machine is not on the cluster, it is started there."""
    if not given.config:
        file = next((word for word in given.snakemake if word.endswith((".yaml", ".yml"))), "")
        fix = f"snakeval run --config {file or 'my.yaml'}; the demo is `make demo`"
        raise InputError([Problem("run", "which config?", fix)])
    values = _values(given)
    config = _config(given.config, values)
    kind = config.execution.type
    login = executor(kind).login_node(config)
    if login and given.profile in (None, kind):
        return _there(login, given, values)
    words = command(given, kind, values)
    print(f"$ {shlex.join(['snakemake', *words])}", file=sys.stderr, flush=True)
    snakemake = Path(sys.executable).with_name("snakemake")
    return os.execv(snakemake, [str(snakemake), *words])


def _there(login: Login, given: argparse.Namespace, values: Mapping[str, Any]) -> int:
    """Starts it on the login node."""
    from snakeval.cli.entry import CATALOGUE
    from snakeval.plan.make import plan
    from snakeval.remote.begin import Wish, begin

    def agrees(question: str) -> bool:
        if given.yes or not sys.stdin.isatty():
            return bool(given.yes)
        return input(f"{question} [y/N] ").strip().lower() in ("y", "yes")

    more = ["--", *given.snakemake] if given.snakemake else []
    wish = Wish(given.config, values, more, given.dry_run, agrees)
    return begin(login, wish, plan(given.config, values, CATALOGUE))


def _values(given: argparse.Namespace) -> dict[str, Any]:
    """What `--config` of Snakemake would say. Raises InputError."""
    values = values_of(given)
    if given.task:
        values["tasks"] = ",".join(given.task)
    return values


def _config(files: Sequence[Path], values: Mapping[str, Any]) -> Config:
    """Raises InputError where it cannot be read or is wrong: Snakemake itself would end in a
    traceback."""
    from snakeval.config.load import load

    try:
        return load(files, values).config
    except InputError as error:
        swept = any(problem.where.endswith(".checkpoints") for problem in error.problems)
        host = login_node(files, values) if swept else None
        raise _of_the_cluster(error, host) if host else error from None


def login_node(files: Sequence[Path], values: Mapping[str, Any]) -> Any:
    """`execution.hostname` of a config that need not be right; None: it names none."""
    from snakeval.config.layers import dig
    from snakeval.config.load import merged

    return dig(merged(files, values), "execution", "hostname")


def _of_the_cluster(error: InputError, host: Any) -> InputError:
    """A mistake in a config that may be none where it names a login node: a sweep over folders is
    planned where the folders are."""
    fix = f"correct the pattern; where the folders are on {host}, start it there (`ssh {host}`)"
    return InputError(
        [
            replace(problem, fix=fix) if problem.where.endswith(".checkpoints") else problem
            for problem in error.problems
        ]
    )


def command(given: argparse.Namespace, kind: str, values: Mapping[str, Any]) -> list[str]:
    """The words after `snakemake`.

    kind  `execution.type` of the config
    """
    return [
        *([] if Path.cwd() == ROOT else ["--snakefile", str(ROOT / "Snakefile")]),
        *(["-n"] if given.dry_run else []),
        "--profile",
        profile(given.profile or kind),
        *given.snakemake,
        "--configfile",
        *map(str, given.config),
        *(["--config", *as_words(values)] if values else []),
    ]


def profile(name: str) -> str:
    """The path of a profile of ours from here; what is none of ours is Snakemake's to find."""
    own = ROOT / "profiles" / name
    if "/" in name or not own.is_dir():
        _is_there(name)
        return name
    return str(own.relative_to(Path.cwd()) if Path.cwd() == ROOT else own)


def _is_there(name: str) -> None:
    """Raises InputError where Snakemake would find no profile of that name: here, or where profiles
    of this user and of this machine are."""
    from platformdirs import AppDirs

    known = AppDirs("snakemake", "snakemake")
    folders = [Path(name), Path(known.user_config_dir, name), Path(known.site_config_dir, name)]
    if name == "none" or any(next(folder.glob("*.yaml"), None) for folder in folders):
        return
    own = sorted(folder.name for folder in (ROOT / "profiles").iterdir() if folder.is_dir())
    fix = nearest(Path(name).name, [each for each in own if each != "default"])
    what = f"there is no profile '{name}': no folder with a config.yaml"
    raise InputError([Problem("--profile", what, fix)])


RUN = Verb(arguments, main)
