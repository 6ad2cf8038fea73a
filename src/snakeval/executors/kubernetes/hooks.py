"""What the executor plugin is told about benchmarks: as Lepton's is, under another name."""

from __future__ import annotations

from snakemake_executor_plugin_kubernetes_jobs.hooks import Hooks
from snakemake_executor_plugin_lepton.registry import Tracked
from snakeval.executors.kubernetes.resources import NAME
from snakeval.executors.lepton import hooks as lepton


class Benchmarks(lepton.Benchmarks, Hooks):
    """The benchmarks of a start, as the executor plugin asks about them."""

    executor = NAME
    title = "Kubernetes"

    def variables_of(self, tracked: Tracked) -> dict[str, str]:
        """The record of an attempt has the job's name from there."""
        return {"SNAKEVAL_JOB": tracked.name} if self._of(tracked.job) else {}
