"""Projects whose jobs are run by the Lepton of the loopback address."""

from dataclasses import dataclass, field
from typing import Any

from rig.lepton_service import LeptonService
from rig.on_a_service import PlainWorkflow, ServiceProject
from rig.pipeline import ROOT

STORAGE = "node-nfs:rig"


@dataclass
class Workflow(PlainWorkflow):
    """With `--executor lepton`."""

    lepton: LeptonService = field(kw_only=True)
    mounted_at: str = ""

    @property
    def words(self) -> list[str]:
        return [
            *("--executor", "lepton", "--lepton-image", "rig"),
            *("--lepton-resource-shape", "cpu.small", "--lepton-storage", str(self.storage)),
            *("--lepton-mounts", f"{STORAGE}:/:{self.mounted_at or self.storage}"),
        ]

    @property
    def variables(self) -> dict[str, str]:
        return {**super().variables, **self.lepton.environment}


@dataclass
class LeptonProject(ServiceProject):
    """With profiles/lepton."""

    lepton: LeptonService = field(kw_only=True)
    profile: str | None = str(ROOT / "profiles" / "lepton")

    @property
    def variables(self) -> dict[str, str]:
        return {**super().variables, **self.lepton.environment}

    def execution(self, **settings: Any) -> dict[str, Any]:
        """`execution` of type lepton for this storage; `tasks` is laid over its platform's."""
        tasks = {
            "mounts": [{"from": STORAGE, "path": "/", "mount_path": str(self.folder)}],
            **settings.pop("tasks", {}),
        }
        return {
            "type": "lepton",
            "output_dir": "out",
            "min_free_gb": 0,
            "lepton_platform": {"tasks": tasks},
            **settings,
        }
