"""Projects whose jobs are run by the Kubernetes of the loopback address."""

from dataclasses import dataclass, field
from typing import Any

from rig.kubernetes_service import KubernetesService
from rig.on_a_service import PlainWorkflow, ServiceProject
from rig.pipeline import ROOT

CLAIM = "rig-claim"


@dataclass
class Workflow(PlainWorkflow):
    """With `--executor kubernetes-jobs`; its folder is on the volume."""

    cluster: KubernetesService = field(kw_only=True)

    @property
    def words(self) -> list[str]:
        return [
            *("--executor", "kubernetes-jobs", "--kubernetes-jobs-image", "rig"),
            *("--kubernetes-jobs-volumes", f"{CLAIM}:/:{self.storage}"),
        ]

    @property
    def variables(self) -> dict[str, str]:
        return {**super().variables, **self.cluster.environment}


@dataclass
class KubernetesProject(ServiceProject):
    """With profiles/kubernetes."""

    cluster: KubernetesService = field(kw_only=True)
    profile: str | None = str(ROOT / "profiles" / "kubernetes")

    @property
    def variables(self) -> dict[str, str]:
        return {**super().variables, **self.cluster.environment}

    def execution(self, **settings: Any) -> dict[str, Any]:
        """`execution` of type kubernetes for this volume."""
        return {
            "type": "kubernetes",
            "output_dir": "out",
            "min_free_gb": 0,
            "volumes": [{"claim": CLAIM, "mount_path": str(self.folder)}],
            **settings,
        }
