"""What can be set for all jobs: `--kubernetes-jobs-...`; a rule's resources say otherwise for its
jobs."""

from dataclasses import dataclass
from typing import Optional

from snakemake_interface_executor_plugins.settings import ExecutorSettingsBase

from snakemake_executor_plugin_lepton.settings import common_settings, setting


@dataclass
class ExecutorSettings(ExecutorSettingsBase):  # type: ignore[misc] # has no type information
    """Each has a variable of its own, such as SNAKEMAKE_KUBERNETES_JOBS_NAMESPACE."""

    # Snakemake makes parsers of these types: not `str | None`, which cannot be called.
    # ruff: noqa: UP045

    image: Optional[str] = setting(
        "Image of jobs whose rule names none (resource kubernetes_image, else `container:`)."
    )
    context: Optional[str] = setting(
        "Context of the kubeconfig; without it the current one, or the pod's own account "
        "(resource kubernetes_context)."
    )
    namespace: Optional[str] = setting(
        "Namespace of the jobs; without it that of the context (resource kubernetes_namespace)."
    )
    volumes: Optional[str] = setting(
        "Volumes that jobs mount, as CLAIM:PATH:MOUNT_PATH, such as shared-claim:/:/shared; "
        "several with spaces between them (resource kubernetes_volumes)."
    )
    storage: Optional[str] = setting(
        "Where this machine sees the first volume. Without it: at MOUNT_PATH."
    )
    env: Optional[str] = setting(
        "Variables of the jobs: NAME=secret:SECRET/KEY for a key of a Secret, NAME=lit:TEXT for "
        "text that everybody may read; several with spaces between them (resource kubernetes_env)."
    )
    image_pull_secrets: Optional[str] = setting(
        "Names of pull secrets, with spaces between them (resource kubernetes_image_pull_secrets)."
    )
    pod: Optional[str] = setting(
        "Further fields of the pod's spec as JSON, such as nodeSelector, tolerations, "
        "serviceAccountName (resource kubernetes_pod)."
    )
    queue_limit: Optional[str] = setting(
        "Minutes that a job may wait for room or a node before it fails; a day if not set "
        "(resource kubernetes_queue_limit)."
    )
    stuck_limit: Optional[str] = setting(
        "Minutes for which a pod's image or variables may not be had before its job fails; 10 if "
        "not set (resource kubernetes_stuck_limit)."
    )
    ttl: Optional[str] = setting(
        "Seconds after which the cluster deletes an ended job that nobody has collected; a day if "
        "not set. Collected jobs are deleted at once."
    )


__all__ = ["ExecutorSettings", "common_settings"]
