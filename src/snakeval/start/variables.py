"""What benchmarks need of the caller: variables, and access to gated data."""

from __future__ import annotations

import os
from collections.abc import Collection, Iterable, Mapping
from pathlib import Path

from snakeval.config.execution.common import PER_RUN, READ_ONLY
from snakeval.errors import Problem
from snakeval.plan.run import Task

TOKEN = "HF_TOKEN"
OFFLINE = ("HF_HUB_OFFLINE", "HF_DATASETS_OFFLINE")


def unmet(
    pending: Mapping[Task, str], provided: Mapping[Task, Collection[str]] | None = None
) -> Iterable[Problem]:
    """Variables and gated data that these tasks need and would not have.

    pending   task -> runtime
    provided  for jobs that get no variables of this machine: those that they do get
    What the user declares is an error. What the catalogue knows of images is a warning, because
    newer images may need others; but gated data cannot be had without a token.
    """
    for task, runtime in pending.items():
        details = task.benchmark.details
        environment = (provided or {}).get(task, os.environ)
        for name in details.variables or ():
            if name == TOKEN and details.gated_dataset:
                continue  # told below
            if name not in environment and name not in task.env_vars:
                yield Problem(
                    task.where,
                    f"{task.benchmark.id} needs the variable {name}, which is not set",
                    f"export {name}=..., or name its source in env_vars",
                    warning=not task.benchmark.own,
                )
        gated = details.gated_dataset
        if gated and TOKEN not in environment and not _reads_gated(task, runtime):
            yield Problem(
                task.where,
                f"{task.benchmark.id} needs the gated dataset {gated}, and {TOKEN} is not set",
                f"ask for access at https://huggingface.co/datasets/{gated}, then "
                f"export {TOKEN}=... (or `hf auth login`)",
            )


def _reads_gated(task: Task, runtime: str) -> bool:
    """Whether there is a token, or the task is told to do without the hub."""
    told = {TOKEN, *OFFLINE, "NEMO_EVALUATOR_DATASET_DIR"} & task.env_vars.keys()
    return bool(
        told  # `checks.variables` sees to it that their sources are set
        or os.environ.get(TOKEN)
        or any((folder / "token").is_file() for folder in _caches(task, runtime))
        or (runtime == "process" and any(os.environ.get(name) for name in OFFLINE))
    )


def _caches(task: Task, runtime: str) -> Iterable[Path]:
    """The caches that the harness may see: `hf auth login` leaves its token there.

    As `hf_cache` in job/surroundings.sh has it.
    """
    if runtime != "process" and (task.hf_home == "no" or "HF_HOME" in task.env_vars):
        return
    if task.hf_home == PER_RUN:
        return
    given = task.hf_home.removesuffix(READ_ONLY)
    home = given if given not in ("", "no") else os.environ.get("HF_HOME")
    yield Path(home) if home else Path("~/.cache/huggingface").expanduser()
