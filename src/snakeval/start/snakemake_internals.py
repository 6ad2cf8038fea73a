"""What is asked of Snakemake that it does not promise: here and nowhere else.

Snakemake has no interface for a workflow that looks at itself. Each function says what it is needed
for; `tests/unit/test_snakemake_internals.py` says which one a newer Snakemake has broken.
`workflow` is Snakemake's object of that name, as a Snakefile has it.
"""

from __future__ import annotations

import contextlib
import functools
import io
import logging
import os
import sys
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from logging.handlers import QueueHandler
from pathlib import Path
from types import FunctionType, MethodType
from typing import Any
from weakref import WeakKeyDictionary

Workflow = Any
Job = Any


# --- while the Snakefile is parsed ----------------------------------------------------------------


def is_main_process(workflow: Workflow) -> bool:
    """Whether this is the process that plans. Jobs parse the Snakefile too, and must be told
    nothing: a job in a queue is then immune to edits of the config."""
    return bool(workflow.is_main_process)


def folder_of_snakefile(workflow: Workflow) -> Path:
    """Where scripts and catalogue are, whatever the working directory is. As a module, the
    workflow's own folder is somebody else's."""
    if module_of(workflow) is None:
        return Path(workflow.basedir)
    return Path(str(workflow.current_basedir.get_path_or_uri(secret_free=True))).resolve()


@dataclass(frozen=True)
class Module:
    """What somebody's workflow says where it has this one as a `module`.

    named  the name of a rule as `use rule ... as` changes it
    """

    name: str
    config: Mapping[str, Any]
    named: Callable[[str], str]


def module_of(workflow: Workflow) -> Module | None:
    """None where the Snakefile was started itself. Only while it is parsed."""
    modifier = workflow.modifier
    if modifier.is_main_snakefile():
        return None
    config = modifier.globals.get("config")
    given = config if isinstance(config, Mapping) else {}
    return Module(str(modifier.namespace), given, modifier.modify_rulename)


def local_rules_of_module(workflow: Workflow) -> None:
    """Snakemake takes the names after `localrules:` for those of the whole workflow: there a
    module's rules have other names, or were not taken."""
    register = workflow.localrules

    def renamed(*names: str) -> None:
        modifier = workflow.modifier
        there = [name for name in names if modifier.avail_rulename(name) is not None]
        register(*map(modifier.modify_rulename, there))

    workflow.localrules = renamed


def join_hooks(workflow: Workflow, start: Callable[[], None], finish: Callable[[], None]) -> None:
    """Snakemake calls no `onstart`, `onsuccess`, `onerror` of a module. Ours are called before
    those of the workflow (`start`) or after them, whichever of the two is parsed first."""

    def first(theirs: Callable[[Any], None]) -> Callable[[Any], None]:
        def hook(log: Any) -> None:
            start()
            theirs(log)

        return hook

    def last(theirs: Callable[[Any], None]) -> Callable[[Any], None]:
        def hook(log: Any) -> None:
            try:
                theirs(log)
            finally:
                finish()

        return hook

    for name, joined in (("onstart", first), ("onsuccess", last), ("onerror", last)):
        _join(workflow, name, joined)


def _join(workflow: Workflow, name: str, joined: Callable[[Any], Any]) -> None:
    kept, register = f"_{name}", getattr(workflow, name)
    setattr(workflow, kept, joined(getattr(workflow, kept)))

    def later(hook: Any) -> None:
        register(hook)
        if workflow.modifier.is_main_snakefile():
            setattr(workflow, kept, joined(hook))

    setattr(workflow, name, later)


def kept_on(workflow: Workflow) -> dict[str, Any]:
    """What lives as long as a workflow: a module is parsed again for each `use rule`."""
    if not hasattr(workflow, "_snakeval"):
        workflow._snakeval = {}
    found: dict[str, Any] = workflow._snakeval
    return found


@dataclass(frozen=True)
class CommandLine:
    """What a person has said about the config.

    values    of `--config`, and of the config files
    files     of `--configfile`
    typed     `key=value` words of `--config` as they were typed
    """

    values: Mapping[str, Any]
    files: Sequence[Path]
    typed: Sequence[str]


def command_line(workflow: Workflow) -> CommandLine:
    """The `config` of a Snakefile has files and `--config` merged in Snakemake's way; the planner
    merges in the launcher's. And it has numbers where `0012` was typed, which may begin a run's
    id."""
    settings = workflow.config_settings
    typed = [str(word) for word in settings.config_args or ()]
    return CommandLine(dict(settings.config), list(settings.configfiles), typed)


def value_of_config(workflow: Workflow, *keys: str) -> Any:
    """A value of the config files and `--config` together, unchecked; None: there is none. A config
    that is broken elsewhere must not be in the way of `status` and `kill`."""
    found: Any = workflow.config_settings.overwrite_config
    for key in keys:
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def resource_limit(workflow: Workflow, name: str) -> int | None:
    """What `--resources NAME=N` says; None: nothing. Snakemake keeps the limit of a resource over
    its own jobs; a server lives longer than the job that brings it up."""
    given: Any = workflow.global_resources.get(name)
    value = getattr(given, "value", given)
    return value if isinstance(value, int) else None


def limit_resource(workflow: Workflow, name: str, value: int) -> None:
    """As `--resources NAME=N`: endpoints, and caps for them, are known from the config only."""
    workflow.register_resource(name, value)


def limit_cores(workflow: Workflow, most: int) -> None:
    """As `--cores`, where nobody has said how many: `profiles/default` has 100 `jobs` for clusters,
    and without a profile Snakemake takes that for cores of this machine."""
    given = {word.partition("=")[0] for word in sys.argv}
    said = given & {"--profile", "--cores", "--jobs", "--executor", "-e", "--local-cores"}
    said |= {word for word in given if word[:2] in ("-c", "-j") and word[2:].isdigit()}
    if not (said or given & {"-c", "-j"} or os.environ.get("SNAKEMAKE_PROFILE")):
        workflow.register_resource("_cores", most)


def count_cores(workflow: Workflow) -> None:
    """On this machine `cores` is what runs at once. Where a number of `jobs` is given as well, as
    `profiles/default` has it for clusters, Snakemake counts no cores: it starts as many jobs as its
    pool takes and queues the others there, where no Ctrl-C reaches them."""
    plugin = workflow.executor_plugin
    if plugin is not None and plugin.common_settings.local_exec and workflow.scheduler is None:
        workflow.register_resource("_nodes", None)


def targets(workflow: Workflow) -> list[str]:
    """What can be asked for by name."""
    return [rule.name for rule in workflow.rules]


def asks_for_answers_only(workflow: Workflow) -> bool:
    """Whether every target of the command line is a rule without files, such as `status`, and
    nobody wants to see more of it (`-n`, `-p`, `--verbose`)."""
    wants_more = is_dry_run(workflow) or workflow.output_settings.printshellcmds
    asked = workflow.dag_settings.targets if workflow.dag_settings else ()
    if wants_more or workflow.output_settings.verbose or not asked:
        return False
    without_files = {rule.name for rule in workflow.rules if not (rule.input or rule.output)}
    return without_files.issuperset(asked)


def filter_log(shorter: Any) -> None:
    """A filter over everything that Snakemake's log says, on the screen and in its file."""
    logger = log()
    for each in [each for each in logger.filters if type(each) is type(shorter)]:
        logger.removeFilter(each)  # of an earlier workflow in this process
    logger.addFilter(shorter)


def tell_of_jobs_who_listens(workflow: Workflow) -> None:
    """Keeps Snakemake from describing each job to nobody.

    It makes up what it tells of a job that it starts, in a dry run too: the shell command three
    times, the message, the reason, all resources. That is a millisecond a job, and nearly half of a
    dry run of 5,000, for a record that `quiet: [rules]` of our profile drops. Where anybody takes
    the record, a file or somebody's logger plugin, all is told as ever. Of each rule the first job
    is described in any case: a resource or a command with a mistake in it is told by a dry run.
    """
    from snakemake.jobs import Job

    told = getattr(Job, "log_info", None)
    if told is None:  # another Snakemake: slower, and right
        return
    told = getattr(told, "__wrapped__", told)  # of an earlier workflow in this process
    seen: set[str] = set()
    heard: list[bool] = []

    @functools.wraps(told)
    def log_info(job: Job, *given: Any, **named: Any) -> Any:
        if not heard:
            heard.append(_is_heard(workflow))
        if heard[0] or job.rule.name not in seen:
            seen.add(job.rule.name)
            return told(job, *given, **named)
        return None

    Job.log_info = log_info


def _is_heard(workflow: Workflow) -> bool:
    """Whether anything takes what Snakemake's log says of a job. In doubt it does."""
    from snakemake_interface_logger_plugins.common import LogEvent

    try:
        return any(
            _takes(handler, event)
            for handler in _listeners(workflow)
            for event in (LogEvent.JOB_INFO, LogEvent.SHELLCMD)
        )
    except Exception:  # a filter of somebody's that wants more of a record than this one has
        return True


def _listeners(workflow: Workflow) -> Iterator[logging.Handler]:
    """All that get Snakemake's records; those of plugins stand behind a queue."""
    at: logging.Logger | None = log()
    while at:
        for handler in at.handlers:
            if isinstance(handler, QueueHandler):
                yield from workflow.logger_manager.queue_listener.handlers
            else:
                yield handler
        at = at.parent if at.propagate else None


def _takes(handler: logging.Handler, event: Any) -> bool:
    logger = log()
    record = logger.makeRecord(
        logger.name, logging.INFO, "", 0, "", (), None, extra={"event": event}
    )
    if not logger.isEnabledFor(record.levelno) or not logger.filter(record):
        return False
    return record.levelno >= handler.level and bool(handler.filter(record))


def remember_parameters() -> None:
    """Keeps Snakemake from looking anew, for each job, which arguments a function takes: it asks
    Python about each resource that is a function several times a job, a quarter of a dry run."""
    import snakemake.common
    import snakemake.rules

    asked = getattr(snakemake.common, "get_function_params", None)
    if asked is None or hasattr(asked, "__wrapped__"):
        return  # another Snakemake, or an earlier workflow in this process
    known: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()

    @functools.wraps(asked)
    def remembered(function: Any) -> Any:
        method = isinstance(function, MethodType)
        if not (method or isinstance(function, FunctionType)):
            return asked(function)
        of_a_class = function.__func__ if method else function
        kept = known.setdefault(of_a_class, {})
        if method not in kept:
            kept[method] = asked(function)
        return kept[method]

    for module in (snakemake.common, snakemake.rules):
        if getattr(module, "get_function_params", None) is asked:
            module.get_function_params = remembered


def filter_screen(workflow: Workflow, shorter: Any) -> None:
    """A filter over what Snakemake's log shows on the screen; none where all of it is wanted
    (`--verbose`). The file has the rest."""
    if workflow.output_settings.verbose:
        return
    for handler in log().handlers:
        if handler.name == "DefaultStreamHandler":
            for each in [each for each in handler.filters if type(each) is type(shorter)]:
                handler.removeFilter(each)
            handler.addFilter(shorter)


def number_of(job: Job) -> int:
    """The number by which Snakemake's log names a job."""
    return int(job.jobid)


def default_resources(workflow: Workflow) -> dict[str, object]:
    """The `default-resources` of the profile, as they are written: servers are brought up with
    them, whose jobs are not Snakemake's."""
    given = workflow.resource_settings.default_resources or {}
    return {name: resource.raw for name, resource in given.items()}


def settle_default_resources(workflow: Workflow, known: Mapping[str, int | str]) -> None:
    """Gives the rules values of `default-resources` in place of expressions that no job changes:
    Snakemake evaluates those for each job.

    known  the values, by name
    """
    from snakemake.resources import Resource

    given = workflow.resource_settings._parsed_default_resources
    for name, value in known.items():
        if given[name].is_evaluable():
            given[name] = Resource(name, value, raw=given[name].raw)


# --- while the jobs are planned -------------------------------------------------------------------


def is_dry_run(workflow: Workflow) -> bool:
    """A dry run calls no hook; what it has to say is said when the first target is asked for."""
    return bool(workflow.dryrun)


def executor_stood_for(workflow: Workflow) -> str:
    """The name of the executor that a dry run stands for; empty where nothing says it. Snakemake
    keeps it for itself, so its command line is read again.

    It is not for `local`: what says so is set for every executor with jobs of its own.
    """
    if not workflow.execution_settings.use_threads:
        return ""
    from snakemake.cli import parse_args

    try:
        with contextlib.redirect_stderr(io.StringIO()):  # it tells once more which profile it reads
            _, arguments = parse_args(None)
    except SystemExit:  # it was not started by its command line
        return ""
    return str(arguments.executor or "")


def force(workflow: Workflow, outputs: Collection[str]) -> None:
    """As `--forcerun`, for outputs that are finished (`fresh=`), in a dry run too.

    Snakemake has taken its own `--forcerun` over before the first input function is asked, and
    looks at the set when all of them have answered.
    """
    workflow.dag.forcefiles |= set(outputs)


def wants_report() -> bool:
    """Whether Snakemake was asked for its own report (`--report`) of what has run. It says so
    nowhere but on the command line. After a run (`--report-after-run`) there is nothing yet when
    inputs are looked for."""
    given = {word.partition("=")[0] for word in sys.argv}
    return "--report" in given and "--report-after-run" not in given


def old(path: str) -> str:
    """An input whose time counts for nothing (`ancient()` of a Snakefile)."""
    from snakemake.io import ancient

    flagged: str = ancient(path)  # a text with a mark on it
    return flagged


def reported(path: Path, caption: Path, labels: Mapping[str, str]) -> str:
    """A file of Snakemake's own report (`report()` of a Snakefile). There a caption is found beside
    the Snakefile; here it must be said."""
    from snakemake.io import report
    from snakemake.sourcecache import LocalSourceFile

    file = LocalSourceFile(str(caption))
    flagged: str = report(str(path), file, category="Evaluation", labels=dict(labels))
    return flagged


# --- when the first job is about to begin ---------------------------------------------------------


def planned(workflow: Workflow, rule: str) -> list[Job]:
    """The jobs of a rule that this start will run: `onstart` is told nothing, and is called for
    `status` and `kill` too."""
    return [job for job in workflow.dag.needrun_jobs() if job.rule.name == rule]


def makes(workflow: Workflow, path: Path) -> bool:
    """Whether a job of this start will make a file or a folder, or something in it."""
    wanted = path.resolve()
    outputs = (
        Path(str(output)).resolve() for job in workflow.dag.needrun_jobs() for output in job.output
    )
    return any(
        output == wanted or output in wanted.parents or wanted in output.parents
        for output in outputs
    )


def resource_of(job: Job, name: str, default: str) -> str:
    """A resource of a planned job, with the profile's defaults and `--set-resources` applied: the
    container runtime, from which its script is made before it runs."""
    return str(job.resources.get(name, default))


def retries(workflow: Workflow) -> int:
    """How often a failed job is tried again: a server need not wait for another try after that."""
    return int(workflow.execution_settings.retries)


def executor_plugin(workflow: Workflow) -> Any:
    """The executor plugin of this start as Snakemake has registered it. Its name says where jobs
    run; it is not known while the Snakefile is parsed."""
    return workflow.executor_plugin


def executor_of(workflow: Workflow, job: Job) -> Any:
    """The object of the executor plugin that will run a job: it submits the job's script, and must
    be told about it."""
    return workflow.scheduler.get_executor(job)


def end_timers() -> None:
    """Snakemake looks at its rate of jobs again a second after each choice of jobs, by a timer that
    keeps the process from ending: up to a second of waiting for nothing at the end of each run."""
    for thread in threading.enumerate():
        if isinstance(thread, threading.Timer):
            origin = getattr(thread.function, "__module__", "")
            if origin == "snakemake.scheduling.job_scheduler":
                thread.cancel()


def log() -> Any:
    """Snakemake's own logger: what is said goes where its own words go."""
    from snakemake.logging import logger

    return logger
