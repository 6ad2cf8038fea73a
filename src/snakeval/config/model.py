"""The typed model of a config file: every key, its type, its default and what it means.

The vocabulary is that of the NeMo Evaluator Launcher; keys of our own say so. Whatever the rest
of the program needs to know about a config it takes from here, never from the raw mapping.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, field_validator, model_validator

VARIABLE = re.compile(r"^[A-Za-z_][A-Za-z0-9_]*$")
LOOKS_LIKE_A_KEY = re.compile(
    r"^(hf_|gsk_|ghp_|gho_|github_pat_|AIza|AKIA|glpat|xox[bp]|nvapi|sk_)[A-Za-z0-9_]{12,}$"
    r"|^(?=.*[a-z])(?=.*[A-Z])(?=.*[0-9])[A-Za-z0-9]{24,}$"
)
"""Keys without a dash could pass for names of variables; taken so, they would be printed."""

NAME = re.compile(r"^[A-Za-z0-9][A-Za-z0-9_.+-]*$")

EndpointType = Literal["chat", "completions", "vlm", "embedding"]


class Section(BaseModel):
    """A closed mapping: an unknown key is an error."""

    model_config = ConfigDict(extra="forbid", frozen=True, protected_namespaces=())


def _names_a_variable(text: str) -> bool:
    return bool(VARIABLE.match(text)) and not LOOKS_LIKE_A_KEY.match(text)


def _empty_if_null(value: Any) -> Any:
    return {} if value is None else value


def _split_if_text(value: Any) -> Any:
    return [part.strip() for part in value.split(",")] if isinstance(value, str) else value


class Params(Section):
    """What a benchmark is run with. `extra` belongs to the harness."""

    model_config = ConfigDict(extra="allow", frozen=True)

    limit_samples: Annotated[int, Field(gt=0)] | None = Field(
        None, description="Evaluate only the first N samples of each benchmark."
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
        None, description="Seconds until a request is given up."
    )
    task: str | None = Field(None, description="The harness's own name of the task.")
    extra: Annotated[dict[str, Any], BeforeValidator(_empty_if_null)] = Field(
        default_factory=dict, description="Parameters that only this harness knows."
    )

    @model_validator(mode="after")
    def _refuse_misspelt(self) -> Params:
        known = sorted(type(self).model_fields)
        for key in self.model_extra or {}:
            raise ValueError(
                f"unknown parameter '{key}'; known are {', '.join(known)}; "
                "what only this harness knows goes into 'extra'"
            )
        return self


class HarnessConfig(Section):
    """`nemo_evaluator_config.config`: what the harness is asked to do."""

    params: Annotated[Params, BeforeValidator(_empty_if_null)] = Field(
        default_factory=Params, description="Parameters of the benchmark."
    )


class HarnessEndpoint(Section):
    """`nemo_evaluator_config.target.api_endpoint`: how the harness talks to the endpoint."""

    stream: bool | None = Field(None, description="Ask for streamed answers.")
    adapter_config: dict[str, Any] = Field(
        default_factory=dict, description="The NeMo adapter: interceptors, caching, system prompt."
    )


class HarnessTarget(Section):
    api_endpoint: Annotated[HarnessEndpoint, BeforeValidator(_empty_if_null)] = Field(
        default_factory=HarnessEndpoint, description="How the harness talks to the endpoint."
    )


class NemoEvaluatorConfig(Section):
    """What the harness gets: run-wide under `evaluation`, or on top of that for one task."""

    config: Annotated[HarnessConfig, BeforeValidator(_empty_if_null)] = Field(
        default_factory=HarnessConfig, description="What the harness is asked to do."
    )
    target: Annotated[HarnessTarget, BeforeValidator(_empty_if_null)] = Field(
        default_factory=HarnessTarget, description="How the harness talks to the endpoint."
    )


class ApiEndpoint(Section):
    """An OpenAI-compatible endpoint."""

    url: str | None = Field(
        None, description="The whole path, such as https://host/v1/chat/completions."
    )
    model_id: str | None = Field(None, description="The model's name at the endpoint.")
    api_key_name: str | None = Field(
        None, description="Name of the environment variable that holds the key (never the key)."
    )
    type: EndpointType | None = Field(
        None, description="What the endpoint serves; null: whatever the benchmark asks for."
    )

    @field_validator("url")
    @classmethod
    def _is_a_url(cls, value: str | None) -> str | None:
        if value is None:
            return value
        parts = urlsplit(value)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            # The text is not repeated: it may hold a key.
            raise ValueError(
                "is not an http(s) URL; write the whole path, "
                "such as https://host/v1/chat/completions"
            )
        if parts.username or parts.password:
            raise ValueError(
                "a URL must not hold a user or a key; name an environment variable in api_key_name"
            )
        return value

    @field_validator("model_id")
    @classmethod
    def _is_one_line(cls, value: str | None) -> str | None:
        if value is not None and (not value.strip() or not value.isprintable()):
            raise ValueError("must be the model's name, on one line")
        return value

    @field_validator("api_key_name")
    @classmethod
    def _is_a_variable(cls, value: str | None) -> str | None:
        if value is not None and not _names_a_variable(value):
            # The text is not repeated: it may be the key itself.
            raise ValueError(
                "is not the name of an environment variable; write the name "
                "(such as MY_API_KEY) and put the key into that variable"
            )
        return value


class Target(Section):
    api_endpoint: Annotated[ApiEndpoint, BeforeValidator(_empty_if_null)] = Field(
        default_factory=ApiEndpoint, description="The endpoint that serves the model."
    )


class Deployment(Section):
    """A server for the model. Here: none, or the embedded demo endpoint."""

    type: Literal["none", "demo"] = Field(
        "none",
        description="none: an existing endpoint. demo: the embedded demo endpoint (not a model), "
        "started beside each benchmark inside its job.",
    )


class Mounts(Section):
    evaluation: dict[str, str] = Field(
        default_factory=dict, description="Host folder: path in the evaluation container."
    )


class Execution(Section):
    """Where results go and how jobs are started."""

    type: Literal["local"] = Field("local", description="The profile decides where jobs run.")
    output_dir: str = Field("results", description="Folder in which run folders are made.")
    mode: Literal["sequential", "parallel"] | None = Field(
        None, description="sequential: one benchmark at a time per endpoint."
    )
    benchmarks_per_endpoint: Annotated[int, Field(gt=0)] | None = Field(
        None, description="Benchmarks that may use one endpoint at once (ours)."
    )
    extra_docker_args: str = Field(
        "", description="Further words for `docker run` or `podman run`."
    )
    mounts: Annotated[Mounts, BeforeValidator(_empty_if_null)] = Field(
        default_factory=Mounts, description="Folders that benchmarks see."
    )
    min_free_gb: Annotated[float, Field(ge=0)] = Field(
        1.0, description="Free space in GB that the output folder must have at the start (ours)."
    )

    @field_validator("extra_docker_args")
    @classmethod
    def _keeps_its_own_processes(cls, value: str) -> str:
        # Our watchdog ends "all processes it can see" when the script dies.
        if re.search(r"(^|\s)--pid(\s|=)", value):
            raise ValueError(
                "'--pid' cannot be used: a container that sees the host's processes "
                "would end them with its own"
            )
        return value

    @property
    def endpoint_cap(self) -> int | None:
        """Benchmarks that may use one endpoint at once; None: as many as the profile's cores."""
        return 1 if self.mode == "sequential" else self.benchmarks_per_endpoint


EnvVars = Annotated[dict[str, str], BeforeValidator(_empty_if_null)]


def _check_env_vars(value: dict[str, str]) -> dict[str, str]:
    for name, source in value.items():
        if not _names_a_variable(name):
            # The text is not repeated here and below: it may be a secret that was pasted.
            raise ValueError("holds a key that is not the name of an environment variable")
        prefix, _, rest = source.partition(":")
        if prefix == "lit" and _:
            continue
        variable = rest if prefix in ("host", "runtime") and _ else source
        if not _names_a_variable(variable):
            raise ValueError(
                f"{name}: the value must be host:NAME (a variable of this machine), "
                "runtime:NAME, a bare NAME, or lit:text; never a secret itself"
            )
    return value


class TaskEntry(Section):
    """One entry of `evaluation.tasks`."""

    name: str = Field(description="`task` or `harness.task`.")
    container: str | None = Field(None, description="Image to use instead of the harness's own.")
    endpoint_type: EndpointType | None = Field(
        None, description="Overrides what the catalogue says the benchmark needs."
    )
    env_vars: EnvVars = Field(default_factory=dict, description="Variables of this task.")
    nemo_evaluator_config: Annotated[NemoEvaluatorConfig, BeforeValidator(_empty_if_null)] = Field(
        default_factory=NemoEvaluatorConfig, description="On top of the run-wide one."
    )
    dataset_dir: str | None = Field(None, description="Host folder with the dataset.")
    dataset_mount_path: str = Field("/datasets", description="Where the container sees it.")

    _env = field_validator("env_vars")(_check_env_vars)


class Evaluation(Section):
    """What is evaluated."""

    tasks: list[TaskEntry] = Field(min_length=1, description="The benchmarks.")
    nemo_evaluator_config: Annotated[NemoEvaluatorConfig, BeforeValidator(_empty_if_null)] = Field(
        default_factory=NemoEvaluatorConfig, description="For all benchmarks of the run."
    )
    env_vars: EnvVars = Field(default_factory=dict, description="Variables of all benchmarks.")
    max_unanswered: Annotated[float, Field(ge=0, lt=1)] = Field(
        0.0,
        description="Largest share of samples without an answer after all retries that is still "
        "published (ours).",
    )

    _env = field_validator("env_vars")(_check_env_vars)

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
    description: str = Field("", description="One line for ls_tasks.")


class HarnessDefinition(Section):
    """A harness: how its benchmarks are started and where their results are (ours)."""

    kind: Literal["nemo", "lm_eval", "command"] = Field(
        description="nemo: an image with `nemo-evaluator`. lm_eval: EleutherAI's command. "
        "command: any command."
    )
    image: str | None = Field(
        None, description="The container image; null: runs in the pipeline's environment."
    )
    tasks: dict[str, Annotated[TaskDefinition, BeforeValidator(_empty_if_null)]] = Field(
        default_factory=dict, description="Its benchmarks, by name."
    )
    include_path: str | None = Field(
        None, description="lm_eval: folder with task definitions (relative to this file)."
    )
    command: str | None = Field(
        None,
        description="command: a shell command; {url}, {model_id}, {task}, {results}, "
        "{limit_samples}, {files} and {param.NAME} are filled in, quoted.",
    )
    files: str | None = Field(
        None, description="command: folder with the benchmark's own files (relative to this file)."
    )
    results: str = Field("results.json", description="command: result file in the work folder.")
    format: Literal["scores", "lm_eval", "nemo"] = Field(
        "scores", description="command: format of the result file."
    )
    description: str = Field("", description="One line for ls_tasks.")

    @model_validator(mode="after")
    def _fits_its_kind(self) -> HarnessDefinition:
        if self.kind == "command" and not self.command:
            raise ValueError("kind 'command' needs 'command', a shell command")
        if self.kind == "nemo" and not self.image:
            raise ValueError("kind 'nemo' needs 'image', an evaluation image")
        if Path(self.results).is_absolute() or ".." in Path(self.results).parts:
            raise ValueError("'results' is a path inside the work folder")
        return self


class Config(Section):
    """A whole config file."""

    name: str | None = Field(None, description="Name of the run; part of its identity.")
    user: str | None = Field(None, description="Free text.")
    execution: Annotated[Execution, BeforeValidator(_empty_if_null)] = Field(
        default_factory=Execution, description="Where results go and how jobs are started."
    )
    deployment: Annotated[Deployment, BeforeValidator(_empty_if_null)] = Field(
        default_factory=Deployment, description="A server for the model."
    )
    target: Annotated[Target, BeforeValidator(_empty_if_null)] = Field(
        default_factory=Target, description="An existing endpoint."
    )
    evaluation: Evaluation = Field(description="What is evaluated.")
    env_vars: EnvVars = Field(default_factory=dict, description="Variables of all jobs.")
    harnesses: dict[str, HarnessDefinition] = Field(
        default_factory=dict, description="Harnesses of one's own (ours)."
    )

    _env = field_validator("env_vars")(_check_env_vars)
