"""Scores as a harness itself writes them, where its `results.yml` does not have all of them."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from .files import optional_count
from .model import Score
from .own_readers import GARAKS_REPORT
from .sample_files import json_lines, sample_files

MANY_DETECTORS = (
    "results.yml has the last detector of each probe alone; all of them are read from its report"
)


def own_scores(work: Path, reader: str | None) -> tuple[list[Score], tuple[str, ...]]:
    """The scores that stand in place of those of `results.yml`, and what must be told of them; none
    where those are right. Raises CheckFailed for a file that is not what it should be."""
    return OWN_SCORES[reader](work) if reader in OWN_SCORES else ([], ())


def _garak(work: Path) -> tuple[list[Score], tuple[str, ...]]:
    """The share of answers that each detector of a probe lets pass. Its package 26.3 overwrites the
    rate of one detector by that of the next, and looks for the number of answers under `total`."""
    scores = []
    for name in sample_files(work, GARAKS_REPORT):
        for record in json_lines(work, name):
            evaluated = optional_count(record.get("total_evaluated"))
            passed = optional_count(record.get("passed"))
            if record.get("entry_type") == "eval" and evaluated and passed is not None:
                probe, detector = str(record.get("probe")), str(record.get("detector"))
                rate = passed / evaluated
                scores.append(Score(probe, None, detector, "pass_rate", rate, n=evaluated))
    detectors = Counter(score.task for score in scores)
    return scores, (MANY_DETECTORS,) if max(detectors.values(), default=0) > 1 else ()


OWN_SCORES: dict[str, Callable[[Path], tuple[list[Score], tuple[str, ...]]]] = {"garak": _garak}
