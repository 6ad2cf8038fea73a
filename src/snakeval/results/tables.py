"""The tables of a run: one tidy row per score, and a row with its cause for a task without one.

Columns: run, model, harness, task, group, subtask, metric, score, value, stderr, n, scored,
expected, unanswered, state, cause, image, artifacts. `subtask` tells the parts of a benchmark apart
(the subjects of MMLU), as in samples.parquet; it is empty where the score is of the whole benchmark
or of a group. `scored` of `expected` samples; an empty `expected` is unknown.
`artifacts` is relative to the run folder.
"""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakeval.executors.registry import left_over
from snakeval.job import verify
from snakeval.job.files import now, write_atomically
from snakeval.plan.run import Run, Task
from snakeval.run_folder import servers as servers
from snakeval.run_folder.layout import RunPaths
from snakeval.run_folder.records import task_state

if TYPE_CHECKING:
    import pandas as pd

COLUMNS = (
    "run",
    "model",
    "harness",
    "task",
    "group",
    "subtask",
    "metric",
    "score",
    "value",
    "stderr",
    "n",
    "scored",
    "expected",
    "unanswered",
    "state",
    "cause",
    "image",
    "artifacts",
)


def rows(run: Run) -> list[dict[str, Any]]:
    """The rows of a run's tasks, in the order of the config; only of their current specs."""
    images = _images(run.paths)
    return [row for task in run.tasks for row in _task_rows(run, task, images)]


def _images(paths: RunPaths) -> dict[str, str]:
    try:
        found: dict[str, str] = json.loads(paths.record.read_text(encoding="utf-8"))["images"]
        return found
    except (OSError, ValueError, KeyError):
        return {}


def _task_rows(run: Run, task: Task, images: dict[str, str]) -> list[dict[str, Any]]:
    base = {
        **dict.fromkeys(COLUMNS),
        "run": run.paths.id,
        "model": task.endpoint.model_id,
        "harness": task.benchmark.harness,
        "task": task.name,
        "image": images.get(task.image, task.image) if task.image else None,
    }
    state = task_state(task.paths, task.digest)
    if state.state != "published":
        return [
            {
                **base,
                "state": state.state,
                "cause": state.cause or _why_no_server(run, task),
                "scored": state.samples,
                "expected": state.expected,
            }
        ]
    work = task.paths.work(task.digest)
    base |= {"artifacts": f"{task.name}/work/{task.digest}", "state": "published"}
    try:
        spec = json.loads((task.paths.own(task.digest) / "check_spec.json").read_text("utf-8"))
        found = verify.read_results(work, spec)
    except (OSError, ValueError, verify.CheckFailed) as error:
        return [{**base, "state": "unreadable", "cause": str(error)}]
    coverage = {
        "scored": found.coverage.scored,
        "expected": found.coverage.expected,
        "unanswered": _unanswered(task),
    }
    several = len({score.task or score.group for score in found.scores}) > 1
    whole = (task.name, task.benchmark.task)
    found_rows = [
        {
            **base,
            **coverage,
            "group": score.group,
            # Of a benchmark without parts the harness's own name says nothing new.
            "subtask": score.task if several and score.task not in whole else None,
            "metric": score.metric,
            "score": score.score,
            "value": score.value,
            "stderr": score.stderr,
            "n": score.n,
        }
        for score in found.scores
    ]
    return sorted(found_rows, key=lambda row: row["subtask"] is not None)  # the whole first


def _why_no_server(run: Run, task: Task) -> str | None:
    """Why a task that was never tried has found no server."""
    causes = (servers.why_down(run.paths.server(name)) for name in task.servers)
    return next(filter(None, causes), None)


def _unanswered(task: Task) -> int | None:
    """Samples without an answer that the check let pass; only the logs tell them, which it read."""
    try:
        checked = json.loads(task.paths.check(task.digest).read_text("utf-8"))
    except (OSError, ValueError):
        return None
    count: int | None = checked.get("unanswered")
    return count


def as_table(found: list[dict[str, Any]]) -> pd.DataFrame:
    """Rows as a table with typed columns, also where there are none."""
    import pandas as pd

    # Whole numbers stay whole where others are missing.
    types = dict.fromkeys(COLUMNS, "string")
    types |= dict.fromkeys(("n", "scored", "expected", "unanswered"), "Int64")
    types |= dict.fromkeys(("value", "stderr"), "float64")
    return pd.DataFrame(found, columns=list(COLUMNS)).astype(types)


def as_csv(found: list[dict[str, Any]]) -> str:
    """Rows as CSV; written at the end of every run, which should not wait for pandas."""
    text = io.StringIO()
    writer = csv.DictWriter(text, COLUMNS, lineterminator="\n")
    writer.writeheader()
    writer.writerows(found)
    return text.getvalue()


def write_tables(run: Run, members: str) -> list[dict[str, Any]]:
    """Writes results.csv and results.json over what is published now; returns their rows.

    The stamp of other `members` goes first: it says that the tables show those.
    """
    run.paths.results.mkdir(parents=True, exist_ok=True)
    for stamp in run.paths.results.glob("of-*"):
        if stamp.name.partition(".")[0] != run.paths.tables_stamp(members).name:
            stamp.unlink(missing_ok=True)
    found = rows(run)
    write_atomically(run.paths.results_csv, as_csv(found))
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
    if run.config.prices:
        from snakeval.report.figures import figures  # heavy, and about these tables

        if costs := figures(run).costs:
            content["costs"] = costs.content()
    write_atomically(run.paths.results_json, json.dumps(content, indent=1) + "\n")
    return found


def print_table(run: Run, found: list[dict[str, Any]]) -> None:
    """The table for the person who waited: scores with stderr, coverage, causes, where it is."""
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    table = Table(
        title=f"{run.paths.id}: {found[0]['model']}" if found else run.paths.id,
        title_justify="left",
    )
    for heading in ("task", "metric", "score", "stderr", "samples"):
        table.add_column(
            heading, justify="right" if heading in ("score", "stderr") else "left", overflow="fold"
        )
    for row in found:
        if row["state"] == "published":
            table.add_row(
                row["task"],
                metric_name(row),
                f"{row['value']:.4g}",
                "" if row["stderr"] is None else f"{row['stderr']:.2g}",
                coverage(row),
            )
        else:
            table.add_row(
                row["task"],
                Text(f"{row['state']}: {row['cause'] or 'not run yet'}"),
                "-",
                "",
                coverage(row),
            )
    published = len({row["task"] for row in found if row["state"] == "published"})
    # Wide enough for whole sentences where nobody looks through a terminal.
    console = Console(width=None if Console().is_terminal else 160)
    console.print(table)
    for line in [*servers.told(run.paths, left_over), *_told_costs(run)]:
        console.print(line, soft_wrap=True, highlight=False)
    console.print(
        f"{published} of {len(run.tasks)} benchmarks published. "
        f"Tables: {run.paths.results}. Artifacts: {run.paths.dir}/<task>/artifacts",
        soft_wrap=True,
        highlight=False,
    )


def _told_costs(run: Run) -> list[str]:
    """What results.json says of the costs."""
    if run.config.prices is None:
        return []
    from snakeval.results.costs import Costs

    try:
        content = json.loads(run.paths.results_json.read_text(encoding="utf-8")).get("costs")
    except (OSError, ValueError):  # somebody has taken it away: the table is told all the same
        return []
    return [str(Costs(content["currency"], content["tasks"]))] if content else []


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
