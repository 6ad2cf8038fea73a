"""Killed in the middle, by whatever: the very same command continues, and only what was in flight
is asked again."""

import contextlib
import os
import signal
import subprocess
from collections.abc import Callable, Mapping

import pytest
from interrupted import PARALLELISM, Evaluation

from rig.waiting import PATIENCE

Kill = Callable[[Evaluation, "subprocess.Popen[bytes]"], None]
SAME = ("--retries", "0")
"""Flags of every start here: without a retry it is the next start that continues."""


def to_group(number: signal.Signals) -> Kill:
    return lambda _, snakemake: os.killpg(snakemake.pid, number)


def to_snakemake(number: signal.Signals) -> Kill:
    return lambda _, snakemake: snakemake.send_signal(number)


def to_script(number: signal.Signals) -> Kill:
    return lambda evaluation, _: evaluation.owner().send_signal(number)


ENDS_THE_SCRIPT = {
    "ctrl_c": to_group(signal.SIGINT),
    "term_to_the_group": to_group(signal.SIGTERM),
    "hup_to_the_group": to_group(signal.SIGHUP),
    "kill_the_group": to_group(signal.SIGKILL),
    "term_to_run_sh": to_script(signal.SIGTERM),
    "kill_run_sh": to_script(signal.SIGKILL),
}
LEAVES_THE_SCRIPT = {
    "hup_to_snakemake": to_snakemake(signal.SIGHUP),
    "kill_snakemake": to_snakemake(signal.SIGKILL),
}


@pytest.mark.parametrize("kill", ENDS_THE_SCRIPT.values(), ids=ENDS_THE_SCRIPT)
def test_killed_in_the_middle_the_same_command_continues(
    evaluation: Evaluation, kill: Kill
) -> None:
    # given a start that was killed in the middle of a benchmark
    with evaluation.project.started(*SAME) as snakemake:
        evaluation.wait_for_the_middle()
        with evaluation.endpoint.holding():
            kill(evaluation, snakemake)
            assert snakemake.wait(PATIENCE) != 0
            # then nothing of it goes on
            evaluation.wait_until_nothing_runs()
    assert not evaluation.is_published()
    # when the same command is given again
    evaluation.project.snakemake(*SAME).check()
    # then it is published with what was answered before, but for what was in flight
    assert len(evaluation.attempts()) == 2
    evaluation.check_published(asked_again_at_most=PARALLELISM)


@pytest.mark.parametrize("kill", LEAVES_THE_SCRIPT.values(), ids=LEAVES_THE_SCRIPT)
def test_a_script_that_outlives_snakemake_is_waited_for(evaluation: Evaluation, kill: Kill) -> None:
    # given Snakemake killed alone, while its benchmark runs on
    with evaluation.project.started(*SAME) as snakemake:
        evaluation.wait_for_the_middle()
        kill(evaluation, snakemake)
        assert snakemake.wait(PATIENCE) != 0
        assert evaluation.harnesses()
        # when the same command is given again
        with evaluation.endpoint.holding(), evaluation.project.started(*SAME) as again:
            # then it waits
            evaluation.wait_until(lambda: "is running this task; waiting" in evaluation.project.log)
            evaluation.endpoint.held = False
            # and adopts; nothing is asked twice
            assert again.wait(PATIENCE) == 0, evaluation.project.log
    assert evaluation.attempts() == ["published"]
    evaluation.check_published()


def test_snakemake_that_is_told_to_end_lets_its_benchmarks_finish(evaluation: Evaluation) -> None:
    with evaluation.project.started() as snakemake:
        evaluation.wait_for_the_middle()
        snakemake.send_signal(signal.SIGTERM)
        snakemake.wait(PATIENCE)
        evaluation.wait_until_nothing_runs()
    evaluation.project.snakemake().check()
    assert evaluation.attempts() == ["published"]
    evaluation.check_published()


def test_a_failed_attempt_is_tried_once_more_in_the_same_start(evaluation: Evaluation) -> None:
    with evaluation.project.started() as snakemake:
        evaluation.wait_for_the_middle()
        evaluation.owner().kill()
        assert snakemake.wait(PATIENCE) == 0, evaluation.project.log
    assert evaluation.attempts() == ["interrupted", "published"]
    evaluation.check_published(asked_again_at_most=PARALLELISM)


def test_a_cancelled_attempt_is_not_tried_again_in_the_same_start(evaluation: Evaluation) -> None:
    # given profiles/local, which retries a failed benchmark once
    with evaluation.project.started() as snakemake:
        evaluation.wait_for_the_middle()
        os.killpg(snakemake.pid, signal.SIGINT)
        # when somebody has no patience
        evaluation.wait_until(lambda: "Terminating processes" in evaluation.project.log)
        with contextlib.suppress(ProcessLookupError):  # it was quicker
            os.killpg(snakemake.pid, signal.SIGINT)
        assert snakemake.wait(PATIENCE) != 0
        evaluation.wait_until_nothing_runs()
    assert "Traceback" not in evaluation.project.log
    assert "Elapsed time" in evaluation.project.log  # it came to its end
    assert evaluation.attempts() == ["cancelled"]
    # and also where only the script was told to end, and Snakemake retries it
    with evaluation.project.started() as snakemake:
        evaluation.wait_for_the_middle(evaluation.answered + 8)
        evaluation.owner().terminate()
        assert snakemake.wait(PATIENCE) != 0
        evaluation.wait_until_nothing_runs()
    assert evaluation.attempts() == ["cancelled", "cancelled"]
    # when it is started again, it continues
    evaluation.project.snakemake().check()
    evaluation.check_published(asked_again_at_most=2 * PARALLELISM)


IN_A_CONTAINER: dict[str, Kill] = {
    "ctrl_c": to_group(signal.SIGINT),
    "kill_run_sh": to_script(signal.SIGKILL),
    "kill_the_client": lambda evaluation, _: evaluation.client().kill(),
    "kill_the_container": lambda evaluation, _: _docker_kill(evaluation),
    "kill_the_group": to_group(signal.SIGKILL),
}


def _docker_kill(evaluation: Evaluation) -> None:
    subprocess.run(["docker", "kill", evaluation.container()], check=True, capture_output=True)


@pytest.mark.docker
def test_no_way_to_kill_a_container_loses_an_answer(in_bare_docker: Evaluation) -> None:
    kill_one_after_the_other(in_bare_docker, IN_A_CONTAINER)
    assert in_bare_docker.attempts() == [
        *("cancelled", "interrupted", "failed", "failed", "interrupted"),
        "published",
    ]


@pytest.mark.docker
def test_a_nemo_container_that_is_told_to_end_or_killed_loses_no_answer(
    in_docker: Evaluation,
) -> None:
    """It takes half a minute to end when it is told to, and is not given that long."""
    kill_one_after_the_other(
        in_docker, {name: IN_A_CONTAINER[name] for name in ("ctrl_c", "kill_run_sh")}
    )
    assert in_docker.attempts() == ["cancelled", "interrupted", "published"]


@pytest.mark.long
@pytest.mark.docker
def test_no_way_to_kill_a_nemo_container_loses_an_answer(in_docker: Evaluation) -> None:
    kill_one_after_the_other(in_docker, IN_A_CONTAINER)


def kill_one_after_the_other(evaluation: Evaluation, kills: Mapping[str, Kill]) -> None:
    """Each continues what the former has left; then it is published."""
    evaluation.endpoint.latency = 0.3
    for number, (name, kill) in enumerate(kills.items(), start=1):
        # given a start in the middle
        with evaluation.project.started(*SAME) as snakemake:
            evaluation.wait_for_the_middle(evaluation.answered + 6)
            # when it is killed
            with evaluation.endpoint.holding():
                kill(evaluation, snakemake)
                assert snakemake.wait(PATIENCE) != 0, name
                # then the container is gone, and few answers with it
                evaluation.wait_until_nothing_runs()
        assert evaluation.asked_again <= (number - 1) * PARALLELISM, name
    evaluation.project.snakemake(*SAME).check()
    evaluation.check_published(asked_again_at_most=len(kills) * PARALLELISM)
