"""`deployment` and `auxiliary_deployments`: servers for models, one model per type."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, get_args

from pydantic import AliasChoices, BeforeValidator, Field, Tag, field_validator
from pydantic import Discriminator as Chosen

from snakeval.config.lepton import (
    REFERENCES,
    ApiToken,
    LeptonMount,
    as_mounts,
    references,
    variables,
)
from snakeval.config.sections import (
    EnvVars,
    FreeOrNone,
    HostPath,
    Ignored,
    Image,
    ModelName,
    Names,
    Positive,
    Script,
    Section,
    SeveralLines,
    empty_if_null,
    fixable,
    section_of_type,
)
from snakeval.config.source import VARIABLE

ServerType = Literal["vllm", "vllm_ray", "sglang", "trtllm", "nim", "generic", "process"]

BROUGHT_UP = get_args(ServerType)
"""Types that need a server of their own."""

OF_WEIGHTS = ("vllm", "vllm_ray", "sglang", "trtllm")
"""Types whose command names the weights: a folder, or the model's name on the hub."""

CHECKPOINT = "/checkpoint"
"""Where a server's container sees its weights."""

DEFAULT_SIZES = {"vllm": 8, "vllm_ray": 8, "sglang": 8, "trtllm": 8}
"""The launcher's default of `tensor_parallel_size`."""

GPUS = re.compile(r"(all|none|[0-9]{1,6}(,[0-9]{1,6})*)?\Z")


class Endpoints(Section):
    """Paths of the server."""

    chat: str | None = Field("/v1/chat/completions", description="Chat requests.")
    completions: str | None = Field("/v1/completions", description="Completion requests.")
    embedding: str | None = Field(
        None, description="Embedding requests (default of vllm and nim: /v1/embeddings)."
    )
    ranking: str | None = Field(
        None, description="Ranking requests (default of vllm and nim: /v1/ranking)."
    )
    health: str | None = Field(
        "/health",
        description="Answers 200 when the server is ready (default of nim: /v1/health/ready).",
    )

    @field_validator("*")
    @classmethod
    def _is_a_path(cls, value: str | None) -> str | None:
        if value and not value.startswith("/"):
            raise fixable("does not begin with a slash", f"write /{value}")
        return value


class ScaleDown(Section):
    no_traffic_timeout: Annotated[int, Field(ge=0)] | None = Field(
        None,
        description="Seconds without a request after which all replicas end; 0: never; null: 3600.",
    )
    not_ready_timeout: Annotated[int, Field(ge=0)] | None = Field(
        None, description="Seconds after which replicas that are not ready end."
    )
    scale_from_zero: Annotated[
        bool | None,
        Ignored(
            "Lepton's SDK has no field for it; "
            "with min_replicas: 0 the next request starts a replica"
        ),
    ] = None


class Throughput(Section):
    qpm: Annotated[float, Field(ge=0)] | None = Field(
        None, description="Requests per minute and replica."
    )
    paths: list[str] | None = Field(None, description="Paths that count.")
    methods: list[str] | None = Field(None, description="Methods that count.")


class AutoScaler(Section):
    scale_down: Annotated[ScaleDown, BeforeValidator(empty_if_null)] = Field(
        default_factory=ScaleDown, description="When replicas are taken away."
    )
    target_gpu_utilization_percentage: Annotated[int, Field(ge=0, le=100)] | None = Field(
        None, description="Replicas come and go so that GPUs are this busy."
    )
    target_throughput: Annotated[Throughput, BeforeValidator(empty_if_null)] = Field(
        default_factory=Throughput, description="Replicas come and go with the requests."
    )


def _say_which_gpus(value: Any) -> Any:
    text = "" if value is None else str(value)
    if value == "0":
        raise fixable(
            "could mean no GPU or the first GPU", "write 1, none, or several by number: '0,1'"
        )
    if isinstance(value, bool) or not isinstance(value, int | str | None) or not GPUS.match(text):
        raise fixable("does not say which GPUs", "write all, a number, or a list in quotes: '0,1'")
    return value


class LeptonConfig(Section):
    """The server as a Lepton endpoint."""

    endpoint_name: str | None = Field(None, description="How the endpoint's name begins.")
    resource_shape: str | None = Field(None, description="Shape of a replica.")
    min_replicas: Annotated[int, Field(ge=0)] = Field(1, description="Fewest replicas.")
    max_replicas: Positive | None = Field(None, description="Most replicas; null: the fewest.")
    api_tokens: Annotated[list[ApiToken], BeforeValidator(references)] = Field(
        default_factory=list,
        validation_alias=AliasChoices("api_tokens", "api_token"),
        description="Tokens that the endpoint takes, by reference.",
    )
    auto_scaler: Annotated[AutoScaler, BeforeValidator(empty_if_null)] = Field(
        default_factory=AutoScaler, description="Scaling."
    )
    envs: Annotated[dict[str, Any], SeveralLines(), REFERENCES, BeforeValidator(variables)] = Field(
        default_factory=dict, description="Variables, or references to Lepton secrets."
    )
    mounts: Annotated[list[LeptonMount], BeforeValidator(as_mounts)] = Field(
        default_factory=list, description="Storage."
    )
    image_pull_secrets: Names = Field(default_factory=list, description="Names of pull secrets.")
    health: FreeOrNone = Field(None, description="In Lepton's own words.")
    queue_config: FreeOrNone = Field(None, description="In Lepton's own words.")


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

    type: ServerType = Field(
        description="What serves the model; process: a command on the host (ours)."
    )
    image: Image | None = Field(None, description="The server's image.")
    checkpoint_path: HostPath | None = Field(
        None, description="Host folder of the weights, mounted at /checkpoint read-only."
    )
    hf_model_handle: ModelName | None = Field(None, description="Name of the model on the hub.")
    served_model_name: ModelName | None = Field(
        None, description="The model's name at the endpoint."
    )
    port: Positive | None = Field(
        8000,
        description="The server's port. In a container: inside it, and a free one of the host "
        "leads there. type process: fixed on the host; null: a free one.",
    )
    gpus: Annotated[Annotated[int, Field(ge=0)] | str | None, BeforeValidator(_say_which_gpus)] = (
        Field(
            None,
            description="all, how many, or which ('0,1'); null: all that there are (ours).",
        )
    )
    idle_timeout: Annotated[float, Field(gt=0)] = Field(
        600,
        description="Seconds without a benchmark after which the server ends; those in which "
        "benchmarks of it are still to come do not count (ours).",
    )
    tensor_parallel_size: Positive | None = Field(None, description="GPUs per layer.")
    pipeline_parallel_size: Positive | None = Field(None, description="Pipeline stages.")
    data_parallel_size: Positive | None = Field(None, description="Replicas of the model.")
    gpu_memory_utilization: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Share of a GPU's memory."
    )
    extra_args: Script = Field(None, description="Further words of the server's command.")
    env_vars: EnvVars = Field(default_factory=dict, description="Variables of the server.")
    cache_path: HostPath | None = Field(None, description="Host folder, mounted at /cache.")
    pre_cmd: Script = Field(None, description="Shell command before the server's.")
    data_parallel_size_local: Positive | None = Field(
        None,
        description="Replicas on each node: for `${deployment.data_parallel_size_local}` in a "
        "`command` of one's own; no type's command has it.",
    )
    distributed_executor_backend: str | None = Field(
        None, description="vllm_ray: what starts the workers; null: ray."
    )
    base_command: Script = Field(
        None,
        description="vllm and vllm_ray: the command where there is no `command`, and what "
        "`${deployment.base_command}` stands for in one; null: that of the type.",
    )
    command: Script = Field(
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


Switchable = Literal["none", ServerType]


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
    command_template: Script = Field(
        None, description="Shell command in which {key} stands for a key of this section."
    )
    num_nodes: Positive = Field(1, description="Nodes of this server, over all its instances.")
    n_tasks: Positive | None = Field(
        None, description="Tasks of this server over all its nodes; null: one on each node."
    )
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
