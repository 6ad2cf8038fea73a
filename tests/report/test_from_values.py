"""Published values without single samples: what their errors show, and what is no comparison."""

from pathlib import Path
from typing import Any

import pytest

from rig.built_runs import built_run
from snakeval.compare.comparison import compare
from snakeval.compare.model import Compared, Comparison
from snakeval.compare.policy import Policy
from snakeval.compare.verdict import decide


def compared(folder: Path, base: dict[str, Any], candidate: dict[str, Any]) -> Comparison:
    """Two runs that say only this of the score `f1`."""
    runs = [
        built_run(folder, name, {"quiz": []}, name, scores={"quiz": {"f1": given}})
        for name, given in (("base", base), ("candidate", candidate))
    ]
    return compare(*runs)


def score_of(comparison: Comparison) -> Compared:
    assert not comparison.refused, comparison.refused[0].reason
    return comparison.scores[0]


def gate(comparison: Comparison) -> str:
    return decide(Policy.model_validate({"others": {"max_drop": 0.05}}), comparison).decision


def f1(value: float, n: int = 60, **more: Any) -> dict[str, Any]:
    return {"value": value, "n": n, "higher_is_better": True, **more}


def test_guessed_error_refuses_a_large_drop_and_never_releases(tmp_path: Path) -> None:
    fallen = compared(tmp_path / "a", f1(1.0), f1(0.33))
    same = compared(tmp_path / "b", f1(0.8, n=1_000_000), f1(0.8, n=1_000_000))

    assert gate(fallen) == "NO-GO"
    assert score_of(same).difference.kind == "cautious"
    assert gate(same) == "INCONCLUSIVE"


def test_known_error_releases(tmp_path: Path) -> None:
    same = compared(tmp_path, f1(0.8, stderr=0.001), f1(0.8, stderr=0.001))

    assert gate(same) == "GO"


def test_all_right_and_all_wrong_are_told_apart_although_their_errors_are_0(tmp_path: Path) -> None:
    fallen = compared(tmp_path / "a", f1(1.0, stderr=0.0), f1(0.0, stderr=0.0))
    few = compared(tmp_path / "b", f1(1.0, n=2, stderr=0.0), f1(0.0, n=2, stderr=0.0))

    assert gate(fallen) == "NO-GO"
    assert score_of(few).difference.interval is not None
    assert gate(few) != "GO"


@pytest.mark.parametrize(
    ("base", "candidate"),
    [
        (f1(0.85), f1(85.0)),
        (f1(85.0, stderr=1.0), f1(0.85, stderr=0.01)),
        (f1(0.5, range=[0, 1]), f1(0.9, range=[0, 100])),
    ],
)
def test_share_and_percentage_are_no_pair(
    tmp_path: Path, base: dict[str, Any], candidate: dict[str, Any]
) -> None:
    comparison = compared(tmp_path, base, candidate)

    assert comparison.scores == ()
    assert "another unit, it seems" in comparison.refused[0].reason
    assert gate(comparison) == "INCONCLUSIVE"


def test_what_is_measured_may_grow(tmp_path: Path) -> None:
    runs = [
        built_run(tmp_path, name, {"quiz": []}, name, scores={"quiz": {"latency": value}})
        for name, value in (("base", 0.9), ("candidate", 9.0))
    ]

    assert compare(*runs).refused == ()
