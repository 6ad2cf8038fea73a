"""Which servers a start brings up, and what keeps them from coming up here."""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping

from snakeval.config.deployment import OF_WEIGHTS
from snakeval.errors import Problem
from snakeval.executors.registry import servers_for
from snakeval.plan.run import Run, Task
from snakeval.plan.server import Server
from snakeval.render.server import runtime_of
from snakeval.render.task import Pending
from snakeval.runtime import RUNTIMES, Runtime


def servers_of(run: Run, pending: Mapping[Task, str]) -> list[tuple[Server, str]]:
    """The servers that pending benchmarks of a run need, each with its runtime.

    pending  task -> runtime
    """
    asked = pending.asked if isinstance(pending, Pending) else pending
    wanted = {
        name: runtime
        for task, runtime in asked.items()
        if task in run.tasks and (not task.published or task in run.fresh)
        for name in task.servers
    }
    return [
        (run.servers[name], runtime_of(run.servers[name], runtime))
        for name, runtime in wanted.items()
    ]


def problems(
    run: Run,
    pending: Mapping[Task, str],
    runtimes: Mapping[str, Runtime],
    executor: str,
    elsewhere: bool,
) -> Iterable[Problem]:
    """What keeps the servers that pending benchmarks need from coming up.

    executor   Snakemake's, which brings servers up in its own way, or not at all
    elsewhere  that is not this machine
    """
    for server, runtime in servers_of(run, pending):
        _, servers = servers_for(server, executor)
        if servers is None:
            yield Problem(
                run.place(*server.keys),
                f"with the executor '{executor}' no server can be brought up",
                "use another profile, or start the server yourself and give its address in "
                "target.api_endpoint",
            )
            continue
        yield from _of(run, server)
        yield from servers.check(run, server, runtime)
        if server.image and runtime in RUNTIMES and not elsewhere:
            mirror = run.config.execution.image_mirror
            yield from runtimes[runtime].images({(server.image, mirror)})


def _of(run: Run, server: Server) -> Iterable[Problem]:
    def place(*keys: str) -> str:
        return run.place(*server.keys, *keys)

    if server.type != "process" and not server.image:
        yield Problem(place("image"), "is missing and must be given", "write the server's image")
    if not server.command:
        yield Problem(
            place("command"), "is missing and must be given", "write the server's command"
        )
    if (
        server.type == "process"
        and server.port is None
        and server.command
        and not any(port in server.command for port in ("{port}", "SNAKEVAL_PORT"))
    ):
        yield Problem(
            place("command"),
            "does not say {port}, and a process gets a free port",
            "write {port} where its port belongs, or give the port it listens at as `port`",
            warning=True,
        )
    if server.type in OF_WEIGHTS and not (
        server.hf_model or server.checkpoint or server.own_command
    ):
        yield Problem(
            place("checkpoint_path"),
            "is missing, and there is no hf_model_handle",
            "write the folder of the weights, or the model's name on the hub",
        )
    for folder, target, _ in server.mounts:
        if not folder.exists():
            yield Problem(
                place(), f"the folder {folder} (mounted at {target}) does not exist", "correct it"
            )
    for name, source in server.env_vars.items():
        variable = source.wanted_here
        if variable and variable not in os.environ:
            yield Problem(
                place("env_vars", name),
                f"the variable {variable} is not set",
                f"export {variable}=..., or take it out of env_vars",
            )
