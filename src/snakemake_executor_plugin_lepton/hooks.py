"""What a workflow that knows more about its jobs than Snakemake does can tell the executor.

It sets `executor.hooks` to an object of a subclass before the first job (in `onstart`, say). What
is not overridden leaves a job as its rule, the settings and the profile describe it.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

from snakemake_executor_plugin_lepton.registry import Tracked
from snakemake_executor_plugin_lepton.spec import Wanted


class Hooks:
    """Nothing is known of any job."""

    def wanted(self, job: Any, wanted: Wanted) -> Wanted:
        """What a job asks for. Raises Unusable.

        wanted  what its resources and the settings come to
        """
        return wanted

    def secrets_to_come(self) -> set[str]:
        """Secrets that are not in the workspace yet, and will be when a job needs them."""
        return set()

    def labels_of(self, job: Any) -> dict[str, str]:
        """Further labels of a job."""
        return {}

    def spec_of(self, job: Any) -> str:
        """What tells a job from one of an earlier start that must not be taken for it; empty: its
        command and what it asks for."""
        return ""

    def folder_for(self, job: Any, name: str) -> Path | None:
        """The folder on the storage with what a job reads and writes about itself; None: the
        executor chooses one."""
        return None

    def refusal(self, job: Any) -> str:
        """Why a job is not to be created now; in a thread of its own."""
        return ""

    def submitted(self, tracked: Tracked) -> None:
        """A job has its id; in a thread of its own."""

    def failed(self, tracked: Tracked, cause: str) -> None:
        """A job has failed; in a thread of its own."""
