"""Files in the run folder: the launcher's JSON and wide CSV, and a tidy CSV.

The shapes of the first two are those of the NeMo Evaluator Launcher's local export, so that what
reads those files goes on working.
"""

from __future__ import annotations

import csv
import io
import json
from collections import defaultdict
from pathlib import Path
from typing import Any

from snakeval.job.attempt import now, write_atomically
from snakeval.plan import Run, digest
from snakeval.results import COLUMNS, rows

WIDE = ("Model Name", "Harness", "Task Name", "Executor", "Container", "Invocation ID", "Job ID")


def export(run: Run) -> tuple[int, Path]:
    """Writes the files where something has changed; how many tasks that was, and the folder."""
    folder = run.paths.exports("local")
    folder.mkdir(parents=True, exist_ok=True)
    by_task: dict[str, list[dict[str, Any]]] = defaultdict(list)
    for row in rows(run):
        if row["state"] == "published":
            by_task[row["task"]].append(row)
    changed = [task for task, found in by_task.items() if _receipt(folder, task) != digest(found)]
    gone = {path.stem for path in folder.glob("*.json") if path.name != "results.json"} - set(
        by_task
    )
    if changed or gone or not (folder / "results.json").exists():
        _write_files(folder, by_task)
    for task in changed:
        content = {"digest": digest(by_task[task]), "exported": now()}
        write_atomically(folder / f"{task}.json", json.dumps(content) + "\n")
    for task in gone:
        (folder / f"{task}.json").unlink(missing_ok=True)
    return len(changed), folder


def _receipt(folder: Path, task: str) -> str | None:
    try:
        found = json.loads((folder / f"{task}.json").read_text(encoding="utf-8"))["digest"]
        return str(found)
    except (OSError, ValueError, KeyError):
        return None


def score_name(row: dict[str, Any]) -> str:
    """`<task>[_<group>]_<metric>_<score>`, or without the score where it says the same."""
    group = [row["group"]] if row["group"] and row["group"] != row["task"] else []
    score = [row["score"]] if row["score"] not in (None, row["metric"]) else []
    return "_".join([row["task"], *group, row["metric"], *score])


def _write_files(folder: Path, by_task: dict[str, list[dict[str, Any]]]) -> None:
    first = {task: found[0] for task, found in by_task.items()}
    scores = {
        task: {score_name(row): row["value"] for row in found} for task, found in by_task.items()
    }
    benchmarks: dict[str, Any] = {
        task: {
            "models": {
                row["model"]: [
                    {
                        "invocation_id": row["run"],
                        "job_id": f"{row['run']}.{task}",
                        "harness": row["harness"],
                        "container": row["image"],
                        "scores": scores[task],
                        "timestamp": now(),
                        "executor": "snakemake",
                    }
                ]
            }
        }
        for task, row in first.items()
    }
    write_atomically(
        folder / "results.json",
        json.dumps({"export_timestamp": now(), "benchmarks": benchmarks}, indent=1) + "\n",
    )
    names = list(dict.fromkeys(name for found in scores.values() for name in found))
    wide = [
        {
            "Model Name": row["model"],
            "Harness": row["harness"],
            "Task Name": task,
            "Executor": "snakemake",
            "Container": row["image"] or "",
            "Invocation ID": row["run"],
            "Job ID": f"{row['run']}.{task}",
            **scores[task],
        }
        for task, row in first.items()
    ]
    write_atomically(folder / "results.csv", _csv([*WIDE, *names], wide))
    tidy = [row for found in by_task.values() for row in found]
    write_atomically(folder / "results_tidy.csv", _csv(list(COLUMNS), tidy))


def _csv(columns: list[str], content: list[dict[str, Any]]) -> str:
    text = io.StringIO()
    writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
    writer.writeheader()
    writer.writerows(content)
    return text.getvalue()
