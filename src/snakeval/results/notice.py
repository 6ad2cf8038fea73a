"""Who is told when a start has ended: a command or a webhook gets the summary as JSON.

What is told is in the run's tables already. A notice that cannot be given ends nothing.
"""

from __future__ import annotations

import json
import os
import subprocess
import urllib.error
import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from snakeval.config.execution.common import Notify
from snakeval.plan.run import Run
from snakeval.results.tables import DONE, rows, states

PATIENCE = 30
"""Seconds that a command or a webhook may take."""

TOLD = ("failed", "cancelled", "interrupted", "pending")
"""States that are counted also where no benchmark is in them."""

SHOWN = ("metric", "score", "value", "stderr", "n")


def summary(run: Run) -> dict[str, Any]:
    """What is told of a run."""
    found = rows(run)
    tasks = {row["task"]: (row["state"], row["cause"]) for row in found}
    counted = states(found)
    published = counted.pop(DONE)
    return {
        "run": run.paths.id,
        "name": run.config.name,
        "model": run.identity["model_id"],
        "complete": published == len(run.tasks),
        "published": published,
        "benchmarks": len(run.tasks),
        **dict.fromkeys(TOLD, 0),
        **counted,
        "tasks": [
            {
                "task": name,
                "label": run.labels.get(name, name),
                "state": state,
                "cause": cause,
                "scores": [_score(row) for row in found if row["task"] == name and _counts(row)],
            }
            for name, (state, cause) in tasks.items()
        ],
        "folder": str(run.paths.dir.absolute()),
        "tables": str(run.paths.results_csv.absolute()),
    }


def _counts(row: Mapping[str, Any]) -> bool:
    return bool(row["state"] == "published")


def _score(row: Mapping[str, Any]) -> dict[str, Any]:
    return {name: row.get(name) for name in SHOWN}


def notify(runs: Sequence[Run]) -> Iterator[str]:
    """Tells what ended, once for each way that the configs name; a sentence for each failure."""
    for notice in dict.fromkeys(_key(run.config.execution.notify) for run in runs):
        meant = [run for run in runs if _key(run.config.execution.notify) == notice]
        command, webhook = notice
        if not (command or webhook):
            continue
        text = json.dumps({"runs": [summary(run) for run in meant]})
        if command and (why := _by_command(command, text)):
            yield f"execution.notify.command {why}"
        if webhook and (why := _by_webhook(os.environ.get(webhook, ""), text)):
            yield f"the webhook in {webhook} {why}"


def _key(notice: Notify) -> tuple[str | None, str | None]:
    return notice.command, notice.webhook


def _by_command(command: str, text: str) -> str:
    """Why it failed, in half a sentence; empty: it did not."""
    try:
        ended = subprocess.run(
            ["bash", "-c", command],
            input=text,
            text=True,
            timeout=PATIENCE,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return f"has not ended after {PATIENCE} s"
    except OSError as error:
        return f"could not be started: {error.strerror}"
    return f"ended with exit code {ended.returncode}" if ended.returncode else ""


def _by_webhook(url: str, text: str) -> str:
    """As `_by_command`. The address is a secret: no message of another says anything here."""
    headers = {"Content-Type": "application/json", "User-Agent": "snakeval"}
    try:
        if not url.lower().startswith(("http://", "https://")):
            return "is no URL: http:// or https:// is expected"
        request = urllib.request.Request(url, text.encode(), headers)
        with urllib.request.urlopen(request, timeout=PATIENCE):
            return ""
    except urllib.error.HTTPError as error:
        return f"answers {error.code}"
    except (OSError, ValueError) as error:
        return f"could not be reached ({type(error).__name__})"
