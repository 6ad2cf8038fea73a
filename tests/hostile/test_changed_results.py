"""A result that was changed after it was published is told, and never silently used."""

import json
from pathlib import Path

import pytest

from rig.built_runs import built_run, records
from snakeval.compare.comparison import compare
from snakeval.export.items import items
from snakeval.plan.run import Run
from snakeval.report.page import write_report
from snakeval.results.samples import write_samples
from snakeval.results.tables import rows

SAID = "the result was changed after it was published ('results.json')"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A finished run, of whose two results one was changed."""
    run = built_run(tmp_path, "r", {"quiz": records([1, 0]), "good": records([1, 0])})
    results = result_of(run)
    results.write_text(results.read_text().replace("0.5", "0.9"))
    return run


def result_of(run: Run) -> Path:
    quiz = run.tasks[0]
    return quiz.paths.work(quiz.digest) / "results.json"


def test_changed_result_is_told_and_used_by_nobody(run: Run, tmp_path: Path) -> None:
    base = built_run(tmp_path, "base", {"quiz": records([1, 0]), "good": records([1, 0])})

    found = rows(run)
    comparison = compare(base, run)

    states = [(row["state"], row["value"]) for row in found]
    assert states == [("changed", None), ("published", 0.5)]
    assert found[0]["cause"].startswith(SAID)
    assert [item.name for item in items(run)] == ["good"]
    assert [each.reason.partition(";")[0] for each in comparison.refused] == [
        f"no result in candidate (changed: {SAID}"
    ]
    assert (write_samples(run)["quiz"].cause or "").startswith(SAID)
    assert "was changed after it was published" in write_report(run).read_text()


def test_result_that_was_put_back_is_shown_again(run: Run) -> None:
    write_samples(run)
    content = json.loads(result_of(run).read_text())
    result_of(run).write_text(json.dumps(content).replace("0.9", "0.5"))

    assert [row["value"] for row in rows(run)] == [0.5, 0.5]
    assert write_samples(run)["quiz"].cause is None
