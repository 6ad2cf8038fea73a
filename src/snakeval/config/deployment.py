"""`deployment` and `auxiliary_deployments`: servers for models, one model per type."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, Tag, field_validator
from pydantic import Discriminator as Chosen

from snakeval.config.sections import (
    VARIABLE,
    EnvVars,
    Names,
    Positive,
    Section,
    empty_if_null,
    fixable,
    section_of_type,
)

BROUGHT_UP = ("vllm", "vllm_ray", "sglang", "trtllm", "nim", "generic", "process")
"""Types that need a server of their own."""


class Endpoints(Section):
    """Paths of the server."""

    chat: str | None = Field("/v1/chat/completions", description="Chat requests.")
    completions: str | None = Field("/v1/completions", description="Completion requests.")
    embedding: str | None = Field(None, description="Embedding requests.")
    ranking: str | None = Field(None, description="Ranking requests.")
    health: str | None = Field("/health", description="Answers 200 when the server is ready.")


class ScaleDown(Section):
    no_traffic_timeout: Positive | None = Field(None, description="Seconds without a request.")
    scale_from_zero: bool | None = Field(None, description="Start again at the next request.")


class AutoScaler(Section):
    scale_down: Annotated[ScaleDown, BeforeValidator(empty_if_null)] = Field(
        default_factory=ScaleDown, description="When replicas are taken away."
    )


class LeptonConfig(Section):
    """The server as a Lepton endpoint."""

    endpoint_name: str | None = Field(None, description="Name of the endpoint.")
    resource_shape: str | None = Field(None, description="Shape of a replica.")
    min_replicas: Annotated[int, Field(ge=0)] = Field(1, description="Fewest replicas.")
    max_replicas: Positive = Field(1, description="Most replicas.")
    api_tokens: list[dict[str, Any]] = Field(
        default_factory=list, description="Tokens that the endpoint takes, by reference."
    )
    auto_scaler: Annotated[AutoScaler, BeforeValidator(empty_if_null)] = Field(
        default_factory=AutoScaler, description="Scaling."
    )
    envs: Annotated[dict[str, Any], BeforeValidator(empty_if_null)] = Field(
        default_factory=dict, description="Variables, or references to Lepton secrets."
    )
    mounts: list[dict[str, Any]] = Field(default_factory=list, description="Storage.")
    image_pull_secrets: Names = Field(default_factory=list, description="Names of pull secrets.")


class NoDeployment(Section):
    type: Literal["none"] = Field("none", description="An existing endpoint (target).")


class DemoDeployment(Section):
    type: Literal["demo"] = Field(
        "demo",
        description="The embedded demo endpoint (not a model), started beside each benchmark "
        "inside its job (ours).",
    )


class ServerDeployment(Section):
    """A server that the pipeline brings up and down."""

    type: Literal["vllm", "vllm_ray", "sglang", "trtllm", "nim", "generic", "process"] = Field(
        description="What serves the model; process: a command on the host (ours)."
    )
    image: str | None = Field(None, description="The server's image.")
    checkpoint_path: str | None = Field(
        None, description="Host folder of the weights, mounted at /checkpoint read-only."
    )
    hf_model_handle: str | None = Field(None, description="Name of the model on the hub.")
    served_model_name: str | None = Field(None, description="The model's name at the endpoint.")
    port: Positive | None = Field(
        8000,
        description="The server's port. In a container: inside it, and a free one of the host "
        "leads there. type process: fixed on the host; null: a free one.",
    )
    gpus: Annotated[int, Field(ge=0)] | str | None = Field(
        None,
        description="all, how many, or which ('0,1'); null: all that there are (ours).",
    )
    idle_timeout: Annotated[float, Field(gt=0)] = Field(
        600, description="Seconds without a benchmark after which the server ends (ours)."
    )
    tensor_parallel_size: Positive | None = Field(None, description="GPUs per layer.")
    pipeline_parallel_size: Positive | None = Field(None, description="Pipeline stages.")
    data_parallel_size: Positive | None = Field(None, description="Replicas of the model.")
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Share of a GPU's memory."
    )
    extra_args: str | None = Field(None, description="Further words of the server's command.")
    env_vars: EnvVars = Field(default_factory=dict, description="Variables of the server.")
    cache_path: str | None = Field(None, description="Host folder, mounted at /cache.")
    pre_cmd: str | None = Field(None, description="Shell command before the server's.")
    base_command: str | None = Field(None, description="The server's program.")
    command: str | None = Field(
        None,
        description="The server's whole command; {port} and {host} are filled in where it runs.",
    )
    endpoints: Annotated[Endpoints, BeforeValidator(empty_if_null)] = Field(
        default_factory=Endpoints, description="Paths of the server."
    )
    lepton_config: Annotated[LeptonConfig, BeforeValidator(empty_if_null)] = Field(
        default_factory=LeptonConfig, description="The server as a Lepton endpoint."
    )
    multiple_instances: bool | None = Field(None, description="Several instances of the server.")


Switchable = Literal["none", "vllm", "vllm_ray", "sglang", "trtllm", "nim", "generic", "process"]


class AuxiliaryDeployment(ServerDeployment):
    """A further server that benchmarks ask, such as a judge."""

    type: Switchable = Field(  # type: ignore[assignment] # the model's server has no `none`
        description="What serves the model; none: this server is not brought up."
    )
    env_prefix: str | None = Field(
        None,
        description="Beginning of the variables that benchmarks get (JUDGE_CHAT_URL, "
        "JUDGE_MODEL_ID); null: the name in capitals.",
    )
    command_template: str | None = Field(
        None, description="Shell command in which {key} stands for a key of this section."
    )
    num_nodes: Positive = Field(1, description="Nodes of this server.")
    num_instances: Positive = Field(1, description="Instances of this server.")

    @field_validator("env_prefix")
    @classmethod
    def _begins_a_variable(cls, value: str | None) -> str | None:
        if value is not None and not VARIABLE.match(value):
            raise fixable(
                "cannot begin the name of a variable",
                "write capital letters, digits and '_', such as JUDGE",
            )
        return value


def _type_of(value: Any) -> str | None:
    chosen = value.get("type", "none") if isinstance(value, dict) else getattr(value, "type", None)
    if not isinstance(chosen, str):
        return None
    return "server" if chosen in BROUGHT_UP else chosen


AnyDeployment = Annotated[
    Annotated[NoDeployment, Tag("none")]
    | Annotated[DemoDeployment, Tag("demo")]
    | Annotated[ServerDeployment, Tag("server")],
    Chosen(_type_of),
    BeforeValidator(section_of_type),
]
