"""Records in the shared schema of Every Eval Ever, version 0.3.0: one file per benchmark.

The paths are those of its data store, `data/<collection>/<developer>/<model>/<uuid4>.json`, so
that its own validator (`python -m every_eval_ever validate`) and its data store take them as they
are. What a run does not know is said to be unknown, or left out.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import shutil
import uuid
from calendar import timegm
from pathlib import Path
from time import strptime
from typing import Any

from snakeval.config.export import Destination
from snakeval.export.items import Item, score_name
from snakeval.job.files import write_atomically
from snakeval.results.tables import part_of

SCHEMA_VERSION = "0.3.0"
UNSPECIFIED = "unspecified"
KNOWN = ("higher", "lower")
LOWER_IS_BETTER = re.compile(r"perplexity|loss|error|(^|_)(wer|cer|mae|mse|rmse|ece)(_|$)|latency")
"""Names of metrics of which less is better, where nobody says it; of all others more is, as far as
this export goes: the schema has no word for unknown. The guess is named one beside the score."""

GUESSED = "guessed from the metric's name"


def write(folder: Path, items: list[Item], options: Destination) -> None:
    """Writes the record of every item, and removes those of earlier results."""
    data = folder / "data"
    records = {data / _path(item): _record(item, options) for item in items}
    if data.is_dir():
        for path in data.rglob("*.json"):
            if path not in records:
                path.unlink()
    for path, record in records.items():
        if record["evaluation_results"]:
            path.parent.mkdir(parents=True, exist_ok=True)
            write_atomically(path, json.dumps(record, indent=1, ensure_ascii=False) + "\n")
    if not records:
        shutil.rmtree(folder, ignore_errors=True)


def _path(item: Item) -> Path:
    """Where the data store keeps the record; the name stays the same for the same result."""
    developer, model = _developer_and_model(item.model)
    seed = hashlib.sha256(f"{item.job_id} {item.task.digest}".encode()).digest()[:16]
    name = uuid.UUID(bytes=seed, version=4)
    return Path(_component(item.task.benchmark.task), developer, model, f"{name}.json")


def _developer_and_model(model_id: str) -> tuple[str, str]:
    developer, slash, model = model_id.partition("/")
    if not slash:
        return UNSPECIFIED, _component(model_id)
    return _component(developer), _component(model.replace("/", "_"))


def _component(text: str) -> str:
    """A name that every file system takes."""
    plain = re.sub(r'[<>:"/\\|?*\x00-\x1f]', "_", text).rstrip(". ")
    return plain if plain not in ("", "data") else f"{plain}_"


def _record(item: Item, options: Destination) -> dict[str, Any]:
    names = item.metrics(options)
    seconds = _epoch(item.finished)
    developer, _ = _developer_and_model(item.model)
    record: dict[str, Any] = {
        "schema_version": SCHEMA_VERSION,
        "evaluation_id": f"{item.name}/{item.model}/{seconds}",
        "evaluation_timestamp": item.finished,
        "retrieved_timestamp": str(seconds),
        "source_metadata": {
            "source_name": "snakeval",
            "source_type": "evaluation_run",
            "source_organization_name": item.run.config.user or UNSPECIFIED,
            "evaluator_relationship": "other",
            "additional_details": {"run": item.invocation_id, "job": item.job_id},
        },
        "eval_library": {
            "name": item.harness,
            "version": "unknown",
            "additional_details": {"image": item.image} if item.image else {},
        },
        "model_info": {
            "name": item.model,
            "id": item.model,
            "developer": developer,
            "additional_details": {
                "deployment_type": "unknown"
                if item.run.config.deployment.type == "none"
                else "self_deployed",
                "model_availability": "unknown",
            },
        },
        "evaluation_results": [_result(item, row) for row in item.rows if score_name(row) in names],
    }
    return record


def _result(item: Item, row: dict[str, Any]) -> dict[str, Any]:
    name = score_name(row)
    uncertainty: dict[str, Any] = {}
    if row["stderr"] is not None and math.isfinite(row["stderr"]):
        uncertainty["standard_error"] = {"value": row["stderr"]}
    if row["n"]:
        uncertainty["num_samples"] = int(row["n"])
    counts = {key: row[key] for key in ("scored", "expected", "unanswered")}
    details = {key: str(value) for key, value in counts.items() if value is not None}
    if row["better"] not in KNOWN:
        details["lower_is_better"] = GUESSED
    benchmark = item.task.benchmark
    return {
        "evaluation_result_id": f"{item.job_id}/{name}",
        "evaluation_name": part_of(row) or (item.label if item.has_own_label else benchmark.task),
        "source_data": {
            "dataset_name": benchmark.task,
            "source_type": "other",
            "additional_details": {"benchmark": benchmark.id},
        },
        "evaluation_timestamp": item.finished,
        "metric_config": {
            "evaluation_description": f"{benchmark.id}, score {name}",
            "metric_id": f"{benchmark.id}.{row['metric']}",
            "metric_name": name,
            "lower_is_better": _lower_is_better(row),
        },
        "score_details": {
            "score": row["value"],
            **({"uncertainty": uncertainty} if uncertainty else {}),
            **({"details": details} if details else {}),
        },
        "generation_config": _generation(item.task.params),
    }


def _lower_is_better(row: dict[str, Any]) -> bool:
    if row["better"] in KNOWN:
        return bool(row["better"] == "lower")
    return bool(LOWER_IS_BETTER.search(row["metric"].lower()))


def _generation(params: dict[str, Any]) -> dict[str, Any]:
    names = {"temperature": "temperature", "top_p": "top_p", "max_new_tokens": "max_tokens"}
    arguments = {names[key]: params[key] for key in names if key in params}
    others = {
        key: json.dumps(value, sort_keys=True)
        for key, value in params.items()
        if key not in names and value not in (None, {}, [])
    }
    return {"generation_args": arguments, "additional_details": others}


def _epoch(time: str) -> int:
    """Seconds since 1970; 0 where the time is not known."""
    try:
        return timegm(strptime(time, "%Y-%m-%dT%H:%M:%SZ"))
    except ValueError:
        return 0
