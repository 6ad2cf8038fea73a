"""Any workflow with `--executor kubernetes-jobs`: one job each, whatever the cluster does."""

import os
import signal

from on_kubernetes import Workflow

from rig.kubernetes_service import KubernetesService
from rig.waiting import PATIENCE, wait_until

HELD = """
rule one:
    output: "one.txt"
    shell: "echo ran >> ran; while [ ! -e go ]; do sleep 0.2; done; touch {output}"
"""
STATUS = "/jobs/[^/]+$"


def test_every_call_may_fail_for_a_while_and_a_quota_may_be_full(
    workflow: Workflow, cluster: KubernetesService
) -> None:
    # given a cluster that fails at every kind of call, each time in another way
    cluster.cluster.secrets["keys"] = {"TOKEN": "s3cret"}
    workflow.write(
        'rule one:\n    output: "one.txt"\n    log: "a.log"\n'
        '    shell: "echo ran >> ran; echo ${{#TOKEN}} > {output} 2> {log}"\n'
    )
    cluster.faults.add("GET", "/jobs$", status=503)
    cluster.faults.add("GET", "/jobs$", body=b"<html>no JSON</html>")
    # the first POST is the question with dryRun
    cluster.faults.add("POST", "/jobs$", after=1, status=429, retry_after="1")
    cluster.faults.add("POST", "/jobs$", drop="answer", after=1)
    for fault in ({"status": 500}, {"drop": "request"}, {"status": 401}, {"body": b"no JSON"}):
        cluster.faults.add("GET", STATUS, **fault)
    cluster.faults.add("DELETE", STATUS, status=502, times=2)

    ended = workflow.run("--kubernetes-jobs-env", "TOKEN=secret:keys").check()

    # then the job was made once, ran once, and is gone; its key was in no request and no output
    assert (workflow.folder / "ran").read_text() == "ran\n", ended.output
    assert (workflow.folder / "one.txt").read_text() == "6\n"
    assert len(cluster.cluster.created) == 1
    wait_until(lambda: not cluster.cluster.all)
    assert not any(b"s3cret" in body for body in cluster.bodies)
    assert "s3cret" not in ended.output


def test_what_waits_goes_on_or_ends_badly_is_told_in_the_clusters_words(
    workflow: Workflow, cluster: KubernetesService
) -> None:
    # given no room at first
    workflow.write(
        """
rule all:
    input: "quick", "gone", "one.txt"
rule quick:
    output: "quick"
    shell: "echo the disk is on fire; exit 3"
rule gone:
    output: "gone"
    shell: "sleep 600"
"""
        + HELD
    )
    cluster.cluster.held.set()
    with workflow.started("--keep-going") as process:
        jobs = cluster.cluster.created
        wait_until(lambda: len([job for job in jobs if job.pods and job.pods[0].why]) == 3)
        looks = cluster.called("GET", "/pods$")
        wait_until(lambda: cluster.called("GET", "/pods$") >= looks + 8)  # three at once, at most
        assert not cluster.cluster.running
        cluster.cluster.held.clear()

        # when one job vanishes, and the pod of another is preempted
        named = {job.name.split("-")[1]: job for job in cluster.cluster.created}
        wait_until(lambda: named["gone"].running and (workflow.folder / "ran").exists())
        cluster.cluster.vanish(named["gone"])
        cluster.cluster.preempt(named["one"])
        wait_until(lambda: (workflow.folder / "ran").read_text() == "ran\nran\n")
        (workflow.folder / "go").touch()
        output, _ = process.communicate(timeout=PATIENCE)

    # then the preempted one has gone on in another pod, under its name
    assert (workflow.folder / "one.txt").exists()
    assert len(named["one"].pods) == 2 and len(cluster.cluster.created) == 3
    assert process.returncode == 1
    assert "waits: Unschedulable: 0/3 nodes are available" in output
    assert "its command ended with exit code 3" in output
    assert "the disk is on fire" in output
    assert "has vanished" in output
    assert "Traceback" not in output
    wait_until(lambda: not cluster.cluster.all)


def test_an_interrupt_leaves_no_job(workflow: Workflow, cluster: KubernetesService) -> None:
    workflow.write(
        """
rule one:
    output: "one.txt"
    shell: "trap 'touch closed; exit 9' TERM; touch began; sleep 600 & wait"
"""
    )
    with workflow.started() as process:
        wait_until(lambda: (workflow.folder / "began").exists())
        os.kill(process.pid, signal.SIGINT)
        output, _ = process.communicate(timeout=PATIENCE)
    assert process.returncode != 0
    assert cluster.cluster.all == {}, output
    assert all(workload.code() is not None for workload in cluster.cluster.machine.running)
    assert (workflow.folder / "closed").exists()


def test_after_a_kill_the_next_start_waits_for_the_live_job(
    workflow: Workflow, cluster: KubernetesService
) -> None:
    workflow.write(HELD)
    process = workflow.started("--nolock", "--rerun-incomplete")
    wait_until(lambda: (workflow.folder / "ran").exists())
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    (job,) = cluster.cluster.alive

    with workflow.started("--nolock", "--rerun-incomplete") as again:
        wait_until(lambda: cluster.called("GET", f"/jobs/{job.name}$"))
        (workflow.folder / "go").touch()
        output, _ = again.communicate(timeout=PATIENCE)

    assert again.returncode == 0, output
    assert f"waiting for {job.name}, a job of an earlier start" in output
    assert (workflow.folder / "ran").read_text() == "ran\n"
    assert len(cluster.cluster.created) == 1


def test_what_the_cluster_lacks_is_told_at_once_and_before_any_job(
    workflow: Workflow, cluster: KubernetesService
) -> None:
    workflow.write(
        """
rule all:
    input: "a", "b"
rule a:
    output: "a"
    shell: "touch {output}"
rule b:
    output: "b"
    resources: kubernetes_volumes=lambda w: "other-claim:/:" + os.path.dirname(os.getcwd())
    shell: "touch {output}"
"""
    )
    cluster.cluster.secrets["keys"] = {"OTHER": "x"}
    keys = "TOKEN=secret:keys NO=secret:none"
    output = workflow.run("--kubernetes-jobs-env", keys).refused().output
    assert "has no volume claim 'other-claim'" in output, output
    assert "has a Secret 'keys' without TOKEN: `kubectl -n evals patch secret keys -p" in output
    assert "has no Secret 'none' for NO: `kubectl -n evals create secret generic none" in output
    assert cluster.cluster.created == []
