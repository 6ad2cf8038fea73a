"""podman on the nodes: the node's own name and address, its containers gone when the job is."""

import pytest
from on_slurm import ClusterProject

from rig.docker_engine import DockerEngine
from rig.pipeline import nemo_sums
from rig.podman import Podman


@pytest.mark.podman
def test_podman_runs_on_a_node(
    project: ClusterProject, podman: Podman, docker_engine: DockerEngine, nemo_image: str
) -> None:
    image = podman.ensure_image(docker_engine, nemo_image)
    project.write(
        tasks=[nemo_sums() | {"container": image}], params={"limit_samples": 4, "parallelism": 4}
    )

    project.snakemake("--default-resources", "container_runtime='podman'", "runtime=10").check()

    assert project.status("mmlu_instruct")["attempts"][0]["runtime"] == "podman"
    assert set(project.endpoint.requests.values()) == {1}
