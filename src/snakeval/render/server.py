"""Renders a deployment's `server.sh`: settings that a person can read, then the shared body."""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Literal

from snakeval.plan.server import Server
from snakeval.render.bash import assigned, comment, here_document
from snakeval.render.lib import job_file
from snakeval.render.variables import variables

BODIES = {
    "process": ("server_process.sh",),
    "apptainer": ("server_process.sh", "server_apptainer.sh"),
    "pyxis": ("server_process.sh", "server_pyxis.sh"),
}
ON_NODES = ("process", "pyxis")
"""Runtimes that can serve from several nodes of a Slurm job."""
"""How the server runs, by runtime; else in a container of an engine."""


def render(
    server: Server,
    runtime: str,
    image: str | None,
    reach: Literal["host", "nodes"] = "host",
    command: str | None = None,
    body: str | None = None,
) -> str:
    """The whole `server.sh`.

    runtime  docker, podman, apptainer, pyxis, process, or the name of its own host
    image    the image to run, pinned where the engine could say its digest
    reach    who must reach the server: this machine's processes, or the cluster's nodes
    command  what `server_command` prints; None: the server's
    body     the bash that starts and ends the server; None: the runtime's
    """
    bodies = BODIES.get(runtime, ("server_container.sh",))
    if server.nodes * server.instances > 1 and runtime in ON_NODES:
        bodies = (*bodies, "server_nodes.sh")
    wanted = [server.key_name] if server.key_name else []
    return "\n".join(
        [
            _title(server),
            variables(
                f"server {server.name}",
                server.environment,
                server.env_vars,
                wanted,
                server.key_name,
            ),
            _settings(server, runtime, image or "", reach),
            _command(server, runtime) if command is None else _printed(command),
            job_file("surroundings.sh"),
            *(map(job_file, bodies) if body is None else [body]),
            job_file("server.sh"),
        ]
    )


def _title(server: Server) -> str:
    return "\n".join(
        [
            "#!/usr/bin/env bash",
            comment(f"The server of this run's '{server.name}' ({server.type})."),
            comment(f"It serves {server.model}."),
            "# By hand: `bash server.sh` brings it up and keeps it up; Ctrl-C takes it down.",
            "# Written by snakeval; the next start writes it again.",
            "# shellcheck disable=SC2034 # some settings are for one runtime only",
            "",
        ]
    )


def _settings(server: Server, runtime: str, image: str, reach: str) -> str:
    settings: dict[str, str | Iterable[str]] = {
        "deployment": server.name,
        "runtime": runtime,
        "image": image,
        "model": server.model,
        "health": server.health,
        "key_name": server.key_name or "",
        "port": _port(server, runtime),
        "gpus": server.gpus,
        "hf_model": "yes" if server.hf_model else "no",
        "umask": server.umask,
        "hf_home": server.hf_home,
        "mount_home": "yes" if server.mount_home else "no",
        "endpoint_url": "",
        "reach": reach,
        "idle_timeout": f"{server.idle_timeout:g}",
        "ready_timeout": f"{server.ready_timeout:g}",
        "any_model": "" if server.check_model else "yes",
        "extra_args": _arguments(server),
        "written": [str(folder) for folder, _, writable in server.mounts if writable],
        "mounts": [
            f"{source}:{target}{'' if writable else ':ro'}"
            for source, target, writable in server.mounts
        ],
        **_several(server, runtime),
        "start_folder": str(Path.cwd()),
        "environment_python": sys.executable,
    }
    return "\n".join([*assigned(settings), ""])


def _port(server: Server, runtime: str) -> str:
    """The port that the config fixes, or that a container has for itself; else empty.

    8000 is the launcher's default, and nobody's wish where the server shares the node's network.
    """
    shared = runtime in ("apptainer", "pyxis") and not server.several
    if server.port is None or (shared and server.port == 8000 and "{port}" in server.command):
        return ""
    return str(server.port)


def _several(server: Server, runtime: str) -> dict[str, str]:
    """Settings of the runtime that can serve from several nodes."""
    if runtime not in ON_NODES:
        return {}
    if server.nodes * server.instances == 1:
        return {"several": ""}
    return {
        "several": server.several or "yes",
        "tasks": str(server.tasks or server.nodes),
        "nodes": str(server.nodes),
        "instances": str(server.instances),
        "ray": "yes" if server.type == "vllm_ray" else "no",
        "proxy_image": server.proxy.image or "",
        "proxy_port": str(server.proxy.config.haproxy_port or 5009),
        "proxy_health": server.proxy.config.health_check_path or server.health,
        "proxy_status": str(server.proxy.config.health_check_status or 200),
    }


def _arguments(server: Server) -> list[str]:
    """Words for `docker run`."""
    words = []
    for source, target, writable in server.mounts:
        words += ["-v", f"{source}:{target}{'' if writable else ':ro'}"]
    own = shlex.split(server.extra_docker_args)
    if not any(word.partition("=")[0] in ("--shm-size", "--ipc") for word in own):
        words.append("--shm-size=100g")  # as the launcher; what is not used is not taken
    return [*words, *own]


def _command(server: Server, runtime: str) -> str:
    """A function that prints the server's command."""
    text = "\n".join(filter(None, [server.pre_cmd, server.command]))
    for placeholder, variable in (("{port}", "$SNAKEVAL_PORT"), ("{host}", "$SNAKEVAL_HOST")):
        text = text.replace(placeholder, variable)
    if runtime == "process":  # it sees the host's folders, not where a container would have them
        for source, target, _ in server.mounts:
            text = _with_folder(text, target, shlex.quote(str(source)))
    return _printed(text)


def _with_folder(text: str, folder: str, other: str) -> str:
    """A text with one folder in place of another; a path that only looks like it stays."""
    return re.sub(rf"(?<![\w./~-]){re.escape(folder)}(?![\w.-])", lambda _: other, text)


def _printed(text: str) -> str:
    """The function `server_command`, which prints a text."""
    return "\n".join(["server_command() {", *here_document("    cat", text), "}", ""])
