"""Runs Snakemake jobs as Lepton jobs: each rule's shell command in an unmodified image.

    snakemake --executor lepton --lepton-node-group cpus --lepton-resource-shape cpu.small \\
        --lepton-mounts node-nfs:fs1:/shared:/shared

No Snakemake is needed in the image: bash and coreutils are. The SDK (`leptonai`) is imported when
the first job is about to be created, and not before: Snakemake imports every executor plugin
whenever it starts.
"""

from __future__ import annotations

from snakemake_executor_plugin_lepton.executor import Executor
from snakemake_executor_plugin_lepton.settings import ExecutorSettings, common_settings

__all__ = ["Executor", "ExecutorSettings", "common_settings"]
