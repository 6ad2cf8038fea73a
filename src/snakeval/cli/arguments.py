"""The arguments that the rules of utility targets give to their scripts.

What `--config` said becomes command-line arguments again, as it was typed.
"""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakeval.start.snakemake_internals import CommandLine

if TYPE_CHECKING:
    from snakeval.plan.run import Run


class Arguments:
    """Of one start; each property is a piece of a command line, quoted for the shell.

    said        what a person has said about the config
    files       the config files in force
    runs        the runs of this start; none when a target names its run
    output_dir  the config's, unchecked
    """

    def __init__(
        self, said: CommandLine, files: Sequence[Path], runs: Sequence[Run], output_dir: Any
    ) -> None:
        self._said = said
        self._files = files
        self._runs = runs
        self._given = said.values
        # A broken config must not be in the way when `run=` is given.
        self._output_dir = (
            str(Path(output_dir).expanduser()) if isinstance(output_dir, str) else "results"
        )

    @property
    def runs(self) -> str:
        """The command-line arguments that name the runs of a utility target."""
        words: list[str] = []
        if "run" in self._given:
            words += ["--run", self._typed("run")]
        elif self._said.files:
            words += [word for run in self._runs for word in ("--folder", str(run.paths.dir))]
        folders = [str(run.paths.dir.parent) for run in self._runs] or [self._output_dir]
        return shlex.join(
            [*words, *(word for folder in folders for word in ("--output-dir", folder))]
        )

    @property
    def export(self) -> str:
        """The runs of an export, and the config that says where to, if one is given."""
        files = [word for file in self._said.files for word in ("--configfile", str(file))]
        values = json.dumps(self._given, default=str)
        return f"{self.runs} {shlex.join([*files, '--values', values])}"

    def _typed(self, key: str) -> str:
        """A value of `--config` as it was typed: Snakemake makes numbers of `0012` and `12e4`."""
        words = self._said.typed
        given = [word.removeprefix(f"{key}=") for word in words if word.startswith(f"{key}=")]
        return given[-1] if given else str(self._given[key])

    @property
    def comparison(self) -> str:
        """The arguments of `compare`."""
        return self._two_runs("base", "candidate", "suite")

    @property
    def verdict(self) -> str:
        """The arguments of `gate`."""
        return self._two_runs("base", "candidate", "policy", "suite")

    def _two_runs(self, *keys: str) -> str:
        given = [key for key in keys if key in self._given]
        words = [word for key in given for word in (f"--{key}", self._typed(key))]
        return shlex.join([*words, "--output-dir", self._output_dir])

    @property
    def board(self) -> str:
        """The arguments of `leaderboard`: its runs, else those of the config, else all of them."""
        keys = [key for key in ("runs", "columns", "suite") if key in self._given]
        words = [word for key in keys for word in (f"--{key}", self._typed(key))]
        return f"{self.runs} {shlex.join(words)}".rstrip()

    @property
    def task(self) -> str:
        """`task=`, for a utility target that may be about one task."""
        return shlex.join([f"--task={self._given['task']}"] if "task" in self._given else [])

    @property
    def logs(self) -> str:
        """The arguments of `logs`."""
        words = [f"--{key}={self._given[key]}" for key in ("task", "lines") if key in self._given]
        if str(self._given.get("follow", "true")).lower() in ("false", "no", "0"):
            words.append("--no-follow")
        return shlex.join(words)

    @property
    def watch(self) -> str:
        """`watch=`, for `status`."""
        return "--watch" if str(self._given.get("watch", "")).lower() in ("true", "yes") else ""

    @property
    def clean(self) -> str:
        """The arguments of `clean`; only a plain yes removes anything."""
        sure = str(self._given.get("yes", "")).lower() in ("true", "yes")
        shown = self._given.get("as") == "json"
        return shlex.join([*(["--yes"] if sure else []), *(["--json"] if shown else [])])

    @property
    def config(self) -> str:
        """The config in force, as arguments: its files and what `--config` says."""
        files = [word for file in self._files for word in ("--configfile", str(file))]
        return f"{shlex.join(files)} {self.values}"

    @property
    def values(self) -> str:
        """What `--config` says, as arguments."""
        return shlex.join(["--values", json.dumps(self._given, default=str)])
