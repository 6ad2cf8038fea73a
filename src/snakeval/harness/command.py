"""Any command: declared in a few lines under `harnesses`, results in one of the known formats."""

from __future__ import annotations

import re
import shlex

from snakeval.errors import InputError, Problem, nearest
from snakeval.harness import lm_eval, nemo
from snakeval.harness.recipe import Recipe, words
from snakeval.plan.definition import unmatched
from snakeval.plan.run import Task

PLACEHOLDER = re.compile(r"(?<!\$)\{([a-z_]+(?:\.[A-Za-z0-9_.]+)?)\}")

RUNTIME_VALUES = {
    "url": '"$SNAKEVAL_ENDPOINT_URL"',
    "model_id": '"$SNAKEVAL_MODEL_ID"',
    "results": '"$SNAKEVAL_RESULTS"',
    "files": '"$SNAKEVAL_FILES"',
}
"""What only the job knows: filled in by the shell."""

STALE = {"lm_eval": lm_eval.STALE, "nemo": nemo.STALE}
"""What a harness in one of these formats leaves beside its result file."""


def recipe(task: Task) -> Recipe:
    """The declared command with its placeholders filled in. Raises InputError."""
    definition = task.benchmark.definition
    assert definition.command, "checked by the config model"
    _check_uses(task)
    return Recipe(
        command=PLACEHOLDER.sub(lambda match: _value(task, match.group(1)), definition.command)
        + "\n",
        format=definition.format,
        programs=(),
        results=definition.results,
        stale=(
            definition.results,
            *([definition.samples] if definition.samples else []),
            *STALE.get(definition.format, ()),
        ),
        files=task.benchmark.folder(definition.files),
        cached=False,
    )


def _check_uses(task: Task) -> None:
    """Raises InputError for patterns of `uses` that fit no file: nothing would be looked at."""
    benchmark = task.benchmark
    if fits_nothing := unmatched(benchmark):
        raise InputError(
            Problem(
                task.place("harnesses", benchmark.harness, "uses", number),
                f"'{pattern}' is no file in {benchmark.definition.files}",
                "write a name, a folder, or a pattern such as data/*.json",
            )
            for number, pattern in fits_nothing
        )


def _value(task: Task, name: str) -> str:
    """A placeholder as one quoted word of the command."""
    if name in RUNTIME_VALUES:
        return RUNTIME_VALUES[name]
    known: dict[str, object] = {
        "task": task.benchmark.eval_type,
        "api_key_name": task.endpoint.api_key_name,
        "limit_samples": task.params.get("limit_samples"),
        **{f"param.{key}": value for key, value in task.params.items() if key != "extra"},
        **{f"param.{key}": value for key, value in task.params.get("extra", {}).items()},
    }
    if name in known:
        return shlex.quote(words(known[name]))
    if name.startswith("param."):
        return "''"
    raise InputError(
        [
            Problem(
                task.place("harnesses", task.benchmark.harness, "command"),
                f"unknown placeholder '{{{name}}}'",
                nearest(name, [*RUNTIME_VALUES, *known]),
            )
        ]
    )
