"""Several models in one start: a run and a server for each, never more GPUs than there may be."""

from __future__ import annotations

import json
from itertools import pairwise
from pathlib import Path
from typing import Any

from deployed import Deployed, quiz, scripted

from rig.waiting import wait_until


def model(name: str, *more: str) -> dict[str, Any]:
    """A model of a sweep, with a scripted server that needs one GPU."""
    deployment = scripted(f"--name {name}", *more, gpus=1)
    return {"deployment": {**deployment, "served_model_name": name}}


def lives(project: Deployed) -> dict[str, dict[str, Any]]:
    """What each model's server has done, by the model's name."""
    found = {}
    for run in project.runs:
        record = json.loads((run / "deployments" / "model" / "status.json").read_text())
        rows = json.loads((run / "results" / "results.json").read_text())["rows"]
        found[rows[0]["model"]] = {**record, "rows": rows}
    return found


def counted(output: str, rule: str) -> int:
    rows = [line.split() for line in output.splitlines()]
    return next((int(row[1]) for row in rows if row[:1] == [rule] and len(row) == 2), 0)


def test_models_take_turns_under_a_limit_and_one_that_fails_hides_no_other(
    project: Deployed,
) -> None:
    # given three models, one of which cannot be served, and one GPU for all of them
    models = [model("a"), model("broken", "--exit-code 3"), model("b")]
    project.configure({"type": "process"}, [quiz(seed=1), quiz(seed=2)], models=models)
    dry = project.snakemake("-n", "--resources", "gpu=1").check()
    assert (counted(dry.output, "deploy"), dry.planned) == (3, 6)
    assert not project.runs
    # when they are evaluated
    ended = project.snakemake("--resources", "gpu=1").refused()
    # then the other two have all their results, each by one server that was loaded once
    found = lives(project)
    assert {name: [row["state"] for row in each["rows"]] for name, each in found.items()} == {
        "a": ["published"] * 2,
        "b": ["published"] * 2,
        "broken": ["pending"] * 2,
    }, ended.output
    assert "no GPU was found, says the server" in found["broken"]["rows"][0]["cause"] or (
        "exit code 3" in found["broken"]["rows"][0]["cause"]
    )
    # and at no time were two of them up
    times = sorted(
        (each["lives"][0]["started"], each["lives"][0]["ended"]) for each in found.values()
    )
    assert all(first[1] <= second[0] for first, second in pairwise(times))
    assert Path(project.folder / "server-starts").read_text().count("gpus 0") == 3
    wait_until(lambda: not project.leftovers())
    # when the same is started again, only the broken one is tried
    dry = project.snakemake("-n", "--resources", "gpu=1").check()
    assert (counted(dry.output, "deploy"), dry.planned) == (1, 2)


def test_a_limit_below_what_a_server_needs_is_refused_before_anything_starts(
    project: Deployed,
) -> None:
    project.configure({"type": "process"}, [quiz(seed=1)], models=[model("a")])
    said = project.snakemake("--resources", "gpu=0").refused().output
    assert "the server 'model' needs 1 GPU, and the limit is 0" in said
    assert not project.runs
    dry = project.snakemake("-n", "--resources", "gpu=0").check()
    assert "a real start would be refused" in dry.output
