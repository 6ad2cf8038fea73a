"""What we make of a config, in the form in which `theirs.py` tells what theirs is."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from snakeval.config.source import Source
from snakeval.executors.registry import servers_for
from snakeval.harness import check, recipe_for
from snakeval.plan.make import plan
from snakeval.plan.run import Run, Task
from snakeval.plan.server import MODEL, Server

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"


def planned(file: Path, given: Mapping[str, str] | None = None) -> Run:
    """The run of a config file.

    given  values for what the user must give, by dotted key
    Raises InputError.
    """
    words = ", ".join(f"{key}={value}" for key, value in (given or {}).items())
    [run] = plan([file], {"set": f"[{words}]"} if words else {}, CATALOGUE)
    for task in run.tasks:
        check(task)
    return run


def rendered(run: Run) -> dict[str, Any]:
    """What would be run: its benchmarks, its model's server, its judges."""
    servers = dict(run.servers)
    model = servers.pop(MODEL, None)
    return {
        "executor": run.config.execution.type,
        "tasks": [_task(task) for task in run.tasks],
        "server": {**_server(model), "sbatch": _flags(run, model)} if model else None,
        "judges": {name: _server(judge) for name, judge in servers.items()},
    }


def _task(task: Task) -> dict[str, Any]:
    recipe = recipe_for(task)
    return {
        "name": task.benchmark.id,
        "image": task.image,
        "endpoint_type": task.endpoint.type,
        "url": task.endpoint.url,
        "path": task.endpoint.path,
        "run_config": yaml.safe_load(recipe.written.get("run_config.yaml", "{}")),
        "env": sources(task.env_vars),
        "key": task.endpoint.api_key_name,
        "mounts": [f"{source}:{target}" for source, target in task.mounts],
        "docker": task.extra_docker_args,
        "network": task.network,
        "pre_cmd": task.pre_cmd or "",
        "post_cmd": task.post_cmd or "",
        "mount_home": task.mount_home,
        "command": recipe.command,
    }


def _server(server: Server) -> dict[str, Any]:
    return {
        "image": server.image,
        "command": words(server.command),
        "pre_cmd": server.pre_cmd,
        "port": server.port,
        "paths": {**server.paths, "health": server.health},
        "env": {
            **{name: f"lit:{value}" for name, value in server.environment.items()},
            **sources(server.env_vars),
        },
        "mounts": [
            f"{source}:{target}{'' if free else ':ro'}" for source, target, free in server.mounts
        ],
        "docker": server.extra_docker_args,
        "ready_timeout": server.ready_timeout,
        "check_model": server.check_model,
        "shape": [server.nodes, server.instances],
    }


SHORT = {"-A": "account", "-p": "partition", "-t": "time"}
"""Flags of sbatch with one letter."""


def _flags(run: Run, server: Server) -> dict[str, str]:
    """What the batch script of a server asks for, by the names of sbatch's flags."""
    _, servers = servers_for(server, run.config.execution.type)
    scripts = servers.shown(run, server) if servers else {}
    found = {}
    for line in scripts.get("sbatch_server.sh", "").splitlines():
        name, _, value = line.removeprefix("#SBATCH ").replace("=", " ", 1).partition(" ")
        found[SHORT.get(name, name.lstrip("-"))] = value.strip("'")
    return found


def sources(given: Mapping[str, Source]) -> dict[str, str]:
    return {name: str(source) for name, source in given.items()}


def words(command: str) -> str:
    """A command with single spaces between its words; of several lines each by itself."""
    lines = (re.sub(r"\s+", " ", line).strip() for line in command.strip().splitlines())
    return "\n".join(lines)
