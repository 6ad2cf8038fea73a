"""A newer Snakemake that has changed what `start/snakemake_internals.py` needs is told in a
sentence: which version, what it lacks, and which function to mend."""

import inspect
import json
import logging
import re
import subprocess
import sys
import threading
from collections.abc import Callable
from importlib import import_module
from logging.handlers import QueueHandler
from pathlib import Path
from queue import Queue
from types import SimpleNamespace
from typing import Any

import pytest
import snakemake.api  # before its modules, which import each other

from rig.waiting import PATIENCE
from snakeval.executors.profile import of_all_jobs
from snakeval.start import snakemake_internals as internals

NEEDED: list[tuple[str, str, Callable[..., Any]]] = [
    ("snakemake.workflow.Workflow", "is_main_process", internals.is_main_process),
    ("snakemake.workflow.Workflow", "basedir", internals.folder_of_snakefile),
    ("snakemake.workflow.Workflow", "current_basedir", internals.folder_of_snakefile),
    ("snakemake.workflow.Workflow", "modifier", internals.module_of),
    ("snakemake.modules.WorkflowModifier", "is_main_snakefile", internals.module_of),
    ("snakemake.modules.WorkflowModifier", "modify_rulename", internals.module_of),
    ("snakemake.modules.WorkflowModifier", "avail_rulename", internals.local_rules_of_module),
    ("snakemake.workflow.Workflow", "localrules", internals.local_rules_of_module),
    *(
        ("snakemake.workflow.Workflow", hook, function)
        for hook in ("onstart", "onsuccess", "onerror")
        for function in (internals.join_hooks, internals._join)
    ),
    ("snakemake.settings.types.ConfigSettings", "config", internals.command_line),
    ("snakemake.settings.types.ConfigSettings", "configfiles", internals.command_line),
    ("snakemake.settings.types.ConfigSettings", "config_args", internals.command_line),
    ("snakemake.workflow.Workflow", "register_resource", internals.limit_resource),
    ("snakemake.settings.types.ResourceSettings", "default_resources", internals.default_resources),
    (
        "snakemake.settings.types.ResourceSettings",
        "_parsed_default_resources",
        internals.settle_default_resources,
    ),
    ("snakemake.workflow.Workflow", "dryrun", internals.is_dry_run),
    ("snakemake.settings.types.ExecutionSettings", "use_threads", internals.executor_stood_for),
    ("snakemake.cli", "parse_args", internals.executor_stood_for),
    ("snakemake.workflow.Workflow", "dag", internals.force),
    ("snakemake.dag.DAG", "needrun_jobs", internals.makes),
    ("snakemake.io", "ancient", internals.old),
    ("snakemake.io", "report", internals.reported),
    ("snakemake.sourcecache", "LocalSourceFile", internals.reported),
    ("snakemake.dag.DAG", "needrun_jobs", internals.planned),
    ("snakemake.settings.types.ExecutionSettings", "retries", internals.retries),
    ("snakemake.workflow.Workflow", "executor_plugin", internals.executor_plugin),
    ("snakemake.workflow.Workflow", "scheduler", internals.executor_of),
    ("snakemake.scheduling.job_scheduler.JobScheduler", "get_executor", internals.executor_of),
    (
        "snakemake.scheduling.job_scheduler.JobScheduler",
        "_schedule_reevalutation",
        internals.end_timers,
    ),
    ("snakemake.logging", "logger", internals.log),
    ("snakemake.logging", "logger", internals.filter_log),
    ("snakemake.jobs.Job", "log_info", internals.tell_of_jobs_who_listens),
    ("snakemake.workflow.Workflow", "logger_manager", internals._listeners),
    ("snakemake_interface_logger_plugins.common.LogEvent", "JOB_INFO", internals._is_heard),
    ("snakemake_interface_logger_plugins.common.LogEvent", "SHELLCMD", internals._takes),
    ("snakemake.common", "get_function_params", internals.remember_parameters),
    ("snakemake.rules", "get_function_params", internals.remember_parameters),
    ("snakemake.logging.LoggerManager", "_default_streamhandler", internals.filter_screen),
    ("snakemake.workflow.Workflow", "dag_settings", internals.asks_for_answers_only),
    ("snakemake.settings.types.DAGSettings", "targets", internals.asks_for_answers_only),
    ("snakemake.workflow.Workflow", "output_settings", internals.asks_for_answers_only),
    ("snakemake.settings.types.OutputSettings", "verbose", internals.asks_for_answers_only),
    ("snakemake.settings.types.OutputSettings", "printshellcmds", internals.asks_for_answers_only),
]
"""Class or module, its attribute, and the function that needs it."""


def broken(what: str, function: Callable[..., Any]) -> str:
    return (
        f"Snakemake {snakemake.__version__} {what}: mend `{function.__name__}` in "
        "src/snakeval/start/snakemake_internals.py, or pin an older Snakemake in pyproject.toml"
    )


@pytest.mark.parametrize(
    ("owner", "attribute", "function"), NEEDED, ids=[f"{each[0]}.{each[1]}" for each in NEEDED]
)
def test_snakemake_still_has_it(owner: str, attribute: str, function: Callable[..., Any]) -> None:
    assert attribute in names_of(owner), broken(f"has no `{owner}.{attribute}`", function)


def names_of(owner: str) -> set[str]:
    """Attributes of a class or a module; none where it is gone."""
    module, _, name = owner.rpartition(".")
    try:
        found = import_module(owner) if not name[:1].isupper() else _class(module, name)
    except (ImportError, AttributeError):
        return set()
    return {*dir(found), *getattr(found, "__dataclass_fields__", ())}


def _class(module: str, name: str) -> Any:
    return getattr(import_module(module), name)


SNAKEFILE = """
import json
import sys
from pathlib import Path
from snakeval.executors.profile import of_all_jobs
from snakeval.executors.profile import of_all_jobs
from snakeval.start import snakemake_internals as internals

class Unsaid:
    def filter(self, record):
        return "not to be told" not in str(record.msg)

found = {"dry": internals.is_dry_run(workflow)}
found["folder"] = str(internals.folder_of_snakefile(workflow))
said = internals.command_line(workflow)
found |= {"main": internals.is_main_process(workflow), "values": dict(said.values)}
found |= {"files": [str(file) for file in said.files], "typed": list(said.typed)}
found["in_file"] = internals.value_of_config(workflow, "execution", "output_dir")
found["module"] = internals.module_of(workflow)
found["kept"] = internals.kept_on(workflow)
found["gpu"] = internals.resource_limit(workflow, "gpu")
found["none"] = internals.resource_limit(workflow, "nothing")
found["defaults"] = of_all_jobs(internals.default_resources(workflow))
internals.limit_resource(workflow, "seats", 3)
found["seats"] = internals.resource_limit(workflow, "seats")
said, sys.argv = sys.argv, ["snakemake"]
internals.limit_cores(workflow, 7)
sys.argv = said
found["cores"] = internals.resource_limit(workflow, "_cores")
internals.filter_log(Unsaid())
class Unshown:
    def filter(self, record):
        return "not to be shown" not in str(record.msg)

internals.filter_screen(workflow, Unshown())

def done(_):
    internals.force(workflow, ["done"])
    internals.count_cores(workflow)
    return [internals.old("done"), *(["never"] if internals.wants_report() else [])]

rule all:
    input: done

rule evaluate:
    output: "done"
    resources: seats=1
    shell: "echo again >>{output}"

onstart:
    jobs = internals.planned(workflow, "evaluate")
    found["planned"] = [str(job.output[0]) for job in jobs]
    found["makes"] = internals.makes(workflow, Path("done"))
    found["runtime"] = internals.resource_of(jobs[0], "container_runtime", "docker")
    found["retries"] = internals.retries(workflow)
    found["executor"] = internals.executor_plugin(workflow).name
    found["runs it"] = hasattr(internals.executor_of(workflow, jobs[0]), "run_job")
    found["at once"] = workflow.scheduler.resources["_cores"]
    found["targets"] = internals.targets(workflow)
    found["number"] = internals.number_of(jobs[0])
    found["answers"] = internals.asks_for_answers_only(workflow)
    internals.log().info("not to be told")
    internals.log().info("not to be shown")
    internals.log().info("told by Snakemake's logger")
    Path("found.json").write_text(json.dumps(found))
"""


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """A real workflow that asks everything, and whose only output is finished before."""
    folder = tmp_path_factory.mktemp("workflow")
    (folder / "Snakefile").write_text(SNAKEFILE)
    (folder / "done").write_text("once\n")
    (folder / "my.yaml").write_text("execution: {output_dir: out}\n")
    words = (
        "--cores 1 --jobs 100 --configfile my.yaml --config run=0012 --resources gpu=2 --retries 2"
    )
    words += " --default-resources container_runtime='podman' mem_mb=10"
    ended = subprocess.run(
        [sys.executable, "-m", "snakemake", *words.split()],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    output = ended.stdout + ended.stderr
    assert ended.returncode == 0, broken(f"does not run a workflow of ours ({output})", run)
    # Nothing but what is forced is to be done.
    assert (folder / "found.json").exists(), broken("forces nothing", internals.force)
    return folder, output


EXPECTED: dict[str, tuple[Any, Callable[..., Any]]] = {
    "main": (True, internals.is_main_process),
    "typed": (["run=0012"], internals.command_line),
    "in_file": ("out", internals.value_of_config),
    "module": (None, internals.module_of),
    "kept": ({}, internals.kept_on),
    "makes": (True, internals.makes),
    "gpu": (2, internals.resource_limit),
    "number": (1, internals.number_of),
    "none": (None, internals.resource_limit),
    "seats": (3, internals.limit_resource),
    "defaults": ({"container_runtime": "podman", "mem_mb": 10}, internals.default_resources),
    "dry": (False, internals.is_dry_run),
    "cores": (7, internals.limit_cores),
    "targets": (["all", "evaluate"], internals.targets),
    "at once": (7, internals.count_cores),
    "answers": (False, internals.asks_for_answers_only),
    "planned": (["done"], internals.planned),
    "runtime": ("podman", internals.resource_of),
    "retries": (2, internals.retries),
    "executor": ("local", internals.executor_plugin),
    "runs it": (True, internals.executor_of),
}


@pytest.mark.parametrize("key", EXPECTED)
def test_a_real_workflow_is_told_what_is_so(key: str, run: tuple[Path, str]) -> None:
    found = json.loads((run[0] / "found.json").read_text())[key]
    expected, function = EXPECTED[key]
    assert found == expected, broken(f"says {found!r} and not {expected!r}", function)


def test_a_real_workflow_runs_what_is_forced_and_logs_where_snakemake_does(
    run: tuple[Path, str],
) -> None:
    folder, output = run
    found = json.loads((folder / "found.json").read_text())
    assert (folder / "done").read_text() == "again\n", broken("forces nothing", internals.force)
    assert found["files"] == [str(folder / "my.yaml")]
    assert found["folder"] == str(folder)
    assert "told by Snakemake's logger" in output, broken("does not show it", internals.log)
    assert "not to be told" not in output, broken("filters nothing", internals.filter_log)
    assert "not to be shown" not in output, broken("filters nothing", internals.filter_screen)
    (log,) = (folder / ".snakemake" / "log").glob("*.snakemake.log")
    assert "not to be shown" in log.read_text(), broken("filters the file", internals.filter_screen)


def test_every_function_is_tried() -> None:
    tried = {each[2].__name__ for each in NEEDED} | {each[1].__name__ for each in EXPECTED.values()}
    defined = {
        name
        for name, each in inspect.getmembers(internals, inspect.isfunction)
        if each.__module__ == internals.__name__
    }
    assert defined - tried == {"wants_report"}  # it reads the command line alone


def test_nothing_else_looks_into_snakemake() -> None:
    """But executors: their plugins are Snakemake's own, with an interface."""
    sources = Path(internals.__file__).parents[1]
    for file in sources.rglob("*.py"):
        if file.name != "snakemake_internals.py" and "executors" not in file.parts:
            looks = re.findall(
                r"^ *(?:from|import) snakemake\b.*|.*workflow\.\w.*", file.read_text(), re.M
            )
            assert not looks, f"{file}: {looks}"


def test_what_snakemake_waits_for_at_the_end_is_ended_and_no_other_timer() -> None:
    from snakemake.scheduling.job_scheduler import JobScheduler

    of_others = threading.Timer(3600, print)
    of_others.start()
    try:
        before = set(threading.enumerate())
        JobScheduler._schedule_reevalutation(SimpleNamespace(_open_jobs=None), 3600)
        (waiting,) = set(threading.enumerate()) - before

        internals.end_timers()

        waiting.join(PATIENCE)
        assert not waiting.is_alive()
        assert of_others.is_alive()
    finally:
        for thread in threading.enumerate():
            if isinstance(thread, threading.Timer):
                thread.cancel()


OF_MANY_JOBS = """
import atexit, inspect, json
from collections import Counter
from pathlib import Path
from snakemake.jobs import Job
from snakeval.start import snakemake_internals as internals

calls = Counter()

def counted(name, function):
    def counting(*given, **named):
        calls[name] += 1
        return function(*given, **named)
    return counting

Job.format_wildcards = counted("described", Job.format_wildcards)
inspect.signature = counted("signatures", inspect.signature)
internals.tell_of_jobs_who_listens(workflow)
internals.remember_parameters()
atexit.register(lambda: Path("calls.json").write_text(json.dumps(calls)))

rule all:
    input: expand("{n}.made", n=range(config["jobs"]))

rule one:
    output: "{n}.made"
    resources:
        size=lambda wildcards, attempt: attempt + int(wildcards.n),
        other=lambda wildcards: 7,
    message: "making {wildcards.n} of size {resources.size} and {resources.other}"
    shell: "echo COMMAND >{output}"
"""


def planned_by(
    folder: Path, jobs: int, *flags: str, command: str = "hello"
) -> tuple[int, dict[str, int], str]:
    """The exit code of a dry run, how often what was asked, and what was said."""
    (folder / "Snakefile").write_text(OF_MANY_JOBS.replace("COMMAND", command))
    words = f"-n --cores 1 --config jobs={jobs}"
    ended = subprocess.run(
        [sys.executable, "-m", "snakemake", *words.split(), *flags],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
    )
    calls = json.loads((folder / "calls.json").read_text())
    return ended.returncode, calls, ended.stdout + ended.stderr


def test_dry_run_describes_no_job_to_nobody_and_asks_no_function_twice_for_its_arguments(
    tmp_path: Path,
) -> None:
    _, few, _ = planned_by(tmp_path, 3, "--quiet", "rules")
    code, many, said = planned_by(tmp_path, 30, "--quiet", "rules")

    assert code == 0 and re.search(r"^one +30$", said, re.M)
    assert few == many, broken("does more for each job", internals.tell_of_jobs_who_listens)
    assert 0 < many["described"] < 10


def test_dry_run_tells_of_each_job_where_somebody_wants_to_know(tmp_path: Path) -> None:
    code, _, said = planned_by(tmp_path, 5)

    assert code == 0
    assert all(f"making {n} of size {n + 1} and 7" in said for n in range(5))


def test_dry_run_tells_of_a_mistake_in_a_command_that_it_does_not_show(tmp_path: Path) -> None:
    code, _, said = planned_by(tmp_path, 2, "--quiet", "rules", command="{nothing}")

    assert code != 0 and "nothing" in said


@pytest.mark.parametrize("takes", [True, False])
def test_logger_plugin_of_somebody_hears_of_each_job(takes: bool) -> None:
    handler = logging.Handler()
    handler.addFilter(lambda record: takes)
    queue = QueueHandler(Queue())
    workflow = SimpleNamespace(
        logger_manager=SimpleNamespace(queue_listener=SimpleNamespace(handlers=[handler]))
    )
    logger = internals.log()
    before, level = list(logger.handlers), logger.level
    logger.handlers, logger.propagate = [queue], False
    logger.setLevel(logging.INFO)
    try:
        assert internals._is_heard(workflow) is takes
        assert internals._is_heard(SimpleNamespace()) is True  # another Snakemake: in doubt
    finally:
        logger.handlers, logger.propagate = before, True
        logger.setLevel(level)


def test_defaults_that_no_job_changes_are_values_and_the_others_stay_expressions() -> None:
    from snakemake.resources import Resources

    given = ["container_runtime='docker'", "mem_mb=attempt * 1000", "runtime=240"]
    parsed = Resources.parse(given, allow_expressions=True, defaults="full")
    settings = SimpleNamespace(default_resources=parsed, _parsed_default_resources=parsed)
    workflow = SimpleNamespace(resource_settings=settings)

    internals.settle_default_resources(workflow, of_all_jobs(internals.default_resources(workflow)))

    assert parsed["container_runtime"].value == "docker" and parsed["runtime"].value == 240
    assert parsed["mem_mb"].is_evaluable() and parsed["tmpdir"].is_evaluable()
    assert internals.default_resources(workflow)["container_runtime"] == "'docker'"
