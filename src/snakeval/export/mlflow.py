"""MLflow: a run per model, or one per benchmark, found again by its tag `job_id` and updated.

A run per model is in `mlflow_models.py`. A run folder that was sent as a run per benchmark before
stays so, unless `layout` says otherwise: an export that was made is not made twice.

Without a server the runs go into a database file in the output folder; `mlflow server
--backend-store-uri sqlite:///mlflow.db` or `mlflow ui` shows them. The names of experiment, runs,
parameters and tags are the launcher's.
"""

from __future__ import annotations

import contextlib
import logging
import os
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from snakeval.config.export import MlflowExport
from snakeval.config.secrets import without
from snakeval.config.source import names_a_variable
from snakeval.export import mlflow_models
from snakeval.export.items import Item
from snakeval.export.mlflow_record import (
    PARAMETER_LENGTH,
    TAG_LENGTH,
    clean,
    find,
    flat,
    log,
    metric_names,
    milliseconds,
)
from snakeval.export.shipment import ExportFailed, Shipment
from snakeval.job.files import read_json
from snakeval.plan.run import Run

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
VARIABLE = "MLFLOW_TRACKING_URI"

PER_MODEL = ", a run per model"
"""What receipts say of the layout; those of a run per benchmark say nothing."""

SETTINGS = {
    # MLflow's own defaults let a person wait for minutes until a server that is down is told.
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "2",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "30",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    # MLflow sends usage data out unless told not to.
    "MLFLOW_DISABLE_TELEMETRY": "true",
}
"""What holds unless the caller's environment says otherwise."""


def target(run: Run, options: MlflowExport) -> str:
    """Where runs go to, without user and password. Raises ExportFailed for a variable not set."""
    uri = _uri(options)
    if uri is None:
        # Not the path: a run folder can be moved, with its output folder or without.
        shown = f"{DATABASE} in the output folder"
    else:
        parts = urlsplit(uri)
        host = parts.netloc.rpartition("@")[2]
        shown = parts._replace(netloc=host).geturl() if parts.netloc else uri
    per_task = f"{shown}, experiment {options.experiment_name}"
    layout = options.layout or ("task" if _was_sent_to(run, per_task) else "model")
    return per_task if layout == "task" else f"{per_task}{PER_MODEL}"


def _was_sent_to(run: Run, target: str) -> bool:
    """Whether a benchmark of this run folder was sent there before."""
    folder = run.paths.exports("mlflow")
    return any(read_json(path).get("to") == target for path in sorted(folder.glob("*.json")))


def _uri(options: MlflowExport) -> str | None:
    """The URI in force; None is the database file."""
    given = options.tracking_uri
    if given and names_a_variable(given) and given == given.upper():
        if not os.environ.get(given):
            raise ExportFailed(f"export.mlflow.tracking_uri: the variable {given} is not set")
        given = os.environ[given]
    return given or os.environ.get(VARIABLE) or None


def send(shipment: Shipment, options: MlflowExport, target: str) -> None:
    """Makes or updates the run of every changed item. Raises ExportFailed."""
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    try:
        from mlflow import MlflowClient
        from mlflow.exceptions import MlflowException
    except ImportError as error:
        raise ExportFailed("the package mlflow is not installed: pip install mlflow") from error
    logging.getLogger("mlflow").setLevel(logging.WARNING)  # not how it makes its tables
    home = shipment.run.paths.dir.parent.absolute()
    uri = _uri(options)
    try:
        client = MlflowClient(tracking_uri=uri or f"sqlite:///{home / DATABASE}")
        experiment = _experiment(client, options, None if uri else home / ARTIFACTS)
        if target.endswith(PER_MODEL):
            _send_model(client, shipment, experiment, options)
        else:
            parent = _parent(client, shipment.run, experiment, options) if options.nested else None
            for item in shipment.changed:
                _send_one(client, shipment, item, experiment, parent, options)
        shipment.leave_gone("its run at MLflow")
    except (MlflowException, OSError) as error:
        raise ExportFailed(_reason(error, target.removesuffix(PER_MODEL))) from error


def _reason(error: Exception, target: str) -> str:
    text = str(error)
    if re.search(r"\b40[13]\b|UNAUTHENTICATED|PERMISSION_DENIED", text):
        return (
            f"{target} refuses the credentials; set MLFLOW_TRACKING_TOKEN, or "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD"
        )
    if re.search(r"Max retries exceeded|[Cc]onnection|timed out|Name or service", text):
        return f"{target} does not answer; start the same command again when it does"
    return text.strip().splitlines()[0][:300] if text.strip() else type(error).__name__


def _experiment(client: MlflowClient, options: MlflowExport, artifacts: Path | None) -> str:
    """The experiment's id; made where there is none. `artifacts`: where its files go, if given."""
    from mlflow.exceptions import MlflowException

    name = options.experiment_name
    found = client.get_experiment_by_name(name)
    if found is None:
        location = artifacts.as_uri() if artifacts else None
        try:
            return str(client.create_experiment(name, artifact_location=location))
        except MlflowException:
            found = client.get_experiment_by_name(name)  # another export was quicker
            if found is None:
                raise
    if found.lifecycle_stage != "active":
        raise ExportFailed(
            f"the experiment {name} is deleted; restore it (`mlflow experiments restore -x "
            f"{found.experiment_id}`) or name another in export.mlflow.experiment_name"
        )
    return str(found.experiment_id)


def _send_model(
    client: MlflowClient, shipment: Shipment, experiment: str, options: MlflowExport
) -> None:
    """The run of the model; with `nested`, one per benchmark below it."""
    made = mlflow_models.send(client, shipment, experiment, options)
    run_id = str(made.info.run_id)
    if options.nested:
        for item in shipment.changed:
            _send_one(client, shipment, item, experiment, run_id, options)
        return
    for item in shipment.changed:
        _log_files(client, run_id, shipment, item, options)
    if options.copy_artifacts is not False:
        for path in (shipment.run.paths.results_csv, shipment.run.paths.report):
            if path.is_file():
                client.log_artifact(run_id, str(path))
    for item in shipment.changed:  # all of it has arrived
        shipment.sent(item, run_id)


def _send_one(
    client: MlflowClient,
    shipment: Shipment,
    item: Item,
    experiment: str,
    parent: str | None,
    options: MlflowExport,
) -> None:
    existing = find(client, experiment, item.job_id)
    if existing and options.skip_existing:
        shipment.notes.append(f"{item.label}: is at MLflow already and was left alone")
        shipment.sent(item, existing.info.run_id)
        return
    tags = _tags(item, options, parent)
    if existing:
        run_id = existing.info.run_id
    else:
        # With its tag from the first moment: an export that dies here finds the run again.
        started = milliseconds(item.attempt.get("started"))
        made = client.create_run(experiment, start_time=started, tags=tags, run_name=None)
        run_id = made.info.run_id
        existing = made
    names = metric_names(item.scores)
    metrics = {names[name]: value for name, value in item.metrics(options).items()}
    log(client, existing, tags, _params(item, options), metrics)
    _log_files(client, run_id, shipment, item, options)
    client.set_terminated(run_id, "FINISHED", milliseconds(item.finished))
    shipment.sent(item, run_id)


def _parent(client: MlflowClient, run: Run, experiment: str, options: MlflowExport) -> str:
    """The run that stands for the run folder."""
    existing = find(client, experiment, run.paths.id)
    if existing:
        return str(existing.info.run_id)
    tags = {
        "invocation_id": run.paths.id,
        "job_id": run.paths.id,
        "mlflow.runName": f"eval-{run.paths.id}",
        **options.tags,
    }
    made = client.create_run(experiment, tags=clean(tags, TAG_LENGTH))
    client.set_terminated(made.info.run_id, "FINISHED")
    return str(made.info.run_id)


def _tags(item: Item, options: MlflowExport, parent: str | None) -> dict[str, str]:
    tags = {
        "invocation_id": item.invocation_id,
        "job_id": item.job_id,
        "task_name": item.name,
        "label": item.label if item.has_own_label else None,
        "benchmark": item.task.benchmark.task,
        "harness": item.harness,
        "executor": item.executor,
        "model": item.model,
        "image": item.image,
        "spec_digest": item.task.digest,
        "timestamp": item.finished,
        "mlflow.runName": options.run_name or f"eval-{item.invocation_id}-{item.name}",
        "mlflow.note.content": options.description,
        "mlflow.parentRunId": parent,
        **{f"used.{name}": f"{value:.10g}" for name, value in item.used.items()},
        **options.tags,
    }
    return clean(without(tags, item.run.secrets), TAG_LENGTH)


def _params(item: Item, options: MlflowExport) -> dict[str, str]:
    params: dict[str, Any] = {
        "invocation_id": item.invocation_id,
        "executor": item.executor,
        "timestamp": item.finished,
        **options.extra_metadata,
    }
    if options.log_config_params:
        params.update(flat(item.run.raw, "config", options.log_config_params_max_depth))
    return clean(without(params, item.run.secrets), PARAMETER_LENGTH)


def _log_files(
    client: MlflowClient, run_id: str, shipment: Shipment, item: Item, options: MlflowExport
) -> None:
    if options.copy_artifacts is not False:
        with contextlib.suppress(FileNotFoundError):
            text = item.run.paths.config.read_text(encoding="utf-8")
            client.log_text(run_id, text, "config.yaml")
    root = f"{item.harness}.{item.name}"
    for path, relative in shipment.files(item, options, by_default=True):
        folder = Path(root, relative).parent.as_posix()
        client.log_artifact(run_id, str(path), folder)
