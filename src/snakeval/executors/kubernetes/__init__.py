"""Everything that knows Kubernetes on the side of the controller.

The executor plugin (`snakemake_executor_plugin_kubernetes_jobs`) knows no benchmarks; what it is
told about them is in `hooks`. Its own, too: `places`, the namespaces that a run was ever in, and
`endpoint` and `endpoint_spec` for the Deployment that a model's server is.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from snakeval.executors import base

if TYPE_CHECKING:
    from snakeval.errors import Problem
    from snakeval.plan.run import Run, Task
    from snakeval.run_folder.jobs import Job
    from snakeval.run_folder.layout import RunPaths


class Executor(base.Executor):
    name, title, elsewhere = "kubernetes-jobs", "Kubernetes", True

    def resources_of(self, run: Run, task: Task) -> dict[str, base.Resource]:
        from snakeval.executors.kubernetes.resources import resources_of

        return resources_of(run, task)

    def provided(self, runs: Iterable[Run]) -> dict[Task, Collection[str]]:
        from snakeval.executors.kubernetes.resources import provided

        return provided(runs)

    def remarks(
        self, planned: Iterable[tuple[Run, Task]], defaults: Mapping[str, base.Resource]
    ) -> Iterable[Problem]:
        from snakeval.executors.kubernetes.checks import in_a_dry_run

        return in_a_dry_run(planned)

    def prepare(self, plugin: Any) -> None:
        # Its problems are told with all others, by `Start.check`.
        os.environ["SNAKEMAKE_KUBERNETES_JOBS_CHECKS"] = "later"

    def for_start(self, planned: base.Planned) -> base.Start:
        from snakeval.executors.kubernetes.start import Start

        return Start(planned)

    def was_used(self, run: RunPaths) -> bool:
        from snakeval.executors.kubernetes.places import places_of

        return bool(places_of(run))

    def live_jobs(self, run: RunPaths) -> dict[str, Job]:
        from snakeval.executors.kubernetes import jobs

        return jobs.live_jobs(run)

    def stop(self, run: RunPaths, wanted: Callable[[str], bool]) -> base.Stopped:
        from snakeval.executors.kubernetes import jobs

        return jobs.stop(run, wanted)

    @property
    def servers(self) -> base.Servers:
        from snakeval.executors.kubernetes.server import Servers

        return Servers()
