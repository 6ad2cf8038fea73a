"""A config that is started where no Slurm is, over a real ssh, on the real cluster."""

from collections.abc import Iterator
from pathlib import Path

import pytest
import yaml
from on_slurm import QUICK, ClusterProject

from rig.docker_engine import RigUnavailable
from rig.laptop import Laptop
from rig.ssh_server import SshServer
from rig.unavailable import unavailable


@pytest.fixture
def laptop(project: ClusterProject, tmp_path: Path) -> Iterator[Laptop]:
    """Beside the cluster of the project; its login node is this machine."""
    home = tmp_path / "home-there"
    home.mkdir()
    variables = {**project.cluster.environment, "HOME": str(home), "PAID_KEY": "of-the-cluster"}
    try:
        with SshServer(tmp_path / "sshd", variables) as server:
            yield Laptop(server, tmp_path / "here", tmp_path / "there")
    except RigUnavailable as reason:
        unavailable(reason)


def test_a_run_is_started_asked_about_and_fetched_from_a_laptop(
    laptop: Laptop, project: ClusterProject
) -> None:
    # given a config on a laptop, with definition files that are nowhere else, and a key of its own
    content = project.write_benchmarks({"sums": 4}, execution={})
    del content["execution"]
    content["harnesses"]["own"]["files"] = "mine"
    content["target"]["api_endpoint"]["api_key_name"] = "PAID_KEY"
    laptop.write(content, output_dir="results")
    (project.folder / "files").rename(laptop.here / "mine")
    # when it is started there, and ends
    key = {"PAID_KEY": "of-the-laptop"}
    said = laptop.snakeval("run", "--config", "my.yaml", "--", *QUICK, **key).check().output
    (run,) = (laptop.there / "results").glob("20*")
    assert f"run {run.name} is on login, in {run}" in said and " drives the run now" in said
    project.cluster.wait(lambda: not project.cluster.jobs())
    # then it is asked about, and fetched, by the same words
    status = laptop.snakeval("status").check().output
    assert "sums" in status and "published" in status
    assert "published" in laptop.snakeval("status", "--config", "my.yaml").check().output
    laptop.snakeval("fetch", run.name[-8:]).check()
    fetched = laptop.here / "results" / "remote" / run.name
    assert (fetched / "results" / "results.json").exists() and not (fetched / "sums/work").exists()
    # and the key was the cluster's, and no file on it has the laptop's
    assert {"Bearer of-the-cluster"} == set(project.endpoint.authorizations) - {None}
    config = yaml.safe_load((run / "config.yaml").read_text())
    kept = config["harnesses"]["own"]["files"]
    assert kept.startswith("record/definitions/") and (run / kept / "ask.py").exists()
    brought = [path for path in laptop.there.rglob("*") if path.is_file()]
    assert not [path for path in brought if "of-the-laptop" in path.read_text(errors="replace")]


@pytest.mark.long
def test_a_sweep_from_a_laptop_is_driven_by_one_job_and_each_run_is_known_here(
    laptop: Laptop, project: ClusterProject
) -> None:
    # given a config of two models
    content = project.write_benchmarks({"sums": 2}, execution={})
    del content["execution"], content["target"]["api_endpoint"]["model_id"]
    content["harnesses"]["own"]["files"] = "mine"
    content["models"] = [
        {"name": name, "target": {"api_endpoint": {"model_id": name}}} for name in ("one", "two")
    ]
    project.endpoint.models = ["one", "two"]
    laptop.write(content, output_dir="results")
    (project.folder / "files").rename(laptop.here / "mine")
    # when it is started there, and ends
    said = laptop.snakeval("run", "--config", "my.yaml", "--", *QUICK).check().output
    runs = sorted(folder.name for folder in (laptop.there / "results").glob("20*"))
    assert len(runs) == 2 and all(f"run {run} is on login" in said for run in runs)
    project.cluster.wait(lambda: not project.cluster.jobs())
    # then both are asked about and brought by the config's name
    status = laptop.snakeval("status", "--config", "my.yaml").check().output
    assert status.count("published") >= 2
    laptop.snakeval("fetch", "--config", "my.yaml").check()
    for run in runs:
        table = laptop.here / "results" / "remote" / run / "results" / "results.csv"
        assert "sums" in table.read_text()
