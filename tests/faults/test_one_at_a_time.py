"""Two never work on one benchmark: second starts, starts by hand, dead and suspended owners."""

import contextlib
import os
import platform
import signal
import subprocess

import pytest
from interrupted import PARALLELISM, Evaluation

from rig.waiting import PATIENCE


def test_a_second_start_is_refused_and_told_who_is_at_it(evaluation: Evaluation) -> None:
    with evaluation.project.started() as snakemake:
        evaluation.wait_for_the_middle()
        with evaluation.endpoint.holding():
            again = evaluation.project.snakemake().refused()
        assert f"pid {snakemake.pid} on {platform.node()}" in again.output
        assert snakemake.wait(PATIENCE) == 0, evaluation.project.log
    evaluation.check_published()


def test_snakemake_waits_for_a_start_by_hand_and_adopts(evaluation: Evaluation) -> None:
    evaluation.finish_the_short_one()
    with evaluation.started_by_hand() as script:
        evaluation.wait_for_the_middle()
        with evaluation.project.started() as snakemake:
            with evaluation.endpoint.holding():
                said = f"pid {script.pid} on {platform.node()} is running this task; waiting"
                evaluation.wait_until(lambda: said in evaluation.project.log)
            assert snakemake.wait(PATIENCE) == 0, evaluation.project.log
        assert script.wait(PATIENCE) == 0
    assert evaluation.attempts() == ["published"]
    evaluation.check_published()


def test_a_start_by_hand_waits_for_snakemake_and_adopts(evaluation: Evaluation) -> None:
    with evaluation.project.started() as snakemake:
        evaluation.wait_for_the_middle()
        with evaluation.endpoint.holding(), evaluation.started_by_hand() as script:
            evaluation.wait_until(
                lambda: "is running this task; waiting" in evaluation.said_by_hand
            )
            evaluation.endpoint.held = False
            assert snakemake.wait(PATIENCE) == 0, evaluation.project.log
            assert script.wait(PATIENCE) == 0
    assert "nothing is asked again" in evaluation.said_by_hand
    assert evaluation.attempts() == ["published"]
    evaluation.check_published()


def test_who_waits_may_be_stopped_and_disturbs_nobody(evaluation: Evaluation) -> None:
    evaluation.finish_the_short_one()
    with evaluation.started_by_hand() as working:
        evaluation.wait_for_the_middle()
        with evaluation.endpoint.holding(), evaluation.started_by_hand() as waiting:
            said = f"pid {working.pid} on "
            evaluation.wait_until(lambda: said in evaluation.said_by_hand)
            waiting.terminate()
            assert waiting.wait(PATIENCE) == 143
            assert evaluation.project.status(evaluation.name)["state"] == "running"
        assert working.wait(PATIENCE) == 0
    assert evaluation.attempts() == ["published"]


def test_by_hand_an_interrupted_run_is_finished_without_snakemake(evaluation: Evaluation) -> None:
    # given a run that was killed in the middle
    with evaluation.project.started() as snakemake:
        evaluation.wait_for_the_middle()
        os.killpg(snakemake.pid, signal.SIGKILL)
    # when its benchmark is started by hand, stopped with Ctrl-C, and the run is continued by hand
    with evaluation.started_by_hand() as script:
        evaluation.wait_for_the_middle(evaluation.answered + 8)
        os.killpg(script.pid, signal.SIGINT)
        assert script.wait(PATIENCE) == 130
    everything = evaluation.by_hand("run_all.sh").check()
    # then everything is done, and Snakemake has nothing left but the tables
    assert "finished before" in everything.output
    assert evaluation.project.snakemake("-n").planned == 0
    evaluation.project.snakemake().check()
    assert evaluation.attempts() == ["interrupted", "cancelled", "published"]
    evaluation.check_published(asked_again_at_most=2 * PARALLELISM)


def test_of_many_that_race_for_a_dead_owner_one_takes_over_at_once(evaluation: Evaluation) -> None:
    # given an owner that was killed, and a silence that nobody could wait for
    patience = {"SNAKEVAL_SILENCE": "600"}
    evaluation.finish_the_short_one()
    with evaluation.started_by_hand(**patience) as script:
        evaluation.wait_for_the_middle()
        script.kill()
        script.wait()
        # when three start at once
        with contextlib.ExitStack() as stack:
            racing = [stack.enter_context(evaluation.started_by_hand(**patience)) for _ in range(3)]
            assert [process.wait(PATIENCE) for process in racing] == [0, 0, 0]
    # then one has worked, and the others have adopted its result
    said = evaluation.said_by_hand
    assert said.count("taking over") == 1, said
    assert said.count("attempt 2 started") == 1, said
    assert said.count("nothing is asked again") == 2, said
    assert evaluation.attempts() == ["interrupted", "published"]
    evaluation.project.snakemake().check()
    evaluation.check_published(asked_again_at_most=PARALLELISM)


def test_a_suspended_owner_does_not_write_beside_its_successor(evaluation: Evaluation) -> None:
    suspend_and_take_over(evaluation)


@pytest.mark.docker
def test_a_suspended_owner_leaves_its_successors_container_alone(
    in_bare_docker: Evaluation,
) -> None:
    suspend_and_take_over(in_bare_docker)


def suspend_and_take_over(evaluation: Evaluation) -> None:
    # given an owner in the middle that is suspended (Ctrl-Z, a frozen machine); its harness is
    # not: it goes on asking, slowly
    silence = {"SNAKEVAL_SILENCE": "10"}
    evaluation.finish_the_short_one()
    with evaluation.started_by_hand(**silence) as suspended:
        evaluation.wait_for_the_middle()
        evaluation.endpoint.latency = 4
        os.killpg(suspended.pid, signal.SIGSTOP)
        with evaluation.started_by_hand(**silence) as successor:
            # when another one has taken over, and the first one wakes up
            evaluation.wait_until(lambda: len(evaluation.attempts()) == 2)
            assert not evaluation.processes() or evaluation.engine is None
            evaluation.endpoint.latency = 0.15
            evaluation.wait_for_the_middle(evaluation.answered + 4)
            os.killpg(suspended.pid, signal.SIGCONT)
            # then the first one leaves, and says why
            assert suspended.wait(PATIENCE) == 1
            # and the second one is not disturbed
            assert successor.wait(PATIENCE) == 0, evaluation.said_by_hand
    assert "another start has taken over" in evaluation.said_by_hand
    assert evaluation.attempts() == ["interrupted", "published"]
    evaluation.project.snakemake().check()
    evaluation.check_published(asked_again_at_most=PARALLELISM)


def test_starting_over_is_refused_while_another_one_is_at_it(evaluation: Evaluation) -> None:
    evaluation.finish_the_short_one()
    with evaluation.started_by_hand() as script:
        evaluation.wait_for_the_middle()
        with evaluation.endpoint.holding():
            fresh = f"fresh={evaluation.name}"
            refused = evaluation.project.snakemake("--config", fresh).refused()
        assert f"pid {script.pid}" in refused.output
        assert script.wait(PATIENCE) == 0
    evaluation.project.snakemake().check()
    evaluation.check_published()


@pytest.mark.parametrize("engine", [None, pytest.param("docker", marks=pytest.mark.docker)])
def test_kill_stops_a_run_and_proves_that_it_is_gone(
    engine: str | None, request: pytest.FixtureRequest
) -> None:
    evaluation: Evaluation = request.getfixturevalue("in_bare_docker" if engine else "evaluation")
    with evaluation.project.started() as snakemake:
        evaluation.wait_for_the_middle()
        script = evaluation.owner()
        # when another terminal kills the run by a prefix of its name
        prefix = evaluation.project.run_folder.name[:-2]
        without_config = evaluation.project.command()[:-2]
        with evaluation.endpoint.holding():
            killed = evaluation.project.run(*without_config, "kill", "--config", f"run={prefix}")
        killed.check()
        # then nothing is left at that moment, and kill has said what it ended
        assert not evaluation.harnesses()
        assert not script.is_running()
        assert f"{evaluation.name}: pid {script.pid}" in killed.output
        assert f"controller: pid {snakemake.pid}" in killed.output
        assert snakemake.wait(PATIENCE) != 0
    assert evaluation.attempts() == ["cancelled"]
    # and the next start continues
    evaluation.project.snakemake().check()
    evaluation.check_published(asked_again_at_most=PARALLELISM)


def test_a_stranger_with_a_dead_harness_number_is_left_alone(evaluation: Evaluation) -> None:
    """A dead owner's numbers may belong to somebody else: nobody is killed by number alone."""
    evaluation.finish_the_short_one()
    with evaluation.started_by_hand() as script:
        evaluation.wait_for_the_middle()
        os.killpg(script.pid, signal.SIGKILL)
        script.wait()
        evaluation.wait_until_nothing_runs()
    stranger = subprocess.Popen(["sleep", "300"], start_new_session=True)
    try:
        # given a lease in which the harness's number is that of a stranger
        (evaluation.task / "lease" / "group").write_text(f"{stranger.pid} 1\n")
        evaluation.by_hand().check()
        assert stranger.poll() is None
    finally:
        stranger.kill()
        stranger.wait()
