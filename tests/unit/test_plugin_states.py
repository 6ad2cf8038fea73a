"""Every state of the service means one thing, and a job's own exit code counts more than any."""

import pytest

from snakemake_executor_plugin_lepton.states import PHASES, Phase, phase_of
from snakemake_executor_plugin_lepton.watch import (
    ENDING_GRACE,
    MARGIN,
    MISSING_LIMIT,
    REFUSED_PATIENCE,
    UNKNOWN_GRACE,
    Exit,
    Watch,
)

LIVE = {
    "Queueing",
    "Awaiting",
    "Starting",
    "Running",
    "Restarting",
    "PendingRetry",
    "Stopping",
    "Terminating",
    "Deleting",
    "UNK",
}


def test_every_state_of_the_sdk_has_a_phase_and_no_other_does() -> None:
    from leptonai.api.v2.types.job import LeptonJobState

    assert set(PHASES) == {state.value for state in LeptonJobState}
    assert len(PHASES) == 15


@pytest.mark.parametrize("state", sorted(PHASES))
def test_only_states_in_which_nothing_can_run_count_as_ended(state: str) -> None:
    assert phase_of(state).live == (state in LIVE)
    verdict = Watch(latency=0).look(phase_of(state), None, 0.0)
    assert (verdict is None) == (state in LIVE)


def test_a_state_that_nobody_knows_is_no_end() -> None:
    assert phase_of("Brooding") is phase_of(None) is Phase.UNKNOWN


@pytest.mark.parametrize("state", sorted(PHASES))
def test_the_jobs_own_exit_code_decides_in_every_state(state: str) -> None:
    good = Watch().look(phase_of(state), Exit(0), 0.0)
    bad = Watch().look(phase_of(state), Exit(3), 0.0)
    assert good and good.success
    assert bad and bad.cause == "its command ended with exit code 3"


def test_completed_without_an_exit_code_is_no_success() -> None:
    watch = Watch(latency=10)
    assert watch.look(Phase.COMPLETED, None, 0.0) is None  # the file may yet be seen
    verdict = watch.look(Phase.COMPLETED, None, 10.0)
    assert verdict and "exit code is not on the storage" in verdict.cause
    # and when the file comes in time, it is one
    late = Watch(latency=10)
    late.look(Phase.COMPLETED, None, 0.0)
    seen = late.look(Phase.COMPLETED, Exit(0), 5.0)
    assert seen and seen.success


def test_a_success_may_be_seen_late_and_a_failure_is_told_soon() -> None:
    # given storage on which a file may be seen a minute late, as on NFS
    ended = {phase: Watch(latency=60) for phase in (Phase.COMPLETED, Phase.GONE, Phase.FAILED)}
    told = {phase: watch.look(phase, None, 0.0) for phase, watch in ended.items()}
    assert set(told.values()) == {None}
    told = {phase: watch.look(phase, None, 30.0) for phase, watch in ended.items()}
    assert told[Phase.FAILED] and not told[Phase.COMPLETED] and not told[Phase.GONE]
    assert ended[Phase.COMPLETED].look(Phase.COMPLETED, None, 60.0)


def test_a_quick_failure_that_was_never_running_is_told() -> None:
    watch = Watch(latency=1)
    assert watch.look(Phase.WAITING, None, 0.0) is None
    assert watch.look(Phase.FAILED, None, 1.0) is None
    verdict = watch.look(Phase.FAILED, None, 2.0)
    assert verdict and "its image cannot be started" in verdict.cause


def test_no_answer_of_the_service_says_nothing_about_the_job() -> None:
    watch = Watch()
    assert all(watch.look(None, None, float(second)) is None for second in range(0, 7200, 60))


def test_a_refusal_to_say_how_a_job_is_says_nothing_about_the_job_for_a_quarter_of_an_hour() -> (
    None
):
    watch = Watch()
    assert watch.refused("401: expired", None, 0.0) is None
    assert watch.refused("401: expired", None, REFUSED_PATIENCE - 1) is None
    assert watch.look(Phase.RUNNING, None, REFUSED_PATIENCE) is None  # taken: counted anew
    assert watch.refused("401: expired", None, REFUSED_PATIENCE + 1) is None
    verdict = watch.refused("401: expired", None, 2 * REFUSED_PATIENCE + 1)
    assert verdict and verdict.left and "was left running" in verdict.cause
    # and what it has written decides whoever refuses what
    ended = watch.refused("401: expired", Exit(0), 2 * REFUSED_PATIENCE + 2)
    assert ended and ended.success


def test_a_job_may_wait_for_a_machine_for_so_long_and_no_longer() -> None:
    watch = Watch(queue_limit=3600)
    assert watch.look(Phase.WAITING, None, 0.0) is None
    assert watch.look(Phase.WAITING, None, 3600.0) is None
    assert watch.look(Phase.RUNNING, None, 3601.0) is None
    assert watch.look(Phase.WAITING, None, 9000.0) is None  # preempted: counted anew
    verdict = watch.look(Phase.WAITING, None, 12601.0)
    assert verdict and "has waited for 60 minutes" in verdict.cause and not verdict.left


def test_an_unknown_state_has_a_minute_to_pass() -> None:
    watch = Watch()
    assert watch.look(Phase.UNKNOWN, None, 0.0) is None
    assert watch.look(Phase.UNKNOWN, None, UNKNOWN_GRACE) is None
    assert watch.look(Phase.RUNNING, None, UNKNOWN_GRACE + 1) is None
    assert watch.look(Phase.UNKNOWN, None, UNKNOWN_GRACE + 2) is None  # counted anew
    verdict = watch.look(Phase.UNKNOWN, None, 2 * UNKNOWN_GRACE + 3)
    assert verdict and "no known state" in verdict.cause


def test_a_job_that_vanishes_is_looked_for_more_than_once() -> None:
    watch = Watch()
    for _ in range(MISSING_LIMIT - 1):
        assert watch.missing(None, 0.0) is None
    assert watch.look(Phase.RUNNING, None, 0.0) is None  # there again: counted anew
    for _ in range(MISSING_LIMIT - 1):
        assert watch.missing(None, 0.0) is None
    verdict = watch.missing(None, 0.0)
    assert verdict and "has vanished" in verdict.cause


def test_a_job_that_vanishes_after_its_end_has_ended_as_it_says() -> None:
    verdict = Watch().missing(Exit(0), 0.0)
    assert verdict and verdict.success


def test_a_job_that_does_not_stop_is_given_up() -> None:
    watch = Watch()
    assert watch.look(Phase.ENDING, None, 0.0) is None
    assert watch.look(Phase.ENDING, None, ENDING_GRACE) is None
    assert watch.look(Phase.ENDING, None, ENDING_GRACE + 1)


def test_the_time_limit_counts_work_and_not_waiting() -> None:
    watch = Watch(limit=100)
    assert watch.look(Phase.WAITING, None, 0.0) is None
    assert watch.look(Phase.RUNNING, None, 5000.0) is None
    assert watch.look(Phase.WAITING, None, 5050.0) is None  # preempted
    assert watch.look(Phase.RUNNING, None, 9000.0) is None
    assert watch.look(None, None, 9000.0 + 100 + MARGIN) is None  # the service is silent
    verdict = watch.look(None, None, 9000.0 + 101 + MARGIN)
    assert verdict and "time limit" in verdict.cause


def test_a_time_limit_inside_the_job_is_told_as_one() -> None:
    verdict = Watch(limit=600).look(Phase.FAILED, Exit.parsed("124 timeout\n"), 0.0)
    assert verdict and verdict.cause == (
        "its time limit of 10 minutes is used up (resource runtime)"
    )


@pytest.mark.parametrize(
    ("text", "written"), [("0\n", Exit(0)), ("3", Exit(3)), ("", None), ("x", None)]
)
def test_a_half_written_exit_code_is_none(text: str, written: Exit | None) -> None:
    assert Exit.parsed(text) == written
