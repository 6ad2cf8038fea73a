"""Everything on Lepton: the model's server an endpoint, the benchmark a job that asks it."""

import shutil
from pathlib import Path

import pytest
from on_lepton import STORAGE, LeptonProject

from rig.model_server import SERVER_IMAGE, model_file
from rig.pipeline import MODEL, nemo_sums

pytestmark = pytest.mark.docker


def test_a_job_asks_an_endpoint_of_its_run_with_its_token(
    project: LeptonProject, server_image: str
) -> None:
    # given a real llama.cpp server whose weights are on the storage, and a real evaluation image
    weights = project.folder / "weights"
    weights.mkdir()
    shutil.copy(model_file(), weights / "model.gguf")
    serve = "/opt/venv/bin/python /opt/serve.py --model /weights/model.gguf"
    project.environment["SNAKEVAL_LEPTON_POLL"] = "0.5"
    project.write(
        [nemo_sums() | {"dataset_dir": str(project.benchmark_folder())}],
        {"limit_samples": 3},
        execution=project.execution(),
        target={},
        deployment={
            "type": "generic",
            "image": SERVER_IMAGE,
            "command": f"{serve} --host {{host}} --port {{port}} --served-model-name {MODEL}",
            "served_model_name": MODEL,
            "lepton_config": {
                "resource_shape": "gpu.small",
                "mounts": [{"from": STORAGE, "path": "/weights", "mount_path": "/weights"}],
            },
        },
    )

    ended = project.snakemake().check()

    # then one endpoint and one job were made, and the job had the token as a secret
    assert "1 of 1 benchmarks published" in ended.output
    lepton = project.lepton
    (endpoint,), (job,) = lepton.deployments.created, lepton.jobs.created
    (secret,) = endpoint.given.spec.api_tokens
    references = {
        each.name: each.value_from.secret_name_ref
        for each in job.given.spec.envs
        if each.value_from
    }
    assert references["SNAKEVAL_ENDPOINT_TOKEN"] == secret.value_from.token_name_ref
    # and nothing is left: neither of them, nor the token, nor its value in any file or job
    assert not lepton.deployments.alive and not lepton.jobs.all and not lepton.secrets
    (token,) = lepton.secrets_made
    files: list[Path] = [file for file in project.folder.rglob("*") if file.is_file()]
    assert not [file for file in files if token.encode() in file.read_bytes()]
    assert not any(token.encode() in body for body in lepton.bodies if b"container" in body)
