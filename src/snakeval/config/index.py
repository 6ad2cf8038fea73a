"""The keys that a config may have: a walk over its model, and the section that a key belongs to.

What has a `type` (`execution`, `deployment`) has a model for each of its types; they are found in
the annotation of the field, so that a new one need not be named here.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from functools import lru_cache
from typing import Any, get_args, get_origin

from pydantic import AliasChoices, BaseModel, Discriminator, Tag
from pydantic.fields import FieldInfo

Loc = tuple[int | str, ...]
"""The keys that lead to a value, as pydantic gives them."""


def sections_of(model: type[BaseModel], path: str = "") -> Iterator[tuple[str, type[BaseModel]]]:
    """Every section of a model with its path, such as `evaluation.tasks[]`."""
    yield path, model
    for name, field in model.model_fields.items():
        inner = list(_models_in(field.annotation))
        for found in inner:
            below = f"{path}.{name}".lstrip(".") + _suffix(field.annotation)
            types = _types(found) if len(inner) > 1 else []
            yield from sections_of(found, below + (f" (type {', '.join(types)})" if types else ""))


def _suffix(annotation: Any) -> str:
    origin = get_origin(annotation)
    return "[]" if origin is list else ".NAME" if origin is dict else ""


def _models_in(annotation: Any) -> Iterator[type[BaseModel]]:
    if is_model(annotation):
        yield annotation
    for argument in get_args(annotation):
        yield from _models_in(argument)


def is_model(candidate: Any) -> bool:
    return isinstance(candidate, type) and issubclass(candidate, BaseModel)


def _types(model: type[BaseModel]) -> list[str]:
    """The values that the key `type` of a section may have, where the model names them."""
    kind = model.model_fields.get("type")
    return [str(value) for value in get_args(kind.annotation)] if kind else []


def tagged(field: FieldInfo) -> dict[str, type[BaseModel]]:
    """The models of a section that has one for each of its types, by the tag that pydantic puts
    into the path of an error; nothing for another field."""
    if not any(isinstance(each, Discriminator) for each in field.metadata):
        return {}
    return {
        tag.tag: choice
        for choice, *marks in map(get_args, get_args(field.annotation))
        for tag in marks
        if isinstance(tag, Tag)
    }


def types_of(model: type[BaseModel]) -> dict[str, list[str]]:
    """The sections of a model that have a type, and the types that each may have."""
    return {
        name: [value for choice in tagged(field).values() for value in _types(choice)]
        for name, field in model.model_fields.items()
        if tagged(field)
    }


def without_tags(model: type[BaseModel], loc: Loc) -> Loc:
    """The path of an error without what pydantic adds for the chosen type of a section."""
    field = model.model_fields.get(str(loc[0])) if len(loc) > 1 else None
    return loc[:1] + loc[2:] if field and loc[1] in tagged(field) else loc


def fields_at(model: type[BaseModel], loc: Loc) -> list[str]:
    """Names of the fields that a model knows at a place (with the tags of chosen types)."""
    found = _at(model, loc)
    return sorted(found.model_fields) if is_model(found) else []


def choices_at(model: type[BaseModel], loc: Loc) -> list[str]:
    """The values that a model allows at a place, where it names them."""
    parent = _at(model, loc[:-1])
    field = parent.model_fields.get(str(loc[-1])) if is_model(parent) else None
    values = get_args(field.annotation) if field else ()
    return [str(value) for value in values if isinstance(value, str)]


def field_at(model: type[BaseModel], loc: Loc) -> FieldInfo | None:
    """The field that a place in a config belongs to: the last one on the way there that the model
    knows. None where it knows none."""
    return _field_at(model, tuple(part for part in loc if not isinstance(part, int)))


@lru_cache(maxsize=10_000)
def _field_at(model: type[BaseModel], loc: tuple[str, ...]) -> FieldInfo | None:
    """Kept, as each model of a sweep has the same places."""
    fields = [field for field, _ in _way(model, loc)]
    return fields[-1] if fields else None


def first_unknown(model: type[BaseModel], loc: Loc) -> Loc | None:
    """The beginning of a path up to the first key that the model does not know; None: all known."""
    here: list[Any] = [model]
    is_name = False  # of a section in a mapping of sections
    for depth, part in enumerate(loc):
        if isinstance(part, int) or part.isdigit() or is_name:
            is_name = False
            continue
        fields = [found for each in here if (found := _field_of(each, part))]
        if not fields:
            return loc[: depth + 1]
        here = [each for field in fields for each in _models_in(field.annotation)]
        if not here:  # a value, or a mapping whose keys others know
            return None
        is_name = any(_suffix(field.annotation) == ".NAME" for field in fields)
    return None


def _at(model: type[BaseModel], loc: Loc) -> Any:
    """The model of the section at a place; the last one on the way where there is none."""
    return [model, *(section for _, section in _way(model, loc))][-1]


def _way(model: type[BaseModel], loc: Loc) -> Iterator[tuple[FieldInfo | None, Any]]:
    """The field and the section that each key on the way to a place leads to.

    The tag of a chosen type may stand in the path, as in pydantic's errors, or not.
    """
    here: Any = model
    field: FieldInfo | None = None
    choices: dict[str, type[BaseModel]] = {}
    for part in loc:
        if isinstance(part, int):
            continue
        if part in choices:
            here, choices = choices[part], {}
            yield field, here
            continue
        here = next((each for each in choices.values() if _field_of(each, part)), here)
        if found := _field_of(here, part) if is_model(here) else None:
            field, choices = found, tagged(found)
            here = next(_models_in(found.annotation), None)
        yield field, here


def _field_of(model: type[BaseModel], key: str) -> FieldInfo | None:
    """The field of a section with this name, or this other name."""
    if key in model.model_fields:
        return model.model_fields[key]
    for field in model.model_fields.values():
        other = field.validation_alias
        names = other.choices if isinstance(other, AliasChoices) else [field.alias, other]
        if key in names:
            return field
    return None


def section_of(key: str, loc: Sequence[int | str], model: type[BaseModel]) -> str:
    """The section that a key belongs in which is unknown at its place: the nearest one, or ''."""
    having = [heading for heading, each in sections_of(model) if key in each.model_fields]
    path = [str(part) for part in loc]
    best = max(having, key=lambda each: (_shared(each, path), -len(_plain(each))), default="")
    field = model.model_fields.get(best.partition(" ")[0])
    if field and sum(_plain(each) == _plain(best) for each in having) == len(tagged(field)):
        best = _plain(best)  # of all types of that section
    return best if best and (len(path) == 1 or _shared(best, path)) else ""


def _shared(heading: str, path: Sequence[str]) -> int:
    """How many keys at their beginning a heading and a path have in common."""
    words = heading.replace("[]", ".0").partition(" ")[0].split(".")
    pairs = enumerate(zip(words, path, strict=False))
    return next((n for n, (a, b) in pairs if a != b), min(len(words), len(path)))


def _plain(heading: str) -> str:
    return re.sub(r" \(type [^)]*\)", "", heading)
