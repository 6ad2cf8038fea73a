"""Six benchmarks on one server, beside another model that goes on."""

from __future__ import annotations

import json
from datetime import datetime
from pathlib import Path
from typing import Any

from deployed import Deployed, quiz, scripted

from rig.promised import Pace
from rig.waiting import PATIENCE, wait_until


def run_of(project: Deployed, model: str) -> Path:
    """The run folder of a model of the sweep."""
    (run,) = [
        run
        for run in project.runs
        if f"served_model_name: {model}\n" in (run / "config.yaml").read_text()
    ]
    return run


def record(run: Path) -> dict[str, Any]:
    content: dict[str, Any] = json.loads(
        (run / "deployments" / "model" / "status.json").read_text()
    )
    return content


def attempts(run: Path) -> list[dict[str, Any]]:
    files = run.glob("quiz*/status.json")
    return [each for file in files for each in json.loads(file.read_text())["attempts"]]


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text)


def test_six_benchmarks_share_a_server_that_is_down_soon_after_the_last_of_them(
    project: Deployed,
) -> None:
    # given six benchmarks, one of which fails in the middle, for two models: `slow` holds its own
    fails = project.file("fails")
    tasks = [quiz(seed=number) for number in range(5)]
    tasks.insert(2, quiz(seed=5, fails_while=str(fails)))
    models = [
        {
            "deployment": {
                **scripted(f"--name {name}", f"--hold-while hold-{name}"),
                "served_model_name": name,
            }
        }
        for name in ("quick", "slow")
    ]
    project.configure({"type": "process"}, tasks, models=models)
    fails.touch()
    project.file("hold-slow").touch()
    with Pace() as pace, project.started("--cores", "9", "--retries", "0") as snakemake:
        # when the quick model's benchmarks have ended, while the slow one's go on
        wait_until(lambda: len(list(project.folder.glob("out/*/run.json"))) == 2)
        quick, slow = run_of(project, "quick"), run_of(project, "slow")
        wait_until(lambda: _ended(attempts(quick)) == 6)
        wait_until(lambda: record(quick)["state"] == "stopped")
        assert record(slow)["state"] == "up" and snakemake.poll() is None
        project.file("hold-slow").unlink()
        assert snakemake.wait(PATIENCE) == 1
    # then each server was loaded once, and was down within 10 s after its last benchmark
    for run in (quick, slow):
        (life,) = record(run)["lives"]
        assert (life["loads"], life["restarts"]) == (1, 0)
        last = max(moment(each["ended"]) for each in attempts(run))
        assert (moment(life["ended"]) - last).total_seconds() < 10 * pace.slowness
        states = [row["state"] for row in rows(run)]
        assert (states.count("published"), states.count("failed")) == (5, 1)
        # and what it has cost is in the table's file to the last second
        cost = json.loads((run / "results" / "results.json").read_text())["servers"]["model"]
        assert cost["seconds_in_use"] == life["seconds_in_use"] > 0
        assert cost["seconds_idle"] == life["seconds_idle"]
    # when the one that has failed can succeed
    fails.unlink()
    dry = project.snakemake("-n").check()
    assert dry.planned == 2 and ["deploy", "2"] in [
        line.split() for line in dry.output.splitlines()
    ]
    asked = project.noted("asked")
    project.snakemake("--cores", "9").check()
    # then the servers come up for that one alone
    assert [len(record(run)["lives"]) for run in (quick, slow)] == [2, 2]
    assert project.noted("asked") - asked == 2 * 3
    # and when all are published, none comes up
    assert "Nothing to be done" in project.snakemake().check().output
    assert project.starts == 4
    wait_until(lambda: not project.leftovers())


def _ended(found: list[dict[str, Any]]) -> int:
    return sum(1 for each in found if each.get("ended"))


def rows(run: Path) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads((run / "results" / "results.json").read_text())["rows"]
    return found
