"""A deployment as a Lepton endpoint: what is asked of the service. Pure functions, no SDK.

The fields are those of the SDK's `LeptonDeployment` (leptonai 0.47.1); what the launcher sets is
set here too. No secret's value is in it: tokens and variables are references.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from snakeval.config.deployment import ServerDeployment
from snakeval.config.execution.lepton import LeptonExecution
from snakeval.config.lepton import LeptonMount, reference_of
from snakeval.config.overrides import merge
from snakeval.executors.lepton.tokens import digest_of
from snakeval.plan.server import command

NO_TRAFFIC = 3600
"""Seconds without a request after which an endpoint costs nothing, whoever has forgotten it."""

MARK = "SNAKEVAL_ENDPOINT"
"""A variable of the endpoint that says whose it is: the newer API takes no labels."""

STORAGE = "node-nfs:lepton-shared-fs"
"""The storage of a mount that names none, where the benchmarks have none either."""

WITHOUT_A_FIELD = ("enable_rdma",)
"""The launcher's `platform_defaults` that the SDK does not know."""

NAME = 36
"""Longest name of an endpoint."""

SHELL = 'command -v bash >/dev/null && exec bash -c "$0"; exec sh -c "$0"'


@dataclass(frozen=True)
class Variable:
    """A variable of the endpoint: fixed text, a secret, or `host:` without one (unmapped)."""

    name: str
    text: str | None = None
    secret: str | None = None
    unmapped: str | None = None


def variables_of(given: ServerDeployment, execution: LeptonExecution) -> list[Variable]:
    """The variables of an endpoint: what the type of server reads, `env_vars`, `envs` on top.

    `host:NAME` cannot go there as a value: it is the secret that `envs`, or the benchmarks'
    `env_vars`, map the variable to.
    """
    mapped = {**execution.lepton_platform.tasks.env_vars, **given.lepton_config.envs}
    found = {name: Variable(name, text=text) for name, text in _derived(given).items()}
    for name, source in given.env_vars.items():
        wanted = source.wanted_here
        if source.variable is None:
            found[name] = Variable(name, text=source.text)
        elif wanted:  # `exported` sees to those of the endpoint's own machine
            secret = reference_of(mapped.get(name)) or reference_of(mapped.get(wanted))
            found[name] = Variable(name, secret=secret, unmapped=None if secret else wanted)
    for name, value in given.lepton_config.envs.items():
        kind, colon, rest = _text(value).partition(":")
        if secret := reference_of(value):
            found[name] = Variable(name, secret=secret)
        elif colon and kind == "host":
            found[name] = Variable(name, unmapped=rest)
        else:
            found[name] = Variable(name, text=rest if colon and kind == "lit" else _text(value))
    return list(found.values())


def _derived(given: ServerDeployment) -> dict[str, str]:
    """What the launcher sets of itself."""
    found = {"SERVED_MODEL_NAME": str(given.served_model_name), "MODEL_PORT": str(port_of(given))}
    if given.type == "nim":
        found["NIM_MODEL_NAME"] = found["NIM_SERVED_MODEL_NAME"] = str(given.served_model_name)
        found["NIM_HTTP_API_PORT"] = str(port_of(given))
        if given.cache_path:
            found["NIM_CACHE_PATH"] = given.cache_path
        return found
    if given.checkpoint_path:
        found["MODEL_PATH"] = given.checkpoint_path
    if given.tensor_parallel_size:
        found["TENSOR_PARALLEL_SIZE"] = str(given.tensor_parallel_size)
    if given.cache_path:
        found["HF_HOME"] = given.cache_path
    return found


def _text(value: Any) -> str:
    return str(value).lower() if isinstance(value, bool) else str(value)


def port_of(given: ServerDeployment) -> int:
    return given.port or 8000


def command_of(given: ServerDeployment) -> list[str] | None:
    """The container's command; None: the image starts itself, as NIM's do."""
    exported = [
        f'export {name}="${{{source.text}}}"'
        for name, source in given.env_vars.items()
        if source.kind == "runtime" and source.text != name
    ]
    before = [*exported, *([given.pre_cmd] if given.pre_cmd else [])]
    if given.type == "nim" and not given.command and not before:
        return None
    # There is no host whose folder could be mounted: a path is one on the storage, or the hub's.
    weights = given.hf_model_handle or given.checkpoint_path
    text = "\n".join([*before, command(given.model_copy(update={"hf_model_handle": weights}))])
    text = text.replace("{port}", str(port_of(given))).replace("{host}", "0.0.0.0")
    return ["sh", "-c", SHELL, text]


def mounts_of(given: ServerDeployment, execution: LeptonExecution) -> list[dict[str, Any]]:
    """The storage that an endpoint sees."""
    tasks = execution.lepton_platform.tasks.mounts
    storage = tasks[0].from_ if tasks else STORAGE
    return [_mount(mount, storage) for mount in given.lepton_config.mounts]


def _mount(mount: LeptonMount, storage: str) -> dict[str, Any]:
    return pruned(
        {
            "from": mount.from_ or storage,
            "path": mount.path,
            "mount_path": mount.mount_path,
            "mount_options": mount.mount_options,
        }
    )


def scaler_of(given: ServerDeployment) -> dict[str, Any]:
    """When replicas come and go; the end without traffic is always set."""
    wanted = given.lepton_config.auto_scaler
    down = wanted.scale_down
    timeout = down.no_traffic_timeout
    throughput = wanted.target_throughput.model_dump(exclude_none=True)
    return pruned(
        {
            "scale_down": pruned(
                {
                    "no_traffic_timeout": NO_TRAFFIC if timeout is None else timeout,
                    "not_ready_timeout": down.not_ready_timeout,
                }
            ),
            "target_gpu_utilization_percentage": wanted.target_gpu_utilization_percentage,
            "target_throughput": throughput or None,
        }
    )


def spec_of(
    given: ServerDeployment,
    execution: LeptonExecution,
    image: str | None,
    token_secrets: Iterable[str],
    mark: str,
) -> dict[str, Any]:
    """The `spec` of a `LeptonDeployment`: the platform's defaults, and the deployment on top.

    token_secrets  names of the workspace's secrets that hold the tokens
    mark           says whose endpoint it is
    """
    wanted = given.lepton_config
    platform = execution.lepton_platform.deployment
    group = platform.node_group
    found: dict[str, Any] = {}
    merge(found, platform.platform_defaults)
    for key in WITHOUT_A_FIELD:
        found.pop(key, None)
    merge(
        found,
        pruned(
            {
                "container": pruned(
                    {
                        "image": image,
                        "ports": [{"container_port": port_of(given)}],
                        "command": command_of(given),
                    }
                ),
                "resource_requirement": pruned(
                    {
                        "resource_shape": wanted.resource_shape,
                        "affinity": {"allowed_dedicated_node_groups": [group]} if group else None,
                        "min_replicas": wanted.min_replicas,
                        "max_replicas": wanted.max_replicas or max(1, wanted.min_replicas),
                    }
                ),
                "auto_scaler": scaler_of(given),
                "api_tokens": [{"value_from": {"token_name_ref": name}} for name in token_secrets],
                "envs": [
                    *(_env(variable) for variable in variables_of(given, execution)),
                    {"name": MARK, "value": mark},
                ],
                "mounts": mounts_of(given, execution) or None,
                "image_pull_secrets": wanted.image_pull_secrets or None,
                "health": wanted.health,
                "queue_config": wanted.queue_config,
            }
        ),
    )
    return found


def _env(variable: Variable) -> dict[str, Any]:
    if variable.secret:
        return {"name": variable.name, "value_from": {"secret_name_ref": variable.secret}}
    return {"name": variable.name, "value": variable.text or ""}


def pruned(content: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in content.items() if value is not None}


# --- names ------------------------------------------------------------------------------------


def prefix_of(given: ServerDeployment, mark: str) -> str:
    """How the names of a deployment's endpoints begin: the config's word, and whose it is.

    Lower case, digits and dashes; room for a dash and four digits, which tell one load from the
    next: an endpoint that is being deleted keeps its name for a while.
    """
    word = given.lepton_config.endpoint_name or given.served_model_name or given.type
    word = re.sub(r"[^a-z0-9]+", "-", word.lower().rpartition("/")[2]).strip("-")
    if not word[:1].isalpha():
        word = f"m-{word}".rstrip("-")
    room = NAME - len("-12345678-1234")
    return f"{word[:room].rstrip('-')}-{digest_of(mark)}"
