"""`execution` of type kubernetes (ours; the launcher has none)."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from snakeval.config.execution.common import Execution
from snakeval.config.sections import (
    Names,
    Positive,
    Section,
    SeveralLines,
    Walltime,
    Written,
    empty_if_null,
)


class KubernetesVolume(Section):
    """A volume that the benchmarks' pods see, and this machine too."""

    claim: Written = Field(description="Name of the PersistentVolumeClaim (ours).")
    path: Written = Field("/", description="Folder on the volume (ours).")
    mount_path: Written = Field(description="Where the pods see it (ours).")
    here: str | None = Field(
        None, description="Where this machine sees it; null: at the same path (ours)."
    )


class KubernetesServer(Section):
    """The pods of a model's server."""

    cpus: Positive | None = Field(None, description="CPUs that it requests (ours).")
    mem_mb: Positive | None = Field(None, description="Memory in MB that it requests (ours).")
    gpu_resource: Written = Field(
        "nvidia.com/gpu", description="What the cluster calls a GPU (ours)."
    )
    pod: Annotated[dict[str, Any], SeveralLines(), BeforeValidator(empty_if_null)] = Field(
        default_factory=dict,
        description="Further fields of its pod's spec, in place of those of `pod` (ours).",
    )


class KubernetesExecution(Execution):
    """A Kubernetes cluster (ours; the launcher has none)."""

    type: Literal["kubernetes"] = Field("kubernetes", description="A Kubernetes cluster.")
    context: str | None = Field(
        None,
        description="Context of the kubeconfig; null: the current one, or else the account of the "
        "pod that this is (ours).",
    )
    namespace: str | None = Field(
        None, description="Namespace of the jobs; null: that of the context (ours)."
    )
    volumes: list[KubernetesVolume] = Field(
        default_factory=list,
        description="Volumes; one of them has output_dir. None: the profile's (ours).",
    )
    secret: str | None = Field(
        None,
        description="Secret with the keys: the variable NAME is its key NAME; needed where a "
        "benchmark has a variable of this machine (ours).",
    )
    env_var_names: Names = Field(
        default_factory=list, description="Further keys of the Secret that jobs get (ours)."
    )
    image_pull_secrets: Names = Field(
        default_factory=list, description="Names of pull secrets (ours)."
    )
    cpus: Positive | None = Field(None, description="CPUs that a benchmark's job requests (ours).")
    mem_mb: Positive | None = Field(
        None, description="Memory of a benchmark's job in MB, requested and its limit (ours)."
    )
    walltime: Walltime | None = Field(
        None, description="Time limit of a benchmark's job; null: the profile's (ours)."
    )
    pod: Annotated[dict[str, Any], SeveralLines(), BeforeValidator(empty_if_null)] = Field(
        default_factory=dict,
        description="Further fields of the pods' spec in Kubernetes' own words: nodeSelector, "
        "tolerations, serviceAccountName, securityContext (ours).",
    )
    server: Annotated[KubernetesServer, BeforeValidator(empty_if_null)] = Field(
        default_factory=KubernetesServer, description="What a model's server gets (ours)."
    )
