"""One score in two runs, from single samples: paired, by part, with the samples that flipped."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from snakeval.compare import statistics
from snakeval.compare.model import Compared, Flip, Part, corrected
from snakeval.compare.pairs import TEXTS, Pairs, means_of, samples_of
from snakeval.compare.sides import Row, Side, better, is_of
from snakeval.job.scores import is_mean

if TYPE_CHECKING:
    import pandas as pd

TEXT_LENGTH = 300

FLIPS_WITH_TEXT = 200


def not_published(pair: Pairs, *sides: tuple[pd.DataFrame, list[Row]]) -> str | None:
    """Why single samples decide nothing under a metric: None where their mean is what is published,
    empty where nothing is published under its name."""
    for frame, found in sides:
        named = [row for row in found if is_of(row, pair.metric, pair.filter)]
        if not named:
            return ""
        means = means_of(frame, pair.metric, pair.filter)
        wholes = [row for row in named if row["subtask"] is None]
        for row in wholes[:1] or named:
            mean = means.get(row["subtask"])
            if mean is None or not is_mean(row["value"], mean):
                of_samples = "not known" if mean is None else f"{mean:.4g}"
                return (
                    f"{pair.metric} is {row['value']:.4g}, and the mean of its samples {of_samples}"
                )
    return None


def paired(name: str, found: Pairs, base: Side, candidate: Side) -> Compared:
    """A score of a benchmark, from the samples that both runs have."""
    difference = statistics.paired(found.base, found.candidate, found.questions)
    binary = set(found.base) | set(found.candidate) <= {0.0, 1.0}
    gap = found.candidate - found.base
    flipped = [
        Flip(*found.samples[index], float(found.base[index]), float(found.candidate[index]))
        for index in gap.nonzero()[0]
    ]
    if not binary:  # scores of any size nearly all change a little; the largest changes first
        flipped = sorted(flipped, key=lambda flip: -abs(flip.candidate - flip.base))
        flipped = flipped[:FLIPS_WITH_TEXT]
    return Compared(
        name,
        None,
        None,
        found.metric,
        found.filter,
        len(gap),
        float(found.base.mean()),
        float(found.candidate.mean()),
        difference,
        better(
            row
            for side in (base, candidate)
            for row in side.rows
            if is_of(row, found.metric, found.filter)
        ),
        won=int((gap > 0).sum()) if binary else None,
        lost=int((gap < 0).sum()) if binary else None,
        unscored=found.unscored,
        flips=tuple(_with_texts(flipped, found, base, candidate)),
        parts=_parts(found),
    )


def _parts(found: Pairs) -> tuple[Part, ...]:
    """Every subtask by itself; none where there is one only."""
    places: dict[str, list[int]] = {}
    for index, (subtask, _) in enumerate(found.samples):
        places.setdefault(subtask or "", []).append(index)
    if len(places) < 2:
        return ()
    parts = []
    for subtask, at in places.items():
        base, candidate = found.base[at], found.candidate[at]
        difference = statistics.paired(base, candidate, [found.questions[index] for index in at])
        means = float(base.mean()), float(candidate.mean())
        parts.append(Part(subtask, len(at), *means, difference))
    return tuple(corrected(parts))


def _with_texts(flips: list[Flip], found: Pairs, base: Side, candidate: Side) -> Iterator[Flip]:
    """The first flips with what was asked and answered."""
    if not flips:
        return
    texts = []
    for side in (base, candidate):
        frame = samples_of(side.run, side.task, TEXTS)
        assert frame is not None, "pairs come from samples"
        frame = frame[(frame["repeat"] == 0) & (frame["metric"] == found.metric)]
        frame = frame[frame["filter"].fillna("") == (found.filter or "")].fillna({"subtask": ""})
        texts.append(frame.drop_duplicates(["subtask", "sample"]).set_index(["subtask", "sample"]))
    for number, flip in enumerate(flips):
        key = (flip.subtask or "", flip.sample)
        if number >= FLIPS_WITH_TEXT or any(key not in frame.index for frame in texts):
            yield flip
            continue
        one, other = (frame.loc[[key]].iloc[0] for frame in texts)
        yield replace(
            flip,
            prompt=_clipped(one["prompt"]),
            base_answer=_clipped(one["answer"]),
            candidate_answer=_clipped(other["answer"]),
        )


def _clipped(text: Any) -> str | None:
    if not isinstance(text, str):
        return None
    return text if len(text) <= TEXT_LENGTH else text[:TEXT_LENGTH] + " ..."
