"""The same config as anywhere else: each benchmark is a Job of Kubernetes in its own image."""

import os
import signal

import pytest
from on_kubernetes import KubernetesProject

from rig.pipeline import nemo_sums
from rig.waiting import wait_until

pytestmark = pytest.mark.docker

KEY = "sk-very-secret"


def test_a_benchmark_runs_is_ended_by_kill_and_goes_on_with_its_key_in_no_file(
    project: KubernetesProject,
) -> None:
    # given the real evaluation image, a key that nobody has named a Secret for, and a server of
    # its own
    benchmark = nemo_sums() | {"dataset_dir": str(project.benchmark_folder())}
    target = {
        "api_endpoint": {"url": project.url, "model_id": "test-model", "api_key_name": "MODEL_KEY"}
    }
    project.endpoint.required_key = KEY
    settings = {"limit_samples": 20, "parallelism": 2}
    project.write(
        [benchmark], settings, execution=project.execution(pod={"nodeName": 7}), target=target
    )

    # then a start is refused, with a place and a way out for everything
    refused = project.snakemake().refused().output
    assert "execution.secret: is missing, and benchmarks need MODEL_KEY" in refused, refused
    assert not project.runs and not project.cluster.cluster.created

    # and with one, a dry run on a machine without the key has nothing against it
    project.cluster.cluster.secrets["eval-keys"] = {"MODEL_KEY": KEY}
    execution = project.execution(secret="eval-keys", namespace="evals")
    project.write([benchmark], settings, execution=execution, target=target)
    assert "would be refused" not in project.snakemake("-n").check().output

    # when the controller crashes at work, status knows the job, and kill ends it
    project.endpoint.latency = 0.3
    with project.started() as process:
        project.endpoint.wait_until_answered(3)
        (job,) = project.cluster.cluster.created
        with project.endpoint.holding():
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            shown = project.target("status").check().output
            assert f"job {job.name} runs on Kubernetes, namespace evals" in shown, shown
            killed = project.target("kill").check().output
            assert f"job {job.name} (mmlu_instruct)" in killed, killed
    wait_until(lambda: not project.cluster.cluster.all)
    assert all(each.code() is not None for each in project.cluster.cluster.machine.running)

    # then the next start asks only what has no answer yet
    project.endpoint.latency = 0
    ended = project.snakemake().check()
    assert "1 of 1 benchmarks published" in ended.output
    assert len(project.endpoint.answers) == 20
    assert project.endpoint.answers.total() <= 22, project.endpoint.counters()
    attempts = project.status("mmlu_instruct")["attempts"]
    assert [each["state"] for each in attempts] == ["interrupted", "published"]
    assert attempts[-1]["runtime"] == "image"
    assert attempts[0]["job"] == job.name
    assert attempts[-1]["executor"] == "kubernetes-jobs"
    # and nothing is left, and the key's value is nowhere
    assert project.cluster.cluster.all == {}
    assert not any(KEY.encode() in body for body in project.cluster.bodies)
    files = [file for file in project.folder.rglob("*") if file.is_file()]
    assert not [file for file in files if KEY.encode() in file.read_bytes()]
