"""`make demo-model` as a person types it, in a fresh clone: a real model, two real benchmarks."""

import json
import subprocess
from pathlib import Path

import pytest

from rig.pipeline import ROOT

pytestmark = pytest.mark.long


def made(clone: Path) -> str:
    return subprocess.run(
        ["make", "demo-model"],
        cwd=clone,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=True,
    ).stdout


def test_one_command_in_a_fresh_clone_ends_with_scores_and_again_does_nothing(
    tmp_path: Path,
) -> None:
    clone = tmp_path / "clone"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)

    first, again = made(clone), made(clone)

    (results,) = clone.glob("results/20*/results")
    rows = json.loads((results / "results.json").read_text())["rows"]
    scored = {row["task"]: (row["scored"], row["expected"]) for row in rows}
    assert scored == {"ifbench": (24, 24), "mmath_en": (24, 24)}
    assert "2 of 2 benchmarks published" in first and "Nothing to be done" in again
    assert (results / "report.html").stat().st_size > 0
