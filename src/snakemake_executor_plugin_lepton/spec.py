"""What a job asks the service for: from resources and settings to the body of a job. Pure."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from snakemake_executor_plugin_lepton.settings import ExecutorSettings
from snakemake_executor_plugin_lepton.storage import Mount, Unusable, parse_mounts

LONGEST_NAME = 36
DAY = 86400
SYSTEM_FOLDERS = {
    *("/", "/bin", "/boot", "/dev", "/etc", "/lib", "/lib64", "/media", "/opt", "/proc", "/run"),
    *("/sbin", "/srv", "/sys", "/usr", "/usr/bin", "/usr/lib", "/usr/local", "/usr/sbin", "/var"),
}
"""Where the service mounts nothing."""
RESERVED = frozenset(
    {
        "LEPTON_DEPLOYMENT_NAME",
        "LEPTON_JOB_NAME",
        "LEPTON_RESOURCE_ACCELERATOR_TYPE",
        "LEPTON_WORKSPACE_ID",
        "LEPTON_WORKSPACE_ORIGIN_URL",
    }
)
"""Variables that the service sets itself."""


@dataclass(frozen=True)
class Variable:
    """A variable of a job: the name of a secret of the workspace, or text that is none."""

    name: str
    secret: str | None = None
    text: str | None = None

    def body(self) -> dict[str, Any]:
        if self.secret:
            return {"name": self.name, "value_from": {"secret_name_ref": self.secret}}
        return {"name": self.name, "value": self.text or ""}


@dataclass(frozen=True)
class Wanted:
    """What one job asks for.

    limit        seconds of work
    queue_limit  seconds of waiting before that
    """

    image: str
    shape: str
    node_group: str | None = None
    mounts: tuple[Mount, ...] = ()
    variables: tuple[Variable, ...] = ()
    pull_secrets: tuple[str, ...] = ()
    priority: str | None = None
    shared_memory: int | None = None
    ttl: int = DAY
    limit: float | None = None
    queue_limit: float = float(DAY)
    labels: Mapping[str, str] = field(default_factory=dict)


def wanted(
    resources: Mapping[str, Any], settings: ExecutorSettings, container: str | None = None
) -> Wanted:
    """What a job asks for: its resources, else the settings. Raises Unusable.

    container  what the rule's `container:` says
    """

    def of(name: str) -> Any:
        given = resources.get(f"lepton_{name}")
        return given if given not in (None, "") else getattr(settings, name, None)

    image = resources.get("lepton_image") or plain_image(container) or settings.image
    if not image:
        raise Unusable(
            "has no image: give the rule a `container:` or the resource lepton_image, or set "
            "--lepton-image"
        )
    shape = of("resource_shape")
    if not shape:
        raise Unusable(
            "has no resource shape: give it the resource lepton_resource_shape, or set "
            "--lepton-resource-shape, such as cpu.small"
        )
    mounts = parse_mounts(of("mounts"), settings.storage)
    if not mounts:
        raise Unusable(
            "has no storage that this machine shares with it: set --lepton-mounts, such as "
            "node-nfs:fs1:/shared:/shared"
        )
    for mount in mounts:
        if mount.at in SYSTEM_FOLDERS:
            raise Unusable(f"mounts storage at {mount.at}, a system folder: choose another place")
    return Wanted(
        image=str(image),
        shape=str(shape),
        node_group=of("node_group"),
        mounts=mounts,
        variables=parse_variables(of("env")),
        pull_secrets=tuple(str(of("image_pull_secrets") or "").replace(",", " ").split()),
        priority=of("priority_class"),
        shared_memory=number(of("shared_memory_mb"), "lepton_shared_memory_mb"),
        ttl=number(settings.ttl, "--lepton-ttl") or DAY,
        limit=limit_of(resources),
        queue_limit=60.0 * (number(of("queue_limit"), "lepton_queue_limit") or DAY / 60),
    )


def plain_image(container: str | None) -> str | None:
    return container.removeprefix("docker://") if container else None


def number(value: Any, name: str) -> int | None:
    if value in (None, ""):
        return None
    if not str(value).isdigit():
        raise Unusable(f"{name} is no whole number: '{value}'")
    return int(value)


def limit_of(resources: Mapping[str, Any]) -> float | None:
    """The time limit in seconds; the resource `runtime` is in minutes, which Snakemake rounds to
    whole ones. Raises Unusable."""
    value = resources.get("runtime")
    if not isinstance(value, int | float):  # without one, or one that is not known yet
        return None
    if value <= 0:
        raise Unusable(
            "has a time limit of less than half a minute: Snakemake rounds the resource runtime to "
            "whole minutes; write 1 or more, or leave it out for a job without a limit"
        )
    return value * 60.0


def parse_variables(text: str | None, given: str = "lepton_env") -> tuple[Variable, ...]:
    """`NAME=secret:SECRET`, `NAME=lit:TEXT`, with spaces between them, or a JSON object of them.

    given  where the text is from
    Raises Unusable: for a value that nobody has called text, too.
    """
    if not text or not text.strip():
        return ()
    pairs: dict[str, str] = {}
    if text.lstrip().startswith("{"):
        try:
            pairs = {str(key): str(value) for key, value in json.loads(text).items()}
        except ValueError as error:
            raise Unusable(f"{given} cannot be read: {error}") from None
    else:
        try:
            pairs = {word.partition("=")[0]: word.partition("=")[2] for word in shlex.split(text)}
        except ValueError:
            raise Unusable(f"{given} cannot be read: a quote is not closed") from None
    found = []
    for name, value in pairs.items():
        if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]*", name) or name in RESERVED:
            raise Unusable(f"'{name}' cannot be the name of a variable of a job")
        kind, _, rest = value.partition(":")
        if kind == "secret" and rest:
            found.append(Variable(name, secret=rest))
        elif kind == "lit":
            found.append(Variable(name, text=rest))
        else:
            raise Unusable(
                f"the variable {name} has neither a secret nor text: write {name}=secret:SECRET "
                f"for a secret of the workspace, or {name}=lit:TEXT for text that everybody may "
                "read"
            )
    return tuple(found)


def name_of(rule: str, unique: str) -> str:
    """A job's name, as the service allows it: of an attempt, used once."""
    words = re.sub(r"[^a-z0-9]+", "-", f"snakemake-{rule}".lower()).strip("-")
    return f"{words[: LONGEST_NAME - len(unique) - 1].rstrip('-')}-{unique}"


def label_value(text: str) -> str:
    """Text as the value of a label; what does not fit becomes a digest."""
    if re.fullmatch(r"[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", text):
        return text
    return digest(text)


def digest(*parts: object) -> str:
    return hashlib.sha256("\0".join(map(str, parts)).encode()).hexdigest()[:16]


def body(
    name: str, wanted: Wanted, command: list[str], labels: Mapping[str, str]
) -> dict[str, Any]:
    """The body of a job, as the service has it."""
    spec: dict[str, Any] = {
        "resource_shape": wanted.shape,
        "container": {"image": wanted.image, "command": command},
        "completions": 1,
        "parallelism": 1,
        # Trying again is Snakemake's business; it counts, and it says so.
        "max_failure_retry": 0,
        "max_job_failure_retry": 0,
        "envs": [variable.body() for variable in wanted.variables],
        "mounts": [mount.body() for mount in wanted.mounts],
        "image_pull_secrets": list(wanted.pull_secrets),
        "ttl_seconds_after_finished": wanted.ttl,
    }
    if wanted.node_group:
        spec["affinity"] = {"allowed_dedicated_node_groups": [wanted.node_group]}
    if wanted.priority:
        spec["queue_config"] = {"priority_class": wanted.priority}
    if wanted.shared_memory:
        spec["shared_memory_size"] = wanted.shared_memory
    return {"metadata": {"name": name, "labels": dict(labels)}, "spec": spec}
