"""What the Snakefile sees: the runs of this start, their targets, and the start's hooks.

Parsing must stay cheap (it happens again in every cluster job): nothing heavy is imported here,
and only the main process reads the config at all. Jobs need nothing but their wildcards.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
import uuid
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

from snakeval.cli.arguments import Arguments
from snakeval.errors import InputError, Problem
from snakeval.executors.profile import DEFAULT_RUNTIME, Profile, default_resources

if TYPE_CHECKING:
    from snakeval.executors.base import Executor, Start
    from snakeval.plan.run import Run
    from snakeval.run_folder.controller import Hold

Wildcards = Any

NAMES_A_RUN = {"run", "base", "candidate"}
"""Keys of `--config` that name finished runs: no config is read then."""

SHOWN = 20
"""Benchmarks that a dry run names."""


COMING_UP = "servers_coming_up"
"""Snakemake's resource that jobs hold while they bring a server up."""


class Pipeline:
    """One start of the pipeline.

    workflow  Snakemake's workflow object
    root      the folder of the Snakefile
    """

    def __init__(self, workflow: Any, root: Path) -> None:
        self.root = root
        self._workflow = workflow
        self._holds: list[Hold] = []
        self._values: dict[str, Any] = dict(workflow.config_settings.config)
        self._warned = False
        self._prepared = False
        if workflow.is_main_process:
            os.environ.update(
                SNAKEVAL_START=uuid.uuid4().hex[:12],  # tells attempts of this start from others
                SNAKEVAL_PYTHON=sys.executable,
                SNAKEVAL_ROOT=str(root),  # not in the rules' params: a clone elsewhere is the same
            )
            self.runs  # noqa: B018 # a wrong config is told now, not when a rule asks
            self._cap_endpoints()

    @property
    def arguments(self) -> Arguments:
        """The command-line arguments of the utility targets."""
        return Arguments(self._workflow.config_settings, self.files, self.runs)

    @property
    def catalogue(self) -> Path:
        return self.root / "config" / "catalogue"

    @property
    def files(self) -> list[Path]:
        """The config files in force; the demo's only when there is none."""
        given = [Path(file) for file in self._workflow.config_settings.configfiles]
        shown = [_relative(file) for file in given]
        return shown or [_relative(self.root / "config" / "config.yaml")]

    @cached_property
    def runs(self) -> tuple[Run, ...]:
        """The runs of this start; none in a job, and none for a target that names its run."""
        if not self._workflow.is_main_process or self._values.keys() & NAMES_A_RUN:
            return ()
        from snakeval.plan.make import plan
        from snakeval.start import checks

        try:
            runs = plan(self.files, self._values, self.catalogue)
            problems = [each for run in runs for each in checks.recipes(run.tasks)]
            if problems:
                raise InputError(dict.fromkeys(problems))
            return runs
        except InputError as error:
            _refuse(error)

    # --- targets -------------------------------------------------------------------------------

    def published(self, _: Wildcards = None) -> list[str]:
        """The output of every task of this start."""
        self._force_fresh()
        self._warn_in_dry_run()
        return [
            str(task.paths.published(task.digest)) for run in self.runs for task in run.selected
        ]

    def tables(self, _: Wildcards = None) -> list[str]:
        """The tables of every run of this start."""
        return [str(run.paths.tables_stamp(run.members)) for run in self.runs]

    def tables_of(self, wildcards: Wildcards) -> list[str]:
        """The tables of one run."""
        from snakemake.io import ancient

        return [
            ancient(str(run.paths.tables_stamp(run.members)))
            for run in self.runs
            if str(run.paths.dir) == wildcards.run
        ]

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
        return self._reported if _snakemake_reports(sys.argv) else []

    @cached_property
    def _reported(self) -> list[str]:
        from snakemake.io import report
        from snakemake.sourcecache import LocalSourceFile

        from snakeval.report.page import write_report
        from snakeval.results.tables import write_tables

        flagged = []
        for run in self.runs:
            if not run.paths.record.exists():
                continue
            # The stamp stays what it is: these tables show the same, or what is there so far.
            write_tables(run, run.members)
            files = {"report": write_report(run), "table": run.paths.results_csv}
            for name, path in files.items():
                labels = {"run": run.paths.id, "model": str(run.identity["model_id"]), "file": name}
                caption = LocalSourceFile(str(self.root / "rules" / f"{name}.rst"))
                flagged.append(report(str(path), caption, category="Evaluation", labels=labels))
        return flagged

    def members(self, wildcards: Wildcards) -> list[str]:
        """The published results that a run's tables are made of."""
        from snakemake.io import ancient

        return [
            ancient(str(task.paths.published(task.digest)))
            for run in self.runs
            if str(run.paths.dir) == wildcards.run
            for task in run.selected
        ]

    def servers(self, wildcards: Wildcards) -> list[str]:
        """The servers that a benchmark needs: while it is not published, and in the main process
        only. A job on a cluster finds them up."""
        self._prepare_executor()
        start = os.environ.get("SNAKEVAL_START", "")
        return [
            str(run.paths.server(name).up(start))
            for run in self.runs
            if str(run.paths.dir) == wildcards.run
            for task in run.tasks
            if task.name == wildcards.task and (not task.published or task in run.fresh)
            for name in task.servers
        ]

    # --- servers -------------------------------------------------------------------------------

    @cached_property
    def _gpu_limit(self) -> int | None:
        """GPUs that servers may use at once: Snakemake's resource `gpu`; None: no limit."""
        from snakeval.start.gpus import RESOURCE

        given: Any = self._workflow.global_resources.get(RESOURCE)
        value = getattr(given, "value", given)
        return value if isinstance(value, int) else None

    @cached_property
    def _gpu_shares(self) -> dict[str, dict[str, str]]:
        """For each run what its servers of this start take, the first one first."""
        from snakeval.start import gpus

        return {
            str(run.paths.dir): gpus.shares(run, self._gpu_limit or 0)
            for run in self.runs
            if run.servers
        }

    def _first_of(self, wildcards: Wildcards) -> str | None:
        return next(iter(self._gpu_shares.get(wildcards.run, ())), None)

    def _is_first(self, wildcards: Wildcards) -> bool:
        return bool(self._first_of(wildcards) == wildcards.deployment)

    def servers_before(self, wildcards: Wildcards) -> list[str]:
        """Under a limit a run's first server claims for all of them, and comes first."""
        if self._gpu_limit is None or self._is_first(wildcards):
            return []
        first = self._first_of(wildcards)
        return [f"{wildcards.run}/deployments/{first}/up.{wildcards.start}"] if first else []

    def server_resources(self) -> dict[str, Callable[[Wildcards], int]]:
        """What the jobs hold that bring servers up."""
        if not any(run.servers for run in self.runs):
            return {}
        from snakeval.start.gpus import RESOURCE, count

        # They wait without a core, and Snakemake keeps five more workers than cores for such jobs.
        self._workflow.register_resource(COMING_UP, 4)
        asked: dict[str, Callable[[Wildcards], int]] = {
            COMING_UP: lambda wildcards: int(self._gpu_limit is None or self._is_first(wildcards))
        }
        if self._gpu_limit is not None:
            asked[RESOURCE] = lambda wildcards: (
                sum(map(count, self._gpu_shares[wildcards.run].values()))
                if self._is_first(wildcards)
                else 0
            )
        return asked

    def gpus_asked(self, wildcards: Wildcards) -> str:
        """Arguments of `deploy.py`: the limit, and what this run's servers take of it."""
        if self._gpu_limit is None:
            return ""
        shares = self._gpu_shares.get(wildcards.run, {})
        words = [f"{name}={share}" for name, share in shares.items()]
        return shlex.join(["--limit", str(self._gpu_limit), "--gpus", *words])

    def _gpu_problems(self, profile: Profile) -> list[Problem]:
        """Servers that the limit never lets up, or that nothing keeps apart."""
        from snakeval.start import gpus

        if self._gpu_limit is None:
            return [] if profile.elsewhere else gpus.unlimited(self.runs)
        return [each for run in self.runs for each in gpus.problems(run, self._gpu_limit)]

    def _count_servers_that_are_up(self, profile: Profile) -> None:
        """Those of an earlier start have GPUs already; elsewhere the queue counts them."""
        from snakeval.start import gpus

        if self._gpu_limit is not None and not profile.elsewhere:
            gpus.found_up(gpus.claims_file(os.environ["SNAKEVAL_START"]), self.runs)

    # --- resources -----------------------------------------------------------------------------

    @cached_property
    def _capped(self) -> dict[str, int]:
        """Endpoints with a cap: name of the Snakemake resource -> benchmarks at once."""
        return {
            self._resource_of[str(run.paths.dir), task.name]: cap
            for run in self.runs
            if (cap := run.config.execution.endpoint_cap)
            for task in run.tasks
            if task.endpoint.url or task.servers
        }

    @cached_property
    def _resource_of(self) -> dict[tuple[str, str], str]:
        """The name of the resource that stands for the endpoint of a run's task."""
        from snakeval.plan.identity import digest

        return {
            (
                str(run.paths.dir),
                task.name,
            ): f"endpoint_{digest(task.endpoint.url or run.paths.id, 8)}"
            for run in self.runs
            for task in run.tasks
        }

    def _cap_endpoints(self) -> None:
        for name, cap in self._capped.items():
            self._workflow.register_resource(name, cap)

    def endpoint_resources(self) -> dict[str, Callable[[Wildcards], int]]:
        """One resource per capped endpoint: 1 for the tasks that use it."""
        return {name: self._uses(name) for name in self._capped} if self.runs else {}

    def _uses(self, resource: str) -> Callable[[Wildcards], int]:
        return lambda wildcards: int(
            self._resource_of.get((wildcards.run, wildcards.task)) == resource
        )

    def cluster_resources(self) -> dict[str, Callable[[Wildcards], int | str | None]]:
        """What the config asks a cluster for, by the names of Snakemake's resources."""
        if not self.runs:
            return {}
        from snakeval.executors.registry import executors

        # Which of them it is, Snakemake says only later.
        asked = {
            (str(run.paths.dir), task.name): {
                name: value
                for each in executors()
                for name, value in each.resources_of(run, task).items()
            }
            for run in self.runs
            for task in run.tasks
        }
        defaults = default_resources(self._workflow)

        def of(name: str) -> Callable[[Wildcards], int | str | None]:
            # What only some tasks ask for is the profile's default for the others.
            return lambda wildcards: asked[wildcards.run, wildcards.task].get(
                name, defaults.get(name)
            )

        return {name: of(name) for name in {name for each in asked.values() for name in each}}

    def _force_fresh(self) -> None:
        """`fresh=`: plans these tasks although they are finished, in a dry run too.

        Snakemake has taken its own `--forcerun` over before the first input function is asked,
        and looks at the set when all of them have answered.
        """
        for run in self.runs:
            for task in run.fresh:
                self._workflow.dag.forcefiles |= {
                    str(task.paths.published(task.digest)),
                    str(run.paths.tables_stamp(run.members)),
                }

    # --- hooks ---------------------------------------------------------------------------------

    def start(self) -> None:
        """`onstart`: acts only where jobs of a run are planned, not for utility targets."""
        planned = self._planned("evaluate")
        if not planned and not self._planned("results") and not self._planned("auto_export"):
            return
        from snakemake.logging import logger

        from snakeval.start.begin import begin

        wanted = {
            str(job.output[0]): str(job.resources.get("container_runtime", DEFAULT_RUNTIME))
            for job in planned
        }
        os.environ["SNAKEVAL_RETRIES"] = str(self._workflow.execution_settings.retries)
        try:
            defaults = default_resources(self._workflow)
            profile = Profile(self._workflow.executor_plugin.name, defaults)
            executor = _executor(profile)
            part = self._part_of(executor, planned, profile)
            found = [*part.check(), *self._gpu_problems(profile)]
            provided = executor.provided(self.runs)
            self._holds = begin(self.runs, wanted, logger, profile, found, provided)
            self._count_servers_that_are_up(profile)
            part.look()
        except InputError as error:
            _refuse(error)
        part.begin()
        if planned and self._values.get("controller") == "job":
            self._give_to_a_job(part)

    def _part_of(self, executor: Executor, planned: list[Any], profile: Profile) -> Start:
        """The executor's part in this start; none where nothing is to be evaluated."""
        from snakeval.executors.base import Planned, Start

        if not planned:
            return Start()
        return executor.for_start(
            Planned(
                self.runs,
                {str(job.output[0]): job for job in planned},
                self._workflow.scheduler.get_executor(planned[0]),
                profile.defaults,
                os.environ["SNAKEVAL_START"],
            )
        )

    def _prepare_executor(self) -> None:
        """Snakemake makes its executor when the jobs are planned, and an executor of ours may have
        something to say about which. Done once."""
        plugin = self._workflow.executor_plugin
        if self._prepared or plugin is None or not self._workflow.is_main_process:
            return
        from snakeval.executors.registry import executor

        self._prepared = True
        executor(plugin.name).prepare(plugin)

    def _give_to_a_job(self, part: Start) -> NoReturn:
        """`controller=job`: this start ends here, and a job drives the run."""
        from snakemake.logging import logger

        for hold in self._holds:
            hold.release()
        try:
            job = part.hand_over()
        except InputError as error:
            _refuse(error)
        logger.info(f"job {job} drives the run now: {self.runs[0].paths.dir}")
        raise SystemExit(0)

    def finish(self) -> None:
        """`onsuccess` and `onerror`: the tables over what is published now, and the run given
        back. Does nothing for utility targets."""
        if not self._holds:
            return
        from snakemake.logging import logger

        from snakeval.results.samples import write_if_possible
        from snakeval.results.tables import print_table, rows, write_tables

        self._take_servers_down()
        for run in self.runs:
            complete = run.paths.tables_stamp(run.members).exists() and all(
                task.published for task in run.tasks
            )
            # The rule has written both where all is published: the reader of Parquet is heavy.
            if not (complete and run.paths.samples.exists()) and (failed := write_if_possible(run)):
                logger.warning(failed)
            # What a server has cost is known only now.
            final = complete and not run.servers
            print_table(run, rows(run) if final else write_tables(run, run.members))
            if not complete:
                self._export_what_is_there(run)
        for hold in self._holds:
            hold.release()

    def _export_what_is_there(self, run: Run) -> None:
        """The rule `auto_export` waits for all benchmarks; those that are published go now.

        In a process of its own: its clients are heavy, and leave threads behind.
        """
        if not run.config.execution.auto_export.destinations:
            return
        if any(task.published for task in run.tasks):
            script = str(self.root / "scripts" / "export.py")
            subprocess.run(
                [sys.executable, script, "--folder", str(run.paths.dir), "--auto"], check=False
            )

    def _take_servers_down(self) -> None:
        """What was brought up ends now, unless a benchmark that outlived its start still runs."""
        if not any(run.servers for run in self.runs):
            return
        from snakeval.executors.registry import servers_at
        from snakeval.run_folder import servers as state
        from snakeval.start.gpus import claims_file

        for run in self.runs:
            for paths in state.deployments_of(run.paths):
                if not state.was_started_by_hand(paths):
                    servers_at(paths).take_down(paths, "unused")
        claims_file(os.environ["SNAKEVAL_START"]).unlink(missing_ok=True)

    def _planned(self, rule: str) -> list[Any]:
        dag = self._workflow.dag
        return [job for job in dag.needrun_jobs() if job.rule.name == rule]

    def _warn_in_dry_run(self) -> None:
        """A dry run warns about what a real start would refuse."""
        if self._warned or not self._workflow.dryrun:
            return
        self._warned = True
        from snakemake.logging import logger

        from snakeval.render.task import Pending
        from snakeval.runtime import RUNTIMES
        from snakeval.start import checks

        logger.info("`snakemake show_config` (same flags) shows every task's image and command.")
        # A dry run does not say which executor it stands for.
        types = {run.config.execution.type for run in self.runs} - {"local"}
        profile = Profile(next(iter(types), "local"), default_resources(self._workflow))
        pending = Pending(
            {
                task: profile.runtime
                for run in self.runs
                for task in run.selected
                if not task.published or task in run.fresh
            }
        )
        if pending:
            several = len(self.runs) > 1
            names = [
                f"{task.name} of {task.endpoint.model_id}" if several else task.name
                for task in pending
            ]
            more = f" and {len(names) - SHOWN} more" if len(names) > SHOWN else ""
            logger.info(f"to be evaluated: {', '.join(names[:SHOWN])}{more}")
        found = checks.problems(
            self.runs,
            pending,
            {name: kind() for name, kind in RUNTIMES.items()},
            profile.executor,
            profile.elsewhere,
            _executor(profile).provided(self.runs),
        )
        for problem in [*found, *self._gpu_problems(profile)]:
            verdict = "" if problem.warning else "a real start would be refused: "
            logger.warning(f"{verdict}{problem}")


def _executor(profile: Profile) -> Executor:
    from snakeval.executors.registry import executor

    return executor(profile.executor)


def _snakemake_reports(words: list[str]) -> bool:
    """Whether Snakemake was asked for its own report of what has run. It has no better way to be
    asked; after a run (`--report-after-run`) there is nothing yet when inputs are looked for."""
    given = {word.partition("=")[0] for word in words}
    return "--report" in given and "--report-after-run" not in given


def _relative(path: Path) -> Path:
    """A path as a person would write it here."""
    try:
        return path.relative_to(Path.cwd())
    except ValueError:
        return path


def _refuse(error: InputError) -> NoReturn:
    """Ends Snakemake with the message alone; a WorkflowError would add a traceback to it."""
    from snakemake.logging import logger

    logger.error(str(error))
    raise SystemExit(1) from None


def load(workflow: Any) -> Pipeline:
    """The pipeline of a Snakefile."""
    return Pipeline(workflow, Path(workflow.basedir))
