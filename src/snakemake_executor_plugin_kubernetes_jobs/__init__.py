"""Runs Snakemake jobs as Kubernetes Jobs: each rule's shell command in an unmodified image.

    snakemake --executor kubernetes-jobs --kubernetes-jobs-namespace evals \\
        --kubernetes-jobs-volumes shared-claim:/:/shared

No Snakemake is needed in the image: bash and coreutils are. Files lie on a volume that this machine
and the pods mount; Snakemake's own plugin for Kubernetes wants Snakemake in the image and a storage
provider instead. How a job is created once, adopted, asked for with patience and ended is that of
the plugin for Lepton, whose executor this one is a subclass of. The client (`kubernetes`) is
imported when the first job is about to be created, and not before.
"""

from __future__ import annotations

from snakemake_executor_plugin_kubernetes_jobs.executor import Executor
from snakemake_executor_plugin_kubernetes_jobs.settings import ExecutorSettings, common_settings

__all__ = ["Executor", "ExecutorSettings", "common_settings"]
