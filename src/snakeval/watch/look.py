"""One look at the checkpoints: what is complete now, what is evaluated, what the gate says.

Evaluating is Snakemake's, with the user's own config and a file over it that names the complete
folders one by one: each is the run that a sweep over the pattern would have made, and what is
finished is not evaluated again. Deciding is that of `scripts/gate.py`.
"""

from __future__ import annotations

import glob
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from snakeval.job.files import read_json, write_atomically
from snakeval.plan.make import plan
from snakeval.plan.run import Run
from snakeval.run_folder import controller
from snakeval.runs.jobs import live_jobs
from snakeval.watch import alert, folders
from snakeval.watch.state import Checkpoint, State

TRIES = 3
"""Starts after which a checkpoint that never finishes is left alone."""

DECISIONS = {0: "GO", 1: "NO-GO", 2: "INCONCLUSIVE"}


@dataclass(frozen=True)
class Watch:
    """What is watched, and how.

    evaluate   starts an evaluation of config files; returns Snakemake's exit code
    marker     name of a file that says that a folder is complete; None: it is quiet for `quiet`
               seconds
    policy     of the gate; None: nothing is decided
    base       the run that every checkpoint is held against; None: the latest one before it that
               the gate has not refused
    """

    files: list[Path]
    values: Mapping[str, Any]
    root: Path
    state: Path
    evaluate: Callable[[Sequence[Path]], int]
    marker: str | None = None
    quiet: float = 120.0
    policy: Path | None = None
    base: str | None = None
    command: str | None = None
    webhook: str | None = None
    say: Callable[[str], None] = print
    clock: Callable[[], float] = time.time


@dataclass
class Seen:
    """What a look has come to.

    waiting  checkpoints that are not complete yet
    busy     those that somebody else evaluates now, such as the job of an earlier look
    refused  those that the gate has refused in this look
    """

    waiting: list[str] = field(default_factory=list)
    busy: list[str] = field(default_factory=list)
    started: list[str] = field(default_factory=list)
    refused: list[str] = field(default_factory=list)


def look(watch: Watch) -> Seen:
    """Raises InputError for a config that is wrong."""
    state = State.read(watch.state / "state.json")
    entries = folders.patterns(watch.files)
    found, complete = Seen(), {}
    for folder, entry in folders.seen(entries):
        if _is_complete(watch, folder, state.of(folder)):
            complete[folder] = entry
        else:
            found.waiting.append(folder.name)
    state.write()
    if not complete:
        return found
    over = _overlay(watch, complete, entries)
    runs = _runs(watch, over)
    at_it = _at_it(runs)
    found.busy = [folder.name for folder in at_it]
    pending = [
        folder
        for folder, run in runs.items()
        if not _finished(run) and folder not in at_it and state.of(folder).starts < TRIES
    ]
    if pending:
        found.started = [folder.name for folder in pending]
        watch.say(f"evaluating {', '.join(found.started)}")
        for folder in pending:  # counted before: a watch that dies here has tried
            state.of(folder).starts += 1
        state.write()
        watch.evaluate([*watch.files, over])
        runs = _runs(watch, over)  # a new run has its folder only now
    for folder in pending:
        if _finished(runs[folder]):
            state.of(folder).starts = 0
        elif state.of(folder).starts >= TRIES:
            watch.say(
                f"{folder.name}: not finished after {TRIES} starts, and left alone; "
                f"`snakeval status` says why: {runs[folder].paths.dir}"
            )
    if watch.policy:
        found.refused = _decide(watch, runs, state)
    state.write()
    return found


def _is_complete(watch: Watch, folder: Path, known: Checkpoint) -> bool:
    """Once complete it stays so: what somebody changes later is no new checkpoint."""
    if known.complete:
        return True
    if watch.marker:
        known.complete = (folder / watch.marker).exists()
        return known.complete
    seen, now = folders.looks(folder), watch.clock()
    if seen != known.looks or not seen or now < known.since:
        known.looks, known.since = seen, now
        return False
    known.complete = now - known.since >= watch.quiet
    return known.complete


def _overlay(
    watch: Watch, complete: Mapping[Path, dict[str, Any]], entries: Sequence[dict[str, Any]]
) -> Path:
    """The file that lies over the config: one model for each complete folder."""
    models = [entry for entry in entries if not entry.get("checkpoints")]
    models += [
        {**entry, "checkpoints": glob.escape(str(folder))} for folder, entry in complete.items()
    ]
    path = watch.state / "complete.yaml"
    write_atomically(path, yaml.safe_dump({"models": models}, sort_keys=False))
    return path


def _runs(watch: Watch, over: Path) -> dict[Path, Run]:
    """The run of each complete folder, in the order of the folders."""
    runs = plan([*watch.files, over], watch.values, watch.root / "config" / "catalogue")
    found = {}
    for run in runs:
        folder = getattr(run.config.deployment, "checkpoint_path", None)
        if folder:
            found[Path(folder)] = run
    return found


def _finished(run: Run) -> bool:
    return all(task.published for task in run.tasks)


def _at_it(runs: Mapping[Path, Run]) -> list[Path]:
    """Unfinished checkpoints with a live controller, or with jobs that live or may live."""
    begun = {
        folder: run.paths
        for folder, run in runs.items()
        if run.paths.record.exists() and not _finished(run)
    }
    driven = controller.living([paths.controller for paths in begun.values()])
    found = []
    for folder, paths in begun.items():
        jobs = live_jobs(paths)
        if paths.controller in driven or jobs.of_tasks or jobs.unknown:
            found.append(folder)
    return found


# ---------------------------------------------------------------- the gate


def _decide(watch: Watch, runs: Mapping[Path, Run], state: State) -> list[str]:
    """Holds every finished checkpoint against its base, once. Returns those that were refused."""
    refused = []
    base = watch.base
    for folder, run in runs.items():
        known = state.of(folder)
        if not _finished(run):
            continue
        if known.verdict is None and base is not None:
            known.verdict, known.base = _verdict(watch, base, run), base
            watch.say(f"{folder.name}: {known.verdict} against {base}")
            state.write()
        if known.verdict == "NO-GO" and not known.told:
            refused.append(folder.name)
            what = {
                "checkpoint": str(folder),
                "run": run.paths.id,
                "base": known.base,
                "decision": known.verdict,
                "reasons": _reasons(run, str(known.base)),
            }
            for sentence in alert.tell(what, watch.command, watch.webhook):
                watch.say(f"{folder.name}: {sentence}")
            known.told = True
            state.write()
        if watch.base is None and known.verdict != "NO-GO":
            base = str(run.paths.dir)
    return refused


def _verdict(watch: Watch, base: str, run: Run) -> str:
    words = ["--policy", str(watch.policy), "--base", base, "--candidate", str(run.paths.dir)]
    script = watch.root / "scripts" / "gate.py"
    done = subprocess.run(
        [sys.executable, str(script), *words, "--output-dir", str(run.paths.dir.parent)],
        check=False,
    )
    return DECISIONS.get(done.returncode, "not decided")


def _reasons(run: Run, base: str) -> list[str]:
    found = read_json(run.paths.verdict(Path(base).name)).get("reasons")
    return [str(each) for each in found] if isinstance(found, list) else []
