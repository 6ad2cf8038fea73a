"""Everything that knows Lepton on the side of the controller.

The executor plugin (`snakemake_executor_plugin_lepton`) knows no benchmarks; what it is told about
them is in `hooks`. Its own, too: `endpoint`, `endpoint_spec`, `tokens` and `calls` for the endpoint
that a model's server is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from snakeval.executors import base

if TYPE_CHECKING:
    from snakeval.plan.run import Run, Task
    from snakeval.run_folder.jobs import Job
    from snakeval.run_folder.layout import RunPaths, TaskPaths


class Executor(base.Executor):
    name, title, elsewhere = "lepton", "Lepton", True

    def resources_of(self, run: Run, task: Task) -> dict[str, base.Resource]:
        from snakeval.executors.lepton.resources import resources_of

        return resources_of(run, task)

    def provided(self, runs: Iterable[Run]) -> dict[Task, Collection[str]]:
        from snakeval.executors.lepton.resources import provided

        return provided(runs)

    def prepare(self, plugin: Any) -> None:
        # Its problems are told with all others, by `Start.check`.
        os.environ["SNAKEMAKE_LEPTON_CHECKS"] = "later"

    def for_start(self, planned: base.Planned) -> base.Start:
        from snakeval.executors.lepton.start import Start

        return Start(planned)

    def was_used(self, run: RunPaths) -> bool:
        from snakeval.executors.lepton import jobs

        return jobs.was_used(run)

    def ran(self, task: TaskPaths, attempt: Mapping[str, Any]) -> bool:
        from snakeval.run_folder.jobs import noted

        return bool(attempt.get("job")) and noted(task.job).get("on") == self.name

    def live_jobs(self, run: RunPaths) -> dict[str, Job]:
        from snakeval.executors.lepton import jobs

        return jobs.live_jobs(run)

    def stop(self, run: RunPaths, wanted: Callable[[str], bool]) -> base.Stopped:
        from snakeval.executors.lepton import jobs

        return jobs.stop(run, wanted)

    @property
    def servers(self) -> base.Servers:
        from snakeval.executors.lepton.server import Servers

        return Servers()
