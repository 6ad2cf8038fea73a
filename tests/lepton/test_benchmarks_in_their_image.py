"""The same config as anywhere else: each benchmark is a Lepton job in its own image."""

import os
import signal
from typing import Any

import pytest
from on_lepton import LeptonProject

from rig.pipeline import nemo_sums
from snakeval.job.gateway.ledger import LEDGER, rows

pytestmark = pytest.mark.docker


def benchmark(project: LeptonProject) -> dict[str, Any]:
    return nemo_sums() | {"dataset_dir": str(project.benchmark_folder())}


def test_a_benchmark_runs_in_the_real_image_and_nothing_is_left(project: LeptonProject) -> None:
    # given the real evaluation image, and a key that is a secret of the workspace
    project.lepton.secrets["MODEL_KEY"] = "sk-very-secret"
    project.endpoint.required_key = "sk-very-secret"
    shows = {"pre_cmd": 'env >"$SNAKEVAL_RESULTS/environment"'}
    project.write(
        [benchmark(project) | shows],
        {"limit_samples": 10, "parallelism": 4},
        gateway=True,
        execution=project.execution(),
        target={
            "api_endpoint": {
                "url": project.url,
                "model_id": "test-model",
                "api_key_name": "MODEL_KEY",
            }
        },
    )

    # then a dry run, on a machine without the key, has nothing against it
    assert "would be refused" not in project.snakemake("-n").check().output

    ended = project.snakemake().check()

    # and it has a score, by one job that the service does not have any more
    assert "1 of 1 benchmarks published" in ended.output
    assert len(project.endpoint.requests) == 10
    (attempt,) = project.status("mmlu_instruct")["attempts"]
    assert attempt["runtime"] == "image"
    (job,) = project.lepton.jobs.created
    assert project.lepton.jobs.all == {}
    # and the key's value was in no request to the service, and is in no file
    assert job.given.spec.envs[0].value_from.secret_name_ref == "MODEL_KEY"
    assert not any(b"sk-very-secret" in body for body in project.lepton.bodies)
    assert "sk-very-secret" not in ended.output
    files = [file for file in project.folder.rglob("*") if file.is_file()]
    assert not [file for file in files if b"sk-very-secret" in file.read_bytes()]
    # and the harness had a token in its place: it asked through the gateway, in the job's own image
    (environment,) = (file for file in files if file.name == "environment")
    assert "MODEL_KEY=" in environment.read_text()
    (ledger,) = (file for file in files if file.name == LEDGER)
    assert [row["outcome"] for row in rows(ledger) if "key" in row] == ["answered"] * 10
    # and again: nothing to be done, on this machine too
    assert "Nothing to be done" in project.snakemake().check().output


def test_a_preempted_benchmark_goes_on_and_kill_ends_what_status_shows(
    project: LeptonProject,
) -> None:
    # given a benchmark under way, with a lease that is soon seen to be dead
    project.write(
        [benchmark(project)],
        {"limit_samples": 40, "parallelism": 2},
        execution=project.execution(tasks={"env_vars": {"SNAKEVAL_SILENCE": "5"}}),
    )
    project.endpoint.latency = 0.3
    with project.started() as process:
        project.endpoint.wait_until_answered(5)
        (job,) = project.lepton.jobs.created

        # when Lepton takes its machine away, and starts it anew
        project.lepton.jobs.preempt(job)
        answered = sum(project.endpoint.answers.values())
        project.endpoint.wait_until_answered(answered + 5)

        # then it is the same job, in a second attempt, and status knows it
        with project.endpoint.holding():
            assert [each.id for each in project.lepton.jobs.alive] == [job.id]
            shown = project.target("status").check().output
            assert f"job {job.id} runs on Lepton" in shown, shown

            # and when the controller crashes, kill ends what it has left
            os.kill(process.pid, signal.SIGKILL)
            process.wait()
            assert project.lepton.jobs.alive
            killed = project.target("kill").check().output
            assert f"job {job.id} (mmlu_instruct)" in killed
            assert project.lepton.jobs.all == {}
    assert all(workload.code() is not None for workload in project.lepton.machine.running)

    # and the next start asks only what has no answer yet
    project.endpoint.latency = 0
    project.snakemake().check()
    assert len(project.endpoint.answers) == 40
    # but for what was in flight at the two ends
    assert project.endpoint.answers.total() <= 44, project.endpoint.counters()
    attempts = project.status("mmlu_instruct")["attempts"]
    assert [each["state"] for each in attempts] == ["interrupted", "interrupted", "published"]
    # and the one that kill has ended could say so
    assert attempts[1]["cause"].startswith("the job was ended")


def test_what_lepton_lacks_is_told_before_any_job(project: LeptonProject) -> None:
    # given no secret for the key, data and results that are not on the storage, and a judge
    project.write(
        [benchmark(project) | {"dataset_dir": "/usr/share"}],
        execution=project.execution(
            evaluation_tasks={"use_shared_storage": False}, env_var_names=["NGC_API_KEY"]
        ),
        env_vars={"MODEL_TOKEN": "host:MODEL_TOKEN"},
    )
    output = project.snakemake().refused().output
    assert "/usr/share (dataset_dir or execution.mounts.evaluation) is not on the storage" in output
    assert "use_shared_storage" in output

    # and given those, the secrets
    project.write(
        [benchmark(project)],
        execution=project.execution(env_var_names=["NGC_API_KEY"]),
        env_vars={"MODEL_TOKEN": "host:MODEL_TOKEN"},
    )
    output = project.snakemake().refused().output
    for name in ("MODEL_TOKEN", "NGC_API_KEY"):
        assert f"no secret '{name}' for the variable {name}: `lep secret create -n {name}" in output
    assert project.lepton.jobs.created == []
    assert not project.runs
