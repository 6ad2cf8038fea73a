"""The whole configs that a folder holds: YAML files, and blocks of YAML in its pages.

The folder is a clone of the launcher's public repository, or any other with configs in it. Nothing
of it is kept in this repository.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

FENCED = re.compile(r"^([ \t]*)(```+|~~~+)[ \t]*\{?[\w-]*\}?[^\n]*\n(.*?)^\1\2[ \t]*$", re.M | re.S)
"""A block of a page, whatever its language is said to be."""

HERE_DOCUMENT = re.compile(r"<<-?[ \t]*['\"]?(\w+)['\"]?[^\n]*\n(.*?)^[ \t]*\1[ \t]*$", re.M | re.S)
"""A file that a command in such a block writes."""

PAGES = (".md", ".mdx", ".rst", ".ipynb")


@dataclass(frozen=True)
class Whole:
    """A config that could be started. `name`: where it stands, with its number in a page."""

    name: str
    text: str


def configs_in(folder: Path) -> list[Whole]:
    """Every whole config below a folder, each text once, in the order of their names."""
    found: dict[str, Whole] = {}
    for path in sorted(folder.rglob("*")):
        inside = path.relative_to(folder)
        if not path.is_file() or any(part.startswith(".git") for part in inside.parts):
            continue
        for number, text in enumerate(_texts(path)):
            if is_whole(text):
                name = f"{inside}#{number}" if path.suffix in PAGES else str(inside)
                found.setdefault(text, Whole(name, text))
    return list(found.values())


def _texts(path: Path) -> Iterator[str]:
    if path.suffix in (".yaml", ".yml"):
        yield path.read_text(encoding="utf-8", errors="replace")
    elif path.suffix in PAGES:
        page = path.read_text(encoding="utf-8", errors="replace")
        for block in FENCED.finditer(page):
            text = textwrap.dedent(block[3])
            yield text
            yield from (textwrap.dedent(each[2]) for each in HERE_DOCUMENT.finditer(text))


def is_whole(text: str) -> bool:
    """Whether a text is a config that says what is evaluated and from which groups it is laid
    together. What begins as one and is no YAML is counted too: it has to be refused in words."""
    if not re.search(r"^evaluation:", text, re.M) or not re.search(r"^defaults:", text, re.M):
        return False
    try:
        content: Any = yaml.safe_load(text)
    except yaml.YAMLError:
        return True
    evaluation = content.get("evaluation") if isinstance(content, dict) else None
    return isinstance(evaluation, dict) and bool(evaluation.get("tasks"))
