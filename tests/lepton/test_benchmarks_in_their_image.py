"""The same config as anywhere else: each benchmark is a Lepton job in its own image."""

from typing import Any

import pytest
from on_lepton import LeptonProject

from rig.pipeline import nemo_sums

pytestmark = pytest.mark.docker


def benchmark(project: LeptonProject) -> dict[str, Any]:
    return nemo_sums() | {"dataset_dir": str(project.benchmark_folder())}


def test_a_benchmark_runs_in_the_real_image_and_nothing_is_left(project: LeptonProject) -> None:
    # given the real evaluation image, and a key that is a secret of the workspace
    project.lepton.secrets["MODEL_KEY"] = "sk-very-secret"
    project.endpoint.required_key = "sk-very-secret"
    project.write(
        [benchmark(project)],
        {"limit_samples": 10, "parallelism": 4},
        execution=project.execution(),
        target={
            "api_endpoint": {
                "url": project.url,
                "model_id": "test-model",
                "api_key_name": "MODEL_KEY",
            }
        },
    )

    ended = project.snakemake().check()

    # then it has a score, by one job that the service does not have any more
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
    # and again: nothing to be done, on this machine too
    assert "Nothing to be done" in project.snakemake().check().output
