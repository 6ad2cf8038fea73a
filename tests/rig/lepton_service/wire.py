"""Requests and answers: bodies are what the SDK's own types know, and nothing else."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

Model = TypeVar("Model", bound=BaseModel)


class Refused(Exception):
    """A request that is answered with an error."""

    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass(frozen=True)
class Request:
    """path: below the workspace; query: the last value of each parameter; words: the groups of
    the route's pattern."""

    method: str
    path: str
    query: dict[str, str]
    body: bytes
    words: tuple[str, ...] = ()

    @property
    def json(self) -> Any:
        try:
            return json.loads(self.body)
        except ValueError:
            raise Refused(400, "the body is not JSON") from None

    def parsed(self, kind: type[Model]) -> Model:
        """The body as one of the SDK's types. Raises Refused, for unknown fields too."""
        return parse(kind, self.json)


def parse(kind: type[Model], content: Any) -> Model:
    """Content as one of the SDK's types. Raises Refused, for unknown fields too."""
    try:
        found = kind(**content)
    except (ValidationError, TypeError) as error:
        raise Refused(400, str(error)) from None
    unknown = list(_unknown(content, dumped(found, exclude_unset=True), ""))
    if unknown:
        raise Refused(400, f"unknown fields: {', '.join(unknown)}")
    return found


def _unknown(given: Any, known: Any, place: str) -> Iterator[str]:
    """Keys of a body that its type has dropped."""
    if isinstance(given, dict) and isinstance(known, dict):
        for key, value in given.items():
            if key in known:
                yield from _unknown(value, known[key], f"{place}.{key}")
            else:
                yield f"{place}.{key}".lstrip(".")
    elif isinstance(given, list) and isinstance(known, list):
        for index, (value, kept) in enumerate(zip(given, known, strict=True)):
            yield from _unknown(value, kept, f"{place}[{index}]")


def dumped(content: BaseModel, exclude_unset: bool = False) -> Any:
    """One of the SDK's objects as the wire has it."""
    return content.model_dump(
        mode="json", by_alias=True, exclude_none=not exclude_unset, exclude_unset=exclude_unset
    )


@dataclass(frozen=True)
class Response:
    """An answer; `json` goes out as JSON, else `body` as it is."""

    json: Any = None
    body: bytes | None = None
    status: int = 200

    @property
    def bytes(self) -> bytes:
        return json.dumps(self.json).encode() if self.body is None else self.body


@dataclass(frozen=True)
class Route:
    """pattern: of the whole path below the workspace."""

    method: str
    pattern: str
    answer: Callable[[Request], Response]
