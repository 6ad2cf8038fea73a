"""The typed model of a config file: every key, its type, its default and what it means.

The vocabulary is that of the NeMo Evaluator Launcher; keys of our own say so. Whatever the rest
of the program needs to know about a config it takes from here, never from the raw mapping.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import (
    AfterValidator,
    AliasChoices,
    BeforeValidator,
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from snakeval.config.deployment import AnyDeployment, AuxiliaryDeployment, NoDeployment
from snakeval.config.execution import AnyExecution, LocalExecution
from snakeval.config.export import Export
from snakeval.config.prices import Budget, Prices
from snakeval.config.sections import (
    ContainerPath,
    EnvVars,
    Free,
    HostPath,
    Ignored,
    Image,
    InsidePath,
    Instead,
    ModelName,
    Named,
    Positive,
    Script,
    Section,
    SeveralLines,
    Walltime,
    empty_if_null,
    fixable,
    section_of_type,
)
from snakeval.config.source import names_a_variable

EndpointType = Literal["chat", "completions", "vlm", "embedding"]


class Params(Section):
    """What a benchmark is run with. `extra` belongs to the harness."""

    limit_samples: Annotated[float, Field(gt=0)] | None = Field(
        None,
        description="Evaluate only the first N samples of each benchmark; below 1, that share of "
        "them.",
    )
    max_new_tokens: Annotated[int, Field(gt=0)] | None = Field(
        None, description="Longest answer, in tokens."
    )
    temperature: Annotated[float, Field(ge=0)] | None = Field(
        None, description="Sampling temperature."
    )
    top_p: Annotated[float, Field(gt=0, le=1)] | None = Field(
        None, description="Nucleus sampling: share of the probability mass that is kept."
    )
    parallelism: Annotated[int, Field(gt=0)] | None = Field(
        None, description="Requests of one benchmark under way at once."
    )
    max_retries: Annotated[int, Field(ge=0)] | None = Field(
        None, description="How often a request is repeated before it counts as unanswered."
    )
    request_timeout: Annotated[int, Field(gt=0)] | None = Field(
        None, description="Seconds to wait for an answer."
    )
    task: str | None = Field(None, description="The harness's own name of the task.")
    extra: Free = Field(
        default_factory=dict, description="Parameters that only this harness knows."
    )

    @field_validator("limit_samples")
    @classmethod
    def _is_a_number_of_samples_or_a_share(cls, value: float | None) -> float | None:
        if value is None or value < 1:
            return value
        if value != int(value):
            raise fixable("is neither a number of samples nor a share", "write 10, or 0.1")
        return int(value)

    @field_validator("*", mode="before")
    @classmethod
    def _truth_is_no_number(cls, value: Any, info: ValidationInfo) -> Any:
        if isinstance(value, bool) and info.field_name != "extra":
            raise ValueError("must be a number (found true or false)")
        return value


def _is_http(url: str) -> bool:
    try:
        parts = urlsplit(url)
        return parts.scheme in ("http", "https") and bool(parts.hostname) and parts.port != 0
    except ValueError:  # brackets that are not closed, a port that is no number
        return False


def _check_url(value: str | None) -> str | None:
    if value is not None and not _is_http(value):
        # The text is not repeated: it may hold a key.
        raise fixable(
            "is not an http(s) URL",
            "write the whole path, such as https://host/v1/chat/completions",
        )
    return value


def _check_variable(value: str | None) -> str | None:
    if value is not None and not names_a_variable(value):
        # The text is not repeated: it may be the key itself.
        raise fixable(
            "is not the name of an environment variable",
            "write a name (such as MY_API_KEY) and put the key into that variable",
        )
    return value


def _check_one_line(value: str | None) -> str | None:
    if value is not None and not value.strip():
        raise fixable(
            "must be the model's name, on one line",
            "copy it from what `curl <endpoint>/v1/models` lists",
        )
    return value


Url = Annotated[
    str | None,
    Instead(
        "put the key into an environment variable and name that in target.api_endpoint.api_key_name"
    ),
    AfterValidator(_check_url),
]
KeyName = Annotated[str | None, Named(), AfterValidator(_check_variable)]
ServedName = Annotated[ModelName | None, AfterValidator(_check_one_line)]


def _check_results(value: str | None) -> str | None:
    if value not in (None, RESULTS):
        raise fixable("is not where results are looked for", f"remove it, or write {RESULTS}")
    return value


RESULTS = "/results"
"""Where an evaluation image's container has its work folder."""


class HarnessConfig(Section):
    """`nemo_evaluator_config.config`: what the harness is asked to do."""

    type: str | None = Field(
        None,
        description="The benchmark, `task` or `harness.task`, in place of the entry's name: it is "
        "evaluated, and tables have its name.",
    )
    output_dir: Annotated[str | None, AfterValidator(_check_results)] = Field(
        None, description="/results, where the work folder is."
    )
    supported_endpoint_types: list[str] | None = Field(
        None, description="In place of what the image says that the benchmark can ask."
    )
    required_capabilities: list[str] | None = Field(
        None, description="What the image tries at the endpoint before it starts."
    )
    params: Annotated[Params, BeforeValidator(empty_if_null)] = Field(
        default_factory=Params, description="Parameters of the benchmark."
    )


class HarnessEndpoint(Section):
    """`nemo_evaluator_config.target.api_endpoint`: how the harness talks to the endpoint."""

    url: Url = Field(
        None,
        description="In place of target.api_endpoint.url. Beside a deployment: its own address "
        "alone, of which the path counts.",
    )
    model_id: ServedName = Field(
        None, description="In place of the model's name, such as an adapter that the server has."
    )
    type: EndpointType | None = Field(
        None, description="In place of what the benchmark needs; the path of the URL follows."
    )
    api_key_name: KeyName = Field(
        None, description="In place of target.api_endpoint.api_key_name; null: no key."
    )
    stream: bool | None = Field(None, description="Ask for streamed answers.")
    adapter_config: Free = Field(
        default_factory=dict, description="The NeMo adapter: interceptors, caching, system prompt."
    )


class HarnessTarget(Section):
    api_endpoint: Annotated[HarnessEndpoint, BeforeValidator(empty_if_null)] = Field(
        default_factory=HarnessEndpoint, description="How the harness talks to the endpoint."
    )


class NemoEvaluatorConfig(Section):
    """What the harness gets: run-wide under `evaluation`, or on top of that for one task."""

    config: Annotated[HarnessConfig, BeforeValidator(empty_if_null)] = Field(
        default_factory=HarnessConfig, description="What the harness is asked to do."
    )
    target: Annotated[HarnessTarget, BeforeValidator(empty_if_null)] = Field(
        default_factory=HarnessTarget, description="How the harness talks to the endpoint."
    )
    metadata: Free = Field(
        default_factory=dict, description="Goes into the image's metadata.yaml as it is."
    )
    env_vars: Annotated[
        Free,
        Ignored("nothing reads variables here, with the launcher neither; see tasks[].env_vars"),
    ] = Field(default_factory=dict)


class ApiEndpoint(Section):
    """An OpenAI-compatible endpoint."""

    url: Url = Field(None, description="The whole path, such as https://host/v1/chat/completions.")
    model_id: ServedName = Field(None, description="The model's name at the endpoint.")
    api_key_name: KeyName = Field(
        None,
        validation_alias=AliasChoices("api_key_name", "api_key"),
        description="Name of the environment variable that holds the key (never the key).",
    )
    type: EndpointType | None = Field(
        None, description="What the endpoint serves; null: whatever the benchmark asks for."
    )
    stream: bool | None = Field(None, description="Ask for streamed answers.")
    check_model: bool = Field(
        True,
        description="Whether an endpoint that lists models must list this one, and a server of a "
        "deployment must list them; false for one that lists none, or an alias.",
    )
    adapter_config: Free = Field(
        default_factory=dict, description="The NeMo adapter's settings, for all benchmarks."
    )


class Target(Section):
    api_endpoint: Annotated[ApiEndpoint, BeforeValidator(empty_if_null)] = Field(
        default_factory=ApiEndpoint, description="The endpoint that serves the model."
    )


class TaskResources(Section):
    """What a benchmark's cluster job asks for, where it differs from the others (ours)."""

    walltime: Walltime | None = Field(None, description="Time limit of one job.")
    partition: str | None = Field(None, description="Slurm partition.")
    account: str | None = Field(None, description="Slurm account.")
    cpus: Positive | None = Field(None, description="CPUs.")
    mem_mb: Positive | None = Field(None, description="Memory in MB.")
    gres: str | None = Field(None, description="Slurm's generic resources, such as gpu:1.")


class TaskEntry(Section):
    """One entry of `evaluation.tasks`."""

    name: str = Field(description="`task` or `harness.task`.")
    label: str | None = Field(
        None, description="What it is called in tables, instead of name and parameters (ours)."
    )
    container: Image | None = Field(None, description="Image to use instead of the harness's own.")
    endpoint_type: EndpointType | None = Field(
        None, description="Overrides what the catalogue says the benchmark needs."
    )
    env_vars: EnvVars = Field(default_factory=dict, description="Variables of this task.")
    nemo_evaluator_config: Annotated[NemoEvaluatorConfig, BeforeValidator(empty_if_null)] = Field(
        default_factory=NemoEvaluatorConfig, description="On top of the run-wide one."
    )
    dataset_dir: HostPath | None = Field(None, description="Host folder with the dataset.")
    dataset_mount_path: ContainerPath = Field(
        "/datasets", description="Where the container sees it."
    )
    pre_cmd: Script = Field(None, description="Shell command before the harness.")
    post_cmd: Script = Field(None, description="Shell command after the harness.")
    budget: Annotated[Budget, BeforeValidator(empty_if_null)] = Field(
        default_factory=Budget, description="What this benchmark may ask of its endpoints (ours)."
    )
    resources: Annotated[TaskResources, BeforeValidator(empty_if_null)] = Field(
        default_factory=TaskResources, description="What the benchmark's cluster job asks for."
    )


class Evaluation(Section):
    """What is evaluated."""

    tasks: list[TaskEntry] = Field(min_length=1, description="The benchmarks.")
    nemo_evaluator_config: Annotated[NemoEvaluatorConfig, BeforeValidator(empty_if_null)] = Field(
        default_factory=NemoEvaluatorConfig, description="For all benchmarks of the run."
    )
    env_vars: EnvVars = Field(default_factory=dict, description="Variables of all benchmarks.")
    pre_cmd: Script = Field(None, description="Shell command before every harness.")
    post_cmd: Script = Field(None, description="Shell command after every harness.")
    max_unanswered: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="Largest share of samples without an answer after all retries that is still "
        "published (ours).",
    )

    @field_validator("tasks", mode="before")
    @classmethod
    def _names_alone_are_fine(cls, value: Any) -> Any:
        if isinstance(value, list):
            return [{"name": item} if isinstance(item, str) else item for item in value]
        return value


class TaskDefinition(Section):
    """A benchmark of a harness."""

    endpoint_type: EndpointType = Field("chat", description="What the benchmark asks for.")
    samples: Annotated[int, Field(gt=0)] | None = Field(
        None, description="Size of the benchmark, where it is known."
    )
    eval_type: str | None = Field(None, description="The harness's own name of the task.")
    needs: str = Field("", description="What the endpoint must be able to do, such as logprobs.")
    variables: list[str] | None = Field(
        None, description="Variables that it needs, such as HF_TOKEN; null: unknown."
    )
    gated_dataset: str = Field("", description="Dataset that must be asked for at its hub.")
    description: Annotated[str, SeveralLines()] = Field("", description="One line for ls_tasks.")


class HarnessDefinition(Section):
    """A harness: how its benchmarks are started and where their results are (ours)."""

    kind: Literal["nemo", "lm_eval", "command"] = Field(
        description="nemo: an image with `nemo-evaluator`. lm_eval: EleutherAI's command. "
        "command: any command."
    )
    image: Image | None = Field(
        None, description="The container image; null: runs in the pipeline's environment."
    )
    tasks: dict[str, Annotated[TaskDefinition, BeforeValidator(empty_if_null)]] = Field(
        default_factory=dict, description="Its benchmarks, by name."
    )
    include_path: HostPath | None = Field(
        None, description="lm_eval: folder with task definitions (relative to this file)."
    )
    command: Script = Field(
        None,
        description="command: a shell command; {url}, {model_id}, {task}, {results}, "
        "{limit_samples}, {files} and {param.NAME} are filled in, quoted.",
    )
    files: HostPath | None = Field(
        None, description="command: folder with the benchmark's own files (relative to this file)."
    )
    uses: Annotated[list[InsidePath], Field(min_length=1)] | None = Field(
        None,
        description="command: which of `files` the benchmark uses: names, folders, patterns such "
        "as data/*.json; {task} is filled in. A change of these alone runs it again; null: of any "
        "file.",
    )
    results: InsidePath = Field(
        "results.json", description="command: result file in the work folder."
    )
    format: Literal["scores", "lm_eval", "nemo"] = Field(
        "scores", description="command: format of the result file."
    )
    samples: InsidePath | None = Field(
        None,
        description="command: file in the work folder with one JSON record per line and sample "
        "(docs/own-benchmark.md).",
    )
    higher_is_better: dict[str, bool] = Field(
        default_factory=dict,
        description="Which way scores are better, by metric (`*` fits any text): false for error "
        "rates. Where results say it themselves, that counts; otherwise it is unknown, and "
        "the gate decides nothing from it.",
    )
    score_range: dict[str, tuple[float, float]] = Field(
        default_factory=dict,
        description="Lowest and highest possible score, by metric: a score outside of it is a "
        "failed check.",
    )
    description: Annotated[str, SeveralLines()] = Field("", description="One line for ls_tasks.")

    @model_validator(mode="after")
    def _fits_its_kind(self) -> HarnessDefinition:
        if self.kind == "command" and not self.command:
            raise fixable("kind 'command' needs a shell command", "write it under 'command'")
        if self.kind == "nemo" and not self.image:
            raise fixable("kind 'nemo' needs an evaluation image", "write its name under 'image'")
        if self.uses and not self.files:
            raise fixable("'uses' needs a folder", "write its name under 'files'")
        return self


TrainingStep = Annotated[int | None, Field(ge=0)]


class SweptModel(Section):
    """One model of a sweep, laid over the rest of the config: a run of its own (ours)."""

    name: str | None = Field(None, description="Name of the run.")
    step: TrainingStep = Field(None, description="Training step of this model.")
    checkpoints: str | None = Field(
        None,
        description="Pattern of folders, such as /data/steps/step-*: a model for each of them, "
        "with its checkpoint_path and served_model_name (a pattern of files: their folders).",
    )
    deployment: Free = Field(default_factory=dict, description="What differs in `deployment`.")
    target: Free = Field(default_factory=dict, description="What differs in `target`.")


class Swept(Section):
    """What a config says about a sweep."""

    models: list[SweptModel] = Field(
        default_factory=list, description="A sweep: a run for each of these models (ours)."
    )


class Config(Swept):
    """A whole config file."""

    name: str | None = Field(None, description="Name of the run; part of its identity.")
    user: str | None = Field(None, description="Free text.")
    step: TrainingStep = Field(
        None,
        description="Training step of the model, for curves over checkpoints (ours); null: the "
        "number in the name of its folder or of the model, as in step-1000.",
    )
    user_config_path: Annotated[
        str | None, Ignored("the launcher notes there where a config was read from")
    ] = None
    allow_inline_secrets: bool = Field(
        False,
        description="true: keys and passwords may stand in this file. The run folder is then "
        "readable by you alone; report and exports leave them out (ours).",
    )
    execution: AnyExecution = Field(
        default_factory=LocalExecution, description="Where results go and how jobs are started."
    )
    deployment: AnyDeployment = Field(
        default_factory=NoDeployment, description="A server for the model."
    )
    auxiliary_deployments: Annotated[
        dict[str, Annotated[AuxiliaryDeployment, BeforeValidator(section_of_type)]],
        BeforeValidator(empty_if_null),
    ] = Field(default_factory=dict, description="Further servers, such as a judge, by name.")
    export: Annotated[Export, BeforeValidator(empty_if_null)] = Field(
        default_factory=Export, description="Where results are sent."
    )
    target: Annotated[Target, BeforeValidator(empty_if_null)] = Field(
        default_factory=Target, description="An existing endpoint."
    )
    evaluation: Evaluation = Field(description="What is evaluated.")
    env_vars: EnvVars = Field(default_factory=dict, description="Variables of all jobs.")
    prices: Prices | None = Field(
        None, description="Prices, for the costs in report and results (ours); null: not told."
    )
    gateway: bool | None = Field(
        None,
        description="A proxy of ours between each harness and its endpoint: docs/gateway.md; null: "
        "as `execution.gateway` says (ours).",
    )
    budget: Annotated[Budget, BeforeValidator(empty_if_null)] = Field(
        default_factory=Budget, description="What the whole run may ask of its endpoints (ours)."
    )
    harnesses: dict[str, HarnessDefinition] = Field(
        default_factory=dict, description="Harnesses of one's own (ours)."
    )

    @property
    def has_gateway(self) -> bool:
        """Whether harnesses are behind a gateway, where nothing else asks for one."""
        return self.execution.gateway if self.gateway is None else self.gateway

    @property
    def umask(self) -> str:
        """Of everything that is written about a run, as octal digits; empty: the caller's."""
        return "077" if self.allow_inline_secrets else self.execution.umask
