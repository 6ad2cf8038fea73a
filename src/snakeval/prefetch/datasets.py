"""Fills the shared Hugging Face cache, where a harness can be asked for its datasets.

lm-eval downloads the data of a task when it makes the task, before any request: by itself, and in
the NeMo image around it. What other harnesses load nobody knows before they do.
"""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
from collections import defaultdict
from collections.abc import Callable, Sequence
from importlib.resources import files
from pathlib import Path

from snakeval.config.execution.common import PER_RUN, READ_ONLY
from snakeval.errors import InputError, Problem, count
from snakeval.harness import recipe_for
from snakeval.harness.nemo import RUN_CONFIG
from snakeval.job.endpoint import CA_VARIABLES, is_local
from snakeval.plan.run import Run, Task
from snakeval.prefetch.lm_eval_tasks import MARK
from snakeval.runtime import archives

NEMO_LM_EVAL = "lm-evaluation-harness"
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE", "TRANSFORMERS_OFFLINE")
PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "NO_PROXY")
IN_CONTAINER = "/snakeval/huggingface"
BY_A_SAMPLE = (
    "once with `--config limit_samples=1` where there is internet: what it loads is cached"
)


def bring(run: Run, tasks: Sequence[Task], runtime: str, say: Callable[[str], None]) -> None:
    """Asks the harnesses of these tasks for their data.

    runtime  of the nodes
    Raises InputError with every task whose data cannot be had.
    """
    groups: dict[tuple[object, ...], list[Task]] = defaultdict(list)
    for task in tasks:
        why_not = _not_asked(task, runtime)
        if why_not:
            say(f"{task.label}: {why_not}")
        else:
            folder = _cache(task)
            groups[task.image, folder, task.mounts, frozenset(task.env_vars.items())] += [task]
    problems: list[Problem] = []
    for group in groups.values():
        problems += _load(run, group, runtime, say)
    if problems:
        raise InputError(problems)
    if groups:
        say("with `env_vars: {HF_HUB_OFFLINE: lit:1}` a run asks the hub for nothing")


def _not_asked(task: Task, runtime: str) -> str:
    """Why a task's harness is not asked for its data; empty: it is."""
    kind = task.benchmark.definition.kind
    if kind == "command":
        return f"what its command loads is not known; run it {BY_A_SAMPLE}"
    if kind == "nemo" and task.benchmark.harness != NEMO_LM_EVAL:
        return f"what {task.benchmark.harness} loads is not known; run it {BY_A_SAMPLE}"
    if task.hf_home in ("no", PER_RUN) or "HF_HOME" in task.env_vars:
        return "its Hugging Face cache is not the shared one (execution.hf_home, env_vars.HF_HOME)"
    if task.image and runtime not in ("docker", "podman", "process"):
        return f"its image is not started by {runtime} here; run it {BY_A_SAMPLE}"
    return ""


def _cache(task: Task) -> Path:
    """The cache that the task will have: as configured, else the caller's."""
    given = task.hf_home.removesuffix(READ_ONLY) or os.environ.get("HF_HOME")
    return Path(given).absolute() if given else Path.home() / ".cache" / "huggingface"


def _load(
    run: Run, tasks: Sequence[Task], runtime: str, say: Callable[[str], None]
) -> list[Problem]:
    """Of one image (or none) and one environment."""
    folder = _cache(tasks[0])
    folder.mkdir(parents=True, exist_ok=True)
    environment = {**os.environ, **_variables(tasks[0]), "HF_HOME": str(folder)}
    for name in OFFLINE:
        environment.pop(name, None)
    script = (files("snakeval.prefetch") / "lm_eval_tasks.py").read_text(encoding="utf-8")
    if tasks[0].image and runtime != "process":
        command = [*_container(run, tasks[0], runtime, folder, environment), "-c", script]
    else:
        command = [sys.executable, "-c", script]
    say(f"{count(len(tasks), 'benchmark')} of lm-eval: loading datasets into {folder}")
    ended = subprocess.run(
        command,
        input=json.dumps([_asked(task) for task in tasks]),
        stdout=subprocess.PIPE,
        env=environment,
        text=True,
        check=False,
    )
    told = {
        words[1]: " ".join(words[2:])
        for line in ended.stdout.splitlines()
        if (words := line.split(" ", 2))[0] == MARK
    }
    return [
        Problem(
            task.where,
            f"the datasets of {task.label} could not be loaded: "
            f"{said or 'lm-eval could not be started'}",
            "see what it printed above; the hub must be reachable from here, and HF_TOKEN be set "
            "for gated data",
        )
        for task in tasks
        if (said := told.get(task.name)) != ""
    ]


def _asked(task: Task) -> dict[str, str]:
    recipe = recipe_for(task)
    if task.benchmark.definition.kind == "nemo":
        return {"name": task.name, "run_config": recipe.written[RUN_CONFIG]}
    own = shlex.quote(str(recipe.files)) if recipe.files else ""
    return {"name": task.name, "command": recipe.command.replace('"$SNAKEVAL_FILES"', own)}


def _variables(task: Task) -> dict[str, str]:
    """The task's `env_vars`, with their values."""
    found = {}
    for name, source in task.env_vars.items():
        if source.variable is None:
            found[name] = source.text
        elif source.variable in os.environ:
            found[name] = os.environ[source.variable]
    return found


def _container(
    run: Run, task: Task, runtime: str, folder: Path, environment: dict[str, str]
) -> list[str]:
    """`docker run` up to the interpreter's arguments; variables by name."""
    prefetched = archives.find(run.paths.dir.parent, str(task.image), runtime)
    words = [runtime, "run", "-i", "--init", "--rm", "-v", f"{folder}:{IN_CONTAINER}"]
    words += ["-e", f"HF_HOME={IN_CONTAINER}"]
    for source, target in task.mounts:
        words += ["-v", f"{source}:{target}"]
    proxies = [name for upper in PROXIES for name in (upper, upper.lower())]
    named = [*(_variables(task).keys() - set(OFFLINE)), "HF_TOKEN", "HF_ENDPOINT", *proxies]
    for name in sorted(named):
        if environment.get(name):
            words += ["-e", name]
    for name in CA_VARIABLES:
        if environment.get(name) and name not in task.env_vars:
            words += ["-v", f"{Path(environment[name]).absolute()}:/snakeval/ca/{name}:ro"]
            words += ["-e", f"{name}=/snakeval/ca/{name}"]
    if any(is_local(environment.get(name, "")) for name in ("HF_ENDPOINT", *proxies)):
        words += ["--network", "host"]
    if runtime == "docker" and os.getuid() != 0:  # else the files would be root's
        words += ["--user", f"{os.getuid()}:{os.getgid()}", "-e", "HOME=/tmp"]
    words += shlex.split(task.extra_docker_args)
    image = prefetched.pinned if prefetched else str(task.image)
    return [*words, "--entrypoint", "python3", image]
