"""What is generated from the config model: the JSON Schema for editors, the tables of the docs.

`make reference` writes both; a test says when they are out of date.
"""

from __future__ import annotations

import json
import re
from pathlib import Path
from types import UnionType
from typing import Any, Literal, Union, get_args, get_origin

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from snakeval.compare.policy import Policy
from snakeval.compare.suite import SuiteFile
from snakeval.config.index import sections_of, types_of
from snakeval.config.model import Config
from snakeval.config.overrides import RESERVED
from snakeval.config.sections import Ignored

SCHEMA = Path("config/schema.json")
PARTS: dict[Path, tuple[str, dict[str, Any]]] = {
    Path("config/policies/schema.json"): ("A policy of the gate", Policy.model_json_schema()),
    Path("config/suites/schema.json"): ("A suite of benchmarks", SuiteFile.model_json_schema()),
    Path("config/execution/schema.json"): (
        "A config group: values of `execution`",
        {"$ref": "../schema.json#/properties/execution"},
    ),
    Path("config/deployment/schema.json"): (
        "A config group: values of `deployment`",
        {"$ref": "../schema.json#/properties/deployment"},
    ),
    Path("config/catalogue/schema.json"): (
        "Harnesses of the catalogue",
        {
            "type": "object",
            "properties": {"harnesses": {"$ref": "../schema.json#/properties/harnesses"}},
            "additionalProperties": False,
        },
    ),
}
"""Schemas of files that hold a part of a config; each refers to the whole one."""

PAGE = Path("docs/configuration.md")
BEGIN = "<!-- keys: written by `make reference` from the config model -->"
END = "<!-- end of keys -->"

UNRESOLVED = {"type": "string", "pattern": r"^(\?\?\?$|.*\$\{.+\})"}
"""What may stand in a file for any value: `???`, or text with an interpolation."""


def schema() -> str:
    """The JSON Schema of a config file, as text."""
    content = Config.model_json_schema()
    _loosen(content)
    content["properties"]["defaults"] = {
        "description": "Config groups whose values lie below this file's own.",
        "type": "array",
    }
    for section, types in types_of(
        Config
    ).items():  # `deployment: demo` is short for its type alone
        content["properties"][section]["anyOf"].append({"enum": types})
    tasks = content["$defs"]["Evaluation"]["properties"]["tasks"]
    tasks["items"] = {"anyOf": [tasks["items"], {"type": "string"}]}
    content["required"] = []  # several files may be laid on top of each other
    content["$schema"] = "https://json-schema.org/draft/2020-12/schema"
    content["title"] = "A snakeval config file"
    return json.dumps(content, indent=1, sort_keys=True) + "\n"


def part(path: Path) -> str:
    """The JSON Schema of one of PARTS, as text."""
    title, content = PARTS[path]
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", **content, "title": title}
    return json.dumps(whole, indent=1, sort_keys=True) + "\n"


def _loosen(node: Any) -> None:
    """Lets an interpolation stand where a number, a truth value or a choice is wanted."""
    if isinstance(node, list):
        for item in node:
            _loosen(item)
        return
    if not isinstance(node, dict):
        return
    if "oneOf" in node:  # without its `type` a section may fit several
        node["anyOf"] = node.pop("oneOf")
    for name, value in node.items():
        if name == "properties":
            for key, declared in value.items():
                _loosen(declared)
                kinds = declared.get("anyOf", [declared])
                if any(
                    kind.get("type") in ("integer", "number", "boolean") or "enum" in kind
                    for kind in kinds
                ):
                    rest = {
                        part: declared.pop(part)
                        for part in ("description", "default", "title")
                        if part in declared
                    }
                    value[key] = {"anyOf": [*kinds, UNRESOLVED], **rest}
        elif name != "required":
            _loosen(value)


def tables() -> str:
    """The keys of a config file and of `--config`, as Markdown."""
    parts = [BEGIN, ""]
    sections: dict[type[BaseModel], str] = {}
    for heading, model in sections_of(Config):
        sections.setdefault(model, heading)  # one that stands in several places is told once
    for model, heading in sections.items():
        parts += [f"### {heading or 'Top level'}", ""]
        if model.__doc__ and heading:
            parts += [" ".join(model.__doc__.split()), ""]
        parts += ["| key | type | default | meaning |", "|---|---|---|---|"]
        for name, field in model.model_fields.items():
            parts.append(
                f"| `{field.alias or name}` | {_type_name(field.annotation)} | {_default(field)} "
                f"| {meaning(field)} |"
            )
        parts.append("")
    parts += ["### On the command line: `--config`", "", "| key | meaning |", "|---|---|"]
    parts += [f"| `{key}` | {meaning} |" for key, meaning in RESERVED.items()]
    return "\n".join([*parts, "", END])


def page(before: str) -> str:
    """The text of the configuration page with its tables renewed."""
    pattern = re.escape(BEGIN) + r".*?" + re.escape(END)
    return re.sub(pattern, lambda _: tables(), before, flags=re.DOTALL)


def _type_name(annotation: Any) -> str:
    origin, arguments = get_origin(annotation), get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{value}`" for value in arguments)
    if origin in (Union, UnionType):
        names = [_type_name(item) for item in arguments if item is not type(None)]
        return " or ".join(dict.fromkeys(names))
    if origin is list:
        return f"list of {_type_name(arguments[0])}"
    if origin is dict:
        return "mapping"
    if arguments and origin is not None:  # Annotated
        return _type_name(arguments[0])
    words = {
        "str": "text",
        "int": "whole number",
        "float": "number",
        "bool": "true or false",
        "Any": "anything",
    }
    name = getattr(annotation, "__name__", str(annotation))
    return words.get(name, "section")


def meaning(field: FieldInfo) -> str:
    """What a key is for, or why it does nothing."""
    ignored = [mark.meaning for mark in field.metadata if isinstance(mark, Ignored)]
    return field.description or "".join(ignored)


def _default(field: FieldInfo) -> str:
    if field.is_required():
        return "required"
    value = field.get_default(call_default_factory=False)
    return "" if value is None or field.default_factory or value == "" else f"`{value}`"


def write(root: Path) -> None:
    """Renews the schemas and the page below a clone's root folder."""
    (root / SCHEMA).write_text(schema(), encoding="utf-8")
    for path in PARTS:
        (root / path).write_text(part(path), encoding="utf-8")
    text = (root / PAGE).read_text(encoding="utf-8")
    (root / PAGE).write_text(page(text), encoding="utf-8")


if __name__ == "__main__":
    write(Path.cwd())
