"""`execution`: where results go and how jobs are started, one model per type.

Which machines run the jobs is the profile's business (`--profile`); the fields of a cluster are
taken over by the profile of that cluster.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Discriminator, Field, Tag

from snakeval.config.execution.common import Execution
from snakeval.config.execution.kubernetes import KubernetesExecution
from snakeval.config.execution.lepton import LeptonExecution
from snakeval.config.execution.slurm import SlurmExecution
from snakeval.config.sections import section_of_type


class LocalExecution(Execution):
    type: Literal["local"] = Field("local", description="This machine.")


def _type_of(value: Any) -> str | None:
    chosen = value.get("type", "local") if isinstance(value, dict) else getattr(value, "type", None)
    return chosen if isinstance(chosen, str) else None


AnyExecution = Annotated[
    Annotated[LocalExecution, Tag("local")]
    | Annotated[SlurmExecution, Tag("slurm")]
    | Annotated[LeptonExecution, Tag("lepton")]
    | Annotated[KubernetesExecution, Tag("kubernetes")],
    Discriminator(_type_of),
    BeforeValidator(section_of_type),
]

__all__ = ["AnyExecution", "LocalExecution"]
