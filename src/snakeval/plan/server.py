"""What a deployment runs: the command, the paths and the mounts of each type of server.

The fields, the commands and the health paths are those of the NeMo Evaluator Launcher.
"""

from __future__ import annotations

import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from snakeval.config.deployment import (
    CHECKPOINT,
    DEFAULT_SIZES,
    AuxiliaryDeployment,
    ServerDeployment,
)
from snakeval.config.execution.common import PER_RUN, READ_ONLY, Execution, Hosting, Proxy
from snakeval.config.model import Config, EndpointType
from snakeval.config.source import Source, written
from snakeval.plan.server_forms import Form, form_of

MODEL = "model"
"""The name of the deployment that serves the model under evaluation."""

CACHE = "/cache"
OF_GPUS = ("vllm", "vllm_ray", "sglang", "trtllm", "nim")
"""Types whose servers share memory between the processes of several GPUs."""

IMAGES = {
    "vllm": "vllm/vllm-openai:latest",
    "vllm_ray": "vllm/vllm-openai:latest",
    "sglang": "lmsysorg/sglang:latest",
    "trtllm": "nvcr.io/nvidia/tensorrt-llm/release:1.0.0",
}
MORE_PATHS = {
    name: {"embedding": "/v1/embeddings", "ranking": "/v1/ranking"}
    for name in ("vllm", "vllm_ray", "nim")
}
"""Paths that these types have beside those of all."""

TYPE_VARIABLES = {
    "vllm_ray": {
        "VLLM_ENGINE_READY_TIMEOUT_S": "3600",  # large weights are loaded on every node
        "VLLM_USE_RAY_COMPILED_DAG_CHANNEL_TYPE": "shm",
    }
}
HEALTH = {"nim": "/v1/health/ready"}
"""Types whose server is not asked at `/health` where the config does not say."""


@dataclass(frozen=True)
class Server:
    """A server that a run needs.

    name      of its folder: `model`, or the auxiliary deployment's
    keys      where it stands in the config
    image     None: a process of the host
    command   one shell command; `{port}` and `{host}` are filled in where it runs
    port      inside the container; of a process: fixed, or None for a free one
    health    path that answers 200 when the server is ready
    paths     of each type of endpoint, None where it has none
    mounts    (folder of the host, folder in the container, may be written)
    """

    name: str
    keys: tuple[str, ...]
    type: str
    image: str | None
    model: str
    command: str
    pre_cmd: str
    port: int | None
    health: str
    paths: Mapping[str, str | None]
    gpus: str
    mounts: tuple[tuple[Path, str, bool], ...]
    env_vars: Mapping[str, Source]
    hf_model: bool
    checkpoint: bool
    own_command: bool
    extra_docker_args: str
    idle_timeout: float
    ready_timeout: float
    hosted_by: str = ""
    """The executor that hosts it, whichever one runs the benchmarks; empty: the start's."""
    key_name: str | None = None
    """The variable with the token that it wants of benchmarks; None: none, or the user's."""
    key_is_made: bool = False
    """Its host makes that token, or sees to it that it is there."""
    environment: Mapping[str, str] = field(default_factory=dict)
    several: str = ""
    """What of it, as the config has it, one machine alone cannot be: `num_nodes: 2`."""
    gpu_count: int | None = None
    """GPUs that it uses; None: all that there are."""
    nodes: int = 1
    """Of each instance."""
    instances: int = 1
    tasks: int = 0
    """Of each instance, over its nodes; 0: one on each."""
    proxy: Proxy = field(default_factory=Proxy)
    """In front of several instances."""
    check_model: bool = True
    """Whether the models that it lists must hold its model's name."""
    hf_home: str = ""
    """The Hugging Face cache: a folder, `no`, or nothing for the caller's."""
    mount_home: bool = False
    """Whether its container sees the caller's home folder, where the runtime shows it."""
    umask: str = ""
    """Of everything that is written about it, as `Config.umask` has it."""

    def path(self, endpoint_type: EndpointType) -> str | None:
        """The path that a benchmark of this type asks."""
        return self.paths["chat" if endpoint_type == "vlm" else endpoint_type]


def servers_of(config: Config) -> dict[str, Server]:
    """The servers that a config names, by name."""
    found: dict[str, Server] = {}
    if isinstance(config.deployment, ServerDeployment):
        found[MODEL] = _server(config, MODEL, ("deployment",), config.deployment)
    for name, given in config.auxiliary_deployments.items():
        if given.type != "none":
            found[name] = _server(config, name, ("auxiliary_deployments", name), given)
    return found


def _server(config: Config, name: str, keys: tuple[str, ...], given: ServerDeployment) -> Server:
    key_name = config.target.api_endpoint.api_key_name if name == MODEL else None
    hosting = config.execution.hosting(given, key_name)
    if hosting:
        return _hosted(config, hosting, name, keys, given)
    mounts: list[tuple[Path, str, bool]] = []
    if given.checkpoint_path:
        mounts.append((_folder(given.checkpoint_path), CHECKPOINT, False))
    if given.cache_path:
        mounts.append((_folder(given.cache_path), CACHE, True))
    custom = config.execution.mounts
    more = custom.deployment if name == MODEL else custom.auxiliary.get(name, {})
    for source, target in more.items():
        folder, _, mode = target.partition(":")
        mounts.append((_folder(source), folder, mode != "ro"))
    host = given.type == "process"
    return Server(
        name=name,
        keys=keys,
        type=given.type,
        image=None if host else given.image or IMAGES.get(given.type),
        model=str(given.served_model_name or ""),
        command=command(given),
        pre_cmd=given.pre_cmd or "",
        # 8000 is the launcher's default, not somebody's wish: a process then gets a free port.
        port=_port(given),
        health=_health(given),
        paths=paths_of(given),
        gpus="" if given.gpus is None else str(given.gpus),
        mounts=tuple(mounts),
        env_vars={**config.env_vars, **_of_type(given), **given.env_vars},
        hf_model=bool(given.hf_model_handle),
        checkpoint=bool(given.checkpoint_path),
        own_command=bool(given.command or _from_template(given)),
        extra_docker_args=config.execution.extra_docker_args,
        idle_timeout=given.idle_timeout,
        ready_timeout=config.execution.ready_timeout,
        environment=_environment(given),
        several=_several(config, given),
        gpu_count=_gpu_count(given),
        check_model=config.target.api_endpoint.check_model and not _names_its_folder(given),
        hf_home=hf_home_of(config.execution),
        mount_home=custom.mount_home is True,
        umask=config.umask,
        **_shape(config, given),
    )


def _gpu_count(given: ServerDeployment) -> int | None:
    gpus = "" if given.gpus is None else str(given.gpus)
    if gpus.isdigit():
        return int(gpus)
    if "," in gpus:
        return len(gpus.split(","))
    if gpus == "none":
        return 0
    sizes = DEFAULT_SIZES.get(given.type)
    if gpus or not sizes:
        return None
    return (
        (given.tensor_parallel_size or sizes)
        * (given.pipeline_parallel_size or 1)
        * (given.data_parallel_size or 1)
    )


def _shape(config: Config, given: ServerDeployment) -> dict[str, Any]:
    """Nodes, instances, and the proxy in front of them."""
    execution = config.execution
    wanted: Any = given if isinstance(given, AuxiliaryDeployment) else execution
    total, instances = getattr(wanted, "num_nodes", 1), getattr(wanted, "num_instances", 1)
    if given.multiple_instances and instances == 1:  # the older way to say it: one on each node
        instances = total
    tasks = _tasks(config, given)
    return {
        "nodes": max(1, total // instances),
        "instances": instances,
        "tasks": (tasks or 0) // instances,
        "proxy": getattr(execution, "proxy", Proxy()),
    }


def _tasks(config: Config, given: ServerDeployment) -> int | None:
    """Tasks of a server over all its nodes; None: one on each."""
    owner = given if isinstance(given, AuxiliaryDeployment) else config.execution
    held = owner if owner is given else getattr(owner, "deployment", None)
    return getattr(held, "n_tasks", None)


def undivided(config: Config, name: str) -> str:
    """What of a server's nodes or tasks cannot be shared out among its instances; in words."""
    given = config.deployment if name == MODEL else config.auxiliary_deployments[name]
    assert isinstance(given, ServerDeployment)
    wanted: Any = given if isinstance(given, AuxiliaryDeployment) else config.execution
    instances = getattr(wanted, "num_instances", 1)
    totals = {"num_nodes": getattr(wanted, "num_nodes", 1), "n_tasks": _tasks(config, given)}
    for key, number in totals.items():
        if number and number % instances:
            return f"{key}: {number} is not to be divided by num_instances: {instances}"
    return ""


def _several(config: Config, given: ServerDeployment) -> str:
    wanted: AuxiliaryDeployment | Execution = config.execution
    if isinstance(given, AuxiliaryDeployment):
        wanted = given
    for key in ("num_nodes", "num_instances"):
        if (number := getattr(wanted, key, 1)) > 1:
            return f"{key}: {number}"
    if given.multiple_instances:
        return "multiple_instances: true"
    return "type: vllm_ray" if given.type == "vllm_ray" else ""


def _hosted(
    config: Config,
    hosting: Hosting,
    name: str,
    keys: tuple[str, ...],
    given: ServerDeployment,
) -> Server:
    """A server with a host of its own: nothing of this machine reaches it but what its host is
    told."""
    return Server(
        name=name,
        keys=keys,
        type=given.type,
        image=given.image or IMAGES.get(given.type),
        model=str(given.served_model_name or ""),
        command=command(given),
        pre_cmd=given.pre_cmd or "",
        port=given.port or 8000,
        health=_health(given),
        paths=paths_of(given),
        gpus="",
        mounts=(),
        env_vars={},
        hf_model=bool(given.hf_model_handle),
        checkpoint=bool(given.checkpoint_path),
        own_command=bool(given.command),
        extra_docker_args="",
        idle_timeout=given.idle_timeout,
        ready_timeout=hosting.ready_timeout,
        hosted_by=hosting.by,
        key_name=hosting.key_name,
        key_is_made=hosting.key_is_made,
        umask=config.umask,
        check_model=config.target.api_endpoint.check_model,
        several=_several(config, given),
    )


def _names_its_folder(given: ServerDeployment) -> bool:
    """Whether it lists its model by the name of the weights' folder, and answers to any name."""
    form = _form(given)
    own = given.command or _from_template(given)
    return form is not None and not form.named and not own


def _form(given: ServerDeployment) -> Form | None:
    return form_of(given.type, given.image or IMAGES.get(given.type))


def paths_of(given: ServerDeployment) -> dict[str, str | None]:
    """The path of each type of endpoint; None where the server has none."""
    found: dict[str, str | None] = given.endpoints.model_dump(exclude={"health"})
    for name, path in MORE_PATHS.get(given.type, {}).items():
        if name not in given.endpoints.model_fields_set:
            found[name] = path
    return found


def _of_type(given: ServerDeployment) -> dict[str, Source]:
    """Variables that the launcher's group of a type sets; `env_vars` wins over them."""
    return {name: written(text) for name, text in TYPE_VARIABLES.get(given.type, {}).items()}


def _health(given: ServerDeployment) -> str:
    written = given.endpoints.health or "/v1/models"
    named = "health" in given.endpoints.model_fields_set
    return written if named else HEALTH.get(given.type, written)


def _port(given: ServerDeployment) -> int | None:
    if given.type == "process" and "port" not in given.model_fields_set:
        return None
    return given.port or (None if given.type == "process" else 8000)


def hf_home_of(execution: Execution) -> str:
    """The Hugging Face cache of servers and benchmarks: a folder (with `:ro` behind it where it is
    only read), `per-run`, `no`, or nothing for the caller's."""
    given = execution.hf_home
    if given is False:
        return "no"
    if not given or given == PER_RUN:
        return given or ""
    folder = str(_folder(given.removesuffix(READ_ONLY)))
    return folder + (READ_ONLY if given.endswith(READ_ONLY) else "")


def _folder(path: str) -> Path:
    return Path(path).expanduser().resolve()


def _environment(given: ServerDeployment) -> dict[str, str]:
    """Variables that a type of server reads; `env_vars` wins over them."""
    found: dict[str, str] = {}
    if given.type == "nim":
        found["NIM_SERVED_MODEL_NAME"] = str(given.served_model_name)
        form = _form(given)
        assert form is not None, "of every version"
        found[form.port_variable] = str(given.port or 8000)
        if given.cache_path:
            found["NIM_CACHE_PATH"] = CACHE
    elif given.cache_path and given.type != "process":
        found["HF_HOME"] = CACHE
    return found


# --- commands, a function per type ------------------------------------------------------------


def command(given: ServerDeployment) -> str:
    """The server's command: the config's own, else that of its type."""
    own = given.command or _from_template(given) or _base_command(given)
    if own:  # it may have several lines, and has the extra words by itself
        return own.strip()
    form = _form(given)
    of_type = f"{form.program} {_WORDS[given.type](given)}".strip() if form else ""
    words = f"{of_type} {given.extra_args or ''}"
    return " ".join(words.strip().split("\n"))


def _from_template(given: ServerDeployment) -> str:
    """The launcher's `command_template`; `{port}` and `{host}` are filled in where it runs."""
    text = given.command_template if isinstance(given, AuxiliaryDeployment) else None
    for key, value in given.model_dump(exclude={"port"}).items() if text else ():
        text = str(text).replace(f"{{{key}}}", "" if value is None else str(value))
    return text or ""


def _weights(given: ServerDeployment) -> str:
    return shlex.quote(given.hf_model_handle) if given.hf_model_handle else CHECKPOINT


def _name(given: ServerDeployment) -> str:
    return shlex.quote(str(given.served_model_name))


def _base_command(given: ServerDeployment) -> str:
    """What the config has in place of a type's command. In run folders of version 0.1 the
    program alone stands there."""
    own = given.base_command or ""
    return own if given.type in ("vllm", "vllm_ray") and own.strip() != "vllm serve" else ""


def _vllm_ray(given: ServerDeployment) -> str:
    backend = given.distributed_executor_backend or "ray"
    return f"{_vllm(given)} --distributed-executor-backend {shlex.quote(backend)}"


def _vllm(given: ServerDeployment) -> str:
    return (
        f"{_weights(given)}"
        f" --tensor-parallel-size={given.tensor_parallel_size or DEFAULT_SIZES[given.type]}"
        f" --pipeline-parallel-size={given.pipeline_parallel_size or 1}"
        f" --data-parallel-size={given.data_parallel_size or 1}"
        " --port {port}"
        f" --served-model-name {_name(given)}"
        f" --gpu-memory-utilization {given.gpu_memory_utilization or 0.95:g}"
    )


def _sglang(given: ServerDeployment) -> str:
    return (
        f"--model-path {_weights(given)}"
        " --host {host} --port {port}"
        f" --served-model-name {_name(given)}"
        f" --tp-size {given.tensor_parallel_size or DEFAULT_SIZES[given.type]}"
        f" --dp-size {given.data_parallel_size or 1}"
        f" --pp-size {given.pipeline_parallel_size or 1}"
    )


def _trtllm(given: ServerDeployment) -> str:
    form, flag = _form(given), "--served-model-name"
    told = form is None or not form.named or flag in (given.extra_args or "").replace("_", "-")
    name = "" if told else f" {flag} {_name(given)}"
    return (
        f"{_weights(given)}"
        f" --tp_size={given.tensor_parallel_size or DEFAULT_SIZES[given.type]}"
        f" --pp_size={given.pipeline_parallel_size or 1}"
        f" --host {{host}} --port {{port}} --backend pytorch{name}"
    )


def _nim(_: ServerDeployment) -> str:
    return ""


_WORDS: dict[str, Callable[[ServerDeployment], str]] = {
    "vllm": _vllm,
    "vllm_ray": _vllm_ray,
    "sglang": _sglang,
    "trtllm": _trtllm,
    "nim": _nim,
}
"""What follows a type's program (`server_forms.py`)."""
