"""Whether two results are of the same questions, as far as config and files tell; else why not.

What the single samples tell is in `pairs.py`.
"""

from __future__ import annotations

from typing import Any

from snakeval.compare.changes import flat
from snakeval.compare.pairs import NotComparable
from snakeval.plan.identity import HOW_NOT_WHAT
from snakeval.plan.run import Task
from snakeval.run_folder.records import task_state

ANSWERS_NOT_QUESTIONS = (*HOW_NOT_WHAT, "temperature", "top_p", "max_new_tokens")
"""Parameters that change what the model says, not what it is asked."""


def both(base: Task | None, candidate: Task | None) -> tuple[Task, Task]:
    """The task in both runs, published and with the same questions as far as the config tells."""
    if base is None or candidate is None:
        raise NotComparable(f"only the {'candidate' if base is None else 'base'} has it")
    for which, task in (("base", base), ("candidate", candidate)):
        state = task_state(task.paths, task.digest)
        if state.state != "published":
            cause = f": {state.cause}" if state.cause else ""
            raise NotComparable(f"no result in {which} ({state.state}{cause})")
    one, other = base.identity, candidate.identity
    for key, what in (("benchmark", "benchmark"), ("dataset", "dataset revision")):
        if one[key] != other[key]:
            raise NotComparable(f"another {what}: {one[key]} in base, {other[key]} in candidate")
    if _files(one) != _files(other):
        raise NotComparable("another revision of the files that define the benchmark")
    return base, candidate


def _files(identity: dict[str, Any]) -> Any:
    return (identity["definition"] or {}).get("files")


def same_questions_asked(base: Task, candidate: Task) -> None:
    """Where no prompts are known, nothing that could change them may differ."""
    one, other = (
        {
            **{f"params.{key}": value for key, value in flat(task.identity["params"])},
            **{
                f"definition.{key}": value for key, value in flat(task.identity["definition"] or {})
            },
            "image": task.identity["image"],
        }
        for task in (base, candidate)
    )
    differ = [
        key
        for key in dict.fromkeys([*one, *other])
        if one.get(key) != other.get(key) and key.partition(".")[2] not in ANSWERS_NOT_QUESTIONS
    ]
    if differ:
        told = ", ".join(f"{key} ({one.get(key)} / {other.get(key)})" for key in differ)
        raise NotComparable(f"no prompts are known, and these may have changed them: {told}")
