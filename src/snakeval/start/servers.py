"""What keeps the servers of a start from coming up."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from pathlib import Path

from snakeval.config.deployment import OF_WEIGHTS
from snakeval.errors import Problem
from snakeval.executors.registry import servers_for
from snakeval.plan.run import Run
from snakeval.plan.server import Server
from snakeval.plan.server_forms import untold
from snakeval.start.this_start import NeededServer, ThisStart


def against(start: ThisStart) -> Iterable[Problem]:
    """What keeps the servers that pending benchmarks need from coming up."""
    yield from _on_one_port(start)
    for needed in start.servers:
        run, server, runtime = needed.run, needed.server, needed.runtime
        _, servers = servers_for(server, start.executor.name)
        if servers is None:
            yield Problem(
                run.place(*server.keys),
                f"with the executor '{start.executor.name}' no server can be brought up",
                "use another profile, or start the server yourself and give its address in "
                "target.api_endpoint",
            )
            continue
        yield from _of(run, server, start.makes, servers.has_variables)
        yield from servers.check(run, server, runtime)
        if server.image and runtime in start.runtimes and not start.executor.elsewhere:
            mirror = run.config.execution.image_mirror
            yield from start.runtimes[runtime].images({(server.image, mirror)})


def _on_one_port(start: ThisStart) -> Iterable[Problem]:
    """Two servers of this machine at one port: one of them would answer in the other's name."""
    first: dict[int, NeededServer] = {}
    for needed in start.servers:
        _, servers = servers_for(needed.server, start.executor.name)
        if needed.runtime != "process" or not needed.server.port:
            continue
        if servers is None or not servers.on_this_machine:
            continue
        other = first.setdefault(needed.server.port, needed)
        if other is not needed:
            yield Problem(
                needed.run.place(*needed.server.keys, "port"),
                f"port {needed.server.port} is the one of two servers of this start: of "
                f"{_named(other)} and of {_named(needed)}",
                "leave `port` out and each gets a free one, or give each its own",
            )


def _named(needed: NeededServer) -> str:
    return f"'{needed.server.name}' of run {needed.run.paths.id}"


def _of(
    run: Run, server: Server, makes: Callable[[Path], bool], has_variables: bool
) -> Iterable[Problem]:
    def place(*keys: str) -> str:
        return run.place(*server.keys, *keys)

    if server.type != "process" and not server.image:
        yield Problem(place("image"), "is missing and must be given", "write the server's image")
    if not server.own_command and (words := untold(server.type, server.image)):
        yield Problem(
            place("image"), words, "give it a tag that says it, or write the command", warning=True
        )
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
        if not folder.exists() and not makes(folder):
            yield Problem(
                place(), f"the folder {folder} (mounted at {target}) does not exist", "correct it"
            )
    for name, source in () if has_variables else server.env_vars.items():
        variable = source.wanted_here
        if variable and variable not in os.environ:
            yield Problem(
                place("env_vars", name),
                f"the variable {variable} is not set",
                f"export {variable}=..., or take it out of env_vars",
            )
