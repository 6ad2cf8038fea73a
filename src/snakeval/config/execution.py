"""`execution`: where results go and how jobs are started, one model per type.

Which machines run the jobs is the profile's business (`--profile`); the fields of a cluster are
taken over by the profile of that cluster.
"""

from __future__ import annotations

import re
import shlex
from dataclasses import dataclass
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field, Tag, field_validator
from pydantic import Discriminator as Chosen

from snakeval.config.deployment import ServerDeployment
from snakeval.config.export import Destinations
from snakeval.config.lepton import (
    REFERENCES,
    JobMount,
    Written,
    as_mounts,
    references,
    tokens_of,
    variables,
)
from snakeval.config.sections import (
    EnvVars,
    Ignored,
    Mounted,
    Named,
    Names,
    OutputPath,
    Positive,
    Section,
    SeveralLines,
    Walltime,
    check_host_path,
    empty_if_null,
    fixable,
    seconds_of,
    section_of_type,
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


class LocalExecution(Execution):
    type: Literal["local"] = Field("local", description="This machine.")


class DeploymentTasks(Section):
    n_tasks: Positive | None = Field(
        None, description="Tasks of the server over all its nodes; null: one on each node."
    )
    sbatch_extra_flags: Annotated[dict[str, Any], BeforeValidator(empty_if_null)] = Field(
        default_factory=dict,
        description="Flags of sbatch for the server's job, on top of the others (ours).",
    )
    cpus_per_gpu: Positive = Field(
        8, description="CPUs of the server's job for each GPU, where it has no whole node (ours)."
    )
    mem_mb_per_gpu: Positive = Field(
        60000,
        description="Memory of the server's job in MB for each GPU, where it has no whole node "
        "(ours).",
    )
    cpus: Positive | None = Field(
        None, description="CPUs of the server's job on each node, in place of the above (ours)."
    )
    mem_mb: Positive | None = Field(
        None, description="Memory of the server's job in MB on each node (ours)."
    )


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


class ControllerJob(Section):
    """The job that drives a run with `--config controller=job`."""

    walltime: Walltime | None = Field(
        None,
        description="Its time limit, before which it hands over; null: the longest of a "
        "benchmark's (ours).",
    )
    partition: str | None = Field(
        None, description="Its partition; null: that of the benchmarks (ours)."
    )
    cpus: Positive = Field(1, description="Its CPUs (ours).")
    mem_mb: Positive = Field(2000, description="Its memory in MB (ours).")


_HOST = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*\Z")
_USER = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._@+\\-]*\Z")
_THERE = re.compile(r"(~/|/)?[A-Za-z0-9._][A-Za-z0-9._/+@=-]*\Z")


def _check_host(value: str | None) -> str | None:
    if value is not None and not _HOST.match(value):
        what = f"'{value}' is not the name of a host"
        raise fixable(what, "as in `ssh NAME`: login.example.org, or a Host of your ssh config")
    return value


def _check_user(value: str | None) -> str | None:
    if value is not None and not _USER.match(value):
        raise fixable(f"'{value}' is not the name of a user", "your name on the login node")
    return value


def _check_login_folder(value: str | None) -> str | None:
    if value is not None and not _THERE.match(value):
        what = f"'{value}' is not a folder of the login node"
        raise fixable(what, "letters, digits and ._/+@=-, from / or from the home folder there")
    return value and (value.removeprefix("~/").rstrip("/") or "/")


def _check_login_clone(value: str | None) -> str | None:
    if value is not None and not value.startswith("/"):
        raise fixable(f"'{value}' is not an absolute path", "as in /home/me/snakeval")
    return _check_login_folder(value)


class SlurmExecution(Execution):
    """A Slurm cluster; the launcher's `execution: slurm/default`."""

    type: Literal["slurm"] = Field("slurm", description="A Slurm cluster.")
    hostname: Annotated[str | None, AfterValidator(_check_host)] = Field(
        None,
        description="The cluster's login node, as ssh knows it: where `snakeval run` goes from a "
        "machine without Slurm (docs/laptop.md).",
    )
    username: Annotated[str | None, AfterValidator(_check_user)] = Field(
        None, description="Your name there; null: as ssh has it."
    )
    login_folder: Annotated[str, AfterValidator(_check_login_folder)] = Field(
        "snakeval-runs",
        description="Folder on the login node for what `snakeval run` brings, and for the pipeline "
        "itself; relative to the home folder there. Nodes must see it (ours).",
    )
    login_clone: Annotated[str | None, AfterValidator(_check_login_clone)] = Field(
        None,
        description="Clone of the pipeline on the login node, with its environment: an absolute "
        "path; null: the first start makes one in login_folder (ours).",
    )
    account: str | None = Field(None, description="Account that pays.")
    partition: str = Field(
        "batch",
        description="Partition of GPU jobs, and of benchmarks where there is no cpu_partition. "
        "Benchmarks take the profile's where neither is written.",
    )
    cpu_partition: str | None = Field(None, description="Partition of jobs without a GPU.")
    cluster: str | None = Field(
        None,
        pattern=r"^[A-Za-z0-9_.-]+$",
        description="Slurm's name of the cluster, where several share one accounting "
        "(`--clusters`); null: the one that this machine belongs to (ours).",
    )
    num_nodes: Positive = Field(1, description="Nodes of the server, over all its instances.")
    num_instances: Positive = Field(
        1, description="Instances of the server, each on as many of the nodes."
    )
    ntasks_per_node: Positive = Field(1, description="Slurm tasks per node.")
    gres: str | None = Field("gpu:8", description="Generic resources of the server's job.")
    gpus_per_node: Positive | None = Field(None, description="GPUs per node of the server's job.")
    walltime: Walltime = Field(
        "01:00:00",
        description="Time limit of one job. Benchmarks take the profile's where it is not written.",
    )
    max_walltime: Walltime | None = Field(
        "120:00:00", description="Time limit over all attempts of a job."
    )
    controller_patience: Walltime = Field(
        "02:00:00",
        description="For how long a controller of Slurm's that does not answer is tried again; no "
        "benchmark fails meanwhile (ours).",
    )
    placement: Literal["auto", "separate", "colocated"] = Field(
        "auto",
        description="Benchmarks of a deployed server: separate jobs, or steps inside the server's "
        "allocation (colocated). auto: colocated where each would take a whole node, or a node of "
        "the GPUs' partition (ours).",
    )
    subproject: Annotated[str | None, Ignored("folders are named after the run")] = None
    sbatch_comment: str | None = Field(None, description="Comment of the jobs.")
    sbatch_extra_flags: Annotated[dict[str, Any], BeforeValidator(empty_if_null)] = Field(
        default_factory=dict,
        description="Further flags of sbatch; true is a bare flag, false or null is left out.",
    )
    controller: Annotated[ControllerJob, BeforeValidator(empty_if_null)] = Field(
        default_factory=ControllerJob, description="The job of `controller=job` (ours)."
    )
    deployment: Annotated[DeploymentTasks, BeforeValidator(empty_if_null)] = Field(
        default_factory=DeploymentTasks, description="The server's job."
    )
    proxy: Annotated[Proxy, BeforeValidator(empty_if_null)] = Field(
        default_factory=Proxy, description="A proxy in front of several server instances."
    )
    evaluation_gpu_visible: bool | str | None = Field(
        None,
        description="Whether benchmarks beside the server see its GPUs; a text (`0,1`) counts as "
        "true.",
    )

    @property
    def ready_timeout(self) -> float:
        """As with the launcher: the time that its job has, where nothing else is written."""
        return float(self.endpoint_readiness_timeout or seconds_of(self.walltime))


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


def _type_of(value: Any) -> str | None:
    chosen = value.get("type", "local") if isinstance(value, dict) else getattr(value, "type", None)
    return chosen if isinstance(chosen, str) else None


AnyExecution = Annotated[
    Annotated[LocalExecution, Tag("local")]
    | Annotated[SlurmExecution, Tag("slurm")]
    | Annotated[LeptonExecution, Tag("lepton")]
    | Annotated[KubernetesExecution, Tag("kubernetes")],
    Chosen(_type_of),
    BeforeValidator(section_of_type),
]

__all__ = ["AnyExecution", "EnvVars", "Execution", "LocalExecution"]
