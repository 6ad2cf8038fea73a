"""What can be evaluated (`ls_tasks`, `ls_task`), and what a config comes to (`show_config`)."""

from __future__ import annotations

import json
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from snakeval.catalogue import PLAIN_LM_EVAL, Benchmark, Catalogue
from snakeval.config.model import TaskEntry
from snakeval.harness import recipe_for
from snakeval.plan import Run, Task

ANY_TASK = "<any task>"
"""Stands for the tasks of plain lm-eval, which only lm-eval itself can list."""


def described(benchmark: Benchmark) -> dict[str, Any]:
    """A benchmark as plain data."""
    return {
        "name": benchmark.id,
        "harness": benchmark.harness,
        "task": benchmark.task,
        "kind": benchmark.definition.kind,
        "endpoint_type": benchmark.details.endpoint_type,
        "needs": benchmark.details.needs or None,
        "samples": benchmark.details.samples,
        "image": benchmark.definition.image,
        "eval_type": benchmark.eval_type,
        "description": benchmark.details.description or benchmark.definition.description or None,
    }


def listed(catalogue: Catalogue, harness: str = "", match: str = "") -> list[dict[str, Any]]:
    """The benchmarks of a catalogue, narrowed to a harness and to names that contain a text."""
    found = [described(benchmark) for benchmark in catalogue.benchmarks]
    for name, definition in catalogue.harnesses.items():
        if name == PLAIN_LM_EVAL:
            row = dict.fromkeys(found[0]) if found else {}
            found.append(
                {
                    **row,
                    "name": f"{name}.{ANY_TASK}",
                    "harness": name,
                    "task": ANY_TASK,
                    "kind": definition.kind,
                    "description": definition.description,
                }
            )
    return [
        row
        for row in found
        if harness in ("", row["harness"]) and match.lower() in row["name"].lower()
    ]


def print_tasks(rows: list[dict[str, Any]], as_json: bool) -> None:
    """A table for people, or JSON for programs."""
    if as_json:
        print(json.dumps(rows, indent=1))
        return
    table = Table()
    for heading in ("harness", "task", "endpoint", "needs", "samples"):
        table.add_column(heading, overflow="fold")
    for row in rows:
        table.add_row(
            row["harness"],
            row["task"],
            row["endpoint_type"] or "any",
            row["needs"] or "",
            str(row["samples"] or ""),
        )
    console = Console(width=None if Console().is_terminal else 120)
    console.print(table)
    console.print(
        f"{len(rows)} tasks of {len({row['harness'] for row in rows})} harnesses; "
        "one of them in full: snakemake ls_task --config task=NAME",
        soft_wrap=True,
    )


def print_task(catalogue: Catalogue, name: str, as_json: bool) -> None:
    """One benchmark in full. Raises InputError for a name that is unknown or ambiguous."""
    row = described(catalogue.find(TaskEntry(name=name), "--config task"))
    if as_json:
        print(json.dumps(row, indent=1))
        return
    for key, value in row.items():
        if value is not None:
            print(f"{key:14} {value}")
    print("\nIn a config:\n\nevaluation:\n  tasks:\n    - name: " + row["name"])


def task_content(task: Task) -> dict[str, Any]:
    """What will be run for a task: image, command and the files the harness gets."""
    recipe = recipe_for(task)
    return {
        "folder": task.name,
        "benchmark": task.benchmark.id,
        "digest": task.digest,
        "image": task.image,
        "endpoint": {
            "url": task.endpoint.url,
            "type": task.endpoint.type,
            "model_id": task.endpoint.model_id,
            "api_key_name": task.endpoint.api_key_name,
        },
        "env_vars": task.env_vars,
        "command": recipe.command,
        "files": recipe.written,
    }


def print_config(run: Run, as_json: bool) -> None:
    """The resolved config, then every task. The same input gives the same bytes."""
    tasks = [task_content(task) for task in run.selected]
    if as_json:
        content = {"config": json.loads(json.dumps(run.raw)), "tasks": tasks}
        print(json.dumps(content, indent=1, sort_keys=True))
        return
    print(yaml.dump(run.raw, Dumper=yaml.CSafeDumper, sort_keys=True, allow_unicode=True).rstrip())
    for task in tasks:
        print(f"\n# --- {task['folder']}: {task['benchmark']} ({task['digest']})")
        print(f"# image: {task['image'] or 'none, runs without a container'}")
        for name, text in {"command.sh": task["command"], **task["files"]}.items():
            print(f"# {name}:")
            print("\n".join(f"#   {line}" for line in text.splitlines()))
