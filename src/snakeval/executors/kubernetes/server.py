"""A server as a Deployment and a Service of Kubernetes.

`server.sh` and its supervisor run here, as those of a local server do; what they bring up, watch
and delete is in the cluster (`endpoint.py`). What is asked for is `endpoint_spec.py`'s.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from snakemake_executor_plugin_lepton.client import ServiceError
from snakeval.config.execution.kubernetes import KubernetesExecution
from snakeval.errors import Problem
from snakeval.executors import hosted
from snakeval.executors.kubernetes.endpoint_spec import content_of, mounts_of
from snakeval.executors.kubernetes.places import NOTE, Place
from snakeval.job.files import make_executable, read_json, write_atomically
from snakeval.plan.run import Run
from snakeval.plan.server import Server
from snakeval.render.server import render
from snakeval.run_folder.layout import ServerPaths


class Servers(hosted.Servers):
    """Servers as Deployments of Kubernetes."""

    called = "the Deployment"
    note = NOTE
    down = 180.0

    @property
    def has_variables(self) -> bool:
        return True

    def check(self, run: Run, server: Server, runtime: str) -> Iterable[Problem]:
        """What Kubernetes cannot be given, and what the config does not say."""

        def place(*keys: str) -> str:
            return run.place(*server.keys, *keys)

        execution = run.config.execution
        if not isinstance(execution, KubernetesExecution):
            yield Problem(
                place(),
                "with this profile a server is a Deployment of Kubernetes, and the config does "
                "not say how",
                "write execution: {type: kubernetes}, with its volumes",
            )
            return
        if server.type == "process":
            yield Problem(
                place("type"),
                "a process of this machine cannot be a pod",
                "write another type, with an image",
            )
        if server.several:
            yield Problem(
                place(),
                f"a server is one pod, and the config wants {server.several}",
                "take it out",
            )
        if server.gpus == "all" or "," in server.gpus:
            yield Problem(
                place("gpus"),
                f"Kubernetes gives a number of GPUs, and the config says '{server.gpus}'",
                "write how many",
            )
        for (folder, target, _), (seen, _) in zip(
            server.mounts, mounts_of(server, execution), strict=True
        ):
            if seen is None:
                yield Problem(
                    place(),
                    f"{folder} (mounted at {target}) is on no volume of execution.volumes",
                    "copy it there, or name the volume",
                )
        lacking = sorted(
            {each.wanted_here for each in server.env_vars.values() if each.wanted_here}
        )
        if lacking and not execution.secret:
            words = " ".join(f"--from-literal={name}=..." for name in lacking)
            yield Problem(
                place("env_vars"),
                f"values stay on this machine, and the server needs {', '.join(lacking)}",
                f"`kubectl create secret generic eval-keys {words}`, then write "
                "execution.secret: eval-keys",
            )

    def write(
        self,
        run: Run,
        server: Server,
        runtime: str,
        image: str | None,
        defaults: Mapping[str, int | str],
    ) -> None:
        """Writes `server.sh`: what it asks for has the variables, which are no script's."""
        execution = run.config.execution
        assert isinstance(execution, KubernetesExecution)
        paths = run.paths.server(server.name)
        content = json.dumps(content_of(run, server, execution, image), indent=1)
        plain = replace(server, env_vars={}, environment={}, mounts=(), key_name=None)
        body = (Path(__file__).parent / "server.sh").read_text(encoding="utf-8")
        write_atomically(paths.script, render(plain, runtime, image, command=content, body=body))
        make_executable(paths.script)

    def sweep(self, paths: ServerPaths) -> None:
        from snakeval.executors.kubernetes.endpoint import Endpoint

        noted = read_json(paths.dir / NOTE)
        try:
            place = Place(str(noted.get("context") or ""), str(noted.get("namespace") or ""))
            Endpoint(paths.dir, place).sweep()
        except (OSError, ValueError, KeyError, ServiceError) as trouble:
            print(f"{paths.dir.name}: {trouble}")
