"""Where a benchmark asks its model: the address, or the server that the pipeline brings up."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Any

from snakeval.config.deployment import ServerDeployment
from snakeval.config.layers import Layers, where
from snakeval.config.model import Config, EndpointType
from snakeval.errors import InputError, Problem
from snakeval.plan.catalogue import Benchmark
from snakeval.plan.harness_config import path_at
from snakeval.plan.identity import DEMO_MODEL
from snakeval.plan.run import PATHS_OF_TYPES, Endpoint
from snakeval.plan.server import Server

_KNOWN_PATH = re.compile(r"/(chat/completions|completions|embeddings)/?$")


_BASE_URL = re.compile(r"https?://[^/?#@${]+(/[^?#${]*)?$")
_BASE_PATH = re.compile(r"^/?$|/(openai|api|compatible-mode|v[0-9]+(beta[0-9]*|alpha[0-9]*)?)/?$")
"""Ends of paths below which services have their endpoints; nothing is asked at them."""


def endpoint_url(url: str, endpoint_type: EndpointType) -> str:
    """The URL with the path that a benchmark of this type asks, where the URL allows telling.
    A query (`?api-version=...`) stays."""
    path, mark, query = url.partition("?")
    return _KNOWN_PATH.sub(PATHS_OF_TYPES[endpoint_type], path) + mark + query


def endpoint_of(
    config: Config,
    server: Server | None,
    wanted: EndpointType,
    said: Mapping[str, Any],
    where: str,
    name: str,
) -> Endpoint:
    """The endpoint of a benchmark: the model's server, where the config has one.

    said  what the harness config has for it
    """
    given = config.target.api_endpoint
    url = said.get("url")
    own = _own_path(config, url) if url and config.deployment.type != "none" else None
    if url and own is None and config.deployment.type != "none":
        what = f"'{name}' would ask another server than the one that the deployment brings up"
        fix = "remove nemo_evaluator_config.target.api_endpoint.url, or set deployment.type to none"
        raise InputError([Problem(where, what, fix)])
    if config.deployment.type == "demo":
        return Endpoint(None, DEMO_MODEL, wanted, given.api_key_name, demo=True)
    if server:
        # The address is known only when the server is up.
        path = own or server.path(wanted)
        if path is None:
            raise InputError(
                [
                    Problem(
                        where,
                        f"'{name}' needs an endpoint of type {wanted}, and "
                        "deployment.endpoints names none",
                        "name its path there, or leave the benchmark out",
                    )
                ]
            )
        key = server.key_name or given.api_key_name
        return Endpoint(
            None,
            server.model,
            wanted,
            key,
            path=path,
            of_place=server.key_is_made,
            check_model=server.check_model,
        )
    assert given.url and given.model_id, "checked by config.load"
    # A chat endpoint serves vlm benchmarks too.
    alike = given.type == wanted or {given.type, wanted} == {"chat", "vlm"}
    if given.type and not alike and not said.get("type"):
        raise InputError(
            [
                Problem(
                    where,
                    f"'{name}' needs an endpoint of type {wanted}, and "
                    f"target.api_endpoint.type is {given.type}",
                    f"leave it out, or evaluate it with a config whose endpoint serves {wanted}",
                )
            ]
        )
    return Endpoint(
        endpoint_url(url or given.url, wanted),
        given.model_id,
        wanted,
        given.api_key_name,
        check_model=given.check_model,
    )


def _own_path(config: Config, url: str) -> str | None:
    """The path of a URL that names the deployment's server; None: it names another."""
    if not isinstance(config.deployment, ServerDeployment):
        return None
    proxy = getattr(config.execution, "proxy", None)
    ports = [config.deployment.port or 8000]
    return path_at(url, [*ports, proxy.config.haproxy_port or 5009] if proxy else ports)


def own_address(config: Config, endpoint: Endpoint, said: Mapping[str, Any]) -> dict[str, str]:
    """The address of a task that has one of its own: the run's stands for all others."""
    by_all = config.evaluation.nemo_evaluator_config.target.api_endpoint.url
    own = said.get("url") not in (None, by_all, config.target.api_endpoint.url)
    return {"url": endpoint.shown} if own and endpoint.url and not config.name else {}


def ends_early(
    url: Any, benchmark: Benchmark, endpoint_type: EndpointType, layers: Layers
) -> Problem | None:
    """A URL without the path: harnesses ask exactly it; a command of one's own may add to it."""
    if benchmark.definition.kind == "command" or not isinstance(url, str):
        return None
    path, mark, query = url.partition("?")
    base = _BASE_URL.match(path)
    if not base or not _BASE_PATH.search(base[1] or ""):
        return None
    path = path.rstrip("/")
    bare = path.count("/") == 2  # the host alone
    whole = path + ("/v1" if bare else "") + PATHS_OF_TYPES[endpoint_type] + mark
    place = where(("target", "api_endpoint", "url"), layers)
    return Problem(place, "is not the whole path", f"write {whole}{'...' if query else ''}")
