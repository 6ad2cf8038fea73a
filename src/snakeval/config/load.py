"""From config files and command-line overrides to one checked `Config`.

Files are laid on top of each other key by key, as Snakemake does with several `--configfile`s;
then the overrides of `--config` are applied; then the typed model decides.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from snakeval.config.compose import missing, resolved, with_groups
from snakeval.config.explain import Layers, contradictions, invalid, older, warnings, where
from snakeval.config.model import Config
from snakeval.config.overrides import Overrides, assign, merge, parse_overrides
from snakeval.errors import InputError, Problem


@dataclass(frozen=True)
class Loaded:
    """A checked config, the mapping it was made from, and where it came from."""

    config: Config
    raw: dict[str, Any]
    files: tuple[Path, ...]
    overrides: Overrides = field(default_factory=Overrides)
    warnings: tuple[Problem, ...] = ()

    @property
    def base(self) -> Path:
        """Harness definitions name their files relative to the (last) config file's folder.

        `output_dir`, `dataset_dir` and mounts are relative to the working directory, as anywhere
        in Snakemake.
        """
        return self.files[-1].resolve().parent if self.files else Path.cwd()


def load(
    files: Sequence[str | Path], values: Mapping[str, Any], interpolate: bool = True
) -> Loaded:
    """Reads config files (later ones on top), applies `--config` values, checks everything.

    Raises InputError with every problem that was found.
    """
    overrides = parse_overrides(values)
    paths = tuple(Path(file) for file in files)
    layers = [(path, _read(path)) for path in paths]
    raw: dict[str, Any] = {}
    for path, layer in layers:
        merge(raw, with_groups(path, layer))
    raw.pop("defaults", None)
    typed: dict[str, Any] = {}
    if overrides.limit_samples is not None:
        params = "evaluation.nemo_evaluator_config.config.params"
        for mapping in (raw, typed):
            assign(mapping, f"{params}.limit_samples", overrides.limit_samples)
    for key, value in overrides.assignments:
        for mapping in (raw, typed):
            assign(mapping, key, value)
    if typed:  # an error in it is not told as one of the file
        layers.append((Path("--config set"), typed))
    if interpolate:
        raw, problems = resolved(raw, lambda loc: where(loc, layers))
        if problems:
            raise InputError(problems)
    return Loaded(_checked(raw, layers), raw, paths, overrides, tuple(warnings(raw, layers)))


def load_resolved(file: Path) -> Loaded:
    """Reads a config that an earlier start has written into its run folder.

    What still looks like an interpolation there is text, such as a shell's `${HOME}`.
    """
    return load([file], {}, interpolate=False)


def _read(path: Path) -> dict[str, Any]:
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
    except OSError as error:
        raise InputError([Problem(str(path), f"cannot be read: {error.strerror}")]) from None
    except yaml.YAMLError as error:
        raise InputError([Problem(str(path), f"is not YAML: {error}")]) from None
    if content is None:
        content = {}
    if not isinstance(content, dict):
        raise InputError([Problem(str(path), "holds no mapping of keys to values")])
    return content


def _checked(raw: dict[str, Any], layers: Layers) -> Config:
    problems = [
        *missing(raw, lambda loc: where(loc, layers)),
        *older(raw, layers),
        *contradictions(raw, layers),
    ]
    told = {problem.where for problem in problems}
    try:
        config = Config.model_validate(raw)
    except ValidationError as error:
        # What is ???, or of an older version, is told once and in the words above.
        found = [each for each in invalid(error, layers) if each.where not in told]
        raise InputError([*found, *problems]) from None
    if problems:
        raise InputError(problems)
    return config
