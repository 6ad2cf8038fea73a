"""The training step of a run's model, and the training run that it belongs to."""

from __future__ import annotations

import re

from snakeval.plan.identity import digest
from snakeval.plan.run import Run

STEP = re.compile(
    r"(?:^|[^a-z])(?:global[-_]?step|step|iter(?:ation)?|ckpt|checkpoint|update)s?[-_=.]?(\d+)(k?)"
    r"(?![a-z0-9])",
    re.IGNORECASE,
)
"""The training step in the name of a checkpoint: `step-1000`, `checkpoint_500`, `iter_0010k`."""


PLAIN_FOLDERS = {"checkpoints", "checkpoint", "ckpts", "ckpt", "steps", "hf", "weights", "output"}
"""Names of folders that say nothing of the training in them."""


def step_of(run: Run) -> tuple[int | None, str]:
    """The training step of a run's model, and what its checkpoints are called without it.

    From the config's `step`, else from the name of the checkpoint's folder, else of the model. A
    folder whose whole name is a number is named after its step.
    """
    model = str(run.identity["model_id"])
    path = getattr(run.config.deployment, "checkpoint_path", None)
    folders = [part for part in str(path or "").split("/") if part]
    params = digest({key: run.identity.get(key) for key in ("params", "endpoint_type")}, 4)
    last = len(folders) - 1
    for at in range(last, max(-1, last - 2), -1):
        if at < last and folders[at].isdecimal():
            continue
        if (number := _step_in(folders[at])) is not None:
            above = [part for part in folders[:at] if part.lower() not in PLAIN_FOLDERS]
            named = _without_step(model) or (above[-1] if above else "")
            return _given(run, number), f"{named or run.config.name or 'checkpoints'}-{params}"
    if (number := _step_in(model)) is not None:
        return _given(run, number), f"{_without_step(model) or 'checkpoints'}-{params}"
    return run.config.step, f"{run.config.name or 'checkpoints'}-{params}"


def origin_of(run: Run) -> str:
    """Where a run's checkpoints come from: the folder that they lie in, else the config's name or
    the endpoint. Two trainings may be called the same; of one they are all in one place."""
    path = getattr(run.config.deployment, "checkpoint_path", None)
    folders = str(path or "").rstrip("/").split("/")
    last = len(folders) - 1
    for at in range(last, max(-1, last - 2), -1):
        if at < last and folders[at].isdecimal():
            continue
        if path and _step_in(folders[at]) is not None:
            return "/".join(folders[:at]) or "."
    return str((path and "/".join(folders[:-1])) or run.identity["name"])


def _given(run: Run, number: int) -> int:
    return number if run.config.step is None else run.config.step


def _without_step(model: str) -> str:
    """What is left of a model's name; empty where it is nothing but its step."""
    return "" if model.isdecimal() else STEP.sub("", model).strip("-_./ ")


def _step_in(text: str) -> int | None:
    if text.isdecimal():
        return int(text)
    if found := STEP.search(text):
        return int(found[1]) * (1000 if found[2] else 1)
    return None
