"""Everything that knows Slurm on the side of the controller.

Its own: `queue` what Slurm says about jobs; `nodes` what a job on a node sees; `command` what a job
asks for; `submit` and `submission` submit the scripts and follow their jobs, `contact` is whether
Slurm answers meanwhile; `header` is what the scripts begin with; `steps` benchmarks inside a
server's job, and `placement` which ones; `server_job` the job that a server is. How Slurm is asked,
by whomever, is `snakeval/job/slurm_calls.py`; what a job itself knows about Slurm is
`snakeval/job/slurm_job.py`.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from typing import TYPE_CHECKING, Any

from snakeval.executors import base

if TYPE_CHECKING:
    from snakeval.config.model import Config
    from snakeval.errors import Problem
    from snakeval.executors.login import Login
    from snakeval.plan.run import Run, Task
    from snakeval.run_folder.jobs import Job
    from snakeval.run_folder.layout import RunPaths, TaskPaths


class Executor(base.Executor):
    name, title, elsewhere = "slurm", "Slurm", True

    def resources_of(self, run: Run, task: Task) -> dict[str, base.Resource]:
        from snakeval.executors.slurm.resources import resources_of

        return resources_of(run, task)

    def login_node(self, config: Config) -> Login | None:
        from snakeval.executors.slurm.checks import login_node

        return login_node(config)

    def remarks(
        self, planned: Iterable[tuple[Run, Task]], defaults: Mapping[str, base.Resource]
    ) -> Iterable[Problem]:
        from snakeval.executors.slurm.checks import in_a_dry_run
        from snakeval.executors.slurm.placement import remarks

        tasks = list(planned)
        yield from remarks(tasks, defaults.get("runtime"))
        yield from in_a_dry_run(tasks, defaults)

    def prepare(self, plugin: Any) -> None:
        from snakeval.executors.slurm.submission import Submission

        plugin.executor = Submission

    def for_start(self, planned: base.Planned) -> base.Start:
        from snakeval.executors.slurm.start import Start

        return Start(planned)

    def was_used(self, run: RunPaths) -> bool:
        from snakeval.executors.slurm import jobs

        return jobs.was_used(run)

    def ran(self, task: TaskPaths, attempt: Mapping[str, Any]) -> bool:
        from snakeval.run_folder.jobs import noted

        return bool(attempt.get("job")) and noted(task.job).get("on", self.name) == self.name

    def live_jobs(self, run: RunPaths) -> dict[str, Job]:
        from snakeval.executors.slurm import jobs

        return jobs.live_jobs(run)

    def stop(self, run: RunPaths, wanted: Callable[[str], bool]) -> base.Stopped:
        from snakeval.executors.slurm import jobs

        return jobs.stop(run, wanted)

    def has_ended(self, run: RunPaths, job: str) -> bool:
        from snakeval.executors.slurm import jobs

        return jobs.has_ended(run, job)

    @property
    def servers(self) -> base.Servers:
        from snakeval.executors.slurm.server import Servers

        return Servers()
