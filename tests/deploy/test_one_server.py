"""One server for all benchmarks of a model: up when it is needed, down when it is not."""

from deployed import Deployed, quiz, scripted

from rig.model_server import llama
from rig.pipeline import SUMS
from rig.waiting import wait_until


def test_one_start_of_a_real_server_serves_all_benchmarks(project: Deployed) -> None:
    # given a real llama.cpp server as deployment, and three benchmarks, one of them of lm-eval
    project.configure(llama(), [SUMS, quiz(seed=1), quiz(seed=2)])
    # when they are evaluated
    project.snakemake().check()
    # then all are published, by one server that was loaded once, and nothing is left
    assert {row["task"]: row["state"] for row in project.rows()} == dict.fromkeys(
        ("snakeval_sums", "quiz", "quiz.1"), "published"
    )
    (life,) = project.record["lives"]
    assert (life["loads"], life["restarts"]) == (1, 0)
    assert life["seconds_in_use"] > 0
    wait_until(lambda: not project.leftovers())
    # when the same is started again
    again = project.snakemake().check()
    # then no server comes up
    assert "Nothing to be done" in again.output
    assert len(project.record["lives"]) == 1


def test_only_what_is_pending_runs_and_a_dry_run_shows_it(project: Deployed) -> None:
    # given a finished run of two benchmarks
    project.configure(scripted(), [quiz(seed=1), quiz(seed=2)])
    project.snakemake().check()
    assert project.starts == 1
    # when a third is added
    project.configure(scripted(), [quiz(seed=1), quiz(seed=2), quiz(seed=3)])
    dry = project.snakemake("-n").check()
    # then a dry run plans one server and one benchmark, and starts nothing
    assert dry.planned == 1
    assert "deploy" in dry.output
    assert project.starts == 1
    # and a start does just that
    project.snakemake().check()
    assert project.starts == 2
    assert len(project.rows()) == 3
