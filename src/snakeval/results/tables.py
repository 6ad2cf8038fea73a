"""The tables of a run: one tidy row per score, and a row with its cause for a task without one.

Columns: run, model, harness, task, label, group, subtask, metric, score, value, stderr, n, better,
lowest, highest, unit, headline, scored, expected, unanswered, state, cause, image, artifacts, and
those of `USED`: what was asked and paid for the task, over all attempts, in all of its rows.
`task` is its folder; `label` is what it is called where people read, mostly the same.
`headline` is true for the one score that a benchmark is named after, where that is known. `subtask`
tells the parts of a benchmark apart (the subjects of MMLU), as in samples.parquet; it is empty
where the score is of the whole benchmark or of a group. `scored` of `expected` samples; an empty
`expected` is unknown. `artifacts` is relative to the run folder.
"""

from __future__ import annotations

import contextlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakeval.executors.registry import left_over
from snakeval.job.files import mapping_in, now, read_json, write_atomically
from snakeval.job.result_formats import Score
from snakeval.job.text import one_line
from snakeval.plan.run import Run, Task
from snakeval.results.cells import as_csv
from snakeval.results.costs import Costs, costs
from snakeval.results.published import Published, kept_apart, published_of
from snakeval.results.samples import members
from snakeval.results.totals import asked, known_from_samples, seconds, so_far, totals
from snakeval.run_folder import servers
from snakeval.run_folder.layout import RunPaths
from snakeval.run_folder.records import TaskState, image_of_result, task_state
from snakeval.runtime.images import is_pinned

if TYPE_CHECKING:
    import pandas as pd
    from rich.table import Table

USED = (
    "requests",
    "answers",
    "replayed",
    "prompt_tokens",
    "completion_tokens",
    "cost",
    "median_latency_ms",
    "p99_latency_ms",
    "answers_per_second",
    "tokens_per_second",
)
"""Requests that went out, answers to them, answers from disk; as the gateway counts them, else as
far as the harness does. `cost` is in the currency of the config's `prices`."""

COUNTED = USED[:5]
"""Whole numbers."""

COLUMNS = (
    "run",
    "model",
    "harness",
    "task",
    "label",
    "group",
    "subtask",
    "metric",
    "score",
    "value",
    "stderr",
    "n",
    "better",
    "lowest",
    "highest",
    "unit",
    "headline",
    "scored",
    "expected",
    "unanswered",
    "state",
    "cause",
    "image",
    "artifacts",
    *USED,
)


@dataclass(frozen=True)
class Shown:
    """A task as tables, report and exports show it: at least one row."""

    task: Task
    state: TaskState
    published: Published
    rows: list[dict[str, Any]]


def rows(run: Run) -> list[dict[str, Any]]:
    """The rows of a run's tasks, in the order of the config; only of their current specs."""
    return _rows(run, list(read_tasks(run)))[0]


def _rows(run: Run, tasks: Sequence[Shown]) -> tuple[list[dict[str, Any]], Costs | None]:
    """The same of tasks that were read, and what they have cost."""
    found = _costs(run, tasks)
    by_task = found.tasks if found else {}
    rows = [
        {**row, "cost": by_task.get(each.task.name)} if found else row
        for each in tasks
        for row in each.rows
    ]
    return rows, found


def read_tasks(run: Run) -> Iterator[Shown]:
    """The run's tasks, each read once. One that cannot be read is a row with the cause."""
    images = _images(run.paths)
    for task in run.tasks:
        yield kept_apart(
            lambda task=task: _shown(run, task, images),  # type: ignore[misc]
            lambda cause, task=task: _unreadable(run, task, images, cause),  # type: ignore[misc]
        )


def _images(paths: RunPaths) -> dict[str, str]:
    return mapping_in(read_json(paths.record), "images")


def _shown(run: Run, task: Task, images: dict[str, str]) -> Shown:
    base = _base(run, task, images)
    state = task_state(task.paths, task.digest)
    if state.state != "published":
        cause = state.cause or _why_no_server(run, task)
        counts = {"scored": state.samples, "expected": state.expected}
        row = {
            **base,
            "state": state.state,
            "cause": cause,
            **counts,
            **_used(so_far(task.paths, task.digest)),
        }
        return Shown(task, state, Published(), [row])
    base["artifacts"] = f"{task.name}/work/{task.digest}"
    published = published_of(task)
    if published.cause is not None:
        row = {**base, "state": "unreadable", "cause": published.cause}
        return Shown(task, state, published, [row])
    base |= {"state": "published", **asdict(published.coverage), **_used(published.totals or {})}
    return Shown(task, state, published, _score_rows(base, task, published.scores))


def _used(totals: Mapping[str, float]) -> dict[str, float]:
    return {
        name: int(totals[name]) if name in COUNTED else totals[name]
        for name in USED
        if name in totals
    }


def _base(run: Run, task: Task, images: dict[str, str]) -> dict[str, Any]:
    return {
        **dict.fromkeys(COLUMNS),
        "run": run.paths.id,
        "model": task.endpoint.model_id,
        "harness": task.benchmark.harness,
        "task": task.name,
        "label": task.label,
        "image": _image(task, images),
    }


def _image(task: Task, images: dict[str, str]) -> str | None:
    """What its result was made in; the run may have gone on to another one since."""
    if not task.image:
        return None
    made = image_of_result(task.paths, task.digest) or ""
    return made if is_pinned(made) else images.get(task.image, task.image)


def _unreadable(run: Run, task: Task, images: dict[str, str], cause: str) -> Shown:
    row = {**_base(run, task, images), "state": "unreadable", "cause": cause}
    state = TaskState(task.name, task.digest, "unknown", cause, 0, None, None, None, None, None)
    return Shown(task, state, Published(cause=cause), [row])


def _score_rows(base: dict[str, Any], task: Task, scores: Sequence[Score]) -> list[dict[str, Any]]:
    several = len({score.task or score.group for score in scores}) > 1
    whole = (task.name, task.benchmark.task)
    found = [
        {
            **base,
            "group": _name(score.group),
            # Of a benchmark without parts the harness's own name says nothing new.
            "subtask": _name(score.task) if several and score.task not in whole else None,
            "metric": _name(score.metric),
            "score": _name(score.score),
            "value": score.value,
            "stderr": score.stderr,
            "n": score.n,
            "better": score.better,
            "lowest": score.lowest,
            "highest": score.highest,
            "unit": score.unit,
            "headline": score.headline,
        }
        for score in scores
    ]
    return sorted(found, key=lambda row: row["subtask"] is not None)  # the whole first


def _name(text: str | None) -> str | None:
    """Whatever a harness calls its scores: a name on one line, without control characters."""
    return None if text is None else one_line(text)


def _why_no_server(run: Run, task: Task) -> str | None:
    """Why a task that was never tried has found no server."""
    causes = (servers.why_down(run.paths.server(name)) for name in task.servers)
    return next(filter(None, causes), None)


def as_table(found: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table with typed columns, also where there are none."""
    import pandas as pd

    # Whole numbers stay whole where others are missing.
    types = dict.fromkeys(COLUMNS, "string")
    types |= dict.fromkeys(USED, "float64")
    types |= dict.fromkeys(("n", "scored", "expected", "unanswered", *COUNTED), "Int64")
    types |= dict.fromkeys(("value", "stderr", "lowest", "highest"), "float64")
    types["headline"] = "boolean"
    return pd.DataFrame(found, columns=list(COLUMNS)).astype(types)


def write_tables(run: Run, members: str) -> list[dict[str, Any]]:
    """Writes results.csv and results.json over what is published now; returns their rows.

    The stamp of other `members` goes first: it says that the tables show those.
    """
    run.paths.results.mkdir(parents=True, exist_ok=True)
    for stamp in run.paths.results.glob("of-*"):
        if stamp.name.partition(".")[0] != run.paths.tables_stamp(members).name:
            stamp.unlink(missing_ok=True)
    tasks = list(read_tasks(run))
    found, found_costs = _rows(run, tasks)
    # Not by pandas: it is written at the end of every run, which should not wait for that.
    write_atomically(run.paths.results_csv, as_csv(COLUMNS, found))
    published = {row["task"] for row in found if row["state"] == "published"}
    content = {
        "run": run.paths.id,
        "written": now(),
        "tasks": {"published": len(published), "all": len(run.tasks)},
        "servers": {
            paths.dir.name: servers.cost_of(paths) for paths in servers.deployments_of(run.paths)
        },
        "rows": found,
    }
    if notes := _notes(run, tasks):
        content["notes"] = notes
    if found_costs:
        content["costs"] = found_costs.content()
    write_atomically(run.paths.results_json, json.dumps(content, indent=1) + "\n")
    return found


def bring_up_to_date(run: Run) -> None:
    """Writes the tables again where they show something else than what is published now: `run.sh`
    by hand publishes too. A folder that cannot be written stays as it is."""
    with contextlib.suppress(OSError):
        if read_json(run.paths.results_json).get("rows") != rows(run):
            # The stamp of a start that has published exactly these stays.
            write_tables(run, replace(run, selected=()).members)


def _notes(run: Run, tasks: list[Shown]) -> dict[str, list[str]]:
    """What a reader of the scores, or of the samples, must be told of each task."""
    sampled = members(run.paths.samples) if run.paths.samples.exists() else {}
    found = {}
    for each in tasks:
        member = sampled.get(each.task.name)
        note = member.note if member and each.state.state == "published" else None
        if told := [*each.published.notes, *([note] if note else [])]:
            found[each.task.name] = told
    return found


def _costs(run: Run, tasks: Sequence[Shown]) -> Costs | None:
    if not run.config.prices:
        return None
    known = known_from_samples(run)  # heavy: pandas
    used = {shown.task.name: totals(shown.task, shown.published, known) for shown in tasks}
    return costs(run, used, {shown.task.name: seconds(shown.task) for shown in tasks})


DONE = "published"


def states(found: Sequence[Mapping[str, Any]]) -> dict[str, int]:
    """How many benchmarks are in each state, the published ones first: none is told as well."""
    by_task = {row["task"]: row["state"] for row in found}
    return {DONE: 0} | dict(Counter(by_task.values()))


def _in_words(state: str) -> str:
    return "not run yet" if state == "pending" else state


PARTS = 12
"""Scores of parts (the subjects of MMLU) that a benchmark shows on a terminal; of more, none."""


def print_table(run: Run, found: list[dict[str, Any]], in_short: bool = False) -> None:
    """The table for the person who waited: scores with stderr, coverage, causes, where it is.

    Causes and paths stand below it, each on a line that nobody breaks: they are copied.

    in_short  without the scores, which are shown elsewhere
    """
    from snakeval.terminal import Terminal

    console = Terminal(160)
    model = found[0]["model"] if found else None
    console.say(": ".join(filter(None, [run.paths.id, run.config.name, model])), style="italic")
    shown, hidden = _without_parts(found)
    if not in_short:
        console.print(_as_shown(shown))
        for label, number in hidden.items():
            console.say(f"{label}: the scores of its {number} parts are in results.csv")
    untold = [row for row in found if row["state"] == "pending" and not row["cause"]]
    for row in found:
        if row["state"] != "published" and row not in untold:
            console.say(f"{row['label']}: {row['state']}: {row['cause'] or 'not run yet'}")
    if untold:
        console.say(f"not run yet: {', '.join(str(row['label']) for row in untold)}")
    begun = [row for row in found if row["state"] != "pending"]
    used = {row["label"]: {name: row[name] for name in COUNTED} for row in begun}
    servers_told = servers.told(run.paths, left_over)
    for line in [*_told_notes(run), *servers_told, *asked(used), *_told_costs(run)]:
        console.say(line)
    counted = states(found)
    rest = [f", {number} {_in_words(name)}" for name, number in counted.items() if name != DONE]
    console.say(f"{counted[DONE]} of {len(run.tasks)} benchmarks published{''.join(rest)}.")
    if counted[DONE] < len(run.tasks):
        console.say("The same command again continues: what is published stays.")
    console.say(f"Tables: {run.paths.results}")
    console.say(f"Artifacts: {run.paths.dir}/<task>/artifacts")
    console.say(_told_page(run))


def _without_parts(found: list[dict[str, Any]]) -> tuple[list[dict[str, Any]], dict[str, int]]:
    """The rows that are shown, and how many parts each benchmark has that are not."""
    counted = Counter(row["label"] for row in found if row["subtask"] is not None)
    wholes = {row["label"] for row in found if row["subtask"] is None}
    hidden = {label: n for label, n in counted.items() if n > PARTS and label in wholes}
    shown = [row for row in found if row["subtask"] is None or row["label"] not in hidden]
    return shown, hidden


def _as_shown(found: list[dict[str, Any]]) -> Table:
    from rich.table import Table

    table = Table()
    for heading in ("task", "metric", "score", "stderr", "samples"):
        right = heading in ("score", "stderr")
        table.add_column(heading, justify="right" if right else "left", overflow="fold")
    for row in found:
        metric, score, stderr = row["state"], "-", ""
        if row["state"] == "published":
            metric, score = metric_name(row), f"{row['value']:.4g}"
            stderr = "" if row["stderr"] is None else f"{row['stderr']:.2g}"
        table.add_row(row["label"], metric, score, stderr, coverage(row))
    return table


def _told_page(run: Run) -> str:
    """Where the page about a run is, or how it is made."""
    if run.paths.report.exists():
        return f"Report: {run.paths.report}; `snakeval report {run.paths.id[-8:]}` writes it anew"
    # Not `snakemake report`: from another folder, or as a module of somebody's workflow, it has
    # another name.
    return f"Report: `snakeval report {run.paths.id[-8:]}` writes one page about it"


def _told_notes(run: Run) -> list[str]:
    """What results.json says that a reader of the scores must know."""
    notes = read_json(run.paths.results_json).get("notes")
    found = notes.items() if isinstance(notes, dict) else ()
    return [f"{run.labels.get(task, task)}: {note}" for task, told in found for note in told]


def _told_costs(run: Run) -> list[str]:
    """What results.json says of the costs."""
    if run.config.prices is None:
        return []
    content = read_json(run.paths.results_json).get("costs")
    if not content:
        return []
    by_label = {run.labels.get(task, task): cost for task, cost in content["tasks"].items()}
    return [str(Costs(content["currency"], by_label))]


def metric_name(row: dict[str, Any]) -> str:
    """`exact_match`, or `part: metric (score)` where they differ."""
    part = part_of(row)
    name = (
        row["metric"]
        if row["score"] in (None, row["metric"])
        else (f"{row['metric']} ({row['score']})")
    )
    return f"{part}: {name}" if part else str(name)


def part_of(row: dict[str, Any]) -> str | None:
    """The subtask or the group that a score is of; None: of the whole benchmark."""
    part: str | None = row["subtask"] or row["group"]
    return None if part == row["task"] else part


def coverage(row: dict[str, Any]) -> str:
    """`40 of 40`, `10 of unknown`, `40 of 40, 2 unanswered`."""
    scored = "?" if row["scored"] is None else row["scored"]
    unanswered = f", {row['unanswered']} unanswered" if row["unanswered"] else ""
    return f"{scored} of {'unknown' if row['expected'] is None else row['expected']}{unanswered}"


def write_stamp(run: Run, members: str) -> Path:
    """Says that the tables show exactly these results."""
    stamp = run.paths.tables_stamp(members)
    write_atomically(stamp, now() + "\n")
    return stamp
