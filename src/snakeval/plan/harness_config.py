"""What `nemo_evaluator_config` says in place of the rest of the config, as with the launcher 0.2.6:
which benchmark, at which endpoint, under which name, with which key.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from snakeval.config.model import Config, TaskEntry
from snakeval.config.overrides import merge
from snakeval.plan.catalogue import Benchmark, Catalogue
from snakeval.plan.run import Endpoint

AS_WRITTEN = ("supported_endpoint_types", "required_capabilities")
"""Of `config`: what goes into the run config as it is."""


def harness_config(config: Config, entry: TaskEntry) -> dict[str, Any]:
    """The run-wide harness config with the task's own on top; `metadata` where there is any."""
    given = config.target.api_endpoint.model_dump(
        include={"stream", "adapter_config"}, exclude_defaults=True
    )
    merged: dict[str, Any] = {"config": {"params": {}}, "target": {"api_endpoint": given}}
    for layer in (config.evaluation.nemo_evaluator_config, entry.nemo_evaluator_config):
        merge(merged, layer.model_dump(exclude_unset=True, exclude_none=True, exclude={"env_vars"}))
        to_endpoint = layer.target.api_endpoint
        if "api_key_name" in to_endpoint.model_fields_set and not to_endpoint.api_key_name:
            merged["target"]["api_endpoint"]["api_key_name"] = None  # null: no key
    return merged


def benchmark_of(
    catalogue: Catalogue, config: Config, entry: TaskEntry, where: Callable[..., str]
) -> Benchmark:
    """The benchmark that an entry is evaluated with: `config.type`, where it says one.

    where  the place of a key of the entry, for messages
    Raises InputError.
    """
    named = catalogue.find(entry, where("name"))
    asked = harness_config(config, entry)["config"].get("type")
    if asked in (None, named.eval_type, named.task, named.id):
        return named
    if named.harness not in catalogue.harnesses:
        # Its image alone knows what the entry's name means, and is asked by this one.
        details = named.details.model_copy(update={"eval_type": asked})
        return replace(named, details=details)
    whole = asked if "." in asked else f"{named.harness}.{asked}"
    other = entry.model_copy(update={"name": whole})
    return catalogue.find(other, where("nemo_evaluator_config", "config", "type"))


def as_written(harness: dict[str, Any]) -> dict[str, Any]:
    """What of it goes into the run config as it is: `config` and `metadata`."""
    config = {key: harness["config"][key] for key in AS_WRITTEN if key in harness["config"]}
    metadata = harness.get("metadata")
    return {key: value for key, value in (("config", config), ("metadata", metadata)) if value}


def in_place(endpoint: Endpoint, said: dict[str, Any]) -> Endpoint:
    """An endpoint with the name and the key that the harness config has for it."""
    key = said.get("api_key_name", endpoint.api_key_name)
    return replace(
        endpoint,
        model_id=said.get("model_id", endpoint.model_id),
        api_key_name=key,
        of_place=endpoint.of_place and key == endpoint.api_key_name,
    )


def path_at(url: str, ports: Iterable[int | None]) -> str | None:
    """The path of a URL that names the run's own server, as the launcher would reach it; None: it
    is another server's."""
    parts = urlsplit(url)
    own = parts.hostname in ("127.0.0.1", "localhost", "0.0.0.0") and parts.port in ports
    return parts.path or "/" if own else None
