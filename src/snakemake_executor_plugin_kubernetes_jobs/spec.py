"""What a job asks the cluster for: from resources and settings to the body of a Job. Pure."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from snakemake_executor_plugin_kubernetes_jobs.settings import ExecutorSettings
from snakemake_executor_plugin_lepton import spec as common
from snakemake_executor_plugin_lepton.spec import Variable
from snakemake_executor_plugin_lepton.storage import Mount, Unusable, parse_mounts

GRACE = 60
"""Seconds that a pod has to end by itself: run.sh needs 20, `job.sh` waits for it for 30."""
STUCK_LIMIT = 10
"""Minutes."""
CONTAINER = "job"
OURS = frozenset(
    {"containers", "initContainers", "volumes", "restartPolicy", "terminationGracePeriodSeconds"}
)
"""Fields of the pod that are not the user's."""
NOT_YET = "<TBD>"
"""Snakemake's word for a resource that is not known before the job's input is there."""
QUANTITY = re.compile(r"[0-9]+(\.[0-9]+)?m?")


@dataclass(frozen=True)
class Wanted(common.Wanted):
    """What one job asks for.

    memory_mb    requested, and its limit
    pod          further fields of the pod's spec
    stuck_limit  seconds for which its image or variables may not be had
    """

    context: str = ""
    namespace: str = ""
    cpus: str = ""
    memory_mb: int | None = None
    pod: Mapping[str, Any] = field(default_factory=dict)
    stuck_limit: float = 60.0 * STUCK_LIMIT


def wanted(
    resources: Mapping[str, Any], settings: ExecutorSettings, container: str | None = None
) -> Wanted:
    """What a job asks for: its resources, else the settings. Raises Unusable.

    container  what the rule's `container:` says
    """

    def of(name: str) -> Any:
        given = resources.get(f"kubernetes_{name}")
        return given if given not in (None, "") else getattr(settings, name, None)

    image = resources.get("kubernetes_image") or common.plain_image(container) or settings.image
    if not image:
        raise Unusable(
            "has no image: give the rule a `container:` or the resource kubernetes_image, or set "
            "--kubernetes-jobs-image"
        )
    return Wanted(
        image=str(image),
        shape="",
        mounts=_mounts(of("volumes"), settings.storage),
        variables=common.parse_variables(of("env"), "kubernetes_env"),
        pull_secrets=tuple(str(of("image_pull_secrets") or "").replace(",", " ").split()),
        ttl=common.number(settings.ttl, "--kubernetes-jobs-ttl") or common.DAY,
        limit=common.limit_of(resources),
        queue_limit=60.0
        * (common.number(of("queue_limit"), "kubernetes_queue_limit") or common.DAY / 60),
        context=str(of("context") or ""),
        namespace=str(of("namespace") or ""),
        cpus=_cpus(resources.get("cpus_per_task")),
        memory_mb=_known(resources.get("mem_mb")),
        pod=_pod(of("pod")),
        stuck_limit=60.0
        * (common.number(of("stuck_limit"), "kubernetes_stuck_limit") or STUCK_LIMIT),
    )


def _mounts(text: str | None, storage: str | None) -> tuple[Mount, ...]:
    try:
        mounts = parse_mounts(text, storage)
    except Unusable:
        raise Unusable(
            f"'{text}' is no list of volumes: write CLAIM:PATH:MOUNT_PATH, such as "
            "shared-claim:/:/shared"
        ) from None
    if not mounts:
        raise Unusable(
            "has no volume that this machine shares with it: set --kubernetes-jobs-volumes, such "
            "as shared-claim:/:/shared"
        )
    return mounts


def _known(value: Any) -> int | None:
    """A number of Snakemake's; None also where it is not known before the job's input is there."""
    return int(value) if isinstance(value, int | float) else None


def _cpus(value: Any) -> str:
    text = "" if value in (None, NOT_YET) else str(value)
    if text and not QUANTITY.fullmatch(text):
        raise Unusable(f"cpus_per_task is no number of CPUs: '{text}'; write 2, 0.5 or 500m")
    return text


def _pod(text: Any) -> dict[str, Any]:
    if not text:
        return {}
    try:
        found = json.loads(str(text))
    except ValueError as error:
        raise Unusable(f"kubernetes_pod cannot be read: {error}") from None
    if not isinstance(found, dict):
        raise Unusable("kubernetes_pod is no JSON object of fields of a pod's spec")
    for name in sorted(OURS & found.keys()):
        raise Unusable(f"kubernetes_pod has '{name}', which this executor writes: leave it out")
    return found


def secret_of(variable: Variable) -> tuple[str, str]:
    """The Secret and its key that a variable is: `SECRET/KEY`, or `SECRET` with a key of the
    variable's name."""
    name, _, key = str(variable.secret).partition("/")
    return name, key or variable.name


def body(
    name: str, namespace: str, wanted: Wanted, command: list[str], labels: Mapping[str, str]
) -> dict[str, Any]:
    """The body of a Job of `batch/v1`."""
    claims = list(dict.fromkeys(mount.source for mount in wanted.mounts))
    memory = {"memory": f"{wanted.memory_mb}M"} if wanted.memory_mb else {}
    requests = {**({"cpu": wanted.cpus} if wanted.cpus else {}), **memory}
    container = {
        "name": CONTAINER,
        "image": wanted.image,
        "command": [as_it_stands(word) for word in command],
        "env": [variable_of(variable) for variable in wanted.variables],
        "volumeMounts": [mount_of(mount, claims) for mount in wanted.mounts],
        "resources": {"requests": requests, "limits": memory},
    }
    pod = {
        **wanted.pod,
        # A pod that fails is not started anew on its node: the Job decides.
        "restartPolicy": "Never",
        "terminationGracePeriodSeconds": GRACE,
        "imagePullSecrets": [{"name": each} for each in wanted.pull_secrets],
        "containers": [container],
        "volumes": [
            {"name": f"volume-{number}", "persistentVolumeClaim": {"claimName": claim}}
            for number, claim in enumerate(claims)
        ],
    }
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {"name": name, "namespace": namespace, "labels": dict(labels)},
        "spec": {
            # Trying again is Snakemake's business; it counts, and it says so. But a pod that the
            # cluster takes away (preempted, evicted, its node drained or gone) is made anew, once
            # the old one has ended, and continues.
            "backoffLimit": 0,
            "podReplacementPolicy": "Failed",
            "podFailurePolicy": {
                "rules": [
                    {
                        "action": "Ignore",
                        "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}],
                    }
                ]
            },
            "completions": 1,
            "parallelism": 1,
            "ttlSecondsAfterFinished": wanted.ttl,
            "template": {"metadata": {"labels": dict(labels)}, "spec": pod},
        },
    }


def variable_of(variable: Variable) -> dict[str, Any]:
    if variable.secret:
        name, key = secret_of(variable)
        return {
            "name": variable.name,
            "valueFrom": {"secretKeyRef": {"name": name, "key": key}},
        }
    return {"name": variable.name, "value": as_it_stands(variable.text or "")}


def as_it_stands(text: str) -> str:
    """Kubernetes puts variables in the place of `$(NAME)`, and `$` in the place of `$$`."""
    return text.replace("$", "$$")


def mount_of(mount: Mount, claims: list[str]) -> dict[str, str]:
    folder = mount.path.strip("/")
    found = {"name": f"volume-{claims.index(mount.source)}", "mountPath": mount.at}
    return found | ({"subPath": folder} if folder else {})
