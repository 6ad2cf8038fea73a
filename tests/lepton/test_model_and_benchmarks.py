"""Everything on Lepton: the model is an endpoint, its benchmarks are jobs."""

import shutil

import pytest
from on_lepton import STORAGE, LeptonProject

from rig.image import NEMO_IMAGE
from rig.pipeline import MODEL, ROOT, nemo_sums

pytestmark = pytest.mark.docker


def test_jobs_ask_the_runs_own_endpoint_with_its_token(project: LeptonProject) -> None:
    # given a server whose program is on the storage, and a benchmark
    folder = project.folder
    shutil.copy(ROOT / "tests" / "deploy" / "scripted_server.py", folder)
    mount = {"from": STORAGE, "path": "/", "mount_path": str(folder)}
    project.write(
        [nemo_sums() | {"dataset_dir": str(project.benchmark_folder())}],
        {"limit_samples": 4, "parallelism": 2},
        execution=project.execution(),
        target={},
        deployment={
            "type": "generic",
            "image": NEMO_IMAGE,
            "command": f"exec python3 {folder}/scripted_server.py --port {{port}}",
            "served_model_name": MODEL,
            "lepton_config": {"resource_shape": "cpu.small", "mounts": [mount]},
        },
    )
    project.environment["SNAKEVAL_LEPTON_POLL"] = "0.2"

    ended = project.snakemake()

    assert ended.code == 0, ended.output
    assert "1 of 1 benchmarks published" in ended.output
    assert len(project.lepton.deployments.created) == 1
    assert not project.lepton.deployments.alive and project.lepton.jobs.all == {}
    # and the endpoint's token was only where it belongs
    (token,) = project.lepton.secrets_made
    files = [file for file in folder.rglob("*") if file.is_file()]
    assert not [file for file in files if token.encode() in file.read_bytes()]
