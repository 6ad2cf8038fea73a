"""Single samples as a harness itself writes them, read as its facts say.

JSON lines, a JSON list or object, and CSV. What does not fit is left out or unknown: these files
count samples and show them, and the scores are elsewhere.
"""

from __future__ import annotations

import csv
import io
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

from .. import hostile
from .facts import Facts, SampleFiles
from .model import CheckFailed, Coverage, Spec
from .own_readers import LIMITED_BY_PART, OWN_READERS
from .sample_files import NOTHING, OwnSample, Record, at, number_of, sample_files

LARGEST_FIELD = 2**27
"""Bytes of one field of a CSV file (a whole document)."""

MOST_REPEATS = 1000

SAME = " == "
"""Between two fields that are one score: whether they say the same."""


def own_samples(work: Path, facts: Facts) -> Iterator[OwnSample]:
    """The samples of a work folder. Raises CheckFailed for a file that is not what it should be."""
    if facts.reader:
        yield from OWN_READERS[facts.reader](work)
    elif facts.samples:
        for name in sample_files(work, facts.samples.files):
            for number, record in enumerate(_records(work, name, facts.samples)):
                yield from _samples(record, number, facts.samples)


def counted_in_samples(work: Path, spec: Spec, known: Coverage) -> tuple[Coverage, tuple[str, ...]]:
    """The coverage as the single samples tell it, and what must be told of them.

    A sample is scored when each of its repeats has a verdict. One that the harness has put down
    without a verdict (its judge did not answer) was asked for all the same.
    """
    facts = spec.facts
    if not facts.samples and not facts.reader:
        return known, ()
    verdicts: dict[tuple[str | None, str], bool] = {}
    for sample in own_samples(work, facts):
        place = sample.part, sample.id
        has_verdict = all(score is not None for score in sample.scores.values())
        verdicts[place] = verdicts.get(place, True) and has_verdict
    if not verdicts:
        return known, (f"its single samples are not where {facts.version} has them",)
    scored = sum(verdicts.values())
    expected = _expected(Counter(part for part, _ in verdicts), spec)
    if expected is None and scored < len(verdicts):
        expected = len(verdicts)
    notes = _left_out({part for part, _ in verdicts}, facts)
    return replace(known, expected=expected, scored=scored), notes


def _left_out(found: set[str | None], facts: Facts) -> tuple[str, ...]:
    """Metrics in which parts count as 0 because they were not run."""
    missing = {
        metric: [part for part in parts if part not in found]
        for metric, parts in facts.of_parts.items()
        if found & set(parts)
    }
    return tuple(
        f"{metric} counts {len(parts)} parts as 0 that were not run ({', '.join(parts)})"
        for metric, parts in missing.items()
        if parts
    )


def _expected(found: Counter[str | None], spec: Spec) -> int | None:
    """How many samples were asked for; None where the benchmark's size is not known."""
    facts, limit = spec.facts, spec.limit_samples
    if facts.limits_parts:
        return _of_whole_parts(set(found), spec)
    if limited_by_part(facts):
        asked = [spec.asked(facts.sizes.get(str(part))) for part in found]
        if facts.size is not None and limit is None:
            return facts.size
        return sum(filter(None, asked)) if asked and None not in asked else None
    size = spec.samples or facts.size
    if size is None and isinstance(limit, int) and sum(found.values()) >= limit:
        return limit
    return spec.asked(size)


def _of_whole_parts(found: set[str | None], spec: Spec) -> int | None:
    """Samples of the first parts, as many as the limit says; None where others were run."""
    sizes = first_parts(spec)
    return sum(sizes.values()) if found <= set(sizes) else None


def first_parts(spec: Spec) -> dict[str, int]:
    """Sizes of the first parts, as many as the limit says."""
    return dict(list(spec.facts.sizes.items())[: spec.asked(len(spec.facts.sizes))])


def limited_by_part(facts: Facts) -> bool:
    """Whether the limit of samples holds for each part, not for all together."""
    return facts.reader in LIMITED_BY_PART or bool(facts.samples and facts.samples.of_part)


def expected_before(spec: Spec) -> int | None:
    """Samples that are asked for, as far as it is known before any is there."""
    facts, limit = spec.facts, spec.limit_samples
    if facts.limits_parts:
        return sum(first_parts(spec).values())
    size = spec.samples or facts.size
    if limited_by_part(facts):  # how many parts are run is not known
        return size if limit is None else None
    if size is None:
        return int(limit) if limit is not None and limit >= 1 else None
    return spec.asked(size)


# ---------------------------------------------------------------- files


def _records(work: Path, name: Path, shape: SampleFiles) -> Iterator[Record]:
    try:
        yield from (record for record in _read(work, name, shape) if isinstance(record, dict))
    except hostile.Refused as refused:
        raise CheckFailed(f"the samples file {name.name} is not read: {refused}") from None
    except (ValueError, csv.Error):
        raise CheckFailed(f"the samples file {name.name} is truncated") from None


def _read(work: Path, name: Path, shape: SampleFiles) -> Iterator[Any]:
    if name.suffix == ".csv":
        csv.field_size_limit(LARGEST_FIELD)
        yield from csv.DictReader(io.StringIO(hostile.text(work, name)))
    elif name.suffix == ".jsonl":
        for line in filter(str.strip, hostile.lines(work, name)):
            yield hostile.parse_json(line)
    else:
        yield from _listed(hostile.load_json(work, name), shape)


def _listed(content: Any, shape: SampleFiles) -> Iterator[Any]:
    if shape.under:
        content = at(content, shape.under.split("."))
    if isinstance(content, list):
        yield from content
    elif isinstance(content, dict) and shape.by_name:
        yield from (
            {**each, "#name": name} for name, each in content.items() if isinstance(each, dict)
        )
    else:
        yield content


# ---------------------------------------------------------------- records


def _samples(record: Record, number: int, shape: SampleFiles) -> Iterator[OwnSample]:
    if shape.only_with and _field(record, shape.only_with) is NOTHING:
        return
    sample = str(number) if shape.id == "#" else _plain(record, shape.id)
    part = _plain(record, shape.part) if shape.part else None
    own = number_of(_plain(record, shape.repeat)) if shape.repeat else None
    undecided = bool(shape.no_verdict and _plain(record, shape.no_verdict))
    for repeat in range(_repeats(record, shape)):
        yield OwnSample(
            None if part is None else str(part),
            str(sample),
            int(own) if own is not None else repeat,
            _plain(record, shape.prompt, repeat),
            _plain(record, shape.expected, repeat),
            _plain(record, shape.answer, repeat),
            _plain(record, shape.extracted, repeat),
            {
                metric: _score(record, path, repeat, shape)
                for metric, path in shape.scores.items()
                if undecided or _field(record, path.partition(SAME)[0], repeat) is not NOTHING
            },
        )


def _score(record: Record, path: str, repeat: int, shape: SampleFiles) -> float | None:
    if shape.no_verdict and _plain(record, shape.no_verdict, repeat):
        return None
    one, same, other = path.partition(SAME)
    score = _verdict(_plain(record, one, repeat), shape)
    if same and score is not None:
        as_well = number_of(_plain(record, other, repeat))
        return None if as_well is None else float(score == as_well)
    return None if score == shape.none_is else score


def _verdict(value: Any, shape: SampleFiles) -> float | None:
    if isinstance(value, str) and shape.begins:
        said = value.strip()
        return next((n for start, n in shape.begins.items() if said.startswith(start)), None)
    return number_of(value)


def _repeats(record: Record, shape: SampleFiles) -> int:
    """How many repeats one record holds."""
    repeated = [
        path for path in (*shape.scores.values(), shape.answer) if path and "{repeat}" in path
    ]
    if not repeated:
        return 1
    number = 0
    while number < MOST_REPEATS and any(
        _field(record, path, number) is not NOTHING for path in repeated
    ):
        number += 1
    return number


def _plain(record: Record, path: str | None, repeat: int = 0) -> Any:
    found = _field(record, path, repeat) if path else None
    return None if found is NOTHING else found


def _field(record: Record, path: str, repeat: int = 0) -> Any:
    """What stands at a path, or `NOTHING`."""

    def filled(match: re.Match[str]) -> str:
        return str(repeat) if match[1] == "repeat" else str(_plain(record, match[1]))

    return at(record, re.sub(r"\{([^{}]+)\}", filled, path).split("."))
