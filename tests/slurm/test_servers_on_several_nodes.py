"""A server on several nodes of its job: an instance is one step, whose tasks know who they are."""

import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import SCRIPTED, ServedProject

from rig.endpoint import ScriptedEndpoint
from rig.model_server import llama
from rig.pipeline import MODEL
from rig.slurm_cluster import SlurmCluster
from rig.unavailable import unavailable

ONE = Path(__file__).with_name("one_of_several.py")
SOME_CPUS = {"cpus": 2}
"""Of the server's job on each node; its benchmarks need some, too."""


@pytest.fixture
def project(slurm_cluster: SlurmCluster, tmp_path: Path) -> Iterator[ServedProject]:
    with ScriptedEndpoint(host=slurm_cluster.address) as endpoint:
        yield ServedProject(tmp_path / "project", "", cluster=slurm_cluster, endpoint=endpoint)
    slurm_cluster.clear()


def among_several(project: ServedProject, deployment: dict[str, Any]) -> dict[str, Any]:
    """A deployment whose command begins with the program that says who it is."""
    command = f"{sys.executable} {ONE} {project.folder / 'who'} {deployment['command']}"
    return deployment | {"command": command}


def who(project: ServedProject) -> dict[str, dict[str, Any]]:
    files = (project.folder / "who").glob("*.json")
    return {file.stem: json.loads(file.read_text()) for file in files}


def test_each_task_of_an_instance_knows_its_rank_and_reaches_its_head(
    project: ServedProject,
) -> None:
    # given one server of four tasks on two nodes
    deployment = among_several(project, project.scripted())
    shape = {"num_nodes": 2, "ntasks_per_node": 2, "deployment": {"n_tasks": 4} | SOME_CPUS}
    project.configure(deployment, {"a": 3}, execution=shape)
    # when a benchmark asks it
    project.snakemake().check()
    # then the four have met at the first node's address
    first, second = f"{project.cluster.subnet}.11", f"{project.cluster.subnet}.12"
    seen = who(project)
    assert set(seen) == {"0.0", "0.1", "0.2", "0.3"}
    for rank, each in seen.items():
        assert each["MASTER_IP"] == first and each["ALL_NODE_IPS"] == f"{first},{second}"
        assert each["NODES_PER_INSTANCE"] == "2"
        assert each["NODE_IP"] == {"m1": first, "m2": second}[each["host"]], rank
    assert [seen[f"0.{rank}"]["host"] for rank in range(4)] == ["m1", "m1", "m2", "m2"]
    assert seen["0.0"]["met"] == [first, second, second]
    # and nothing of it is left
    assert [row["state"] for row in project.rows()] == ["published"]
    project.cluster.wait(lambda: not project.cluster.jobs())


def test_haproxy_shares_benchmarks_among_two_llama_cpp_instances(project: ServedProject) -> None:
    if shutil.which("haproxy") is None:
        unavailable("haproxy is missing (Debian: apt-get install haproxy)")
    # given two instances, each on a node of its own
    deployment = among_several(project, llama())
    shape = {"num_nodes": 2, "num_instances": 2, "deployment": SOME_CPUS}
    project.configure(deployment, {"a": 8, "b": 8}, execution=shape)
    # when two benchmarks ask
    project.snakemake().check()
    # then each instance was its own head, and both have answered
    seen = who(project)
    assert set(seen) == {"0.0", "1.0"}
    assert {each["host"] for each in seen.values()} == {"m1", "m2"}
    assert all(each["MASTER_IP"] == each["NODE_IP"] for each in seen.values())
    for name in seen:
        log = (project.folder / "who" / f"{name}.log").read_text(errors="replace")
        assert "prompt eval time" in log, log[-2000:]
    assert [row["state"] for row in project.rows()] == ["published"] * 2
    project.cluster.wait(lambda: not project.cluster.jobs())


def test_nodes_that_instances_cannot_share_alike_are_refused(project: ServedProject) -> None:
    shape = {"num_nodes": 3, "num_instances": 2}
    project.configure(project.scripted(), {"a": 3}, execution=shape)
    said = project.snakemake().refused().output
    assert "num_nodes: 3 is not to be divided by num_instances: 2" in said


@pytest.mark.long
def test_ray_is_one_cluster_over_both_nodes_before_the_server_starts(
    project: ServedProject,
) -> None:
    # given ray's own server type, with a program that counts ray's nodes in place of vLLM
    counts = project.folder / "counts.py"
    counts.parent.mkdir(parents=True, exist_ok=True)
    counts.write_text(
        "import json, os, subprocess, sys, ray\n"
        "from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy as On\n"
        "said = subprocess.run(['ray', 'status'], capture_output=True, text=True).stdout\n"
        "active = said.partition('Active:')[2].partition('Pending:')[0].count('node_')\n"
        "ray.init(address='auto', log_to_driver=False)\n"
        "nodes = [node for node in ray.nodes() if node['Alive']]\n"
        "where = ray.remote(lambda: ray.util.get_node_ip_address())\n"
        "on = [where.options(scheduling_strategy=On(n['NodeID'], soft=False)) for n in nodes]\n"
        "worked = sorted(ray.get([each.remote() for each in on]))\n"
        "open(sys.argv[1], 'w').write(json.dumps({'active': active, 'worked': worked}))\n"
        "os.execv(sys.executable, [sys.executable, *sys.argv[2:]])\n"
    )
    found = project.folder / "ray.json"
    serve = f"{SCRIPTED} --host {{host}} --port {{port}} --log {project.folder / 'starts'}"
    deployment = {
        "type": "vllm_ray",
        "served_model_name": MODEL,
        "hf_model_handle": "o/m",
        "endpoints": {"health": "/health"},
        "env_vars": {"RAY_raylet_start_wait_time_s": "lit:300"},  # a busy machine
        "command": f"{sys.executable} {counts} {found} {serve}",
    }
    project.configure(deployment, {"a": 3}, execution={"num_nodes": 2, "deployment": {"cpus": 2}})
    # when it is brought up without containers
    project.snakemake("--set-resources", "evaluate:container_runtime=process").check()
    # then ray had both nodes, and each did work at the address that the other reaches
    both = [f"{project.cluster.subnet}.11", f"{project.cluster.subnet}.12"]
    assert json.loads(found.read_text()) == {"active": 2, "worked": both}
    assert [row["state"] for row in project.rows()] == ["published"]
    project.cluster.wait(lambda: not project.cluster.jobs())
