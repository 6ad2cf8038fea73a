"""`execution` of type lepton: Lepton AI; the launcher's `execution: lepton/default`."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from snakeval.config.deployment import ServerDeployment
from snakeval.config.execution.common import Execution, Hosting
from snakeval.config.lepton import (
    REFERENCES,
    JobMount,
    as_mounts,
    references,
    tokens_of,
    variables,
)
from snakeval.config.sections import (
    Ignored,
    Names,
    Positive,
    Section,
    SeveralLines,
    empty_if_null,
)


class EvaluationTasks(Section):
    resource_shape: str | None = Field(
        None, description="Shape of a benchmark's job; null: the profile's."
    )
    timeout: Positive | None = Field(
        None, description="Seconds that a benchmark's job may take; null: the profile's `runtime`."
    )
    use_shared_storage: bool | None = Field(None, description="Use the platform's storage.")


class PlatformDeployment(Section):
    node_group: str | None = Field(None, description="Node group of the endpoint.")
    endpoint_readiness_timeout: Positive = Field(1200, description="Seconds until healthy.")
    platform_defaults: Annotated[
        dict[str, Any],
        SeveralLines(),
        BeforeValidator(empty_if_null),
        Ignored("Lepton's SDK has no field for it", key="enable_rdma"),
    ] = Field(default_factory=dict, description="Defaults of endpoints, in Lepton's own words.")


class PlatformTasks(Section):
    node_group: str | None = Field(None, description="Node group of the benchmarks' jobs.")
    env_vars: Annotated[dict[str, Any], SeveralLines(), REFERENCES, BeforeValidator(variables)] = (
        Field(default_factory=dict, description="Variables, or references to Lepton secrets.")
    )
    mounts: Annotated[list[JobMount], BeforeValidator(as_mounts)] = Field(
        default_factory=list,
        description="Storage: from, path, mount_path; here: where this machine sees it (ours).",
    )
    image_pull_secrets: Names = Field(default_factory=list, description="Names of pull secrets.")
    api_tokens: Annotated[
        list[dict[str, Any]],
        BeforeValidator(references),
        Ignored(
            "an endpoint's tokens are in deployment.lepton_config.api_tokens; "
            "without any it gets one of its own"
        ),
    ] = Field(default_factory=list)


class LeptonPlatform(Section):
    deployment: Annotated[PlatformDeployment, BeforeValidator(empty_if_null)] = Field(
        default_factory=PlatformDeployment, description="The endpoint."
    )
    tasks: Annotated[PlatformTasks, BeforeValidator(empty_if_null)] = Field(
        default_factory=PlatformTasks, description="The benchmarks' jobs."
    )


class LeptonExecution(Execution):
    """Lepton AI; the launcher's `execution: lepton/default`."""

    type: Literal["lepton"] = Field("lepton", description="Lepton AI.")
    env_var_names: Names = Field(
        default_factory=list, description="Variables of this machine that jobs get."
    )
    evaluation_tasks: Annotated[EvaluationTasks, BeforeValidator(empty_if_null)] = Field(
        default_factory=EvaluationTasks, description="The benchmarks' jobs."
    )
    lepton_platform: Annotated[LeptonPlatform, BeforeValidator(empty_if_null)] = Field(
        default_factory=LeptonPlatform, description="Settings of the platform."
    )

    def hosting(self, server: ServerDeployment, key_name: str | None) -> Hosting | None:
        """An endpoint; a process is one of the start's executor."""
        if server.type == "process":
            return None
        platform = self.lepton_platform
        wanted = server.lepton_config.api_tokens
        token = tokens_of(wanted, platform.tasks.env_vars, key_name)[0]
        timeout = self.endpoint_readiness_timeout or platform.deployment.endpoint_readiness_timeout
        return Hosting(self.type, float(timeout), token.variable, token.secret is None)
