"""`execution`, whichever its type: where results go, what containers see, who is told."""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, field_validator

from snakeval.config.deployment import ServerDeployment
from snakeval.config.export import Destinations
from snakeval.config.sections import (
    Ignored,
    Mounted,
    Named,
    OutputPath,
    Positive,
    Section,
    SeveralLines,
    check_host_path,
    empty_if_null,
    fixable,
)
from snakeval.config.source import names_a_variable

IMAGE_PREFIX = re.compile(r"^[A-Za-z0-9][A-Za-z0-9.-]*(:[0-9]+)?(/[a-z0-9._-]+)*\Z")

READY_TIMEOUT = 600
"""Seconds that a server may take until it is healthy, where nothing says so."""

EXPORTS_RUN_HERE = Ignored("exports run in the pipeline's own environment")


class AutoExport(Section):
    """Exports that are part of a normal run."""

    destinations: Destinations = Field(
        default_factory=list, description="local, mlflow, wandb or gsheets."
    )
    launcher_install_cmd: Annotated[str | None, EXPORTS_RUN_HERE] = None
    export_image: Annotated[str | None, EXPORTS_RUN_HERE] = None
    export_mounts: Annotated[Mounted, EXPORTS_RUN_HERE] = Field(default_factory=dict)


class Mounts(Section):
    """Folders of the host that containers see."""

    evaluation: Mounted = Field(default_factory=dict, description="In evaluation containers.")
    deployment: Mounted = Field(default_factory=dict, description="In the model server.")
    auxiliary: Annotated[dict[str, Mounted], BeforeValidator(empty_if_null)] = Field(
        default_factory=dict, description="In auxiliary servers, by name."
    )
    mount_home: bool | None = Field(
        None,
        description="apptainer and pyxis: false keeps the home folder out of the container; true "
        "leaves it to the cluster's settings; null: so for benchmarks, and servers see none. "
        "docker and podman never mount it.",
    )


READ_ONLY, PER_RUN = ":ro", "per-run"
"""Behind a folder: benchmarks may only read it. In its place: each run has one of its own."""


def _folder_or_none(value: Any) -> Any:
    if value is not None and value is not False and not isinstance(value, str):
        raise fixable("must be a folder, or false", "write hf_home: /a/folder, or hf_home: false")
    if isinstance(value, str):
        check_host_path(value.removesuffix(READ_ONLY))
    return value


GROUP = "0664"
"""What `group` stands for as a file mode."""


def _mode_or_none(value: Any) -> Any:
    if value is None:
        return None
    mode = GROUP if value == "group" else value
    if not isinstance(mode, str) or not re.fullmatch(r"0?[0-7]{3}", mode):
        raise fixable(
            "is no file mode", 'write group, or octal digits in quotes, as in file_mode: "0664"'
        )
    if int(mode, 8) & 0o002:
        raise fixable("would let everybody write", 'leave that out: "0664"')
    if int(mode, 8) & 0o600 != 0o600 or int(mode, 8) & 0o111:
        raise fixable(
            "files must be yours to read and write, and are no programs", 'as in "0640" or "0664"'
        )
    return mode


class ProxyConfig(Section):
    haproxy_port: Positive | None = Field(None, description="Port of the proxy.")
    health_check_path: str | None = Field(None, description="Path asked for health.")
    health_check_status: Positive | None = Field(None, description="Status of a healthy server.")


class Proxy(Section):
    """A proxy in front of several server instances."""

    type: str | None = Field(None, description="haproxy")
    image: str | None = Field(None, description="The proxy's image.")
    config: Annotated[ProxyConfig, BeforeValidator(empty_if_null)] = Field(
        default_factory=ProxyConfig, description="The proxy's settings."
    )


class Notify(Section):
    """Who is told when a run ends: the summary as JSON."""

    command: Annotated[str | None, SeveralLines()] = Field(
        None, description="Shell command that gets the summary on its standard input (ours)."
    )
    webhook: Annotated[str | None, Named()] = Field(
        None,
        description="Name of the environment variable with the URL that the summary is sent to by "
        "POST (never the URL: whoever knows it can write there) (ours).",
    )

    @property
    def is_wanted(self) -> bool:
        return bool(self.command or self.webhook)

    @field_validator("webhook")
    @classmethod
    def _is_a_variable(cls, value: str | None) -> str | None:
        if value is not None and not names_a_variable(value):
            # The text is not repeated: it may be the address itself.
            raise fixable(
                "is not the name of an environment variable",
                "put the URL into a variable and write that one's name",
            )
        return value


@dataclass(frozen=True)
class Hosting:
    """What a config says of a server that one executor hosts, whichever one runs the benchmarks.

    by             that executor's name
    ready_timeout  seconds that it may take until it is healthy
    key_name       the variable with the token that it wants of benchmarks
    key_is_made    the executor makes that token, or sees to it that it is there
    """

    by: str
    ready_timeout: float
    key_name: str | None = None
    key_is_made: bool = False


class Execution(Section):
    """What every type of execution has. All of it works with every profile."""

    type: str = Field(
        "local", description="local, slurm, lepton or kubernetes; the profile decides."
    )
    output_dir: OutputPath = Field("results", description="Folder in which run folders are made.")
    mode: Literal["sequential", "parallel"] | None = Field(
        None, description="sequential: one benchmark at a time per endpoint."
    )
    benchmarks_per_endpoint: Positive | None = Field(
        None, description="Benchmarks that may use one endpoint at once (ours)."
    )
    extra_docker_args: Annotated[str, SeveralLines()] = Field(
        "", description="Further words for `docker run` or `podman run`."
    )
    mounts: Annotated[Mounts, BeforeValidator(empty_if_null)] = Field(
        default_factory=Mounts, description="Folders that containers see."
    )
    image_mirror: str | None = Field(
        None,
        description="Registry, with a prefix if need be, that stands for every image's own: "
        "`nvcr.io/nvidia/x:1` is pulled as `<mirror>/nvidia/x:1` (ours).",
    )
    hf_home: Annotated[str | Literal[False] | None, BeforeValidator(_folder_or_none)] = Field(
        None,
        description="Folder of the Hugging Face cache that benchmarks and servers share. "
        "`/folder:ro`: it is only read; per-run: each run folder has one of its own; false: none; "
        "null: `HF_HOME`, else `~/.cache/huggingface` where it exists (ours).",
    )
    endpoint_readiness_timeout: Positive | None = Field(
        None, description="Seconds to wait for a deployed server to be healthy."
    )
    gateway: bool = Field(
        True,
        description="A proxy of ours between each harness and its endpoint, which counts requests, "
        "keeps answers and hides the key: docs/gateway.md (ours).",
    )
    max_in_flight: Positive | None = Field(
        None,
        description="Requests in flight at an endpoint, over all benchmarks of a machine, at most; "
        "needs the gateway (ours).",
    )
    auto_export: Annotated[AutoExport, BeforeValidator(empty_if_null)] = Field(
        default_factory=AutoExport, description="Exports that are part of a normal run."
    )
    file_mode: Annotated[str | None, BeforeValidator(_mode_or_none)] = Field(
        None,
        description="Permissions of the run folder's files, for those who share it: `group` (they "
        'may write), or octal digits in quotes, as in "0640"; folders can be entered by whoever '
        "may read. null: those of the umask. What a container writes has its own (ours).",
    )
    notify: Annotated[Notify, BeforeValidator(empty_if_null)] = Field(
        default_factory=Notify, description="Who is told when a run ends (ours)."
    )
    min_free_gb: Annotated[float, Field(ge=0)] = Field(
        1.0, description="Free space in GB that the output folder must have at the start (ours)."
    )

    @property
    def ready_timeout(self) -> float:
        """Seconds that a deployed server may take until it is healthy."""
        return float(self.endpoint_readiness_timeout or READY_TIMEOUT)

    @property
    def umask(self) -> str:
        """For files of `file_mode` and their folders, as octal digits; empty: the caller's."""
        if self.file_mode is None:
            return ""
        mode = int(self.file_mode, 8)
        return f"{0o777 & ~(mode | (mode & 0o444) >> 2):03o}"

    @field_validator("image_mirror")
    @classmethod
    def _is_a_prefix(cls, value: str | None) -> str | None:
        if value is not None and not IMAGE_PREFIX.match(value):
            raise fixable(
                f"'{value}' is not the beginning of an image's name",
                "a host and a path without https:// and without a slash at the end, "
                "such as registry.example.com/mirror",
            )
        return value

    @field_validator("extra_docker_args")
    @classmethod
    def _keeps_its_own_processes(cls, value: str) -> str:
        try:
            shlex.split(value)
        except ValueError:
            raise fixable("a quote is not closed", "write words as a shell reads them") from None
        # Our watchdog ends "all processes it can see" when the script dies.
        if re.search(r"(^|\s)--pid(\s|=)", value):
            raise fixable(
                "'--pid' cannot be used: a container that sees the host's processes "
                "would end them with its own",
                "remove it",
            )
        return value

    @property
    def endpoint_cap(self) -> int | None:
        """Benchmarks that may use one endpoint at once; None: as many as the profile's cores."""
        return 1 if self.mode == "sequential" else self.benchmarks_per_endpoint

    def hosting(self, server: ServerDeployment, key_name: str | None) -> Hosting | None:
        """For a server that this section has a host of its own for; None: the start's executor.

        key_name  `target.api_endpoint.api_key_name`, where it serves the model under evaluation
        """
        return None
