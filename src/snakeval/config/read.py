"""A config file as a mapping: where it cannot be read, the line, and what the slip probably is."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml

from snakeval.config.layers import where
from snakeval.config.texts import strange
from snakeval.errors import InputError, Problem, nearest


class _Loader(yaml.CSafeLoader):
    """Refuses a key that stands twice; PyYAML would silently take the second."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: dict[str, int] = {}
        for key, _ in node.value:
            line = key.start_mark.line + 1
            if key.tag == "tag:yaml.org,2002:str" and seen.setdefault(key.value, line) != line:
                raise yaml.constructor.ConstructorError(
                    None,
                    None,
                    f"the key '{key.value}' stands here and in line {seen[key.value]}",
                    key.start_mark,
                )
        return super().construct_mapping(node, deep)


HINTS = {
    "stands here and in line": "keep one of them",
    "cannot start any token": "quote text that begins with @, ` or %",
    "mapping values are not allowed": "a value that holds ': ' needs quotes; is the line indented "
    "like its neighbours?",
    "did not find expected key": "is the line indented like its neighbours?",
    "did not find expected ',' or ']'": "a '[' is not closed",
    "did not find expected ',' or '}'": "a '{' is not closed, or a value with ${...} needs quotes",
    "did not find expected node content": 'quote the value, for example "???"',
    "found unexpected end of stream": "a quote is not closed",
    "could not find expected ':'": "is a ':' missing, or the line not indented?",
    "found undefined alias": "quote text that begins with *",
    "could not determine a constructor": "write plain values; tags (!...) are not read",
    "another document": "keep one document: remove the line ---",
}
"""What the parser says, and what it usually means."""


def read_mapping(path: Path) -> dict[str, Any]:
    """The content of a YAML file; an empty file is an empty mapping. Raises InputError."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except OSError as error:
        near = nearest(path.name, _neighbours(path)) if isinstance(error, FileNotFoundError) else ""
        fix = near if near.startswith("did") else ""
        fix = fix or "is the path right? it is relative to the folder you are in"
        raise _refused(path, f"cannot be read: {error.strerror}", fix) from None
    except UnicodeDecodeError:
        raise _refused(path, "is not text in UTF-8", "save it as UTF-8") from None
    except yaml.YAMLError as error:
        raise not_yaml(path, error) from None
    except RecursionError:
        raise _refused(path, "has too many levels", "are all brackets closed?") from None
    except ValueError as error:  # a date that is none, a number of thousands of digits
        raise _refused(
            path, f"holds a value that cannot be read: {error}", "put it in quotes"
        ) from None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise _refused(
            path,
            "is not a mapping of keys to values",
            "start it with `target:` or another section (docs/configuration.md)",
        )
    if odd := list(strange(content, lambda keys: where(keys, [(path, content)]))):
        raise InputError(odd)
    return content


def _neighbours(path: Path) -> list[str]:
    """The config files beside a path."""
    try:
        return [each.name for each in path.parent.iterdir() if each.suffix in (".yaml", ".yml")]
    except OSError:
        return []


def not_yaml(path: Path, error: yaml.YAMLError) -> InputError:
    """The parser's message in one line, with the place and a guess."""
    mark = getattr(error, "problem_mark", None)
    place = f", line {mark.line + 1}, column {mark.column + 1}" if mark else ""
    said = str(getattr(error, "problem", None) or error)
    if mark and _character_at(path, mark.line, mark.column) == "\t":
        return _refused(f"{path}{place}", "is a tab", "indent with spaces: YAML takes no tabs")
    fix = next((hint for words, hint in HINTS.items() if words in said), "")
    return _refused(f"{path}{place}", f"is not YAML: {' '.join(said.split())}", fix)


def _character_at(path: Path, line: int, column: int) -> str:
    lines = path.read_text(encoding="utf-8").splitlines()
    return lines[line][column : column + 1] if line < len(lines) else ""


def _refused(where: str | Path, what: str, fix: str) -> InputError:
    return InputError([Problem(str(where), what, fix)])
