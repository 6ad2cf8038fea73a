"""What both layouts at MLflow share: names that it takes, and runs brought up to date."""

from __future__ import annotations

import hashlib
import json
import re
import time
from calendar import timegm
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, Any
from unicodedata import normalize

if TYPE_CHECKING:
    from mlflow import MlflowClient
    from mlflow.entities import Run as TrackedRun

NAME_LENGTH = 250
PARAMETER_LENGTH = 6000
TAG_LENGTH = 5000
"""What every store takes; a longer text is cut."""


def find(client: MlflowClient, experiment: str, job_id: str) -> TrackedRun | None:
    """The run with this tag; the oldest one, should there be several."""
    found = client.search_runs(
        [experiment], f"tags.job_id = '{job_id}'", order_by=["attribute.start_time ASC"]
    )
    return found[0] if found else None


def log(
    client: MlflowClient,
    run: TrackedRun,
    tags: dict[str, str],
    params: dict[str, str],
    metrics: dict[str, float],
    step: int = 0,
    again: bool = False,
) -> None:
    """Brings a run up to date: what is there as it should be is not sent again.

    step   of the metrics
    again  also a metric whose latest value is this one: at another step it is another point

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
        Metric(name, value, now, step)
        for name, value in sorted(metrics.items())
        if again or run.data.metrics.get(name) != value
    ]
    new_params = [Param(name, value) for name, value in params.items() if name not in there]
    new_tags = [
        RunTag(name, value) for name, value in tags.items() if run.data.tags.get(name) != value
    ]
    while new_metrics or new_params or new_tags:
        # Stores take at most 1,000 metrics, 100 parameters and 100 tags at once.
        client.log_batch(run_id, new_metrics[:500], new_params[:100], new_tags[:100])
        del new_metrics[:500], new_params[:100], new_tags[:100]


def flat(content: Any, path: str, depth: int) -> Iterator[tuple[str, Any]]:
    """`config.evaluation.tasks.0.name`; what lies deeper than `depth` is one JSON text."""
    if isinstance(content, dict) and content and depth:
        for key, value in content.items():
            yield from flat(value, f"{path}.{key}", depth - 1)
    elif isinstance(content, list) and content and depth:
        for index, value in enumerate(content):
            yield from flat(value, f"{path}.{index}", depth - 1)
    elif content is not None:
        yield path, content if isinstance(content, str) else json.dumps(content, default=str)


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
    """A name that MLflow takes: `pass@k` is `pass_at_k`, `mmlu [num_fewshot=5]` is
    `mmlu num_fewshot:5`; letters and digits of any script stay, other strange characters are `_`.
    """
    told_apart = re.sub(r" \[(.*?)\]", lambda found: f" {found[1].replace('=', ':')}", name)
    return _name(told_apart.replace("@", "_at_").replace("%", "_percent"))


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


def clean(content: dict[str, Any], length: int) -> dict[str, str]:
    """Names and values as a store takes them; what is not known is left out."""
    return {_name(name): _cut(value, length) for name, value in _known(content.items())}


def _known(pairs: Iterable[tuple[str, Any]]) -> Iterator[tuple[str, Any]]:
    return ((name, value) for name, value in pairs if value not in (None, ""))


def _cut(value: Any, length: int) -> str:
    text = value if isinstance(value, str) else json.dumps(value, default=str)
    return text if len(text) <= length else text[: length - 3] + "..."


def milliseconds(text: Any) -> int | None:
    try:
        return timegm(time.strptime(str(text), "%Y-%m-%dT%H:%M:%SZ")) * 1000
    except ValueError:
        return None
