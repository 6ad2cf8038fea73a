"""What goes wrong with a server does not end an evaluation, and leaves nothing behind."""

import os
import signal

import psutil
from deployed import Deployed, quiz, scripted

from rig.promised import promised
from rig.waiting import PATIENCE, wait_until
from snakeval.job.lease import holder_of

EXECUTION = {"output_dir": "out", "min_free_gb": 0}


def server_processes(project: Deployed) -> list[psutil.Process]:
    lines = project.file("server-starts").read_text().split("\n")
    pids = [int(line.split()[1]) for line in lines if line.startswith("start")]
    return [psutil.Process(pid) for pid in pids if psutil.pid_exists(pid)]


def test_a_server_that_dies_in_the_middle_comes_back_and_no_attempt_is_lost(
    project: Deployed,
) -> None:
    # given two benchmarks that wait for the server's answers
    project.configure(scripted(), [quiz(seed=1), quiz(seed=2)])
    project.folder.mkdir(exist_ok=True)
    project.file("hold").touch()
    with project.started() as snakemake:
        wait_until(lambda: project.noted("asked") == 2)
        # when the server is killed
        project.file("hold").unlink()
        for server in server_processes(project):
            server.kill()
        # then both ask it where it is now
        assert snakemake.wait(PATIENCE) == 0, project.log
    assert project.starts == 2
    assert project.record["lives"][-1]["restarts"] == 1
    assert [row["state"] for row in project.rows()] == ["published"] * 2
    for task in ("quiz", "quiz.1"):
        assert len(project.status(task)["attempts"]) == 1
    for label in ("quiz [seed=1]", "quiz [seed=2]"):
        assert f"{label}: the server 'model' is at http://" in project.log


def test_without_a_gateway_a_server_that_dies_costs_an_attempt(project: Deployed) -> None:
    # given a benchmark that waits for the server's answer
    project.configure(scripted(), [quiz(seed=1)], execution={**EXECUTION, "gateway": False})
    project.folder.mkdir(exist_ok=True)
    project.file("hold").touch()
    with project.started() as snakemake:
        wait_until(lambda: project.noted("asked") == 1)
        # when the server is killed, and with it the attempt
        project.file("hold").unlink()
        for server in server_processes(project):
            server.kill()
        # then the same start publishes it with the next one
        assert snakemake.wait(PATIENCE) == 0, project.log
    assert project.record["lives"][-1]["restarts"] == 1
    first, second = project.status("quiz")["attempts"]
    assert "ended during this attempt" in first["cause"]
    assert second["state"] == "published"
    wait_until(lambda: not project.leftovers())


def test_a_killed_supervisor_is_told_as_the_cause_and_the_next_start_goes_on(
    project: Deployed,
) -> None:
    # given a benchmark that waits for the server's answer, for as long as it takes
    project.configure(scripted(), [quiz(seed=1)])
    project.environment["QUIZ_TIMEOUT"] = "600"
    project.folder.mkdir(exist_ok=True)
    project.file("hold").touch()
    with project.started() as snakemake:
        wait_until(lambda: project.noted("asked") == 1)
        # when the supervisor is killed, and with it the server
        owner = holder_of(project.server / "lease")
        assert owner is not None
        os.kill(owner.pid, signal.SIGKILL)
        wait_until(lambda: not server_processes(project))
        project.file("hold").unlink()
        # then nobody waits out the gateway's two minutes
        with promised(30):
            assert snakemake.wait(PATIENCE) == 1, project.log
    # and both attempts, and the end of the start, say so
    first, second = (each["cause"] for each in project.status("quiz")["attempts"])
    assert first.startswith("the server 'model' ended during this attempt: its supervisor")
    assert "server 'model' is not running (its supervisor" in second
    assert "server model: its supervisor was killed; healthy after" in project.log
    # and the next start brings the server up again
    project.snakemake().check()
    assert [row["state"] for row in project.rows()] == ["published"]
    wait_until(lambda: not project.leftovers())


def test_a_killed_controller_leaves_benchmarks_that_finish_and_a_server_that_ends(
    project: Deployed,
) -> None:
    # given two benchmarks under way, and Snakemake killed
    project.configure(scripted(idle_timeout=120), [quiz(seed=1), quiz(seed=2)])
    project.folder.mkdir(exist_ok=True)
    project.file("hold").touch()
    with project.started() as snakemake:
        wait_until(lambda: project.noted("asked") == 2)
        os.kill(snakemake.pid, signal.SIGKILL)
        snakemake.wait()
        # when the server answers again
        project.file("hold").unlink()
        # then both finish, and the server ends by itself
        wait_until(lambda: not project.leftovers())
    assert project.record["cause"] == "no benchmark needs it any more"
    assert project.status("quiz")["state"] == "published"
    # and the next start has nothing to do but the tables
    project.snakemake().check()
    assert [row["state"] for row in project.rows()] == ["published"] * 2
    assert project.starts == 1


def test_a_server_that_never_comes_up_is_a_failed_job_with_its_last_words(
    project: Deployed,
) -> None:
    # given a server that is never healthy
    project.configure(
        scripted(),
        [quiz(seed=1)],
        execution={**EXECUTION, "endpoint_readiness_timeout": 3},
    )
    project.folder.mkdir(exist_ok=True)
    project.file("sick").touch()
    # when it is started
    said = project.snakemake().refused().output
    # then the failed job, and the table, say so
    assert "was not healthy after 3 s" in said
    assert "the server's weights are loaded" in said
    (row,) = project.rows()
    assert row["state"] == "pending"
    assert "was not healthy after 3 s" in row["cause"]
    assert project.starts == 1
    wait_until(lambda: not project.leftovers())


def test_down_when_the_last_benchmark_has_failed_for_good(project: Deployed) -> None:
    # given a benchmark that succeeds, and one that always fails
    project.configure(scripted(), [quiz(seed=1), quiz(seed=2, exit_code=3)])
    # when they are evaluated
    said = project.snakemake().refused().output
    # then the server ended with the last attempt, not with the pipeline
    assert project.record["cause"] == "no benchmark needs it any more"
    assert [row["state"] for row in project.rows()] == ["published", "failed"]
    assert len(project.status("quiz.1")["attempts"]) == 2
    assert "server model: stopped (no benchmark needs it any more); healthy after" in said
    wait_until(lambda: not project.leftovers())
