"""What is known of a harness: which of its numbers is the headline, what they mean, and where its
single samples are.

The files are `config/catalogue/facts/<harness>.yaml`; a task's part of one stands in its
check_spec.json under `facts`. Facts are of one version of a harness: what an image of another
version leaves elsewhere is told, and nothing is decided from it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from typing import Any


@dataclass(frozen=True)
class SampleFiles:
    """Where a harness's single samples are, and what their fields are called.

    files      pattern of their names below the work folder; `*`: any text but `/`, `**/`: folders
    under      the field that holds the records, where a file is one object
    by_name    a file is one object, with a record for each sample's name (`#name`)
    id         field that tells samples apart within a part; `#`: their place in the file
    part       field with the name of the part (subtask)
    repeat     field with the number of the repeat, where each is a record of its own
    only_with  field that a record has when its sample was asked; the others are left out
    no_verdict field that is true where the sample was not scored, whatever its scores say
    scores     field of each metric's score, or `a == b`: whether two fields say the same;
               `none_is` is what stands there for none
    begins     what a text counts as that begins so, where not by its words; `""`: any text
    of_part    the limit of samples holds for each part, not for all together

    A field is a path (`a.b.0`). `{name}` in it stands for another field of the record, and
    `{repeat}` for the number of a repeat, for files that have all repeats in one record.
    """

    files: str
    under: str | None = None
    by_name: bool = False
    id: str = "#"
    part: str | None = None
    repeat: str | None = None
    only_with: str | None = None
    no_verdict: str | None = None
    none_is: float | None = None
    prompt: str | None = None
    expected: str | None = None
    answer: str | None = None
    extracted: str | None = None
    scores: Mapping[str, str] = field(default_factory=dict)
    begins: Mapping[str, float] = field(default_factory=dict)
    of_part: bool = False


@dataclass(frozen=True)
class Facts:
    """Of one benchmark.

    version   package and version that the facts are of
    headline  patterns of `metric` or `metric/score`, the first that fits names the one number
    units     by patterns of metrics
    better_of_parts  what is better (higher, lower, unknown) in parts, by patterns of their names,
              where a part is a measure of its own
    lost      patterns of metrics that count samples without an answer or a verdict
    counters  patterns of metrics that are no scores (tokens, times, costs)
    size      number of samples
    sizes     of the parts, by name
    limits_parts  the limit is of so many parts, in the order of `sizes`, each of them whole
    of_parts  the parts that a metric is made of, where one that was not run counts as 0
    reader    a reader of its own for the single samples, where `samples` cannot say how
    """

    version: str = ""
    headline: tuple[str, ...] = ()
    units: Mapping[str, str] = field(default_factory=dict)
    better_of_parts: Mapping[str, str] = field(default_factory=dict)
    lost: tuple[str, ...] = ()
    counters: tuple[str, ...] = ()
    size: int | None = None
    sizes: Mapping[str, int] = field(default_factory=dict)
    limits_parts: bool = False
    of_parts: Mapping[str, list[str]] = field(default_factory=dict)
    samples: SampleFiles | None = None
    reader: str | None = None

    @classmethod
    def of(cls, raw: Mapping[str, Any] | None) -> Facts:
        """From a mapping; unknown keys are ignored. TypeError for one of another form."""
        known = {each.name for each in fields(cls)}
        given = {key: value for key, value in (raw or {}).items() if key in known and value}
        for key in ("headline", "lost", "counters"):
            given[key] = tuple(given.get(key) or ())
        if "samples" in given:
            given["samples"] = SampleFiles(**given["samples"])
        return cls(**given)
