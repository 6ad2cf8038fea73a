"""Suites: several benchmarks as one number (`config/suites/*.yaml`), and how it is made.

The number is a weighted mean of groups, each of which is a weighted mean of its benchmarks. It has
a version, and is given only where every benchmark of the suite has a score: a mean over other
benchmarks would be another number.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field, ValidationError, model_validator

from snakeval.compare import statistics
from snakeval.compare.statistics import Interval
from snakeval.config.explain import invalid
from snakeval.config.read import read_mapping
from snakeval.config.sections import Section, empty_if_null, fixable
from snakeval.errors import InputError, Problem, nearest

Weight = Annotated[float, Field(gt=0)]


class Member(Section):
    """A benchmark of a suite."""

    weight: Weight = Field(1.0, description="Its weight in its group.")
    metric: str | None = Field(
        None, description="The metric that counts, as in results.csv; null: the headline score."
    )
    filter: str | None = Field(
        None, description="The `score` of results.csv that counts, such as strict-match."
    )
    better: Literal["higher", "lower"] | None = Field(
        None, description="Which way it is better; null: what the results say."
    )
    range: tuple[float, float] | None = Field(
        None,
        description="[what guessing gets, the best there is]: both become 0 and 1 before the mean. "
        "null: the score as it is, which must lie between 0 and 1 and be better when higher.",
    )

    @model_validator(mode="after")
    def _has_width(self) -> Member:
        if self.range and self.range[0] == self.range[1]:
            raise fixable("has a range without width", "write range: [0.25, 1]")
        return self

    @property
    def score(self) -> str | None:
        """As tables name it: `exact_match (strict-match)`."""
        if self.filter and self.metric:
            return f"{self.metric} ({self.filter})"
        return self.metric or self.filter


Members = dict[str, Annotated[Member, BeforeValidator(empty_if_null)]]


class Group(Section):
    """Benchmarks that count as one."""

    weight: Weight = Field(1.0, description="The group's weight in the suite.")
    benchmarks: Members = Field(description="By name: `ifeval`, or `harness.ifeval`.")


class SuiteFile(Section):
    """Benchmarks that make one number, each directly or in a group."""

    version: int = Field(
        description="Raise it with every change that changes the number: it stands beside it.",
        ge=1,
    )
    description: str = Field("", description="What the number is for.")
    benchmarks: Members = Field(
        default_factory=dict, description="Benchmarks that count by themselves."
    )
    groups: dict[str, Group] = Field(
        default_factory=dict, description="Groups of benchmarks, by name."
    )

    @model_validator(mode="after")
    def _each_once(self) -> SuiteFile:
        names = [name for group in self.groups.values() for name in group.benchmarks]
        names += self.benchmarks
        if not names:
            raise fixable("names no benchmark", "write benchmarks: {ifeval: {weight: 1}}")
        twice = sorted({name for name in names if names.count(name) > 1})
        if twice:
            raise fixable(f"names {', '.join(twice)} twice", "keep one of them")
        return self


@dataclass(frozen=True)
class Part:
    """What a benchmark brings to the number: its share of all weights, and how it is read."""

    name: str
    member: Member
    share: float


@dataclass(frozen=True)
class Given:
    """A score, as the suite needs it. stderr None: not known."""

    value: float
    stderr: float | None
    better: str


@dataclass(frozen=True)
class Number:
    """A suite's number; None where `missing` benchmarks, or scores that do not fit, keep it."""

    value: float | None
    interval: Interval | None
    missing: tuple[str, ...] = ()


@dataclass(frozen=True)
class Suite:
    """A suite by its file's name."""

    name: str
    file: SuiteFile

    @property
    def title(self) -> str:
        """`core v2`: what stands beside the number."""
        return f"{self.name} v{self.file.version}"

    @property
    def parts(self) -> tuple[Part, ...]:
        """Every benchmark with its share; the shares are 1 together."""
        file = self.file
        weights = [member.weight for member in file.benchmarks.values()]
        total = sum(weights) + sum(group.weight for group in file.groups.values())
        return (
            *(Part(name, each, each.weight / total) for name, each in file.benchmarks.items()),
            *(
                Part(name, each, group.weight / total * each.weight / within)
                for group in file.groups.values()
                if (within := sum(each.weight for each in group.benchmarks.values()))
                for name, each in group.benchmarks.items()
            ),
        )

    @property
    def benchmarks(self) -> tuple[str, ...]:
        return tuple(part.name for part in self.parts)

    def member(self, *names: str) -> Member | None:
        """How a benchmark counts, by its name or `harness.name`."""
        return next((part.member for part in self.parts if part.name in names), None)

    def number(self, scores: Mapping[str, Given]) -> Number:
        """The number of one model. `scores`: by the suite's names of benchmarks."""
        missing = [part.name for part in self.parts if part.name not in scores]
        missing += self._unfit(scores)
        if missing:
            return Number(None, None, tuple(missing))
        value, errors = 0.0, []
        for part in self.parts:
            given = scores[part.name]
            value += part.share * _on_scale(part.member, given.value)
            slope = part.share * abs(_slope(part.member))
            errors.append(None if given.stderr is None else slope * given.stderr)
        return Number(value, _interval(value, errors))

    def difference(self, found: Mapping[str, tuple[float, Interval | None]]) -> Number:
        """Candidate minus base. `found`: for every benchmark the difference and its interval."""
        missing = tuple(part.name for part in self.parts if part.name not in found)
        if missing:
            return Number(None, None, missing)
        value, errors = 0.0, []
        z = statistics.normal_quantile()
        for part in self.parts:
            difference, interval = found[part.name]
            slope = part.share * _slope(part.member)
            value += slope * difference
            width = None if interval is None else (interval[1] - interval[0]) / (2 * z)
            errors.append(None if width is None else abs(slope) * width)
        return Number(value, _interval(value, errors))

    def _unfit(self, scores: Mapping[str, Given]) -> Iterator[str]:
        """What cannot be in a mean as it is, and what to write into the suite."""
        for part in self.parts:
            given, member = scores.get(part.name), part.member
            if given is None or member.range:
                continue
            if (member.better or given.better) != "higher":
                yield f"{part.name} (not known to be better when higher: give it a range)"
            elif not 0 <= given.value <= 1:
                yield f"{part.name} (not between 0 and 1: give it a range)"


def _slope(member: Member) -> float:
    return 1 / (member.range[1] - member.range[0]) if member.range else 1.0


def _on_scale(member: Member, value: float) -> float:
    return (value - member.range[0]) * _slope(member) if member.range else value


def _interval(value: float, errors: list[float | None]) -> Interval | None:
    """As of independent benchmarks; None where one of the errors is not known."""
    known = [error for error in errors if error is not None]
    if len(known) < len(errors):
        return None
    half = statistics.normal_quantile() * math.hypot(*known)
    return value - half, value + half


def read_suite(given: str, folder: Path) -> Suite:
    """The suite of a file, or of a name in `folder`. Raises InputError with all that is wrong."""
    path = Path(given).expanduser()
    if path.suffix not in (".yaml", ".yml"):
        path = folder / f"{given}.yaml"
    if not path.is_file():
        there = sorted(file.stem for file in folder.glob("*.yaml"))
        fix = nearest(path.stem, there) or f"write its file, such as {folder.name}/core.yaml"
        raise InputError([Problem("suite", f"there is no suite '{given}'", fix)])
    raw: dict[str, Any] = read_mapping(path)
    try:
        return Suite(path.stem, SuiteFile.model_validate(raw))
    except ValidationError as error:
        raise InputError(invalid(error, [(path, raw)], SuiteFile)) from None
