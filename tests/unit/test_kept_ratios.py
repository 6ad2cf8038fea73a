"""`make bench` compares with the ratios of the last release. The comparing is tested, nothing is
timed here."""

import json
import subprocess
import sys
from pathlib import Path

from bench import kept
from bench.kept import compared, keep, read_figures, read_kept, table

ROOT = Path(__file__).parents[2]


def test_a_ratio_that_is_worse_by_more_than_15_percent_is_told_as_such() -> None:
    found = compared({"a": 1.0, "b": 1.0, "c": 1.0}, {"a": 1.14, "b": 1.16, "c": 0.5})
    assert [each.name for each in found if each.is_worse] == ["b"]
    assert "+16%, worse than it may be" in table(found)


def test_what_is_new_or_was_not_measured_is_told_and_not_worse() -> None:
    found = compared({"gone": 1.0}, {"new": 9.0})
    assert [(each.name, each.told, each.is_worse) for each in found] == [
        ("gone", "not measured", False),
        ("new", "new", False),
    ]


def test_of_a_ratio_that_was_noted_several_times_the_median_counts(tmp_path: Path) -> None:
    noted = [("a", 1.0), ("a", 9.0), ("a", 1.2), ("b", 2.0)]
    figures = tmp_path / "figures"
    figures.write_text("".join(json.dumps({"name": n, "ratio": r}) + "\n" for n, r in noted))
    assert read_figures(figures) == {"a": 1.2, "b": 2.0}


def test_keeping_leaves_what_was_not_measured(tmp_path: Path) -> None:
    path = tmp_path / "kept.yaml"
    keep({"a": 1.0, "b": 2.0}, path)
    keep({"b": 1.5}, path)
    assert read_kept(path) == {"a": 1.0, "b": 1.5}


def test_the_exit_code_says_that_something_is_worse(tmp_path: Path) -> None:
    name, ratio = next(iter(read_kept().items()))

    def exit_code(now: float) -> int:
        figures = tmp_path / "figures"
        figures.write_text(json.dumps({"name": name, "ratio": now}) + "\n")
        command = [sys.executable, "-m", "bench.kept", str(figures)]
        return subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode

    assert exit_code(ratio) == 0
    assert exit_code(ratio * kept.MOST * 1.01) == 1
