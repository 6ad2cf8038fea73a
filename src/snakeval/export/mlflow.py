"""MLflow: one run per benchmark, found again by its tag `job_id` and updated.

Without a server the runs go into a database file in the output folder; `mlflow server
--backend-store-uri sqlite:///mlflow.db` or `mlflow ui` shows them. The names of experiment, runs,
parameters and tags are the launcher's.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import logging
import os
import re
import time
from calendar import timegm
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from unicodedata import normalize
from urllib.parse import urlsplit

from snakeval.config.export import MlflowExport
from snakeval.config.secrets import without
from snakeval.config.source import names_a_variable
from snakeval.export.items import Item
from snakeval.export.shipment import ExportFailed, Shipment
from snakeval.plan.run import Run

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as TrackedRun

DATABASE = "mlflow.db"
ARTIFACTS = "mlartifacts"
VARIABLE = "MLFLOW_TRACKING_URI"

NAME_LENGTH = 250
PARAMETER_LENGTH = 6000
TAG_LENGTH = 5000
"""What every store takes; a longer text is cut."""

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
    return f"{shown}, experiment {options.experiment_name}"


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
        parent = _parent(client, shipment.run, experiment, options) if options.nested else None
        for item in shipment.changed:
            _send_one(client, shipment, item, experiment, parent, options)
        shipment.leave_gone("its run at MLflow")
    except (MlflowException, OSError) as error:
        raise ExportFailed(_reason(error, target)) from error


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


def _send_one(
    client: MlflowClient,
    shipment: Shipment,
    item: Item,
    experiment: str,
    parent: str | None,
    options: MlflowExport,
) -> None:
    existing = _find(client, experiment, item.job_id)
    if existing and options.skip_existing:
        shipment.notes.append(f"{item.name}: is at MLflow already and was left alone")
        shipment.sent(item, existing.info.run_id)
        return
    tags = _tags(item, options, parent)
    if existing:
        run_id = existing.info.run_id
    else:
        # With its tag from the first moment: an export that dies here finds the run again.
        started = _milliseconds(item.attempt.get("started"))
        made = client.create_run(experiment, start_time=started, tags=tags, run_name=None)
        run_id = made.info.run_id
        existing = made
    names = metric_names(item.scores)
    metrics = {names[name]: value for name, value in item.metrics(options).items()}
    _log(client, existing, tags, _params(item, options), metrics)
    _log_files(client, run_id, shipment, item, options)
    client.set_terminated(run_id, "FINISHED", _milliseconds(item.finished))
    shipment.sent(item, run_id)


def _find(client: MlflowClient, experiment: str, job_id: str) -> TrackedRun | None:
    found = client.search_runs(
        [experiment], f"tags.job_id = '{job_id}'", order_by=["attribute.start_time ASC"]
    )
    return found[0] if found else None


def _parent(client: MlflowClient, run: Run, experiment: str, options: MlflowExport) -> str:
    """The run that stands for the run folder."""
    existing = _find(client, experiment, run.paths.id)
    if existing:
        return str(existing.info.run_id)
    tags = {
        "invocation_id": run.paths.id,
        "job_id": run.paths.id,
        "mlflow.runName": f"eval-{run.paths.id}",
        **options.tags,
    }
    made = client.create_run(experiment, tags=_clean(tags, TAG_LENGTH))
    client.set_terminated(made.info.run_id, "FINISHED")
    return str(made.info.run_id)


def _tags(item: Item, options: MlflowExport, parent: str | None) -> dict[str, str]:
    tags = {
        "invocation_id": item.invocation_id,
        "job_id": item.job_id,
        "task_name": item.name,
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
    return _clean(without(tags, item.run.secrets), TAG_LENGTH)


def _params(item: Item, options: MlflowExport) -> dict[str, str]:
    params: dict[str, Any] = {
        "invocation_id": item.invocation_id,
        "executor": item.executor,
        "timestamp": item.finished,
        **options.extra_metadata,
    }
    if options.log_config_params:
        params.update(_flat(item.run.raw, "config", options.log_config_params_max_depth))
    return _clean(without(params, item.run.secrets), PARAMETER_LENGTH)


def _flat(content: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    """`config.evaluation.tasks.0.name`; what lies deeper than `depth` is one JSON text."""
    if isinstance(content, dict) and content and depth:
        for key, value in content.items():
            yield from _flat(value, f"{path}.{key}", depth - 1)
    elif isinstance(content, list) and content and depth:
        for index, value in enumerate(content):
            yield from _flat(value, f"{path}.{index}", depth - 1)
    elif content is not None:
        yield path, content if isinstance(content, str) else json.dumps(content, default=str)


def _log(
    client: MlflowClient,
    run: TrackedRun,
    tags: dict[str, str],
    params: dict[str, str],
    metrics: dict[str, float],
) -> None:
    """Brings a run up to date: what is there as it should be is not sent again.

    MLflow never changes a parameter; one whose value is another now becomes a tag `param.<name>`.
    """
    from mlflow.entities import Metric, Param, RunTag

    there = run.data.params
    tags = tags | {
        f"param.{name}"[:NAME_LENGTH]: value
        for name, value in params.items()
        if there.get(name, value) != value
    }
    now = int(time.time() * 1000)
    run_id = run.info.run_id
    new_metrics = [
        Metric(name, value, now, 0)
        for name, value in sorted(metrics.items())
        if run.data.metrics.get(name) != value
    ]
    new_params = [Param(name, value) for name, value in params.items() if name not in there]
    new_tags = [
        RunTag(name, value) for name, value in tags.items() if run.data.tags.get(name) != value
    ]
    while new_metrics or new_params or new_tags:
        # Stores take at most 1,000 metrics, 100 parameters and 100 tags at once.
        client.log_batch(run_id, new_metrics[:500], new_params[:100], new_tags[:100])
        del new_metrics[:500], new_params[:100], new_tags[:100]


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


def metric_names(names: Iterable[str]) -> dict[str, str]:
    """For each score's name the one at MLflow; no two share one.

    Stores on some databases take upper and lower case for the same, so such names are told apart.
    """
    found: dict[str, str] = {}
    taken: set[str] = set()
    # Names that stay as they are come first, so that none of them gives way to a changed one.
    for name in sorted(names, key=lambda name: metric_name(name) != name):
        at_mlflow = metric_name(name)
        if at_mlflow.casefold() in taken:
            at_mlflow = _marked(at_mlflow, name)
        taken.add(at_mlflow.casefold())
        found[name] = at_mlflow
    return found


def metric_name(name: str) -> str:
    """A name that MLflow takes: `pass@k` is `pass_at_k`; letters and digits of any script stay,
    other strange characters are `_`."""
    return _name(name.replace("@", "_at_").replace("%", "_percent"))


def _name(name: str) -> str:
    plain = re.sub(r"[^\w\-. :/]", "_", normalize("NFC", name))
    # MLflow takes names for paths: none may begin at the root, go up, or have empty parts.
    plain = re.sub(r"/{2,}", "/", plain).strip("/")
    plain = "/".join("_" * len(part) if set(part) <= {"."} else part for part in plain.split("/"))
    if plain == name and len(name) <= NAME_LENGTH:
        return name
    if len(plain) <= NAME_LENGTH:
        return plain or "_"
    return _marked(plain, name)


def _marked(plain: str, name: str) -> str:
    """With a digest of the whole name at its end."""
    mark = hashlib.sha256(name.encode()).hexdigest()[:8]
    return f"{plain[: NAME_LENGTH - 9]}_{mark}"


def _clean(content: dict[str, Any], length: int) -> dict[str, str]:
    """Names and values as a store takes them; what is not known is left out."""
    return {_name(name): _cut(value, length) for name, value in _known(content.items())}


def _known(pairs: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in pairs if value not in (None, ""))


def _cut(value: Any, length: int) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= length else text[: length - 3] + "..."


def _milliseconds(text: Any) -> int | None:
    try:
        return timegm(time.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ")) * 1000
    except ValueError:
        return None
