"""`snakemake prefetch` fills the shared Hugging Face cache; then a run asks no hub for anything."""

from pathlib import Path
from typing import Any

import pytest
from on_slurm import ClusterProject

from rig.hub import Hub
from rig.pipeline import NEMO_IMAGE, ROOT

BENCHMARK = ROOT / "tests" / "rig" / "hub_benchmark"
OWN: dict[str, Any] = {
    "kind": "lm_eval",
    "include_path": str(BENCHMARK),
    "tasks": {"snakeval_hub": {"endpoint_type": "chat", "samples": 5}},
}
IN_NEMO = {
    "name": "lm-evaluation-harness.mmlu_instruct",
    "container": NEMO_IMAGE,
    "dataset_dir": str(BENCHMARK),
    "dataset_mount_path": "/benchmark",
    "nemo_evaluator_config": {
        "config": {
            "params": {
                "task": "snakeval_hub",
                "extra": {"num_fewshot": 0, "args": "--include_path /benchmark"},
            }
        }
    },
}


@pytest.mark.docker
def test_datasets_are_loaded_once_and_runs_need_no_hub(
    project: ClusterProject, nemo_image: str, tmp_path: Path
) -> None:
    # given a benchmark by plain lm-eval, and one by the NeMo image, with their data on a hub
    project.environment |= {"HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0"}
    project.write(
        [{"name": "own.snakeval_hub"}, IN_NEMO],
        harnesses={"own": OWN},
        execution={"output_dir": "out", "min_free_gb": 0, "hf_home": str(tmp_path / "cache")},
        env_vars={"HF_HUB_OFFLINE": "lit:1"},
    )
    with Hub() as hub:
        project.environment["HF_ENDPOINT"] = hub.url
        prefetched = project.target("prefetch", "--profile", str(project.profile)).check()
        assert hub.requests > 0
        assert str(tmp_path / "cache") in prefetched.output
        asked = hub.requests

        # when they run on nodes, where nobody reaches the hub
        project.snakemake("--retries", "0").check()
        assert hub.requests == asked

    # then both have asked the endpoint all questions
    questions = [name for name in project.endpoint.requests if name.startswith("hub:")]
    assert len(questions) == 5
    assert {row["n"] for row in project.rows()} == {5}
