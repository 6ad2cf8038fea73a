"""Containers on a node ask through the gateway of their task, whose keeper is on that node."""

from __future__ import annotations

import json

import pytest
from on_slurm import ClusterProject

from rig.docker_engine import DockerEngine
from rig.image import BASE_IMAGE, ensure_base_image
from rig.podman import Podman
from snakeval.job.gateway.ledger import LEDGER, rows


def in_engine(name: str) -> tuple[str, ...]:
    return ("--default-resources", f"container_runtime='{name}'", "runtime=10")


def asked_through_it(project: ClusterProject) -> int:
    """Answers in the ledger of the one spec."""
    (record,) = (project.task("sums") / "record").iterdir()
    return sum(row["outcome"] == "answered" for row in rows(record / LEDGER))


@pytest.mark.podman
def test_podman_has_its_bridge_on_the_node(
    project: ClusterProject, podman: Podman, docker_engine: DockerEngine
) -> None:
    ensure_base_image(docker_engine)
    project.write_benchmarks({"sums": 4}, image=podman.ensure_image(docker_engine, BASE_IMAGE))
    project.snakemake(*in_engine("podman")).check()
    assert asked_through_it(project) == len(project.asked("sums")) == 4


@pytest.mark.docker
def test_containers_of_an_engine_that_is_not_on_the_node_reach_it_at_the_nodes_address(
    project: ClusterProject, docker_engine: DockerEngine
) -> None:
    """One engine serves all nodes here: its bridge is on another machine, as nodes see it."""
    ensure_base_image(docker_engine)
    project.write_benchmarks({"sums": 4}, image=BASE_IMAGE)
    project.snakemake(*in_engine("docker")).check()
    assert asked_through_it(project) == len(project.asked("sums")) == 4


@pytest.mark.docker
def test_a_container_that_does_not_reach_its_node_is_told_beside_the_score(
    project: ClusterProject, docker_engine: DockerEngine
) -> None:
    """Its variable names an address at localhost: it is in the engine's own network, elsewhere."""
    ensure_base_image(docker_engine)
    project.write_benchmarks(
        {"sums": 4}, image=BASE_IMAGE, env_vars={"TOOL": "lit:http://localhost:9/"}
    )
    told = project.snakemake(*in_engine("docker")).check().output
    why = "no gateway (the container does not reach this machine at 127.0.0.1)"
    notes = json.loads((project.run_folder / "results" / "results.json").read_text())["notes"]
    assert why in str(notes["sums"]) and why in told
    assert set(project.asked("sums").values()) == {1}
