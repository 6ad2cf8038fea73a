"""MLflow, a run per model: all its scores in one, with what is known of their error.

    <score>             the value, by the name that every destination uses
    uncertainty/<score>_stderr, _n, _ci95_low, _ci95_high
                        in a section of their own: so MLflow's charts take a `/`

A checkpoint has its training step on every metric, and stands below a run of its whole training, in
which the scores of all checkpoints are lines over the step. The scores alone: MLflow shows sections
first, and what one looks for stood below 160 charts of 40 benchmarks.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakeval import __version__
from snakeval.config.export import MlflowExport
from snakeval.config.secrets import without
from snakeval.export.items import UNCERTAINTY, Item, around, run_name
from snakeval.export.mlflow_record import (
    PARAMETER_LENGTH,
    TAG_LENGTH,
    clean,
    find,
    log,
    metric_names,
    milliseconds,
)
from snakeval.export.shipment import Shipment
from snakeval.plan.identity import digest
from snakeval.plan.run import Run
from snakeval.results.steps import step_of

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as TrackedRun

LOCK = ".mlflow.lock"


def send(
    client: MlflowClient, shipment: Shipment, experiment: str, options: MlflowExport
) -> TrackedRun:
    """Makes or updates the run of the shipment's model; the items are not receipted here."""
    run = shipment.run
    step, series = step_of(run)
    training = None
    if step is not None:
        with _alone(run.paths.dir.parent):  # checkpoints of a sweep are exported side by side
            training = _training(client, experiment, series, options)
            _add_points(client, training, shipment, step, options)
    existing = find(client, experiment, run.paths.id)
    tags = _tags(shipment, step, series, options, training)
    if existing is None:
        started = milliseconds(_created(run))
        existing = client.create_run(experiment, start_time=started, tags=tags, run_name=None)
    changed = [
        item for item in shipment.changed if not (options.skip_existing and _has(existing, item))
    ]
    metrics: dict[str, float] = {}
    for item in changed:
        metrics |= metrics_of(item, options)
    log(client, existing, tags, _params(shipment, step, options), metrics, step or 0)
    with contextlib.suppress(Exception):  # a server of an older MLflow has no datasets
        client.log_inputs(existing.info.run_id, datasets=[_dataset(item) for item in changed])
    ended = milliseconds(max((item.finished for item in shipment.items), default=""))
    begun = existing.info.start_time or 0
    client.set_terminated(existing.info.run_id, "FINISHED", ended and max(begun, ended))
    return existing


def _has(existing: TrackedRun, item: Item) -> bool:
    return f"spec.{item.name}" in existing.data.tags


@contextlib.contextmanager
def _alone(folder: Path) -> Iterator[None]:
    with (folder / LOCK).open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


# ---------------------------------------------------------------- what is logged


def metrics_of(item: Item, options: MlflowExport) -> dict[str, float]:
    """All scores of an item, and what is known of each, by their names at MLflow."""
    names = metric_names(item.scores)
    wanted = item.metrics(options)
    found: dict[str, float] = {}
    for name, row in item.rows_by_name.items():
        if name in wanted:
            found[names[name]] = wanted[name]
            found |= {
                f"{UNCERTAINTY}/{names[name]}_{what}": value
                for what, value in around(item, row).items()
            }
    return found


def _tags(
    shipment: Shipment,
    step: int | None,
    series: str,
    options: MlflowExport,
    training: TrackedRun | None,
) -> dict[str, str]:
    run, items = shipment.run, shipment.items
    tags: dict[str, Any] = {
        "invocation_id": run.paths.id,
        "job_id": run.paths.id,
        "kind": "model",
        "model": str(run.identity["model_id"]),
        "name": run.config.name,
        "step": step,
        "training": _training_name(series) if training else None,
        "benchmarks": ", ".join(item.label for item in items),
        "harnesses": ", ".join(sorted({item.harness for item in items})),
        "published": f"{len(items)} of {len(run.tasks)}",
        "missing": ", ".join(
            task.label for task in run.tasks if task.name not in {item.name for item in items}
        ),
        "executor": ", ".join(sorted({item.executor for item in items})),
        "snakeval": __version__,
        "mlflow.runName": options.run_name or run_name(run),
        "mlflow.note.content": options.description,
        "mlflow.parentRunId": training.info.run_id if training else None,
    }
    for item in items:
        tags[f"spec.{item.name}"] = item.task.digest
        tags[f"image.{item.name}"] = item.image
        tags[f"label.{item.name}"] = item.label if item.has_own_label else None
    return clean(without({**tags, **options.tags}, run.secrets), TAG_LENGTH)


def _params(shipment: Shipment, step: int | None, options: MlflowExport) -> dict[str, str]:
    from snakeval.export.mlflow_record import flat

    run = shipment.run
    params: dict[str, Any] = {
        "model": str(run.identity["model_id"]),
        "invocation_id": run.paths.id,
        "step": step,
        "endpoint_type": run.identity["endpoint_type"],
        **{f"params.{name}": value for name, value in run.identity["params"].items()},
        **{f"deployment.{key}": value for key, value in run.identity.get("deployment", {}).items()},
        **{f"benchmark.{item.name}": item.task.benchmark.id for item in shipment.items},
        **options.extra_metadata,
    }
    if options.log_config_params:
        params.update(flat(run.raw, "config", options.log_config_params_max_depth))
    return clean(without(params, run.secrets), PARAMETER_LENGTH)


def _dataset(item: Item) -> Any:
    """What a benchmark asked, as MLflow's tables show datasets."""
    from mlflow.entities import Dataset, DatasetInput, InputTag

    revision = item.task.identity["dataset"] or item.task.digest
    row = item.rows[0]
    dataset = Dataset(
        item.task.benchmark.id[:500],
        str(revision)[:36],
        "snakeval",
        json.dumps({"benchmark": item.task.benchmark.id, "spec": item.task.digest}),
        profile=json.dumps({"samples": row["scored"], "expected": row["expected"]}),
    )
    return DatasetInput(dataset, [InputTag("mlflow.data.context", "evaluation")])


# ---------------------------------------------------------------- names


def _created(run: Run) -> str:
    """The time in a run's id, as attempts write it."""
    parts = run.paths.id[:19].split("-")
    return f"{'-'.join(parts[:3])}T{':'.join(parts[3:])}Z"


def _training_name(series: str) -> str:
    return series.rpartition("-")[0]


# ---------------------------------------------------------------- a training with its checkpoints


def _training(
    client: MlflowClient, experiment: str, series: str, options: MlflowExport
) -> TrackedRun:
    """The run of a training: made by the first checkpoint."""
    job_id = f"training-{digest(series)}"
    existing = find(client, experiment, job_id)
    if existing:
        return existing
    tags = {
        "job_id": job_id,
        "kind": "training",
        "training": _training_name(series),
        "mlflow.runName": f"{_training_name(series)}, all steps",
        **options.tags,
    }
    return client.create_run(experiment, tags=clean(tags, TAG_LENGTH), run_name=None)


def _add_points(
    client: MlflowClient, training: TrackedRun, shipment: Shipment, step: int, options: MlflowExport
) -> None:
    """The scores of a checkpoint as points of the training's lines; those that are there stay."""
    there = training.data.metrics
    missing: dict[str, float] = {}
    run_id = training.info.run_id
    for item in shipment.changed:
        names = metric_names(item.scores)
        for score, value in item.metrics(options).items():
            name = names[score]
            known = client.get_metric_history(run_id, name) if name in there else []
            if not any(point.step == step and point.value == value for point in known):
                missing[name] = value
    if missing:
        log(client, training, {}, {}, missing, step, again=True)
    client.set_terminated(run_id, "FINISHED")
