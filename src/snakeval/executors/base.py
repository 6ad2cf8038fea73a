"""What the pipeline asks of an executor. Each one is a folder beside this file, or a package of its
own (`docs/custom-executor.md`).

An executor of ours stands beside an executor plugin of Snakemake and has its name: the plugin runs
jobs, ours knows what is to be done about the jobs of benchmarks, and about models' servers. What
is not overridden is that of an executor about which nothing more is known.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from snakeval.errors import InputError, Problem

if TYPE_CHECKING:
    from snakeval.config.model import Config
    from snakeval.executors.login import Login
    from snakeval.plan.run import Run, Task
    from snakeval.plan.server import Server
    from snakeval.run_folder.jobs import Job
    from snakeval.run_folder.layout import RunPaths, ServerPaths, TaskPaths

Resource = int | str

CONTROLLER = ""
"""Stands for the run's controller where jobs are told apart by their tasks."""


class CannotAsk(Exception):
    """A service could not be asked: nothing is known, which is not the same as an ended job.

    The message says why; who tells it names the executor.
    """


@dataclass(frozen=True)
class Planned:
    """What a real start has planned.

    jobs      Snakemake's jobs of benchmarks, by their output
    plugin    Snakemake's executor object, made by the executor plugin, which runs these jobs
    defaults  the profile's `default-resources`
    start     the id of this start
    """

    runs: Sequence[Run]
    jobs: Mapping[str, Any]
    plugin: Any
    defaults: Mapping[str, Resource]
    start: str

    @property
    def tasks(self) -> dict[str, tuple[Run, Task]]:
        """The planned benchmarks with their runs, by the output of their jobs."""
        return {
            output: (run, task)
            for run in self.runs
            for task in run.tasks
            if (output := str(task.paths.published(task.digest))) in self.jobs
        }


@dataclass
class Stopped:
    """What was ended, and what is still there; each in a few words."""

    ended: list[str] = field(default_factory=list)
    left: list[str] = field(default_factory=list)


class Start:
    """An executor's part in one real start; asked in this order."""

    def check(self) -> Iterable[Problem]:
        """What keeps the planned jobs from being run; nothing of the run is written yet."""
        return ()

    def look(self) -> None:
        """Looks at what can be seen only when the run folders are there. Raises InputError."""

    def begin(self) -> None:
        """The last thing before the first job."""

    can_hand_over = False
    """Whether `controller=job` gives the run to a job."""

    def hand_over(self) -> str:
        """`controller=job`: gives the run to a job, which drives it from now on; its id.

        Raises InputError.
        """
        raise NotImplementedError


NO_CONTROLLER_JOB = Problem(
    "--config controller",
    "with this executor no job can drive a run",
    "leave it out, and keep this process running (tmux, screen, nohup)",
)
"""Told before anything is written."""


class Servers(ABC):
    """Models' servers with one executor: how they come up, where they are, how they end."""

    @property
    def on_this_machine(self) -> bool:
        """Whether they use this machine's GPUs."""
        return False

    @property
    def has_variables(self) -> bool:
        """Whether variables of this machine reach a server from elsewhere, set here or not."""
        return False

    def check(self, run: Run, server: Server, runtime: str) -> Iterable[Problem]:
        """What keeps a server from coming up; told before anything starts."""
        return ()

    @abstractmethod
    def write(
        self,
        run: Run,
        server: Server,
        runtime: str,
        image: str | None,
        defaults: Mapping[str, Resource],
    ) -> None:
        """Writes the scripts that bring a server to life, at a real start.

        image     pinned where that could be done
        defaults  the profile's `default-resources`
        """

    def shown(self, run: Run, server: Server) -> dict[str, str]:
        """Scripts of a server as far as the config alone decides, by name: for `show_config`."""
        return {}

    @abstractmethod
    def bring_up(self, paths: ServerPaths) -> None:
        """Returns when the server is healthy. Raises InputError when it will not be."""

    @abstractmethod
    def take_down(self, paths: ServerPaths, when: str = "now") -> bool:
        """Asks for the server's end and waits for it; whether it is down.

        when  `now`, or `unused`: as soon as no benchmark uses it
        """

    @abstractmethod
    def where(self, paths: ServerPaths) -> str:
        """Where a live server is, in a few words; empty when there is none."""

    def left_over(self, paths: ServerPaths) -> str:
        """What of a server is there, and may cost, although nobody supervises it; in words."""
        return ""


class Executor:
    """One executor.

    name       Snakemake's name of its plugin
    title      as messages have it
    elsewhere  whether jobs run on other machines, which have container engines of their own
    """

    name: str
    title: str
    elsewhere: bool

    # --- planning --------------------------------------------------------------------------------

    def resources_of(self, run: Run, task: Task) -> dict[str, Resource]:
        """What the config asks for a benchmark's job, by the names of Snakemake's resources."""
        return {}

    def provided(self, runs: Iterable[Run]) -> dict[Task, Collection[str]] | None:
        """The variables that jobs get whatever this machine has; None: they get this machine's."""
        return None

    def remarks(
        self, planned: Iterable[tuple[Run, Task]], defaults: Mapping[str, Resource]
    ) -> Iterable[Problem]:
        """What a dry run tells of how the planned benchmarks run, and what that costs.

        defaults  the profile's `default-resources`
        """
        return ()

    def login_node(self, config: Config) -> Login | None:
        """The machine on which a start of this config belongs, and which ssh reaches; None: it
        belongs here."""
        return None

    # --- a real start ----------------------------------------------------------------------------

    def prepare(self, plugin: Any) -> None:
        """Called before Snakemake makes its executor object.

        plugin  the executor plugin as Snakemake has registered it
        """

    def for_start(self, planned: Planned) -> Start:
        return Start()

    # --- jobs of a run folder --------------------------------------------------------------------

    def was_used(self, run: RunPaths) -> bool:
        """Whether a job of a run may ever have been created here; no service is asked."""
        return False

    def ran(self, task: TaskPaths, attempt: Mapping[str, Any]) -> bool:
        """Whether an attempt that names no executor (of version 0.1) was a job of this one."""
        return False

    def live_jobs(self, run: RunPaths) -> dict[str, Job]:
        """The live jobs of a run by task. Raises CannotAsk."""
        return {}

    def stop(self, run: RunPaths, wanted: Callable[[str], bool]) -> Stopped:
        """Ends the live jobs of some tasks, and proves it. Raises CannotAsk.

        wanted  asked with a task's name, or with `CONTROLLER`
        """
        return Stopped()

    def has_ended(self, run: RunPaths, job: str) -> bool:
        """Whether a job is known to have ended; False where nobody knows."""
        return False

    # --- models' servers -------------------------------------------------------------------------

    @property
    def servers(self) -> Servers | None:
        """None: no server can be brought up here."""
        return None


def did_not_come_up(paths: ServerPaths, cause: str) -> InputError:
    """What `Servers.bring_up` raises."""
    where = f"deployments/{paths.dir.name}"
    return InputError(
        [Problem(where, f"the server did not come up: {cause}", f"logs: {paths.logs}")]
    )
