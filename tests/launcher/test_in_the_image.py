"""What failed in the launcher's image and does no longer: the real image, a scripted endpoint."""

from __future__ import annotations

from pathlib import Path

import pytest

from rig.endpoint import ScriptedEndpoint
from rig.image import NEMO_IMAGE
from rig.pipeline import Project, nemo_sums

pytestmark = pytest.mark.docker

CHAIN = [
    {"name": "system_message", "config": {"system_message": "Think."}},
    {"name": "request_logging", "config": {"max_requests": 1}},
    {"name": "caching", "config": {"cache_dir": "/results/cache", "reuse_cached_responses": True}},
    {"name": "endpoint"},
    {"name": "response_stats"},
]


def test_a_chain_of_interceptors_on_the_hosts_network_and_a_task_that_no_list_has(
    tmp_path: Path, nemo_image: str, endpoint: ScriptedEndpoint
) -> None:
    chained, unlisted = nemo_sums(), nemo_sums()
    adapter = {"target": {"api_endpoint": {"adapter_config": {"interceptors": CHAIN}}}}
    chained["nemo_evaluator_config"] |= adapter
    unlisted["name"] = "lm-evaluation-harness.snakeval_sums"
    del unlisted["nemo_evaluator_config"]["config"]["params"]["task"]
    project = Project(tmp_path, endpoint.chat_url)
    execution = {"output_dir": "out", "min_free_gb": 0, "extra_docker_args": "--network host"}
    project.write(tasks=[chained, unlisted], params={"limit_samples": 5}, execution=execution)

    project.snakemake().check()

    [run] = project.runs
    for name in ("mmlu_instruct", "snakeval_sums"):
        assert (run / name / "artifacts" / "results.yml").exists()
    assert unlisted["container"] == NEMO_IMAGE
