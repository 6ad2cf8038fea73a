"""`snakemake prefetch` fills the shared Hugging Face cache; then a run asks no hub for anything."""

from pathlib import Path
from typing import Any

from on_slurm import ClusterProject

from rig.hub import Hub
from rig.pipeline import ROOT

OWN: dict[str, Any] = {
    "kind": "lm_eval",
    "include_path": str(ROOT / "tests" / "rig" / "hub_benchmark"),
    "tasks": {"snakeval_hub": {"endpoint_type": "chat", "samples": 5}},
}


def test_datasets_are_loaded_once_and_runs_need_no_hub(
    project: ClusterProject, tmp_path: Path
) -> None:
    # given a benchmark with its data on a hub
    project.environment |= {"HF_HUB_OFFLINE": "0", "HF_DATASETS_OFFLINE": "0"}
    project.write(
        [{"name": "own.snakeval_hub"}],
        harnesses={"own": OWN},
        execution={"output_dir": "out", "min_free_gb": 0, "hf_home": str(tmp_path / "cache")},
        env_vars={"HF_HUB_OFFLINE": "lit:1"},
    )
    with Hub() as hub:
        project.environment["HF_ENDPOINT"] = hub.url
        project.target("prefetch", "--profile", str(project.profile)).check()
        asked = hub.requests
        assert asked > 0

        # when it runs on a node, where nobody reaches the hub
        project.snakemake("--retries", "0").check()
        assert hub.requests == asked

    # then it has asked the endpoint all questions
    assert len([name for name in project.endpoint.requests if name.startswith("hub:")]) == 5
    assert {row["n"] for row in project.rows()} == {5}
