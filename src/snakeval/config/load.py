"""From config files and command-line overrides to one checked `Config`.

Files are laid on top of each other key by key, as Snakemake does with several `--configfile`s;
then the overrides of `--config` are applied; then the typed model decides.
"""

from __future__ import annotations

import contextlib
import copy
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from snakeval.config.compose import missing, resolved, with_groups
from snakeval.config.contradictions import contradictions, older, warnings
from snakeval.config.explain import as_meant, invalid
from snakeval.config.layers import Layers, where
from snakeval.config.model import Config, Swept
from snakeval.config.overrides import Overrides, assign, merge, parse_overrides
from snakeval.config.own_keys import own_keys, with_base_commands, without_keys
from snakeval.config.read import read_mapping
from snakeval.config.secrets import inline
from snakeval.config.sweep import Overlay, overlays
from snakeval.config.texts import strange, unreadable
from snakeval.errors import InputError, Problem


class InvalidConfig(InputError):
    """A config with mistakes, and the mapping it was made from: names in it can still be looked
    up, so that a person hears of everything at once."""

    def __init__(self, problems: Sequence[Problem], raw: dict[str, Any], layers: Layers) -> None:
        super().__init__(problems)
        self.raw = raw
        self.layers = layers


@dataclass(frozen=True)
class Loaded:
    """A checked config, the mapping it was made from, and where it came from."""

    config: Config
    raw: dict[str, Any]
    files: tuple[Path, ...]
    layers: Layers = ()
    overrides: Overrides = field(default_factory=Overrides)
    warnings: tuple[Problem, ...] = ()

    @property
    def base(self) -> Path:
        """Harness definitions name their files relative to the (last) config file's folder.

        `output_dir`, `dataset_dir` and mounts are relative to the working directory, as anywhere
        in Snakemake.
        """
        return self.files[-1].resolve().parent if self.files else Path.cwd()

    def where(self, *keys: int | str) -> str:
        """`file: key.path`, for messages."""
        return where(keys, self.layers)


def load(
    files: Sequence[str | Path], values: Mapping[str, Any], interpolate: bool = True
) -> Loaded:
    """Reads a config of one model, or the first model's of a sweep. See `load_all`."""
    return load_all(files, values, interpolate)[0]


def load_all(
    files: Sequence[str | Path], values: Mapping[str, Any], interpolate: bool = True
) -> list[Loaded]:
    """Reads config files (later ones on top), applies `--config` values, checks everything.

    One config for each model of a sweep, else one.
    Raises InputError with every problem that was found.
    """
    paths = tuple(Path(file) for file in files)
    problems: list[Problem] = []
    raw, layers, overrides = _merged(paths, values, problems)
    make = partial(_loaded, files=paths, overrides=overrides, interpolate=interpolate)
    odd = list(strange(raw, lambda loc: where(loc, layers)))
    if "models" in raw:  # names in it are looked for on the disk
        odd += texts({"models": raw["models"]}, layers)
    if odd:
        raise InvalidConfig([*problems, *odd], {}, tuple(layers))
    swept: list[Overlay] = overlays(raw, layers, problems)
    if not swept:
        return [make(raw, layers, problems)]
    found: list[Loaded] = []
    wrong = list(problems)
    for source, overlay in swept:
        own = copy.deepcopy({key: value for key, value in raw.items() if key != "models"})
        merge(own, overlay)
        for _, key, value in overrides.all_assignments:  # the command line has the last word
            if not key.startswith("models."):
                assign(own, key, value)
        with told(wrong):
            found.append(make(own, [(source, overlay), *layers], []))
    if isinstance(raw["models"], list):
        with told(wrong):
            _entries(raw, layers)
    if wrong:
        raise InvalidConfig(list(dict.fromkeys(wrong)), raw, tuple(layers))
    return found


def merged(files: Sequence[str | Path], values: Mapping[str, Any]) -> dict[str, Any]:
    """The mapping that a config is made from: files, groups and overrides laid over each other,
    no `${...}` replaced and nothing checked. Raises InputError."""
    problems: list[Problem] = []
    raw, _, _ = _merged([Path(file) for file in files], values, problems)
    if problems:
        raise InputError(problems)
    return raw


def _merged(
    files: Sequence[Path], values: Mapping[str, Any], problems: list[Problem]
) -> tuple[dict[str, Any], list[tuple[Path, dict[str, Any]]], Overrides]:
    """See `merged`; also what each source has said. Raises InputError where nothing can be read.

    problems  gets what is wrong with the overrides
    """
    layers: list[tuple[Path, dict[str, Any]]] = []
    composed: list[dict[str, Any]] = []
    overrides = parse_overrides(values, problems)
    unread: list[Problem] = []
    for path in files:
        with told(unread):
            layers.append((path, read_mapping(path)))
            composed.append(with_groups(*layers[-1]))
    if unread:
        raise InputError([*problems, *unread])
    raw: dict[str, Any] = {}
    for layer in composed:
        merge(raw, layer)
    raw.pop("defaults", None)
    for source, key, value in overrides.all_assignments:
        typed: dict[str, Any] = {}
        with told(problems):
            for mapping in (raw, typed):
                assign(mapping, key, value)
        layers.append((source, typed))  # an error in it is not told as one of the file
    return raw, layers, overrides


def texts(raw: dict[str, Any], layers: Layers) -> list[Problem]:
    """Characters that mislead or break out, and secrets, in the texts of a config."""

    def told_at(loc: Sequence[int | str]) -> str:
        return where(loc, layers)

    return [*unreadable(raw, Config, told_at), *inline(raw, Config, told_at)]


def _entries(raw: dict[str, Any], layers: Layers) -> None:
    """The shape of a sweep's entries. Raises InputError."""
    try:
        Swept.model_validate({"models": raw["models"]})
    except ValidationError as error:
        raise InputError(invalid(error, layers)) from None


def _loaded(
    raw: dict[str, Any],
    layers: list[tuple[Path, dict[str, Any]]],
    problems: list[Problem],
    files: tuple[Path, ...],
    overrides: Overrides,
    interpolate: bool,
) -> Loaded:
    if interpolate:
        own = own_keys(raw, Config)
        raw = with_base_commands(raw)
        raw, unresolved = resolved(raw, Config, lambda loc: where(loc, layers))
        problems = [*problems, *unresolved]
        raw = without_keys(raw, own)
    problems = [*problems, *texts(raw, layers)]
    config = _checked(raw, layers, problems)
    told_ones = tuple(warnings(config, layers))
    return Loaded(config, raw, files, tuple(layers), overrides, told_ones)


def load_resolved(file: Path) -> Loaded:
    """Reads a config that an earlier start has written into its run folder.

    What still looks like an interpolation there is text, such as a shell's `${HOME}`.
    """
    return load([file], {}, interpolate=False)


@contextlib.contextmanager
def told(problems: list[Problem]) -> Iterator[None]:
    """Collects what is wrong, so that everything else is looked at too."""
    try:
        yield
    except InputError as error:
        problems += error.problems


def _checked(raw: dict[str, Any], layers: Layers, unresolved: Sequence[Problem]) -> Config:
    """The typed config. Raises InvalidConfig with everything that is wrong."""
    problems = [
        *unresolved,
        *missing(raw, lambda loc: where(loc, layers)),
        *older(raw, layers),
        *contradictions(raw, layers),
    ]
    places = {problem.where for problem in problems}
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        # What is ???, or of an older version, is told once and in the words above.
        told_ones = [*invalid(error, layers), *_behind(raw, layers, error)]
        found = [each for each in told_ones if not _within(each.where, places)]
        raise InvalidConfig([*dict.fromkeys(found), *problems], raw, tuple(layers)) from None
    if problems:
        raise InvalidConfig(problems, raw, tuple(layers))
    return config


def _behind(raw: dict[str, Any], layers: Layers, error: ValidationError) -> Iterable[Problem]:
    """What a misspelt type of a section has hidden."""
    meant = as_meant(raw, error)
    if meant:
        try:
            Config.model_validate(meant)
        except ValidationError as hidden:
            yield from invalid(hidden, layers)


def _within(place: str, places: Collection[str]) -> bool:
    return place in places or any(place.startswith(f"{above}.") for above in places)
