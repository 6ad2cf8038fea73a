"""Endpoints beside the model's that a benchmark's parameters name: a judge's, a simulated user's.

    params: {extra: {judge: {url: https://host/v1/chat/completions, api_key: JUDGE_KEY}}}

A mapping is one where it has an address, and says what is asked there or by which key, or is called
a judge or a user. Those on servers of the pipeline are `auxiliary.py`'s.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

Path = tuple[str, ...]

ADDRESSES = ("url", "base_url", "api_base")
KEYS = ("api_key", "api_key_name", "api_key_env")
"""Where a harness is told the variable with the key."""
ASKED = ("model_id", "model", *KEYS)
NAMED = re.compile(r"(^|_)(judge|user|grader|simulator)(_|\Z)", re.IGNORECASE)
_ADDRESS = re.compile(r"https?://[^\s/]+", re.IGNORECASE)
_VARIABLE = re.compile(r"[A-Za-z_][A-Za-z0-9_]*\Z")


@dataclass(frozen=True)
class Beside:
    """One endpoint.

    name  of its account; the key under which the parameters have it
    at    where its address stands in the parameters
    key   the variable with its key, '' where none is known
    """

    name: str
    url: str
    at: Path
    key: str = ""

    @property
    def reference(self) -> str:
        """What stands for its address until the job knows by which way it is asked."""
        return f"snakeval_endpoints.{self.name}.url"


def beside(
    params: Mapping[str, Any], variables: Sequence[str] = (), taken: Sequence[str] = ()
) -> tuple[Beside, ...]:
    """Those that the parameters name.

    variables  that the benchmark is known to need: `JUDGE_API_KEY` is the key of `judge`
    taken      names of other endpoints
    """
    found: list[Beside] = []
    for place, section in _sections(params, ()):
        address = next((key for key in ADDRESSES if _is_address(section.get(key))), None)
        if address is None or not (NAMED.search(place[-1]) or any(map(section.get, ASKED))):
            continue
        names = [place[-1], ".".join(place)]
        used = [*taken, *(each.name for each in found)]
        name = next((each for each in names if each not in used), names[-1])
        key = next((str(section[each]) for each in KEYS if _is_variable(section.get(each))), "")
        usual = f"{place[-1].upper()}_API_KEY"
        known = key or (usual if usual in variables else "")
        found.append(Beside(name, section[address], (*place, address), known))
    return tuple(found)


def _sections(value: Any, place: Path) -> Iterator[tuple[Path, Mapping[str, Any]]]:
    """The mappings below the outermost one, each with where it stands."""
    if isinstance(value, Mapping):
        if place:
            yield place, value
        for key, inner in value.items():
            yield from _sections(inner, (*place, str(key)))


def _is_address(value: Any) -> bool:
    return isinstance(value, str) and _ADDRESS.match(value) is not None


def _is_variable(value: Any) -> bool:
    return isinstance(value, str) and _VARIABLE.match(value) is not None


def with_references(params: Mapping[str, Any], endpoints: Sequence[Beside]) -> dict[str, Any]:
    """The parameters with a reference in place of each address."""
    changed: dict[str, Any] = dict(params)
    for each in endpoints:
        changed = _with(changed, each.at, each.reference)
    return changed


def without_keys(params: Mapping[str, Any], endpoints: Sequence[Beside]) -> dict[str, Any]:
    """The parameters without the words by which these endpoints' keys are named."""
    changed: dict[str, Any] = dict(params)
    for each in endpoints:
        for key in KEYS:
            changed = _with(changed, (*each.at[:-1], key), None)
    return changed


def _with(section: Mapping[str, Any], place: Path, value: Any) -> dict[str, Any]:
    first, *rest = place
    return {**section, first: _with(section[first], tuple(rest), value) if rest else value}
