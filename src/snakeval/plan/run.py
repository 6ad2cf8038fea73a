"""What is planned: runs, their tasks, the endpoints that these ask."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

from snakeval.config.execution.common import READY_TIMEOUT
from snakeval.config.model import Config, EndpointType, TaskResources
from snakeval.config.secrets import written_in
from snakeval.config.source import Source
from snakeval.errors import Problem
from snakeval.plan.auxiliary import Auxiliary
from snakeval.plan.beside import Beside, beside
from snakeval.plan.catalogue import Benchmark
from snakeval.plan.identity import digest
from snakeval.plan.server import Server
from snakeval.run_folder.layout import RunPaths, TaskPaths

Keys = tuple[int | str, ...]


def name_key(number: int) -> Keys:
    """Where the config names its n-th benchmark, from 0."""
    return ("evaluation", "tasks", number, "name")


PATHS_OF_TYPES: dict[EndpointType, str] = {
    "chat": "/chat/completions",
    "vlm": "/chat/completions",
    "completions": "/completions",
    "embedding": "/embeddings",
}


@dataclass(frozen=True)
class Endpoint:
    """Where the model answers. `url` is None while a deployment has not said it."""

    url: str | None
    model_id: str
    type: EndpointType
    api_key_name: str | None
    demo: bool = False
    path: str = ""
    """Below the address that a deployment says: `/v1/chat/completions`."""
    of_place: bool = False
    """The key is one that the server's place makes, or sees to."""
    check_model: bool = True
    """Whether an endpoint that lists models must list this one."""

    @property
    def shown(self) -> str:
        """The address as it may be told: a query, or a user before the host, may hold a key."""
        return re.sub("//[^/@]*@", "//", (self.url or "").partition("?")[0])


@dataclass(frozen=True, eq=False)
class Task:
    """One benchmark of one run, ready to be run.

    number    of its entry in `evaluation.tasks`
    place     `file: key.path` of keys of the config, for messages
    env_keys  for each variable the keys under which the config names it
    """

    name: str
    digest: str
    benchmark: Benchmark
    image: str | None
    endpoint: Endpoint
    params: dict[str, Any]
    adapter_config: dict[str, Any]
    stream: bool | None
    env_vars: dict[str, Source]
    mounts: tuple[tuple[Path, str], ...]
    extra_docker_args: str
    max_unanswered: float
    pre_cmd: str | None
    post_cmd: str | None
    resources: TaskResources
    paths: TaskPaths
    number: int
    place: Callable[..., str] = field(repr=False)
    env_keys: dict[str, Keys] = field(repr=False, default_factory=dict)
    identity: dict[str, Any] = field(repr=False, default_factory=dict)
    own_label: str = ""
    """The `label` of its entry."""
    label: str = ""
    """What it is called wherever people read (`plan/labels.py`)."""
    of_model: str = ""
    """What its model is called beside the others of a sweep; empty: there are no others."""
    as_written: dict[str, Any] = field(repr=False, default_factory=dict)
    """What a run config has beside: keys of its `config`, and `metadata`."""
    hf_home: str = ""
    """The Hugging Face cache, as `hf_home_of` has it."""
    umask: str = ""
    """Of everything that is written about it, as `Config.umask` has it."""
    servers: tuple[str, ...] = ()
    """Names of the deployments that it needs."""
    auxiliary: tuple[Auxiliary, ...] = ()
    """Those of them that do not serve the model under evaluation."""
    server_timeout: float = READY_TIMEOUT
    """Seconds that it waits for them."""
    image_mirror: str | None = None
    gateway: bool = False
    """Whether a proxy of ours stands between the harness and its endpoints."""
    replay_from: tuple[str, ...] = ()
    """Records of others whose stored answers it may have, relative to the output folder."""
    budget: dict[str, Any] = field(repr=False, default_factory=dict)
    """What the gateway keeps: limits of the run and of the task, prices; empty: no limit."""
    max_in_flight: int | None = None
    """Requests in flight at an endpoint, over all benchmarks of this machine, at most."""
    mount_home: bool = True
    """Whether the caller's home folder may be seen in the container, where the runtime shows it."""
    earlier_digest: str | None = None
    """That of the same spec in the form of earlier versions, where it is another."""
    definition_changed: bool = False
    """Of a task of a finished run: its files are no longer those that the result was made with."""

    @cached_property
    def beside(self) -> tuple[Beside, ...]:
        """Endpoints beside the model's whose addresses its parameters have."""
        taken = ("model", *self.servers, *(each.name for each in self.auxiliary))
        return beside(self.params, self.benchmark.details.variables or (), taken)

    @cached_property
    def present_digest(self) -> str:
        """That of the spec in the present form; `digest` is where its result lies."""
        return digest(self.identity)

    @property
    def called(self) -> str:
        """Its label; beside other models with its own: `ifeval of llama-3.1-8b`."""
        return f"{self.label} of {self.of_model}" if self.of_model else self.label

    @property
    def where(self) -> str:
        """Its entry in the config, for messages: `my.yaml: evaluation.tasks.0`."""
        return self.place("evaluation", "tasks", self.number)

    @property
    def network(self) -> str:
        """The network that the user's words for the engine put its container into; else empty."""
        words = iter(shlex.split(self.extra_docker_args))
        for word in words:
            option, _, value = word.partition("=")
            if option in ("--network", "--net"):
                return value or next(words, "")
        return ""

    @property
    def published(self) -> bool:
        """Whether the result of exactly this spec is published (or complete, and only the link
        is missing)."""
        return self.paths.is_complete(self.digest)

    @property
    def is_linked_only(self) -> bool:
        """Whether Snakemake sees an output that stands for no checked result."""
        return self.paths.published(self.digest).exists() and not self.published


@dataclass(frozen=True, eq=False)
class Run:
    """One model and its benchmarks. `selected`: the tasks of this start (`tasks=`).

    place  `file: key.path` of keys of the config, for messages
    """

    paths: RunPaths
    identity: dict[str, Any]
    config: Config
    raw: dict[str, Any]
    tasks: tuple[Task, ...]
    selected: tuple[Task, ...]
    fresh: tuple[Task, ...]
    new: bool
    base: Path
    place: Callable[..., str]
    update_images: bool = False
    warnings: tuple[Problem, ...] = ()
    servers: dict[str, Server] = field(default_factory=dict)

    @cached_property
    def secrets(self) -> tuple[str, ...]:
        """The secrets that stand in the config, where it insists on them."""
        return written_in(self.raw, Config)

    @property
    def again(self) -> list[Task]:
        """What is evaluated although Snakemake sees an output of it: `fresh=` names it, or the link
        stands for no result that was checked."""
        linked = [task for task in self.selected if task.is_linked_only and task not in self.fresh]
        return [*self.fresh, *linked]

    @property
    def labels(self) -> dict[str, str]:
        """What each task is called where people read, by its name."""
        return {task.name: task.label for task in self.tasks}

    @property
    def members(self) -> str:
        """A digest of the results that the run's tables show once this start has ended well."""
        selected = set(self.selected)
        shown = [task for task in self.tasks if task in selected or task.published]
        return digest({"members": sorted(f"{task.name}/{task.digest}" for task in shown)})
