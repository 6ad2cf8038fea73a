"""A judge beside the model: two real servers, each up only for the benchmarks that ask it."""

import json

from deployed import Deployed, essay, quiz

from rig.model_server import llama
from rig.pipeline import MODEL
from rig.waiting import wait_until


def test_a_judge_is_up_only_while_a_pending_benchmark_asks_it(project: Deployed) -> None:
    # given two real llama.cpp servers, and a benchmark that asks the model only
    judge = {"auxiliary_deployments": {"judge": llama("judge-model", seed=2)}}
    project.configure(llama(), [quiz(seed=1), essay()], **judge)
    project.snakemake("--config", "tasks=quiz").check()
    # then there was one server
    assert [each.name for each in sorted(project.server.parent.iterdir())] == ["model"]
    # when the one that asks the judge too is evaluated
    dry = project.snakemake("-n").check()
    assert ["deploy", "2"] in [line.split() for line in dry.output.splitlines()]
    project.snakemake().check()
    # then both were up for it, each with its own model, and nothing is left
    assert project.status("essay")["state"] == "published"
    lives = {
        name: json.loads((project.server.parent / name / "status.json").read_text())["lives"]
        for name in ("model", "judge")
    }
    assert {name: len(each) for name, each in lives.items()} == {"model": 2, "judge": 1}
    costs = json.loads((project.run_folder / "results" / "results.json").read_text())["servers"]
    assert set(costs) == {"model", "judge"}
    command = next(project.task("essay").glob("record/*/command.sh")).read_text()
    assert "--judge-url http://127.0.0.1:" in command and "--judge-model judge-model" in command
    assert MODEL not in command
    wait_until(lambda: not project.leftovers())
