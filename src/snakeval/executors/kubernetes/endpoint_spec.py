"""A model's server as a Deployment and a Service: what the cluster is asked for. Pure."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_kubernetes_jobs.spec import as_it_stands, mount_of, variable_of
from snakemake_executor_plugin_lepton.spec import Variable, label_value
from snakemake_executor_plugin_lepton.storage import Mount, mount_for
from snakeval.config.execution.kubernetes import KubernetesExecution
from snakeval.plan.run import Run
from snakeval.plan.server import OF_GPUS, Server

NAME = 52
"""Longest name: pods of a Deployment have 11 characters more, and a label has 63."""
SPEC = "snakeval/spec"
"""The annotation with the digest of what was asked for: another one is another server."""
LABEL = "snakeval-server"
"""The label that the pods of one server alone have."""
PROBE = {"periodSeconds": 5, "timeoutSeconds": 5, "failureThreshold": 6}
"""A server that answers nothing for half a minute is not ready."""
SHELL = 'command -v bash >/dev/null && exec bash -c "$0"; exec sh -c "$0"'


def name_of(run: Run, server: Server, mark: str) -> str:
    """The name of both, always the same: what is there already is found by it."""
    word = re.sub(r"[^a-z0-9]+", "-", server.model.lower().rpartition("/")[2]).strip("-")
    room = NAME - len("snakeval--12345678")
    digest = hashlib.sha256(mark.encode()).hexdigest()[:8]
    return "-".join(filter(None, ["snakeval", word[:room].strip("-"), digest]))


def mark_of(run: Run, server: Server) -> str:
    """Says whose a server is. Two copies of a run folder must not delete each other's."""
    folder = hashlib.sha256(str(run.paths.dir.absolute()).encode()).hexdigest()[:8]
    return f"{run.paths.id}/{server.name}/{folder}"


def volumes_of(execution: KubernetesExecution) -> tuple[Mount, ...]:
    """The volumes of the config, as the plugin has them."""
    return tuple(
        Mount(each.claim, each.path, each.mount_path, Path(each.here or each.mount_path))
        for each in execution.volumes
    )


def mounts_of(server: Server, execution: KubernetesExecution) -> list[tuple[Mount | None, bool]]:
    """What the server sees of the volumes beside them, and whether it may write there; None: it is
    on none of them."""
    volumes = volumes_of(execution)
    return [(mount_for(folder, at, volumes), writable) for folder, at, writable in server.mounts]


def variables_of(server: Server, execution: KubernetesExecution) -> list[Variable]:
    """The variables of the server; those of this machine are keys of the config's Secret."""
    found = {name: Variable(name, text=text) for name, text in server.environment.items()}
    for name, source in server.env_vars.items():
        if source.variable is None:
            found[name] = Variable(name, text=source.text)
        elif source.wanted_here and execution.secret:
            found[name] = Variable(name, secret=f"{execution.secret}/{source.variable}")
    return list(found.values())


def command_of(server: Server) -> list[str]:
    """The container's command; empty: the image starts itself, as NIM's do."""
    exported = [
        f'export {name}="${{{source.text}}}"'
        for name, source in server.env_vars.items()
        if source.kind == "runtime" and source.text != name
    ]
    text = "\n".join(filter(None, [*exported, server.pre_cmd, server.command]))
    if not text:
        return []
    text = text.replace("{port}", str(port_of(server))).replace("{host}", "0.0.0.0")
    return ["sh", "-c", SHELL, text]


def port_of(server: Server) -> int:
    return server.port or 8000


def content_of(
    run: Run, server: Server, execution: KubernetesExecution, image: str | None
) -> dict[str, Any]:
    """What `endpoint.py` reads: both bodies, without the namespace, and where they belong."""
    mark = mark_of(run, server)
    name = name_of(run, server, mark)
    labels = {
        "snakeval-run": label_value(run.paths.id),
        "snakeval-deployment": label_value(server.name),
        LABEL: name,
    }
    pod = _pod(server, execution, image)
    digest = hashlib.sha256(json.dumps(pod, sort_keys=True).encode()).hexdigest()[:12]
    metadata = {"name": name, "labels": labels, "annotations": {SPEC: digest}}
    port = port_of(server)
    return {
        "context": execution.context or "",
        "namespace": execution.namespace or "",
        "deployment": {
            "apiVersion": "apps/v1",
            "kind": "Deployment",
            "metadata": metadata,
            "spec": {
                "replicas": 1,
                # A second pod beside one that holds the GPUs would wait for ever.
                "strategy": {"type": "Recreate"},
                "selector": {"matchLabels": {LABEL: name}},
                "template": {"metadata": {"labels": labels}, "spec": pod},
            },
        },
        "service": {
            "apiVersion": "v1",
            "kind": "Service",
            "metadata": metadata,
            "spec": {
                "selector": {LABEL: name},
                "ports": [{"name": "http", "port": port, "targetPort": port}],
            },
        },
    }


def _pod(server: Server, execution: KubernetesExecution, image: str | None) -> dict[str, Any]:
    wanted = execution.server
    mounts = [(mount, True) for mount in volumes_of(execution)]
    mounts += [(mount, writable) for mount, writable in mounts_of(server, execution) if mount]
    claims = list(dict.fromkeys(mount.source for mount, _ in mounts))
    volumes: list[dict[str, Any]] = [
        {"name": f"volume-{number}", "persistentVolumeClaim": {"claimName": claim}}
        for number, claim in enumerate(claims)
    ]
    seen = [_seen(mount, writable, claims) for mount, writable in mounts]
    if server.type in OF_GPUS:  # their processes share memory, of which a pod has 64 MB
        volumes.append({"name": "shm", "emptyDir": {"medium": "Memory"}})
        seen.append({"name": "shm", "mountPath": "/dev/shm"})
    container: dict[str, Any] = {
        "name": "server",
        "image": image,
        "env": [variable_of(each) for each in variables_of(server, execution)],
        "ports": [{"containerPort": port_of(server)}],
        "readinessProbe": {"httpGet": {"path": server.health, "port": port_of(server)}, **PROBE},
        "resources": _amounts(server, execution),
        "volumeMounts": seen,
    }
    if command := command_of(server):
        container["command"] = [as_it_stands(word) for word in command]
    pull_secrets = [{"name": each} for each in execution.image_pull_secrets]
    return {
        **(wanted.pod or execution.pod),
        "imagePullSecrets": pull_secrets,
        "containers": [container],
        "volumes": volumes,
        # Variables of every Service of the namespace would be the server's: vLLM reads VLLM_PORT.
        "enableServiceLinks": False,
    }


def _amounts(server: Server, execution: KubernetesExecution) -> dict[str, dict[str, str]]:
    """GPUs are a limit, of which the request is a copy; the rest is requested, and may grow."""
    wanted = execution.server
    requests = {
        "cpu": str(wanted.cpus) if wanted.cpus else "",
        "memory": f"{wanted.mem_mb}M" if wanted.mem_mb else "",
    }
    limits = {wanted.gpu_resource: str(server.gpu_count)} if server.gpu_count else {}
    return {"requests": {key: value for key, value in requests.items() if value}, "limits": limits}


def _seen(mount: Mount, writable: bool, claims: Sequence[str]) -> dict[str, Any]:
    return {**mount_of(mount, list(claims)), **({} if writable else {"readOnly": True})}
