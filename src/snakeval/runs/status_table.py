"""`snakemake status` and `ls_runs` for the person who waits."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection

from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from snakeval.executors.registry import left_over, servers_at
from snakeval.job.files import mapping_in, read_json
from snakeval.job.text import plain
from snakeval.results.published import DEFINITION_CHANGED
from snakeval.results.totals import asked, so_far
from snakeval.run_folder import controller
from snakeval.run_folder.jobs import Job
from snakeval.run_folder.layout import RunPaths
from snakeval.run_folder.records import STATES, TaskState, look_at, run_states, unreadable_of_run
from snakeval.run_folder.servers import deployments_of, told
from snakeval.runs import progress_view
from snakeval.runs.jobs import live_jobs
from snakeval.runs.progress import AT_REST, Line, Watch
from snakeval.terminal import Terminal, middle

NARROWEST, BORDERS = 10, 3
"""Columns of a name, and of what a table draws around a cell."""

LISTED = 200
"""Rows of a table, where published benchmarks would make it longer."""

WIDE = 110
"""Columns of a terminal in which it stands in the table where a task runs; else below."""

COLOURS = {
    "published": "green",
    "running": "cyan",
    "failed": "red",
    "cancelled": "yellow",
    "interrupted": "yellow",
    "unknown": "magenta",
}


def print_status(run: RunPaths, definitions_changed: Collection[str] = ()) -> None:
    """One table for a run: a row per task, and who drives it.

    definitions_changed  tasks whose result is shown, and whose definition is another one by now
    """
    states = run_states(run, live_jobs(run))
    lines = dict(zip((state.name for state in states), Watch([run]).of(states), strict=True))
    console = Terminal()
    console.say(title_of(run), style="italic")
    wide = console.width >= WIDE
    table = Table()
    for heading in ("task", "state", "attempt", "elapsed", "samples", *(["where"] if wide else [])):
        table.add_column(heading, overflow="fold")
    listed = _listed(states)
    for state in listed:
        table.add_row(
            state.shown,
            Text(state.state, style=COLOURS.get(state.state, "")),
            str(state.attempts or "-"),
            duration(state.elapsed),
            _progress(state, lines[state.name]),
            *([_where(state)] if wide else []),
        )
    console.print(table)
    if left_out := len(states) - len(listed):
        console.say(f"and {left_out:,} published: results/results.csv has all of them")
    for state in states:
        if not wide and (state.job or state.owner):
            console.say(f"{state.shown}: at {_where(state)}")
        if state.job and not state.job.waiting:
            where = f"job {state.job.id} runs{_since(state.job)}"
            console.say(f"{state.shown}: {where}")
        if said := state.cause or _waits_for(lines[state.name]):
            console.say(f"{state.shown}: {said}")
        if state.log and state.state not in AT_REST:  # a line of its own: no table folds the path
            console.say(f"{state.shown}: log {state.log}")
    for name in definitions_changed:
        console.say(f"{name}: {DEFINITION_CHANGED}")
    for paths in deployments_of(run):
        if where := servers_at(paths).where(paths):
            console.say(f"server {paths.dir.name}: {where}")
    for sentence in told(run, left_over):
        console.say(sentence)
    begun = [each for each in states if each.attempts]
    for line in asked({each.shown: so_far(run.task(each.name), each.digest) for each in begun}):
        console.say(line)
    for line in unreadable_of_run(run):
        console.say(line)
    console.say(f"{summary(states)}; {driver(run)}.")
    console.say(f"Folder: {run.dir}")


def _listed(states: list[TaskState]) -> list[TaskState]:
    """The rows of the table: of many benchmarks those that are not published, or that something
    is to be said of, and as many others as there is room for."""
    room = LISTED - sum(state.state != "published" or bool(state.cause) for state in states)
    found = []
    for state in states:
        told = state.state != "published" or bool(state.cause)
        if told or room > 0:
            found.append(state)
            room -= not told
    return found


def print_runs(runs: list[RunPaths]) -> None:
    """A table for each folder of runs, with a row per run; below it which of them are driven."""
    console = Terminal()
    look_at(runs)
    for folder in dict.fromkeys(run.dir.parent for run in runs):
        rows, driven = [], []
        for run in (run for run in runs if run.dir.parent == folder):
            states = run_states(run, live_jobs(run))
            rows.append((run.id, plain(_name(run)), plain(_model(run)), summary(states)))
            if controller.alive(run.controller):
                driven.append(f"{run.id} is driven by {driver(run)}")
        console.say(f"{folder}:")  # a line of its own: no table folds the path
        console.print(_of_runs(rows, console.width))
        for line in driven:
            console.say(line)


def _of_runs(rows: list[tuple[str, str, str, str]], width: int) -> Table:
    """One line a run, as far as names can be shortened: `info` has them in full."""
    headings = ("run", "name", "model", "benchmarks")
    columns = list(zip(headings, *rows, strict=True))
    ids, names, models, told = (max(map(cell_len, column)) for column in columns)
    for_both = max(width - ids - told - BORDERS * len(headings) - 1, 2 * NARROWEST)
    names = min(names, max(NARROWEST, for_both - models, for_both // 3))
    table = Table()
    for heading in headings:
        table.add_column(heading, overflow="fold", no_wrap=heading == "run")
    for run, name, model, states in rows:
        table.add_row(run, middle(name, names), middle(model, for_both - names), states)
    return table


def title_of(run: RunPaths) -> str:
    """Its id, and the name that its config gives it."""
    return f"{run.id}: {name}" if (name := _name(run)) else run.id


def _name(run: RunPaths) -> str:
    return str(read_json(run.record).get("name") or "")


def _model(run: RunPaths) -> str:
    return str(mapping_in(read_json(run.record), "identity").get("model_id", "?"))


def summary(states: list[TaskState]) -> str:
    """`2 of 3 published, 1 failed`."""
    counted = Counter(state.state for state in states)
    rest = [f"{counted[name]} {name}" for name in STATES[1:] if counted[name]]
    return ", ".join([f"{counted['published']} of {len(states)} published", *rest])


def driver(run: RunPaths) -> str:
    """Who drives the run now."""
    found = controller.alive(run.controller)
    return f"pid {found.pid} on {found.host}" if found else "nobody drives it now"


def duration(seconds: float | None) -> str:
    """`1:02:03`, `2:03`; `-` for None."""
    return "-" if seconds is None else progress_view.clock(seconds)


def samples(state: TaskState) -> str:
    """`93 of 100`, `93`, `-`."""
    if state.samples is None:
        return "-"
    return f"{state.samples} of {state.expected}" if state.expected else str(state.samples)


def _waits_for(line: Line) -> str:
    """A turn is waited for only while somebody drives the run, which the last line tells."""
    return line.waits_for if line.state == "running" else ""


def _progress(state: TaskState, line: Line) -> str:
    """`93 of 100`; of a running one with its rate, and the time that is left."""
    return progress_view.figures(line) if line.per_second else samples(state)


def _since(job: Job) -> str:
    """` on m1 for 2:03`."""
    on = f" on {job.where}" if job.where else ""
    return on if job.elapsed is None else f"{on} for {duration(job.elapsed)}"


def _where(state: TaskState) -> str:
    if state.job:
        at = state.job.reason if state.job.waiting else state.job.where
        return ", ".join(filter(None, [f"job {state.job.id}", at]))
    if state.owner is None:
        return "-"
    job = f", job {state.owner.job}" if state.owner.job else ""
    return f"{state.owner.host}, pid {state.owner.pid}{job}"
