"""podman on the nodes: the node's own name and address, its containers gone when the job is."""

from __future__ import annotations

import pytest
from on_slurm import ClusterProject
from served import ServedProject

from rig.docker_engine import DockerEngine
from rig.model_server import llama_image
from rig.pipeline import nemo_sums
from rig.podman import Podman

IN_PODMAN = ("--default-resources", "container_runtime='podman'", "runtime=10")


@pytest.mark.podman
def test_podman_runs_on_a_node(
    project: ClusterProject, podman: Podman, docker_engine: DockerEngine, nemo_image: str
) -> None:
    image = podman.ensure_image(docker_engine, nemo_image)
    project.write(
        tasks=[nemo_sums() | {"container": image}], params={"limit_samples": 4, "parallelism": 4}
    )

    project.snakemake(*IN_PODMAN).check()

    assert project.status("mmlu_instruct")["attempts"][0]["runtime"] == "podman"
    assert set(project.endpoint.requests.values()) == {1}


@pytest.mark.podman
def test_a_server_in_podman_on_one_node_serves_a_benchmark_in_podman_on_another(
    project: ClusterProject,
    podman: Podman,
    docker_engine: DockerEngine,
    nemo_image: str,
    server_image: str,
) -> None:
    # given a real llama.cpp server in an image, and a benchmark that does not fit beside it
    benchmark = {"container": podman.ensure_image(docker_engine, nemo_image)}
    served = ServedProject(project.folder, "", cluster=project.cluster, endpoint=project.endpoint)
    served.configure_tasks(
        llama_image(podman.ensure_image(docker_engine, server_image), gpus="none"),
        [nemo_sums() | benchmark | {"resources": {"cpus": 4}}],
    )

    served.snakemake(*IN_PODMAN).check()

    attempt = served.status("mmlu_instruct")["attempts"][0]
    (life,) = served.record["lives"]
    assert attempt["runtime"] == "podman"
    assert attempt["host"] != life["host"]
    assert served.record["cause"] == "no benchmark needs it any more"
    project.cluster.wait(lambda: not project.cluster.jobs())
    of_the_run = f"label=snakeval.run={served.run_folder.name}"
    assert not podman.podman("ps", "--all", "--quiet", "--filter", of_the_run)
