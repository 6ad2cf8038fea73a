"""What can be set for all jobs: `--lepton-...`; a rule's resources say otherwise for its jobs."""

from dataclasses import dataclass, field
from typing import Any, Optional

from snakemake_interface_executor_plugins.settings import CommonSettings, ExecutorSettingsBase


def setting(text: str) -> Any:
    """A setting with this help; the environment may give it, too."""
    return field(default=None, metadata={"help": text, "env_var": True, "required": False})


@dataclass
class ExecutorSettings(ExecutorSettingsBase):  # type: ignore[misc] # has no type information
    """Each has a variable of its own, such as SNAKEMAKE_LEPTON_NODE_GROUP."""

    # Snakemake makes parsers of these types: not `str | None`, which cannot be called.
    # ruff: noqa: UP045

    image: Optional[str] = setting(
        "Image of jobs whose rule names none (resource lepton_image, else `container:`)."
    )
    resource_shape: Optional[str] = setting(
        "Shape of the machine of a job, such as cpu.small (resource lepton_resource_shape)."
    )
    node_group: Optional[str] = setting(
        "Node group of the jobs, by name or id (resource lepton_node_group)."
    )
    mounts: Optional[str] = setting(
        "Storage that jobs mount, as FROM:PATH:MOUNT_PATH, such as node-nfs:fs1:/shared:/shared; "
        "several with spaces between them (resource lepton_mounts)."
    )
    storage: Optional[str] = setting(
        "Where this machine sees the storage of the first mount. Without it: at MOUNT_PATH."
    )
    env: Optional[str] = setting(
        "Variables of the jobs: NAME=secret:SECRET for a secret of the workspace, NAME=lit:TEXT "
        "for text that everybody may read; several with spaces between them (resource lepton_env)."
    )
    image_pull_secrets: Optional[str] = setting(
        "Names of the workspace's pull secrets, with spaces between them "
        "(resource lepton_image_pull_secrets)."
    )
    priority_class: Optional[str] = setting(
        "Priority in the queue, such as mid-4000 (resource lepton_priority_class)."
    )
    shared_memory_mb: Optional[str] = setting(
        "Shared memory of a job in MB (resource lepton_shared_memory_mb)."
    )
    queue_limit: Optional[str] = setting(
        "Minutes that a job may wait, in the queue or for its node, before it fails; a day if not "
        "set (resource lepton_queue_limit)."
    )
    ttl: Optional[str] = setting(
        "Seconds after which the service forgets an ended job that nobody has collected; a day "
        "if not set. Collected jobs are deleted at once."
    )


common_settings = CommonSettings(
    non_local_exec=True,
    # True would make Snakemake skip `ensure`, `protected` and its look for missing output.
    implies_no_shared_fs=False,
    job_deploy_sources=False,
    pass_default_storage_provider_args=False,
    pass_envvar_declarations_to_cmd=False,
    auto_deploy_default_storage_provider=False,
)
