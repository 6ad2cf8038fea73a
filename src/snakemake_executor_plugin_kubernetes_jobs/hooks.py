"""What a workflow that knows more about its jobs than Snakemake does can tell the executor: as with
the plugin for Lepton, and more."""

from __future__ import annotations

from snakemake_executor_plugin_lepton import hooks as common
from snakemake_executor_plugin_lepton.registry import Tracked


class Hooks(common.Hooks):
    """Nothing is known of any job."""

    def variables_of(self, tracked: Tracked) -> dict[str, str]:
        """Variables of a job that is about to be created; nothing secret."""
        return {}
