"""What the entry points in `scripts/` share: which runs they are about, and how they fail."""

from __future__ import annotations

import argparse
import contextlib
import json
import sys
from collections.abc import Callable, Collection, Mapping, Sequence
from pathlib import Path
from typing import Any

from snakeval.config.export import DESTINATIONS
from snakeval.config.load import Loaded, load, load_resolved, told
from snakeval.errors import InputError, Problem, nearest
from snakeval.plan.make import read_run
from snakeval.plan.run import Run
from snakeval.results.published import kept_apart
from snakeval.run_folder.layout import RunPaths
from snakeval.run_folder.records import run_states
from snakeval.runs.find import chosen_runs, find_run
from snakeval.runs.version_1 import is_version_1, take_over

CONFIG_DIR = Path(__file__).resolve().parents[3] / "config"
CATALOGUE = CONFIG_DIR / "catalogue"
SUITES = CONFIG_DIR / "suites"


_FLAG: Mapping[str, Any] = {"action": "store_true"}
_SEVERAL: Mapping[str, Any] = {"type": Path, "action": "append", "default": []}

ARGUMENTS: Mapping[str, Mapping[str, Any]] = {
    # runs
    "--run": {"help": "id of a run, or its beginning"},
    "--folder": {**_SEVERAL, "help": "a run folder of the config in force"},
    "--output-dir": {**_SEVERAL, "help": "a folder with run folders"},
    "--base": {"help": "a run: id, its beginning, or folder"},
    "--candidate": {"help": "a run: id, its beginning, or folder"},
    "--runs": {"help": "runs: ids, their beginnings, or folders, separated by commas"},
    "--columns": {"help": "patterns of benchmarks, separated by commas"},
    "--suite": {"help": "a suite: its name, or its file"},
    "--task": {"help": "a task of the run"},
    "run": {"type": Path, "help": "the run folder"},
    # a config
    "--configfile": {**_SEVERAL, "help": "config files, the later ones over the earlier"},
    "--values": {"type": json.loads, "default": {}, "help": "--config values, as JSON"},
    # what is done, and shown
    "--yes": {**_FLAG, "help": "remove what is shown"},
    "--json": {**_FLAG, "help": "print JSON"},
    "--watch": {**_FLAG, "help": "show it anew until nothing is at work"},
    "--lines": {"type": int, "default": 50, "help": "lines that are shown first"},
    "--no-follow": {**_FLAG, "help": "show what is there and end"},
    "--policy": {"type": Path, "help": "a policy's file; default: release.yaml"},
    "--to": {"choices": DESTINATIONS, "help": "only this destination"},
    "--auto": {**_FLAG, "help": "the destinations of execution.auto_export"},
    "--stamp": {"help": "name of the stamp that says that all of it was sent"},
    "--runtime": {"required": True, "help": "how the nodes run containers"},
    "members": {"help": "digest of the results that are shown"},
    # a server
    "deployment": {"help": "its name"},
    "start": {"help": "the start's id"},
    "--limit": {"type": int, "help": "GPUs in use at once by this start's servers"},
    "--gpus": {"nargs": "+", "default": [], "help": "NAME=SHARE of the run's servers"},
}
"""Every argument of every entry point: a name means the same in all of them."""

RUNS = ("--run", "--folder", "--output-dir")
"""They choose runs: see `runs_of`."""
COMPARED = ("--base", "--candidate", "--output-dir", "--suite")
"""They name two runs: see `compared_runs`."""
CONFIG = ("--configfile", "--values")
"""They give a config as the Snakefile has it: see `config_of`."""


def parsed(
    description: str | None, *names: str, required: Collection[str] = ()
) -> argparse.Namespace:
    """The arguments of an entry point; see `parser_of`."""
    return parser_of(description, *names, required=required).parse_args()


def parser_of(
    description: str | None, *names: str, required: Collection[str] = ()
) -> argparse.ArgumentParser:
    """What takes the arguments of an entry point.

    names     keys of `ARGUMENTS`
    required  those that must be given
    """
    parser = argparse.ArgumentParser(description=description)
    for name in names:
        meaning = dict(ARGUMENTS[name])
        if name in required:
            meaning["required"] = True
        parser.add_argument(name, **meaning)
    return parser


def parsed_with_config(description: str | None, *names: str) -> argparse.Namespace:
    """As `parsed`, with a config, which must be given."""
    return parsed(description, *CONFIG, *names, required=["--configfile"])


def compared_runs(arguments: argparse.Namespace) -> tuple[Run, Run]:
    """Base and candidate. Raises InputError, for both at once."""
    problems: list[Problem] = []
    found = []
    for name in ("base", "candidate"):
        given = getattr(arguments, name)
        key = f"--config {name}"
        with told(problems):
            if not given:
                raise InputError([Problem(key, "is not given", f"add {name}=<run>")])
            paths = find_run(given, arguments.output_dir or [Path("results")], key)
            found.append(run_at(paths))
    if problems:
        raise InputError(problems)
    return found[0], found[1]


def config_of(arguments: argparse.Namespace) -> tuple[Loaded, dict[str, Any]]:
    """The config, and the `--config` values. Raises InputError."""
    values: dict[str, Any] = arguments.values
    return load(arguments.configfile, values), values


def runs_of(arguments: argparse.Namespace) -> list[RunPaths]:
    """The runs that the arguments choose. Raises InputError."""
    folders = arguments.output_dir or [Path("results")]
    try:
        chosen = chosen_runs(arguments.run, arguments.folder, arguments.output_dir)
    except InputError:
        _may_be_elsewhere(arguments.run, arguments.folder, folders)
        raise
    for paths in filter(is_version_1, chosen):
        with contextlib.suppress(InputError):  # told where the config is needed
            run_at(paths)
    return chosen


def _may_be_elsewhere(prefix: str | None, chosen: Sequence[Path], folders: Sequence[Path]) -> None:
    """Raises InputError where the runs that are meant are on a login node."""
    if not any((folder / "remote").is_dir() for folder in folders):
        return
    from snakeval.remote.verbs import named

    verb = Path(sys.argv[0]).stem
    problems = [
        Problem(note.run, f"is on {note.login.target}", f"`snakeval {verb} {note.run}` asks there")
        for note in named(prefix, [folder.name for folder in chosen], folders)
    ]
    if problems:
        raise InputError(problems)


def run_at(paths: RunPaths) -> Run:
    """The run of a folder, by the config in it. Raises InputError."""
    run = read_run(paths.dir, load_resolved(paths.config), CATALOGUE)
    for sentence in take_over(run):
        print(sentence, file=sys.stderr)
    return run


def task_of(run: RunPaths, word: str | None) -> str:
    """The task of a run that `--task` names, by folder or label; the only one needs no name.

    Raises InputError.
    """
    called = {state.shown: state.name for state in run_states(run)}
    names = {**called, **{name: name for name in called.values()}}
    if word is None and len(called) == 1:
        return next(iter(called.values()))
    if word not in names:
        what = f"{run.id} has no task '{word}'" if word else f"{run.id} has several tasks"
        fix = nearest(word or "", list(names)) or "one of " + ", ".join(called)
        raise InputError([Problem("--config task", what, fix)])
    return names[word]


def definitions_changed(paths: RunPaths) -> list[str]:
    """The published tasks whose definition is another one by now; none where that is not known."""
    return kept_apart(
        lambda: [task.label for task in run_at(paths).tasks if task.definition_changed],
        lambda _: [],
    )


def entry(main: Callable[[], int]) -> None:
    """Runs an entry point: an InputError is its text on stderr and exit code 1."""
    try:
        sys.exit(main())
    except InputError as error:
        sys.exit("\n".join(str(problem) for problem in error.problems))
    except KeyboardInterrupt:
        sys.exit(130)
