"""What a verb is, and what the verbs have in common: how a config and runs are named."""

from __future__ import annotations

import argparse
import re
import runpy
import sys
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from snakeval.errors import InputError, Problem, nearest

if TYPE_CHECKING:
    from snakeval.remote.notes import Note

ROOT = Path(__file__).resolve().parents[4]
"""The clone: Snakefile, profiles, scripts."""

MISUSED = 2
"""Exit code where the command line itself is wrong."""


class Parser(argparse.ArgumentParser):
    """Says a mistake in one sentence, with the option that was meant."""

    def error(self, message: str) -> NoReturn:
        options = [each for action in self._actions for each in action.option_strings]
        unknown = message.partition("unrecognized arguments: ")[2]
        fix = nearest(unknown.split("=")[0].split()[0], options) if unknown else ""
        if choice := re.search(r"invalid choice: '([^']*)' \(choose from (.*)\)", message):
            fix = nearest(choice[1], re.findall(r"[\w-]+", choice[2]))
        known = (
            fix if fix.startswith("did you mean") else f"`{self.prog} --help` shows what it takes"
        )
        self.exit(MISUSED, f"{self.prog}: {message}; {known}\n")


@dataclass(frozen=True)
class Verb:
    """A word after `snakeval`.

    arguments  adds what the verb takes to its parser
    main       does it; returns the exit code. An InputError is told and ends with 1
    """

    arguments: Callable[[Parser], None]
    main: Callable[[argparse.Namespace], int]


# --- arguments ------------------------------------------------------------------------------------


def takes_config(parser: Parser) -> None:
    """`--config FILE` and `-o key=value`: see `values_of`."""
    parser.add_argument(
        "--config", "--configfile", type=Path, action="append", default=[], metavar="FILE",
        help="a config file; again: one more, on top",
    )  # fmt: skip
    parser.add_argument(
        "-o", "--override", action="append", default=[], metavar="KEY=VALUE",
        help="overrides any dotted key of the config, or gives limit_samples, tasks, new_run, ...",
    )  # fmt: skip


def takes_runs(parser: Parser) -> None:
    """Runs by id, or those of a config; else the latest. See `words_of_runs`."""
    parser.add_argument("run", nargs="*", help="ids of runs, or their beginnings; default: latest")
    takes_config(parser)
    takes_output_dir(parser)


def takes_output_dir(parser: Parser) -> None:
    parser.add_argument(
        "--output-dir", type=Path, action="append", default=[], metavar="FOLDER",
        help="where run folders are; default: the config's, or results/",
    )  # fmt: skip


# --- from arguments to what the entry points in scripts/ take -------------------------------------


def values_of(given: argparse.Namespace) -> dict[str, Any]:
    """What `--config` of Snakemake would say: `-o` of a key of ours stands by itself, any other
    dotted key goes into `set`. Raises InputError."""
    from snakeval.cli.front.overrides import as_values

    return as_values(given.override)


def words_of_runs(given: argparse.Namespace) -> Iterator[list[str]]:
    """Arguments that choose runs: one list for each run that is named, else one for all.

    Raises InputError where the config is wrong.
    """
    folders: list[Path] = list(given.output_dir)
    if missing := [folder for folder in folders if not folder.is_dir()]:
        what = "there is no such folder"
        raise InputError([Problem(f"--output-dir {folder}", what) for folder in missing])
    words: list[str] = []
    if given.config:
        from snakeval.cli.entry import CATALOGUE
        from snakeval.plan.make import plan

        runs = plan(given.config, values_of(given), CATALOGUE)
        folders += [run.paths.dir.parent for run in runs]
        if not given.run:
            words = [word for run in runs for word in ("--folder", str(run.paths.dir))]
    for folder in folders or [Path("results")]:
        words += ["--output-dir", str(folder)]
    for run in given.run:
        yield ["--run", run, *words]
    if not given.run:
        yield words


# --- runs on a login node -------------------------------------------------------------------------


def elsewhere(given: argparse.Namespace) -> list[Note]:
    """The runs that are meant, where they were started from here on a login node; none: all of
    them are on this machine. Raises InputError."""
    folders: list[Path] = list(given.output_dir) or [Path("results")]
    if not any((folder / "remote").is_dir() for folder in folders) and not given.config:
        return []
    from snakeval.remote.notes import meant, output_folder

    if given.config and not given.output_dir:
        folders = [output_folder(given.config)]
    values = values_of(given)
    found = {run: meant(run, given.config, values, folders) for run in given.run or [None]}
    if any(found.values()) and not all(found.values()):
        here = ", ".join(str(run) for run, notes in found.items() if not notes)
        fix = "ask about those on a login node by themselves"
        raise InputError([Problem(here, "is not one of the runs on a login node", fix)])
    return [note for notes in found.values() for note in notes]


WRITES = ("report", "samples")
"""Verbs that write into the run folder."""


def asked_there(notes: Sequence[Note], verb: str, words: Sequence[str]) -> int:
    """A verb about runs on a login node; the worst exit code."""
    from snakeval.remote.verbs import ask

    code = max(ask([note], verb, words) for note in notes)
    if code == 0 and verb in WRITES:
        for note in notes:
            print(f"`snakeval fetch {note.run}` brings it here", file=sys.stderr)
    return code


# --- doing it -------------------------------------------------------------------------------------


WORDS = (
    (r"^(\s*)--config (run|task|base|candidate|runs|suite|policy)(?=:)", r"\1\2"),
    (r"name one with --config run=\.\.\., or give its config with --configfile",
     "name one, or give its config with --config"),
    (r"snakemake (status|logs|kill|report|export|samples|info) --config run=", r"snakeval \1 "),
    (r"snakemake ls_(tasks|runs)\b", r"snakeval ls \1"),
)  # fmt: skip
"""What a sentence that was written for `snakemake` says, and how it is said here."""


def in_own_words(sentences: str) -> str:
    """A mistake, told to somebody who has typed `snakeval`."""
    for theirs, ours in WORDS:
        sentences = re.sub(theirs, ours, sentences, flags=re.MULTILINE)
    return sentences


def call(script: str, words: Sequence[str]) -> int:
    """Runs an entry point of `scripts/` in this process: the rules call the same one."""
    path = ROOT / "scripts" / f"{script}.py"
    sys.argv = [str(path), *words]
    try:
        runpy.run_path(str(path), run_name="__main__")
    except SystemExit as ended:
        if isinstance(ended.code, str):
            print(in_own_words(ended.code), file=sys.stderr)
            return 1
        return int(ended.code or 0)
    return 0


def for_each_run(script: str, given: argparse.Namespace, *words: str) -> int:
    """An entry point about runs, once for each that is named; the worst exit code."""
    return max(call(script, [*chosen, *words]) for chosen in words_of_runs(given))


def wherever(verb: str, given: argparse.Namespace, *words: str) -> int:
    """A verb about runs, by its entry point here or on their login node; the worst exit code."""
    if notes := elsewhere(given):
        return asked_there(notes, verb, words)
    return for_each_run(verb, given, *words)


def about_runs(verb: str) -> Verb:
    """A verb that takes runs and nothing else."""
    return Verb(takes_runs, lambda given: wherever(verb, given))
