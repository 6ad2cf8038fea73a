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
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from snakeval.config.sweep import in_order_of_numbers
from snakeval.job.files import read_json, write_atomically
from snakeval.plan.identity import digest
from snakeval.plan.make import plan
from snakeval.plan.run import Run
from snakeval.results.steps import origin_of, step_of
from snakeval.run_folder import controller
from snakeval.run_folder.layout import RunPaths
from snakeval.runs.jobs import live_jobs
from snakeval.watch import alert, folders
from snakeval.watch.state import Checkpoint, State

TRIES = 3
"""Starts after which a checkpoint that never finishes is left alone."""

CUT_OFF = 10
"""The same for starts during which the watch itself was killed: by a time limit, a reboot."""

DECISIONS = {0: "GO", 1: "NO-GO", 2: "INCONCLUSIVE"}
PASSED = ("GO", "INCONCLUSIVE")


@dataclass(frozen=True)
class Watch:
    """What is watched, and how.

    evaluate   starts an evaluation of config files; returns Snakemake's exit code
    marker     name of a file that says that a folder is complete; None: it is quiet for `quiet`
               seconds
    policy     of the gate; None: nothing is decided
    base       the run that every checkpoint is held against; None: the latest one before it, of
               the same training, that the gate has not refused
    finished   whether all benchmarks of a run folder are published; of one that cannot be read no
    """

    files: list[Path]
    values: Mapping[str, Any]
    root: Path
    state: Path
    evaluate: Callable[[Sequence[Path]], int]
    finished: Callable[[Path], bool]
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
        known = state.of(folder)
        if _is_complete(watch, folder, known):
            complete[folder] = entry
            _tell_of_change(watch, folder, known)
        else:
            found.waiting.append(folder.name)
    state.write()
    if complete:
        _evaluate(watch, complete, entries, state, found)
    if watch.policy:
        found.refused = _decide(watch, state)
    state.write()
    return found


def _evaluate(
    watch: Watch,
    complete: Mapping[Path, dict[str, Any]],
    entries: Sequence[dict[str, Any]],
    state: State,
    found: Seen,
) -> None:
    """Starts what is neither finished nor being evaluated: a start that held a run of somebody
    else's would be refused as a whole."""
    others = [entry for entry in entries if not entry.get("checkpoints")]
    runs, runs_of_others = _runs(watch, complete, others)
    at_it = _at_it(runs)
    found.busy = [folder.name for folder in at_it]
    pending = {
        folder: complete[folder]
        for folder, run in runs.items()
        if not _finished(run) and folder not in at_it and _may_start(state.of(folder))
    }
    if pending:
        found.started = [folder.name for folder in pending]
        watch.say(f"evaluating {', '.join(found.started)}")
        for folder in pending:  # noted before: a watch that dies here has tried
            state.of(folder).cut_off += 1
        state.write()
        held = _at_it({run.paths.dir: run for run in runs_of_others})
        left_over = [
            entry
            for entry, run in zip(others, runs_of_others, strict=True)
            if not _finished(run) and run.paths.dir not in held
        ]
        for each in _starts(watch, pending):
            watch.evaluate([*watch.files, _overlay(watch, each, left_over)])
            left_over = []
        # A new run has its folder only now; a checkpoint may have been deleted meanwhile.
        runs |= _runs(watch, pending, [])[0]
    for folder, run in runs.items():
        known = state.of(folder)
        known.run, known.finished = str(run.paths.dir), _finished(run)
        if known.finished and folder not in pending:  # by a job that an earlier look has started
            known.starts = known.cut_off = 0
        known.step, series = step_of(run)
        known.training = f"{series} in {origin_of(run)}"
    left = {folder: runs[folder] for folder in pending if not state.of(folder).finished}
    handed_on = _at_it(left)  # to a job that drives it
    for folder in pending:
        known = state.of(folder)
        known.cut_off -= 1
        if folder not in left:
            known.starts = known.cut_off = 0
            continue
        known.starts += 1
        if not _may_start(known) and folder not in handed_on:
            watch.say(
                f"{folder.name}: not finished after {TRIES} starts, and left alone; "
                f"`snakeval status` says why: {left[folder].paths.dir}"
            )
    state.write()


def _starts(
    watch: Watch, pending: dict[Path, dict[str, Any]]
) -> Iterator[dict[Path, dict[str, Any]]]:
    """What is started together: all, but where jobs drive them, each has its own. One job for
    several runs belongs to the first, and who looks at the others while it waits finds nobody."""
    if watch.values.get("controller") != "job":
        yield pending
        return
    for folder, entry in pending.items():
        yield {folder: entry}


def _may_start(known: Checkpoint) -> bool:
    return known.starts < TRIES and known.cut_off < CUT_OFF


def _is_complete(watch: Watch, folder: Path, known: Checkpoint) -> bool:
    """Once complete it stays so: what somebody changes later is no new checkpoint."""
    if known.complete:
        return True
    if watch.marker and not (folder / watch.marker).exists():
        return False
    seen, now = folders.looks(folder), watch.clock()
    if watch.marker:
        known.looks, known.complete = seen, True
        return True
    if seen != known.looks or not seen or now < known.since:
        known.looks, known.since = seen, now
        return False
    known.complete = now - known.since >= watch.quiet
    return known.complete


def _tell_of_change(watch: Watch, folder: Path, known: Checkpoint) -> None:
    """Other weights below the same name: the scores are of the former ones, and nobody would see
    it."""
    seen = folders.looks(folder)
    if known.run and known.looks and seen and seen != known.looks:
        watch.say(
            f"{folder.name}: its files have changed since it was taken for complete, and it is not "
            "evaluated again: give other weights a folder of their own"
        )
    known.looks = seen or known.looks


def _overlay(
    watch: Watch, complete: Mapping[Path, dict[str, Any]], others: Sequence[dict[str, Any]]
) -> Path:
    """The file that lies over the config: other models as they are, then one for each complete
    folder. Nobody changes it: a job that waits in a queue reads it later."""
    models = [
        *others,
        *({**entry, "checkpoints": glob.escape(str(folder))} for folder, entry in complete.items()),
    ]
    text = yaml.safe_dump({"models": models}, sort_keys=False)
    path = watch.state / f"complete-{digest(models, 8)}.yaml"
    write_atomically(path, text)
    return path


def _runs(
    watch: Watch, complete: Mapping[Path, dict[str, Any]], others: Sequence[dict[str, Any]]
) -> tuple[dict[Path, Run], Sequence[Run]]:
    """The run of each complete folder that is still there, in the order of the folders; and of the
    other models."""
    there = {folder: entry for folder, entry in complete.items() if folder.is_dir()}
    if not there:
        return {}, ()
    over = _overlay(watch, there, others)
    every = plan([*watch.files, over], watch.values, watch.root / "config" / "catalogue")
    found = {Path(_checkpoint(run)): run for run in every[len(others) :]}
    return found, every[: len(others)]


def _checkpoint(run: Run) -> str:
    return str(getattr(run.config.deployment, "checkpoint_path", None))


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


def _decide(watch: Watch, state: State) -> list[str]:
    """Holds every finished checkpoint against its base, once. Returns those that were refused.

    A checkpoint counts by its run, also where its folder is no longer there: who trains keeps the
    last few, and the base of the next one would be gone.
    """
    refused = []
    for training in _trainings(watch, state):
        base = watch.base
        for folder, known in training:
            if known.verdict is None and base is not None:
                known.verdict, known.base = _verdict(watch, base, Path(known.run)), base
                watch.say(f"{folder.name}: {known.verdict or 'not decided'} against {base}")
                state.write()
            if known.verdict == "NO-GO" and not known.told:
                refused.append(folder.name)
                known.told, known.owed = True, [alert.COMMAND, alert.WEBHOOK]
                state.write()
            if known.owed:
                _tell(watch, folder, known)
                state.write()
            if watch.base is None and (base is None or known.verdict in PASSED):
                base = known.run
    return refused


def _trainings(watch: Watch, state: State) -> list[list[tuple[Path, Checkpoint]]]:
    """The finished checkpoints of each training, in the order of their steps."""
    found: dict[str, list[tuple[Path, Checkpoint]]] = {}
    for folder in sorted(state.checkpoints, key=in_order_of_numbers):
        known = state.checkpoints[folder]
        if known.run and not known.finished and not Path(folder).exists():
            known.finished = watch.finished(Path(known.run))
        if known.finished and Path(known.run).exists():
            found.setdefault(known.training, []).append((Path(folder), known))
    return [sorted(each, key=lambda one: one[1].step or 0) for each in found.values()]


def _tell(watch: Watch, folder: Path, known: Checkpoint) -> None:
    """Alerts who has not heard of it yet, and still does not hear: again at the next look."""
    what = {
        "checkpoint": str(folder),
        "run": Path(known.run).name,
        "base": known.base,
        "decision": known.verdict,
        "reasons": _reasons(Path(known.run), str(known.base)),
    }
    failed = alert.tell(
        what,
        watch.command if alert.COMMAND in known.owed else None,
        watch.webhook if alert.WEBHOOK in known.owed else None,
    )
    for sentence in failed.values():
        watch.say(f"{folder.name}: {sentence}; it is told again at the next look")
    known.owed = list(failed)


def _verdict(watch: Watch, base: str, run: Path) -> str | None:
    """None where nothing was decided, by a mistake in the policy for one: tried again later."""
    words = ["--policy", str(watch.policy), "--base", base, "--candidate", str(run)]
    script = watch.root / "scripts" / "gate.py"
    done = subprocess.run(
        [sys.executable, str(script), *words, "--output-dir", str(run.parent)],
        check=False,
    )
    return DECISIONS.get(done.returncode)


def _reasons(run: Path, base: str) -> list[str]:
    found = read_json(RunPaths(run).verdict(Path(base).name)).get("reasons")
    return [str(each) for each in found] if isinstance(found, list) else []
