"""`snakeval watch`: looks for new checkpoints, again and again."""

from __future__ import annotations

import argparse
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from snakeval.cli.front.overrides import as_words
from snakeval.cli.front.run import login_node, profile
from snakeval.cli.front.verb import ROOT, Parser, Verb, takes_config, values_of
from snakeval.errors import InputError, Problem

REFUSED = 1
"""Exit code after a NO-GO with `--stop`."""
LATER = 75
"""Exit code where the time of `--for` is over: somebody starts the next one (EX_TEMPFAIL)."""


def arguments(parser: Parser) -> None:
    takes_config(parser)
    parser.add_argument("--every", type=float, default=300, help="seconds between two looks")
    parser.add_argument("--once", action="store_true", help="one look, and end (for scrontab)")
    parser.add_argument(
        "--for",
        dest="limit",
        type=float,
        help=f"seconds after which it ends with exit code {LATER}",
    )
    parser.add_argument("--marker", help="a file in a folder that says that it is complete")
    parser.add_argument(
        "--quiet", type=float, default=120,
        help="without a marker: complete when nothing has changed for so many seconds",
    )  # fmt: skip
    parser.add_argument("--gate", type=Path, metavar="POLICY", help="decide by this policy")
    parser.add_argument("--base", help="a run; default: the latest checkpoint that was not refused")
    parser.add_argument("--alert", metavar="COMMAND", help="run at NO-GO, with JSON on its stdin")
    parser.add_argument(
        "--webhook", metavar="VARIABLE", help="variable with the address that gets JSON at NO-GO"
    )
    parser.add_argument("--stop", action="store_true", help="end at NO-GO, with exit code 1")
    parser.add_argument("--profile", help="as of `run`; default: the config's execution.type")


def main(given: argparse.Namespace) -> int:
    from snakeval.compare.policy import read_policy
    from snakeval.watch import folders
    from snakeval.watch.look import Seen, Watch, look
    from snakeval.watch.state import alone

    if not given.config:
        raise InputError([Problem("watch", "which config?", "snakeval watch --config my.yaml")])
    if given.gate:
        read_policy(given.gate)  # a faulty one is told now, not after the first evaluation
    values = values_of(given)
    state = _state_of(given.config)
    watch = Watch(
        given.config,
        values,
        ROOT,
        state,
        lambda files: _evaluate(given, files),
        _finished,
        marker=given.marker,
        quiet=given.quiet,
        policy=given.gate,
        base=given.base,
        command=given.alert,
        webhook=_address(given.webhook),
        say=lambda line: print(f"{time.strftime('%H:%M:%S')} {line}", flush=True),
    )
    host = login_node(given.config, values)
    if host and not list(folders.seen(folders.patterns(given.config))):
        where = f"where they are on {host}, start it there (`ssh {host}`)"
        watch.say(f"no checkpoint is on this machine; {where}")
    begun, looked = time.monotonic(), False
    with alone(state):
        while True:
            try:
                seen, looked = look(watch), True
            except InputError as error:
                if not looked or given.once:
                    raise
                watch.say(f"no look this time: {error}")  # somebody is editing the config
                seen = Seen()
            if seen.waiting:
                watch.say(f"not complete yet: {', '.join(seen.waiting)}")
            if seen.busy:
                watch.say(f"being evaluated: {', '.join(seen.busy)}")
            if seen.refused and given.stop:
                return REFUSED
            if given.once:
                return 0
            left = None if given.limit is None else given.limit - (time.monotonic() - begun)
            if left is not None and left < given.every:
                return LATER
            time.sleep(given.every)


def _state_of(files: Sequence[Path]) -> Path:
    """The folder of a watch, beside the runs: the same config continues its watch."""
    from snakeval.config.read import read_mapping
    from snakeval.plan.identity import digest

    output = "results"
    for file in files:
        execution = read_mapping(file).get("execution")
        if isinstance(execution, dict) and isinstance(execution.get("output_dir"), str):
            output = execution["output_dir"]
    name = digest([str(file.resolve()) for file in files], 8)
    return Path(output).expanduser() / "watch" / name


def _address(variable: str | None) -> str | None:
    """The webhook's address is in a variable: it may hold a key."""
    import os

    if variable is None:
        return None
    if not os.environ.get(variable):
        fix = f"export {variable}=https://... and give its name: --webhook {variable}"
        raise InputError([Problem("--webhook", "is not the name of a variable that is set", fix)])
    return os.environ[variable]


def _finished(folder: Path) -> bool:
    from snakeval.cli.entry import run_at
    from snakeval.run_folder.layout import RunPaths

    try:
        return folder.is_dir() and all(task.published for task in run_at(RunPaths(folder)).tasks)
    except InputError:
        return False  # its config was damaged; `snakeval status` tells


def _evaluate(given: argparse.Namespace, files: Sequence[Path]) -> int:
    """Snakemake's exit code; what has failed is told by it, and the watch goes on."""
    from snakeval.config.load import load_all

    values = values_of(given)
    kind = load_all(list(files), values)[0].config.execution.type
    words = [
        *([] if Path.cwd() == ROOT else ["--snakefile", str(ROOT / "Snakefile")]),
        "--profile",
        profile(given.profile or kind),
        "--configfile",
        *map(str, files),
        *(["--config", *as_words(values)] if values else []),
    ]
    snakemake = Path(sys.executable).with_name("snakemake")
    return subprocess.run([str(snakemake), *words], check=False).returncode


WATCH = Verb(arguments, main)
