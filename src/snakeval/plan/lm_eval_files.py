"""Which files of a folder an lm-eval definition reads.

Read as lm-eval 0.4.13 reads them: every `*.yaml` of the folder that defines the name (a task, a
group, a tag), what it includes, the members of a group, the modules of its `!function`s with what
these import from the folder, and local data: what the definition or the module names. Of a module
that reads files under other names every file beside it counts that is no definition. Where nothing
can be told, the answer is None: then every file of the folder counts.
"""

from __future__ import annotations

import ast
import glob
import os
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import yaml

FILES_MOUNT = "/snakeval/files"
"""Where a container sees the benchmark's own files."""

Below = Callable[[Path], Iterable[Path]]

DATA_KEYS = {"dataset_path", "dataset_kwargs"}
"""Keys under which a text may be the path of local data."""

READERS = {"__file__", "open", "read_text", "read_bytes", "rglob", "iterdir", "listdir", "scandir"}
"""Names in a module that reads files."""

NO_DATA = {".yaml", ".yml", ".py", ".md", ".rst"}
"""What a module that reads files under names of its own making does not read."""

DEEPEST = 20
"""Definitions that include one another, at most."""

LONGEST = 200
"""Characters of a text that may be the name of a file."""

INCLUDES = re.compile(rb"^include[ \t]*:[ \t]*(.*)$", re.MULTILINE)


class Unclear(Exception):
    """It cannot be told what the definition reads."""


class Function(str):
    """What stands behind `!function`."""


class _Loader(yaml.CSafeLoader):
    """Reads a definition without importing its functions; other tags are what they hold."""


def _plain(loader: Any, _suffix: str, node: yaml.Node) -> Any:
    if isinstance(node, yaml.ScalarNode):
        return loader.construct_scalar(node)
    if isinstance(node, yaml.SequenceNode):
        return loader.construct_sequence(node, deep=True)
    return loader.construct_mapping(node, deep=True)


_Loader.add_constructor("!function", lambda loader, node: Function(_plain(loader, "", node)))
_Loader.add_multi_constructor("!", _plain)


class Folder:
    """A folder of definitions, each read once for all benchmarks of a plan.

    below  every file of a folder
    """

    def __init__(self, root: Path, below: Below) -> None:
        self.root, self.below = root, below
        self.definitions = [path for path in below(root) if path.suffix == ".yaml"]
        self.text = cache(_with_included)


def files_of(folder: Folder, names: Sequence[str]) -> dict[str, Path] | None:
    """The files that definitions in a folder read, by name; None where that cannot be told.

    names  of tasks, groups or tags, as `lm_eval --tasks` takes them
    """
    used = _Used(folder)
    try:
        for name in names:
            if not used.definition(name.strip()):
                return None
    except (Unclear, OSError, ValueError, SyntaxError, RecursionError, yaml.YAMLError):
        return None
    used.add_unnamed_data()
    return used.files


class _Used:
    """What definitions of one folder read, as far as it was followed."""

    def __init__(self, folder: Folder) -> None:
        self._folder, self._root, self._below = folder, folder.root, folder.below
        self._names: set[str] = set()
        self._told: set[str] = set()  # every text in the definitions and modules
        self._reading: list[Path] = []  # folders of modules that read files of unknown names
        self.files: dict[str, Path] = {}

    # ------------------------------------------------------------ definitions

    def definition(self, name: str) -> bool:
        """Follows every definition of a name; False where the folder has none."""
        if name in self._names:
            return True
        self._names.add(name)
        text = self._folder.text
        maybe = [path for path in self._folder.definitions if _mentions(text(path), name)]
        found = [path for path in maybe if name in _defined(self._merged(path, set()))]
        for path in found:
            self._yaml_file(path, self._name(path))
        return bool(found)

    def _merged(self, path: Path, seen: set[Path]) -> dict[str, Any]:
        """A definition with what it includes; empty where lm-eval would pass it over."""
        if path in seen:
            return {}
        try:
            content = _parsed(path)
        except (Unclear, OSError, ValueError, yaml.YAMLError):
            return {}
        merged: dict[str, Any] = {}
        for included in _listed(content.get("include")):
            merged |= self._merged(path.parent / str(included), {*seen, path})
        return merged | content

    def _yaml_file(self, path: Path, name: str) -> None:
        if name in self.files or not path.is_file():
            return
        self.files[name] = path
        self._walk(_parsed(path), path.parent)

    def _walk(self, value: Any, base: Path, key: str = "", data: bool = False) -> None:
        """Follows all that a part of a definition names."""
        if isinstance(value, Function):
            module = base / (value.rpartition(".")[0].replace(".", "/") + ".py")
            if module.is_file():
                self._module(module)
        elif isinstance(value, dict):
            for inner, part in value.items():
                self._walk(part, base, str(inner), data or inner in DATA_KEYS)
        elif isinstance(value, list):
            for part in value:
                self._walk(part, base, key, data)
        elif isinstance(value, str):
            self._text(value, base, key, data)

    def _text(self, text: str, base: Path, key: str, data: bool) -> None:
        if key == "include":
            path = base / text
            self._yaml_file(path, self._name(path, text))
        elif key in ("task", "group"):
            self.definition(text)
        elif data:
            self._data(text, base)
        else:
            self._add(self._below_root(text, (base,)))
        self._told.add(text)

    def _data(self, text: str, base: Path) -> None:
        """Local data: a file, a folder or a pattern; a path as the container sees it, too."""
        if not _may_be_a_name(text):
            return
        inside = text.removeprefix(f"{FILES_MOUNT}/")
        for place in (base, self._root):
            for found in _fitting(place, inside):
                for path in self._below(found) if found.is_dir() else [found]:
                    self.files.setdefault(self._name(path, str(path)), path)

    # ------------------------------------------------------------ modules

    def _module(self, path: Path) -> None:
        """A module, what it imports from the folder, and the files whose names stand in it."""
        name = self._name(path)
        if name in self.files:
            return
        self.files[name] = path
        tree = ast.parse(path.read_bytes())
        places = [self._root, *(each for each in path.parents if each.is_relative_to(self._root))]
        for imported in _imported(tree):
            for place in places:
                self._package(place, imported)
        texts = list(_texts(tree))
        self._told.update(texts)
        named = [found for text in texts if (found := self._below_root(text, places))]
        for found in named:
            self._add(found)
        if not named and _reads_files(tree):
            self._reading.append(path.parent)

    def add_unnamed_data(self) -> None:
        """What modules read under names that stand in no module: that of the definition, where it
        tells one (as `letters.jsonl`, or `letters`), else everything that may be data."""
        for folder in dict.fromkeys(self._reading):
            there = [path for path in self._below(folder) if path.suffix not in NO_DATA]
            told = [path for path in there if {path.name, path.stem} & self._told]
            for path in told or there:
                self.files.setdefault(self._name(path), path)

    def _package(self, place: Path, imported: str) -> None:
        whole = place.joinpath(*imported.split("."))
        if whole.with_suffix(".py").is_file():
            self._module(whole.with_suffix(".py"))
        if (whole / "__init__.py").is_file():
            for module in self._below(whole):
                if module.suffix == ".py":
                    self._module(module)

    def _add(self, found: Path | None) -> None:
        """A file, or all files of a folder; what a module or a definition names is followed."""
        if found is None:
            return
        for path in self._below(found) if found.is_dir() else [found]:
            if path.suffix == ".py":
                self._module(path)
            elif path.suffix == ".yaml":
                self._yaml_file(path, self._name(path))
            else:
                self.files.setdefault(self._name(path), path)

    def _below_root(self, text: str, places: Iterable[Path]) -> Path | None:
        """The file or folder below the root that a text names, where it does."""
        for place in places if _may_be_a_name(text) else ():
            path = Path(os.path.normpath(place / text.lstrip("/")))
            if self._root in path.parents and path.exists():
                return path
        return None

    def _name(self, path: Path, given: str = "") -> str:
        """Below the folder; from there, or as the definition has it, where it lies elsewhere."""
        if Path(given).is_absolute() and not path.is_relative_to(self._root):
            return given
        return os.path.relpath(path, self._root)


def _fitting(place: Path, pattern: str) -> list[Path]:
    if not glob.has_magic(pattern):
        return [place / pattern] if (place / pattern).exists() else []
    if Path(pattern).is_absolute():
        place, pattern = Path("/"), pattern.lstrip("/")
    return sorted(place.glob(pattern))


def _with_included(path: Path, depth: int = 0) -> bytes | None:
    """The text of a definition with what it includes; None where that must be parsed to be seen."""
    content = path.read_bytes()
    for found in INCLUDES.findall(content):
        other = found.strip().strip(b"'\"").decode(errors="replace")
        if not other or other.startswith("[") or "#" in other or depth > DEEPEST:
            return None
        if (path.parent / other).is_file():
            included = _with_included(path.parent / other, depth + 1)
            if included is None:
                return None
            content += included
    return content


def _mentions(content: bytes | None, name: str) -> bool:
    """Whether a definition may be of a name: to parse all of them would cost too much."""
    return content is None or name.encode() in content


def _parsed(path: Path) -> dict[str, Any]:
    content = yaml.load(path.read_bytes(), Loader=_Loader)
    if not isinstance(content, dict):
        raise Unclear(f"{path} is no mapping")
    return content


def _defined(content: dict[str, Any]) -> set[str]:
    """The names under which lm-eval finds a definition: its task or group, and its tags."""
    own = content.get("task") if "class" in content else content.get("group", content.get("task"))
    return {name for name in [own, *_listed(content.get("tag"))] if isinstance(name, str)}


def _listed(value: Any) -> list[Any]:
    return [] if value is None else value if isinstance(value, list) else [value]


def _may_be_a_name(text: str) -> bool:
    return (
        bool(text.strip("./ ")) and len(text) <= LONGEST and "\n" not in text and "\0" not in text
    )


def _imported(tree: ast.AST) -> Iterator[str]:
    """Dotted names of modules that may be the folder's; dots of a relative import are left out."""
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            module = node.module or ""
            if module:
                yield module
            yield from (f"{module}.{alias.name}".lstrip(".") for alias in node.names)


def _texts(tree: ast.AST) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            yield node.value


def _reads_files(tree: ast.AST) -> bool:
    return any(
        (isinstance(node, ast.Name) and node.id in READERS)
        or (isinstance(node, ast.Attribute) and node.attr in READERS)
        for node in ast.walk(tree)
    )
