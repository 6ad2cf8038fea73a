"""`execution` of type slurm: a cluster with Slurm; the launcher's `execution: slurm/default`."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BeforeValidator, Field

from snakeval.config.execution.common import Execution, Proxy
from snakeval.config.sections import (
    Ignored,
    Positive,
    Section,
    Walltime,
    empty_if_null,
    fixable,
    seconds_of,
)


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
