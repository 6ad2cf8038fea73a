"""Whatever the service does, no job is reported wrong, made twice, or left behind."""

import os
import re
import signal

import pytest
from on_lepton import Workflow

from rig.lepton_service import LeptonService
from rig.waiting import PATIENCE, wait_until

ONE = """
rule one:
    output: "one.txt"
    shell: "echo ran >> ran; sleep 1; echo done > {output}"
"""


def test_every_call_may_fail_for_a_while(workflow: Workflow, lepton: LeptonService) -> None:
    # given a service that fails at every kind of call, each time in another way
    workflow.write(ONE)
    lepton.faults.add("GET", "/jobs$", status=503)
    lepton.faults.add("POST", "/jobs$", status=429, retry_after="1")
    lepton.faults.add("POST", "/jobs$", drop="request")
    status = "/jobs/[^/]+$"
    lepton.faults.add("GET", status, status=500)
    lepton.faults.add("GET", status, status=429, retry_after="1")
    lepton.faults.add("GET", status, drop="request")
    lepton.faults.add("GET", status, body=b"<html>no JSON</html>")
    lepton.faults.add("DELETE", status, status=502, times=2)

    ended = workflow.run().check()

    # then the job was made once, ran once, and is gone
    assert (workflow.folder / "ran").read_text() == "ran\n", ended.output
    assert (workflow.folder / "one.txt").read_text() == "done\n"
    assert len(lepton.jobs.created) == 1
    assert lepton.jobs.all == {}


def test_a_token_that_is_not_taken_for_a_while_ends_nothing(
    workflow: Workflow, lepton: LeptonService
) -> None:
    workflow.write(ONE)
    lepton.faults.add("GET", "/jobs$", status=401)
    lepton.faults.add("POST", "/jobs$", status=401)
    lepton.faults.add("GET", "/jobs/[^/]+$", status=401)
    lepton.faults.add("GET", "/jobs/[^/]+$", status=403, body=b'{"message": "not in these hours"}')
    lepton.faults.add("DELETE", "/jobs/[^/]+$", status=401)

    ended = workflow.run().check()

    assert "the job goes on" in ended.output
    assert (workflow.folder / "ran").read_text() == "ran\n", ended.output
    assert len(lepton.jobs.created) == 1
    assert lepton.jobs.all == {}


def test_a_creation_whose_answer_is_lost_makes_no_second_job(
    workflow: Workflow, lepton: LeptonService
) -> None:
    workflow.write(ONE)
    lepton.faults.add("POST", "/jobs$", drop="answer")

    workflow.run().check()

    assert len(lepton.jobs.created) == 1
    assert (workflow.folder / "ran").read_text() == "ran\n"
    assert lepton.jobs.all == {}


def test_jobs_that_end_badly_are_told_with_their_cause_and_log(
    workflow: Workflow, lepton: LeptonService
) -> None:
    # given one that fails at once, and asks for what cannot be had when it is tried again, one that
    # vanishes, and one that is stopped from outside
    workflow.write(
        """
rule all:
    input: "quick", "gone", "stopped"
rule quick:
    output: "quick"
    retries: 1
    resources: runtime=lambda wildcards, attempt: 2 - attempt
    shell: "echo the disk is on fire; exit 3"
rule gone:
    output: "gone"
    shell: "sleep 60"
rule stopped:
    output: "stopped"
    shell: "sleep 60"
"""
    )
    # and a service that fails when the log is asked for
    lepton.faults.add("GET", "/jobs/[^/]+/replicas$", status=503)
    lepton.faults.add("GET", "/jobs/[^/]+/replicas/[^/]+/log$", drop="request")
    process = workflow.started("--keep-going")
    wait_until(lambda: len([j for j in lepton.jobs.alive if j.state == "Running"]) >= 2)
    named = {job.name.split("-")[1]: job for job in lepton.jobs.created}
    lepton.jobs.vanish(named["gone"])
    named["stopped"].stopped = True
    for workload in named["stopped"].workloads:
        workload.kill()

    output, _ = process.communicate(timeout=PATIENCE)

    assert process.returncode == 1
    assert "its command ended with exit code 3" in output
    assert "the disk is on fire" in output
    assert "Snakemake rounds the resource runtime to whole minutes; write 1 or more" in output
    assert "has vanished: the service does not know it any more" in output
    assert "was stopped from outside" in output
    assert "Traceback" not in output
    assert lepton.jobs.all == {}


def test_a_preempted_job_goes_on_under_its_id(workflow: Workflow, lepton: LeptonService) -> None:
    workflow.write(
        """
rule one:
    output: "one.txt"
    shell: "echo start >> starts; [ $(wc -l < starts) = 2 ] || sleep 60; touch {output}"
"""
    )
    process = workflow.started()
    wait_until(lambda: (workflow.folder / "starts").exists())
    (job,) = lepton.jobs.created
    wait_until(lambda: job.state == "Running")

    # when it is in no known state for a while, and then preempted
    job.shown = "Brooding"
    looks = lepton.called("GET", f"/jobs/{job.id}$")
    wait_until(lambda: lepton.called("GET", f"/jobs/{job.id}$") >= looks + 2)
    job.shown = None
    lepton.jobs.preempt(job)

    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode == 0, output
    assert (workflow.folder / "starts").read_text() == "start\nstart\n"
    assert len(lepton.jobs.created) == 1


@pytest.mark.parametrize("when", ["between looks", "during a look", "while it is created"])
def test_an_interrupt_leaves_no_job(workflow: Workflow, lepton: LeptonService, when: str) -> None:
    # given a job that closes its work when it is told to
    workflow.write(
        """
rule one:
    output: "one.txt"
    shell: "trap 'touch closed; exit 9' TERM; touch began; sleep 120 & wait"
"""
    )
    if when == "during a look":
        lepton.faults.add("GET", "/jobs/[^/]+$", delay=4, times=None)
    if when == "while it is created":
        lepton.faults.add("POST", "/jobs$", delay=4)
    process = workflow.started()
    if when == "while it is created":
        wait_until(lambda: lepton.called("POST", "/jobs$"))
    else:
        wait_until(lambda: (workflow.folder / "began").exists())
        wait_until(lambda: lepton.called("GET", "/jobs/[^/]+$"))

    os.kill(process.pid, signal.SIGINT)

    output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert lepton.jobs.all == {}, output
    assert all(workload.code() is not None for workload in lepton.machine.running)
    if when != "while it is created":
        assert (workflow.folder / "closed").exists()


def test_after_a_kill_the_next_start_waits_for_the_live_job(
    workflow: Workflow, lepton: LeptonService
) -> None:
    workflow.write(
        """
rule one:
    output: "one.txt"
    shell: "echo ran >> ran; while [ ! -e go ]; do sleep 0.2; done; touch {output}"
"""
    )
    process = workflow.started("--nolock", "--rerun-incomplete")
    wait_until(lambda: (workflow.folder / "ran").exists())
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    (job,) = lepton.jobs.alive

    again = workflow.started("--nolock", "--rerun-incomplete")
    wait_until(lambda: lepton.called("GET", f"/jobs/{job.id}$"))
    (workflow.folder / "go").touch()
    output, _ = again.communicate(timeout=PATIENCE)

    assert again.returncode == 0, output
    assert f"waiting for {job.id}, a job of an earlier start" in output
    assert (workflow.folder / "ran").read_text() == "ran\n"
    assert lepton.jobs.all == {} and len(lepton.jobs.created) == 1


def test_after_a_kill_a_job_that_is_not_wanted_any_more_is_ended(
    workflow: Workflow, lepton: LeptonService
) -> None:
    workflow.write(ONE.replace("sleep 1", "sleep 120"))
    process = workflow.started("--nolock")
    wait_until(lambda: (workflow.folder / "ran").exists())
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()

    # the rule has another command now
    workflow.write(ONE.replace("sleep 1", "true"))
    ended = workflow.run("--nolock", "--rerun-incomplete").check()

    assert len(lepton.jobs.created) == 2, ended.output
    assert lepton.jobs.all == {}
    assert re.search("one: Lepton job", ended.output)
