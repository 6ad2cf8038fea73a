"""How each kind of harness is started and where its results are; one file per kind.

A recipe is what `run.sh` needs to know of a harness. Its command is a `sh` script that runs in the
work folder (a NeMo image's in the image's working directory), in a container or in the pipeline's
environment alike, with these variables:

SNAKEVAL_RESULTS        the work folder, as the harness sees it (`/results` in a container)
SNAKEVAL_RECORD         the folder with what the harness is given (this command, a run config)
SNAKEVAL_ENDPOINT_URL   the endpoint's whole URL, as the harness reaches it
SNAKEVAL_MODEL_ID       the model's name at the endpoint
SNAKEVAL_FILES          the folder with the benchmark's own files, where it has any
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator

from snakeval.config.secrets import secrets_in
from snakeval.errors import InputError, Problem
from snakeval.harness import command, core_check, lm_eval, nemo
from snakeval.harness.recipe import Recipe
from snakeval.plan.run import Task

__all__ = ["Recipe", "check", "hints", "recipe_for", "refused"]

_KINDS: dict[str, Callable[[Task], Recipe]] = {
    "nemo": nemo.recipe,
    "lm_eval": lm_eval.recipe,
    "command": command.recipe,
}


def recipe_for(task: Task) -> Recipe:
    """The recipe of a task's harness."""
    return _KINDS[task.benchmark.definition.kind](task)


def check(task: Task) -> None:
    """Raises InputError for a task that its harness cannot be asked for. Cheap."""
    if task.benchmark.definition.kind == "nemo":  # its recipe takes everything, and costs most
        nemo.check(task)
        return
    recipe = recipe_for(task)
    if '"$SNAKEVAL_ENDPOINT_URL"' in recipe.command and any(secrets_in(task.endpoint.url or "")):
        raise InputError([_on_a_command_line(task)])


def refused(tasks: Iterable[Task]) -> Iterator[Problem]:
    """What a harness's own code says against tasks, where that code is at hand."""
    asked = {
        f"{task.where}: {task.digest}": task
        for task in tasks
        if task.benchmark.definition.kind == "nemo"
    }
    said = core_check.refused({name: nemo.run_config(task) for name, task in asked.items()})
    for name, why in said.items():
        what = f"its image would refuse it: {why}"
        yield Problem(asked[name].where, what, "correct its nemo_evaluator_config")


def hints(task: Task) -> Iterator[Problem]:
    """What a person should know before a task starts: warnings."""
    if task.benchmark.definition.kind == "nemo":
        yield from nemo.hints(task)


def _on_a_command_line(task: Task) -> Problem:
    return Problem(
        task.place("target", "api_endpoint", "url"),
        f"holds a key, and {task.benchmark.id} would have it on its command line",
        "put the key into an environment variable and name that in "
        "target.api_endpoint.api_key_name; a command of your own can read "
        "$SNAKEVAL_ENDPOINT_URL itself",
    )
