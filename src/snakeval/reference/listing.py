"""What can be evaluated (`ls_tasks`, `ls_task`), and what a config comes to (`show_config`)."""

from __future__ import annotations

import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import yaml
from rich.table import Table

from snakeval.config.model import TaskEntry
from snakeval.config.secrets import without
from snakeval.executors import registry
from snakeval.harness import recipe_for
from snakeval.plan.catalogue import PLAIN_LM_EVAL, Benchmark, Catalogue
from snakeval.plan.run import Run, Task
from snakeval.plan.server import Server
from snakeval.reference.update_catalogue import default_params
from snakeval.terminal import Terminal

ANY_TASK = "<any task>"
"""Stands for the tasks of plain lm-eval, which only lm-eval itself can list."""


def described(benchmark: Benchmark) -> dict[str, Any]:
    """A benchmark as plain data."""
    facts = benchmark.facts
    return {
        "name": benchmark.id,
        "harness": benchmark.harness,
        "task": benchmark.task,
        "kind": benchmark.definition.kind,
        "endpoint_type": benchmark.details.endpoint_type,
        "needs": benchmark.details.needs or None,
        "variables": benchmark.details.variables,
        "gated_dataset": benchmark.details.gated_dataset or None,
        "samples": benchmark.details.samples or facts.get("size"),
        "headline": (facts.get("headline") or [None])[0],
        "required": list(facts.get("required", {})),
        "checked_version": facts.get("version"),
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
            ", ".join(filter(None, [row["needs"], *(row["variables"] or [])])),
            str(row["samples"] or ""),
        )
    console = Terminal(120)
    console.print(table)
    console.say(
        f"{len(rows)} tasks of {len({row['harness'] for row in rows})} harnesses; "
        "one of them in full: snakemake ls_task --config task=NAME"
    )


def print_task(catalogue: Catalogue, folder: Path, name: str, as_json: bool) -> None:
    """One benchmark in full; `folder` is the catalogue's, where its defaults are looked up.

    Raises InputError for a name that is unknown or ambiguous.
    """
    found = catalogue.find(TaskEntry(name=name), "--config task")
    params = default_params(folder, found.harness, found.task)
    row = {**described(found), "default_params": params}
    if as_json:
        print(json.dumps(row, indent=1))
        return
    for key, text in _in_words(row, found).items():
        lines = text.splitlines() or [""]
        print(f"{key:15} " + f"\n{'':16}".join(lines))
    print("\nIn a config:\n\nevaluation:\n  tasks:\n    - name: " + row["name"])
    if row["variables"]:
        print("      env_vars:")
        print("\n".join(f"        {each}: host:{each}" for each in row["variables"]))


def _in_words(row: dict[str, Any], benchmark: Benchmark) -> dict[str, str]:
    """What is shown of a benchmark; what nobody knows is said to be unknown."""
    shown = {key: str(row[key]) for key in ("name", "description", "kind") if row[key]}
    shown["image"] = row["image"] or "none, runs without a container"
    shown["eval_type"] = row["eval_type"]
    shown["endpoint type"] = row["endpoint_type"] + (
        f" with {row['needs']}" if row["needs"] else ""
    )
    shown["samples"] = str(row["samples"] or "unknown")
    if benchmark.definition.kind == "nemo":
        shown["headline"] = row["headline"] or "unknown"
        version = row["checked_version"]
        shown["facts of"] = f"{version} (docs/harnesses.md)" if version else "none"
    for name, what in benchmark.facts.get("required", {}).items():
        shown[f"{name}"] = f"must be in params: {what}"
    for name, only in benchmark.facts.get("must_be", {}).items():
        shown[name] = f"must be {only}: with another it ends without a result"
    for pattern, what in benchmark.facts.get("fetches", {}).get("what", {}).items():
        shown[pattern] = f"fetches while it runs: {what}"
    variables, dataset = row["variables"], row["gated_dataset"]
    from_an_image = benchmark.definition.kind == "nemo"
    if from_an_image or variables is not None:
        shown["variables"] = "unknown" if variables is None else ", ".join(variables) or "none"
        if dataset:
            page = f"https://huggingface.co/datasets/{dataset}"
            shown["gated data"] = f"{dataset}: ask for access at {page}, then export HF_TOKEN=..."
        else:
            known = variables is not None and "HF_TOKEN" not in variables
            shown["gated data"] = "none known" if known else "unknown"
    if from_an_image:
        reads = f"snakemake update_catalogue --config image={row['image']}"
        shown["defaults"] = (
            f"unknown; `{reads}` reads them from the image"
            if row["default_params"] is None
            else yaml.dump(row["default_params"], Dumper=yaml.CSafeDumper, sort_keys=True).rstrip()
        )
    return shown


def task_content(task: Task) -> dict[str, Any]:
    """What will be run for a task: image, command and the files the harness gets."""
    recipe = recipe_for(task)
    return {
        "folder": task.name,
        **({"label": task.label} if task.label != task.name else {}),
        "benchmark": task.benchmark.id,
        "digest": task.digest,
        "image": task.image,
        "endpoint": {
            "url": task.endpoint.url,
            "type": task.endpoint.type,
            "model_id": task.endpoint.model_id,
            "api_key_name": task.endpoint.api_key_name,
        },
        "env_vars": {name: str(source) for name, source in task.env_vars.items()},
        "mounts": [f"{source}:{target}" for source, target in task.mounts],
        "extra_docker_args": task.extra_docker_args,
        "pre_cmd": task.pre_cmd or "",
        "post_cmd": task.post_cmd or "",
        "command": recipe.command,
        "files": recipe.written,
    }


def server_content(server: Server) -> dict[str, Any]:
    """What will be run for a deployment."""
    variables = {name: f"lit:{value}" for name, value in server.environment.items()}
    return {
        "name": server.name,
        "type": server.type,
        "image": server.image,
        "model": server.model,
        "env_vars": {
            **variables,
            **{name: str(source) for name, source in server.env_vars.items()},
        },
        "mounts": [
            f"{source}:{target}{'' if writable else ':ro'}"
            for source, target, writable in server.mounts
        ],
        "extra_docker_args": server.extra_docker_args,
        "gpus": server.gpus,
        "port": server.port,
        "health": server.health,
        "ready_timeout": server.ready_timeout,
        "nodes": server.nodes,
        "instances": server.instances,
        "pre_cmd": server.pre_cmd,
        "command": server.command,
    }


SAID_OF_TASKS = ("resources", "env_vars", "mounts", "extra_docker_args", "pre_cmd", "post_cmd")


def _scripts(run: Run, server: Server) -> dict[str, str]:
    """The scripts of a server's place, where the config names one that has any."""
    _, servers = registry.servers_for(server, run.config.execution.type)
    return servers.shown(run, server) if servers else {}


def print_config(run: Run, as_json: bool) -> None:
    """The resolved config, every server and every task. The same input gives the same bytes."""
    raw = without(run.raw, run.secrets)
    executor = registry.executor(run.config.execution.type)
    servers = [
        without({**server_content(each), **_scripts(run, each)}, run.secrets)
        for each in run.servers.values()
    ]
    tasks = [
        without({**task_content(task), "resources": executor.resources_of(run, task)}, run.secrets)
        for task in run.selected
    ]
    if as_json:
        content = {"config": json.loads(json.dumps(raw)), "servers": servers, "tasks": tasks}
        print(json.dumps(content, indent=1, sort_keys=True))
        return
    print(yaml.dump(raw, Dumper=yaml.CSafeDumper, sort_keys=True, allow_unicode=True).rstrip())
    for server in servers:
        print(f"\n# --- server {server['name']}: {server['type']} for {server['model']}")
        _print_commented(server, shown={"name", "type", "model"})
    for task in tasks:
        print(f"\n# --- {task['folder']}: {task['benchmark']} ({task['digest']})")
        _print_commented({key: task[key] for key in ("image", *SAID_OF_TASKS)})
        for name, text in {"command.sh": task["command"], **task["files"]}.items():
            _print_text(name, text)


def _print_commented(content: dict[str, Any], shown: Collection[str] = ()) -> None:
    """What is set of it, as comments."""
    for key, value in content.items():
        if key in shown or value in ("", [], {}):
            continue
        if key == "image":
            print(f"# image: {value or 'none, runs without a container'}")
        elif isinstance(value, dict):
            _print_text(key, "\n".join(f"{name}: {each}" for name, each in value.items()))
        elif isinstance(value, list) or "\n" in str(value) or key == "command":
            _print_text(key, "\n".join(value) if isinstance(value, list) else str(value))
        else:
            print(f"# {key}: {value}")


def _print_text(name: str, text: str) -> None:
    print(f"# {name}:")
    print("\n".join(f"#   {line}" for line in text.splitlines()))
