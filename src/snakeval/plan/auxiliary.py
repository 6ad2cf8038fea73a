"""Auxiliary servers (a judge, say) as benchmarks see them: references in the config, variables.

`auxiliary_deployments.<name>.<endpoint>_url` and `.model_id` may stand in anything that a harness
is given. The model's name is known when planning; an address is filled in by `run.sh`, when the
server is up. Variables and references have the names that the NeMo Evaluator Launcher gives them.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from snakeval.config.deployment import AuxiliaryDeployment
from snakeval.config.model import Config
from snakeval.config.sections import prefix_of
from snakeval.errors import Problem, nearest
from snakeval.plan.server import paths_of

REFERENCE = re.compile(r"\bauxiliary_deployments\.([A-Za-z0-9_+-]+)\.([A-Za-z_]+)")
ENDPOINTS = ("chat", "completions", "embedding", "ranking")


@dataclass(frozen=True)
class Auxiliary:
    """One auxiliary server.

    paths     of each type of endpoint that it has
    identity  what of it decides a benchmark's result
    """

    name: str
    model: str
    prefix: str
    paths: Mapping[str, str]
    identity: Mapping[str, Any]

    @property
    def model_variable(self) -> str:
        return f"{self.prefix}_MODEL_ID"

    def variable(self, endpoint: str) -> str:
        """The variable with the whole URL of an endpoint."""
        return f"{self.prefix}_{endpoint.upper()}_URL"

    def reference(self, endpoint: str) -> str:
        """What stands for that URL in a config."""
        return f"auxiliary_deployments.{self.name}.{endpoint}_url"

    @property
    def fields(self) -> list[str]:
        return ["model_id", *(f"{endpoint}_url" for endpoint in self.paths)]

    def is_named_in(self, text: str) -> bool:
        """Whether a text refers to it, or reads one of its variables."""
        names = [self.model_variable, *map(self.variable, self.paths)]
        return any(found[1] == self.name for found in REFERENCE.finditer(text)) or bool(
            re.search(rf"\b({'|'.join(names)})\b", text)
        )


def auxiliaries_of(config: Config, identity: Sequence[str]) -> tuple[Auxiliary, ...]:
    """The auxiliary servers of a config that are switched on.

    identity  fields of a deployment that change the model's answers
    """
    return tuple(
        Auxiliary(
            name=name,
            model=str(given.served_model_name or ""),
            prefix=prefix_of(name, given.env_prefix),
            paths={
                endpoint: path
                for endpoint in ENDPOINTS
                if (path := _path(given, endpoint)) is not None
            },
            identity={
                "model_id": given.served_model_name,
                **{key: value for key in identity if (value := getattr(given, key)) is not None},
            },
        )
        for name, given in config.auxiliary_deployments.items()
        if given.type != "none"
    )


def _path(given: AuxiliaryDeployment, endpoint: str) -> str | None:
    return paths_of(given)[endpoint]


def used_by_all(auxiliaries: Iterable[Auxiliary], config: Config) -> frozenset[str]:
    """Servers that no benchmark of the config refers to: then every benchmark's image is taken to
    read their variables by itself, as the launcher has it."""
    text = config.evaluation.model_dump_json() + json.dumps(
        [
            definition.command
            for name, definition in config.harnesses.items()
            if any(entry.name.startswith(f"{name}.") for entry in config.evaluation.tasks)
        ]
    )
    return frozenset(each.name for each in auxiliaries if not each.is_named_in(text))


def used(
    auxiliaries: Iterable[Auxiliary], by_all: frozenset[str], given: Any
) -> tuple[Auxiliary, ...]:
    """The servers that a benchmark uses.

    given  everything that its harness is given: mappings, lists, texts
    """
    text = json.dumps(given, default=str)
    return tuple(each for each in auxiliaries if each.name in by_all or each.is_named_in(text))


def unknown(
    auxiliaries: Sequence[Auxiliary], config: Config, given: Any, place: str
) -> Iterator[Problem]:
    """References that lead nowhere."""
    known = {each.name: each for each in auxiliaries}
    for found in dict.fromkeys(REFERENCE.findall(json.dumps(given, default=str))):
        name, key = found
        said = f"'auxiliary_deployments.{name}.{key}'"
        if name in known:
            if key not in known[name].fields:
                fix = nearest(key, known[name].fields)
                yield Problem(place, f"{said}: the server '{name}' has no {key}", fix)
        elif name in config.auxiliary_deployments:
            fix = "give it a type, or write another judge's address and model here"
            yield Problem(place, f"{said}: the server '{name}' is switched off (type: none)", fix)
        else:
            fix = nearest(name, list(known)) or f"describe it under auxiliary_deployments.{name}"
            yield Problem(place, f"{said}: there is no auxiliary deployment '{name}'", fix)


def with_models(given: Any, auxiliaries: Iterable[Auxiliary]) -> Any:
    """What a harness is given, with the names of the servers' models filled in."""
    if isinstance(given, Mapping):
        return {key: with_models(value, auxiliaries) for key, value in given.items()}
    if isinstance(given, list):
        return [with_models(value, auxiliaries) for value in given]
    if isinstance(given, str):
        models = {each.name: each.model for each in auxiliaries}
        return REFERENCE.sub(
            lambda found: models.get(found[1], found[0]) if found[2] == "model_id" else found[0],
            given,
        )
    return given
