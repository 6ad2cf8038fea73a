"""What the Snakefile sees: the runs of this start, their targets, and the start's hooks.

Parsing must stay cheap (it happens again in every cluster job): nothing heavy is imported here,
and only the main process reads the config at all. Jobs need nothing but their wildcards.
"""

from __future__ import annotations

import gc
import os
import sys
import uuid
from collections.abc import Callable, Mapping
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from snakeval import closing
from snakeval.cli.arguments import Arguments
from snakeval.errors import InputError
from snakeval.executors.profile import Profile, of_all_jobs
from snakeval.run_folder.layout import from_here
from snakeval.start import snakemake_internals as snakemake
from snakeval.start.as_module import of_module
from snakeval.start.words import OfJobs, Shorter

if TYPE_CHECKING:
    from snakeval.plan.run import Run
    from snakeval.run_folder.controller import Hold
    from snakeval.start.benchmark_jobs import Asked, Caps
    from snakeval.start.server_jobs import ServerJobs

Wildcards = Any

AT_ONCE = 4
"""Benchmarks at once where no profile and no `--cores` says it: as `profiles/local` has it."""

COLLECT_AFTER = 50_000
"""New objects between two looks for garbage; Python's own number is 700, for small programs."""

NAMES_A_RUN = {"run", "runs", "base", "candidate"}
"""Keys of `--config` that name finished runs: no config is read then."""


class Pipeline:
    """One start of the pipeline.

    workflow  Snakemake's workflow object
    """

    def __init__(self, workflow: Any) -> None:
        self.root = snakemake.folder_of_snakefile(workflow)
        self._module = module = of_module(snakemake.module_of(workflow))
        self._workflow = workflow
        self._holds: list[Hold] = []
        self._said = module.said if module else snakemake.command_line(workflow)
        self._warned = False
        self._knows_images = False
        self._prepared = False
        self._end_progress: Callable[[], None] = lambda: None
        self._end_ready: Callable[[], None] = lambda: None
        self._shows_again = False
        if module:
            snakemake.local_rules_of_module(workflow)
        if snakemake.is_main_process(workflow):
            os.environ.update(
                SNAKEVAL_START=uuid.uuid4().hex[:12],  # tells attempts of this start from others
                SNAKEVAL_PYTHON=sys.executable,
                SNAKEVAL_ROOT=str(self.root),  # not in the rules' params: a clone is the same
            )
            if module:
                module.check()
                snakemake.join_hooks(workflow, self.start, self.finish)
            else:
                talk = Shorter(
                    lambda: snakemake.targets(workflow),
                    self._nothing_to_do,
                    lambda: snakemake.asks_for_answers_only(workflow),
                )
                snakemake.filter_log(talk)
                snakemake.tell_of_jobs_who_listens(workflow)
                snakemake.remember_parameters()
                of_jobs = OfJobs(self._called, self._is_local, snakemake.log().info)
                snakemake.filter_screen(workflow, of_jobs)
                snakemake.limit_cores(workflow, AT_ONCE)
            gc.set_threshold(COLLECT_AFTER)
            self.runs  # noqa: B018 # a wrong config is told now, not when a rule asks
            gc.freeze()  # the plan stays to the end: thousands of tasks are not looked at again
            for name, cap in self._caps.limits.items() if self.runs else ():
                snakemake.limit_resource(workflow, name, cap)
            snakemake.settle_default_resources(workflow, self._defaults)

    @property
    def is_module(self) -> bool:
        """Whether somebody else's workflow has this one as a module."""
        return self._module is not None

    @property
    def arguments(self) -> Arguments:
        """The command-line arguments of the utility targets."""
        keys = ("execution", "output_dir")
        theirs = self.is_module  # the workflow's config is not ours then
        output_dir = None if theirs else snakemake.value_of_config(self._workflow, *keys)
        return Arguments(self._said, self.files, self.runs, output_dir)

    @property
    def files(self) -> list[Path]:
        """The config files in force; the demo's only when there is none."""
        demo = self.root / "config" / "config.yaml"
        return [from_here(file) for file in self._said.files or [demo]]

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The runs of this start; none in a job, and none for a target that names its run."""
        names_a_run = self._said.values.keys() & NAMES_A_RUN
        if not snakemake.is_main_process(self._workflow) or names_a_run:
            return ()
        from snakeval.start.planned import planned

        try:
            return planned(self.files, self._said.values, self.root / "config" / "catalogue")
        except InputError as error:
            _refuse(error)

    # --- targets -------------------------------------------------------------------------------

    def published(self, _: Wildcards = None) -> list[str]:
        """The output of every task of this start."""
        from snakeval.plan.pending import forced

        self._plan_fresh_images()
        for run in self.runs:
            if again := [str(task.paths.published(task.digest)) for task in forced(run)]:
                snakemake.force(self._workflow, [*again, str(run.paths.tables_stamp(run.members))])
        self._warn_in_dry_run()
        return [
            str(task.paths.published(task.digest)) for run in self.runs for task in run.selected
        ]

    def _plan_fresh_images(self) -> None:
        """`update_images=true`: what it changes is planned again, as `fresh=` would."""
        if self._knows_images or not any(run.update_images for run in self.runs):
            return
        self._knows_images = True
        from snakeval.start import fresh_images

        dry, log = snakemake.is_dry_run(self._workflow), snakemake.log()
        may_bring = not dry and self._is_local()
        self.runs = fresh_images.planned_again(
            self.runs, self._runtime, may_bring, log.info, log.warning
        )
        self.__dict__.pop("_by_folder", None)

    def tables(self, _: Wildcards = None) -> list[str]:
        """The tables of every run of this start."""
        return [str(run.paths.tables_stamp(run.members)) for run in self.runs]

    def tables_of(self, wildcards: Wildcards) -> list[str]:
        """The tables of one run."""
        found = [(run, str(run.paths.tables_stamp(run.members))) for run in self._run(wildcards)]
        return [stamp if run.again else snakemake.old(stamp) for run, stamp in found]

    def exported(self, _: Wildcards = None) -> list[str]:
        """The automatic export of every run of this start that has one."""
        chosen = [run for run in self.runs if run.config.execution.auto_export.destinations]
        if not chosen:
            return []
        from snakeval.export.stamps import stamp

        return [str(run.paths.exports_stamp(stamp(run))) for run in chosen]

    def reported(self, _: Wildcards = None) -> list[str]:
        """For Snakemake's own `--report` only: the page and the table of every run that was
        started, written now, over what is published."""
        return self._reported if snakemake.wants_report() else []

    @cached_property
    def _reported(self) -> list[str]:
        from snakeval.report.page import written

        return [
            snakemake.reported(
                path,
                self.root / "rules" / f"{name}.rst",
                {"run": run.paths.id, "model": str(run.identity["model_id"]), "file": name},
            )
            for run in self.runs
            if run.paths.record.exists()
            for name, path in written(run).items()
        ]

    def members(self, wildcards: Wildcards) -> list[str]:
        """The published results that a run's tables are made of. One that is evaluated again under
        its own digest makes new ones; of all others the names are the whole truth."""
        found = []
        for run in self._run(wildcards):
            again = run.again
            for task in run.selected:
                path = str(task.paths.published(task.digest))
                found.append(path if task in again else snakemake.old(path))
        return found

    def servers(self, wildcards: Wildcards) -> list[str]:
        """The servers that a benchmark needs: while it is not published, and in the main process
        only. A job on a cluster finds them up."""
        if not self.runs:
            return []
        from snakeval.start import server_jobs

        self._prepare_executor()
        start = os.environ.get("SNAKEVAL_START", "")
        runs = self._run(wildcards)
        made_before = self._module.needed(runs, wildcards.task) if self._module else []
        return [*made_before, *server_jobs.tokens(runs, wildcards.task, start)]

    def _prepare_executor(self) -> None:
        """Snakemake makes its executor when the jobs are planned, and an executor of ours may have
        something to say about which."""
        plugin = snakemake.executor_plugin(self._workflow)
        if self._prepared or plugin is None:
            return
        from snakeval.executors.registry import executor

        self._prepared = True
        snakemake.count_cores(self._workflow)
        executor(plugin.name).prepare(plugin)

    @cached_property
    def _by_folder(self) -> dict[str, Run]:
        return {str(run.paths.dir): run for run in self.runs}

    def _run(self, wildcards: Wildcards) -> list[Run]:
        found = self._by_folder.get(wildcards.run)
        return [found] if found else []

    def _called(self, job: int) -> str:
        """What the benchmark of a job of this start is called; empty: it is none."""
        return self._called_by_number.get(job, "")

    @cached_property
    def _called_by_number(self) -> dict[int, str]:
        called = {
            (str(run.paths.dir), task.name): task.called for run in self.runs for task in run.tasks
        }
        return {
            snakemake.number_of(job): called.get((job.wildcards.run, job.wildcards.task), "")
            for job in snakemake.planned(self._workflow, "evaluate")
        }

    def _is_local(self) -> bool:
        plugin = snakemake.executor_plugin(self._workflow)
        return plugin is None or bool(plugin.common_settings.local_exec)

    @cached_property
    def _defaults(self) -> dict[str, int | str]:
        return of_all_jobs(snakemake.default_resources(self._workflow))

    @property
    def _runtime(self) -> str:
        """The container runtime of the profile."""
        return Profile(self._defaults).runtime

    # --- what jobs ask of Snakemake --------------------------------------------------------------

    @cached_property
    def _server_jobs(self) -> ServerJobs:
        from snakeval.start import gpus, server_jobs

        limit = snakemake.resource_limit(self._workflow, gpus.RESOURCE)
        return server_jobs.server_jobs(self.runs, limit)

    def servers_before(self, wildcards: Wildcards) -> list[str]:
        """The servers that come up before another one."""
        from snakeval.start import server_jobs

        made_before = self._module.needed(self._run(wildcards)) if self._module else []
        return [*made_before, *server_jobs.before(self._server_jobs, wildcards)]

    def server_resources(self) -> Mapping[str, Asked]:
        """What the jobs hold that bring servers up."""
        if not any(run.servers for run in self.runs):
            return {}
        from snakeval.start import server_jobs

        snakemake.limit_resource(self._workflow, server_jobs.COMING_UP, server_jobs.AT_ONCE)
        return server_jobs.resources(self._server_jobs)

    def gpus_asked(self, wildcards: Wildcards) -> str:
        """Arguments of `deploy.py`: the limit, and what this run's servers take of it."""
        from snakeval.start import server_jobs

        return server_jobs.arguments(self._server_jobs, wildcards)

    @cached_property
    def _caps(self) -> Caps:
        from snakeval.start import benchmark_jobs

        return benchmark_jobs.caps_of(self.runs)

    def endpoint_resources(self) -> dict[str, Asked]:
        """One resource per capped endpoint: 1 for the tasks that use it."""
        if not self.runs:
            return {}
        from snakeval.start import benchmark_jobs

        return benchmark_jobs.endpoint_resources(self._caps)

    def cluster_resources(self) -> dict[str, Asked]:
        """What the config asks a cluster for, by the names of Snakemake's resources."""
        if not self.runs:
            return {}
        from snakeval.start import benchmark_jobs

        return benchmark_jobs.cluster_resources(self.runs, self._defaults)

    # --- hooks ---------------------------------------------------------------------------------

    def start(self) -> None:
        """`onstart`: acts only where jobs of a run are planned, not for utility targets."""
        from snakeval.start import hooks

        as_job = self._said.values.get("controller") == "job"
        try:
            named = self._module.named if self._module else str
            self._holds = hooks.before_the_first_job(self._workflow, self.runs, as_job, named)
        except InputError as error:
            _refuse(error)
        except hooks.HandedOver as handed_over:
            snakemake.log().info(str(handed_over))
            raise SystemExit(0) from None
        if self._holds:
            closing.end_once()
            self._end_progress = closing.show_progress(self.runs)
            if self._is_local():
                self._end_ready = closing.begin_tables(self.root / "scripts")

    def finish(self) -> None:
        """`onsuccess` and `onerror`: the tables over what is published now, and the run given
        back. Does nothing for utility targets."""
        snakemake.end_timers()
        if not self._holds:
            return
        from snakeval.start import hooks

        self._end_progress()
        self._end_ready()
        hooks.take_servers_down(self.runs, os.environ["SNAKEVAL_START"])
        closing.show_results(self.runs, self.root / "scripts")
        for hold in self._holds:
            hold.release()
        closing.notify(self.runs)

    def _nothing_to_do(self) -> None:
        """Everything was finished before: the tables are shown all the same."""
        if self.runs and not (snakemake.is_dry_run(self._workflow) or self._shows_again):
            self._shows_again = True
            closing.show_again_at_exit(self.runs, self._runtime)

    def _warn_in_dry_run(self) -> None:
        """A dry run warns about what a real start would refuse."""
        if self._warned or not snakemake.is_dry_run(self._workflow):
            return
        self._warned = True
        from snakeval.start import dry_run, hooks

        dry_run.tell(hooks.dry_start(self._workflow, self.runs, self.is_module))


def _refuse(error: InputError) -> NoReturn:
    """Ends Snakemake with the message alone; a WorkflowError would add a traceback to it."""
    snakemake.log().error(str(error))
    raise SystemExit(1) from None


def load(workflow: Any) -> Pipeline:
    """The pipeline of a Snakefile; one for all that a workflow takes from a module."""
    module = snakemake.module_of(workflow)
    known = snakemake.kept_on(workflow)
    name = module.name if module else ""
    if name not in known:
        known[name] = Pipeline(workflow)
    found: Pipeline = known[name]
    return found
