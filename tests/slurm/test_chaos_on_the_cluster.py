"""On a real Slurm, too: whatever is killed, requeued or away, the same scores, and nobody is
needed."""

from __future__ import annotations

import contextlib
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from on_slurm import QUICK

from rig import chaos
from rig.chaos import MANY, Chaos, Rationed, Strikes
from rig.docker_engine import RigUnavailable
from rig.pipeline import ROOT, Project
from rig.slurm_cluster import NODES, SlurmCluster
from rig.waiting import wait_until

COUNTS = [pytest.param(4, id="few"), pytest.param(MANY, id="many", marks=[pytest.mark.long])]
PARTS = {"controller": "bin/snakemake", "keeper": "lib/keeper.py", "harness": "ask.py"}


@pytest.fixture
def endpoint(slurm_cluster: SlurmCluster) -> Iterator[Rationed]:
    with Rationed(host=slurm_cluster.address) as endpoint:
        yield endpoint
    slurm_cluster.clear()


def on_slurm(reign: Chaos, cluster: SlurmCluster) -> Strikes:
    """What a person, an administrator or a crash does to jobs and daemons."""
    found: dict[str, Callable[[], Any]] = {}
    for daemon in cluster.living("slurmctld", *(f"slurmd-{node}" for node in NODES)):
        found[f"KILL to {daemon.partition('-')[0]}"] = lambda d=daemon: reign.later(
            reign.chance.uniform(0.5, 4), cluster.kill(d)
        )
    for job in running_job(reign, cluster):
        for words in (["scancel"], ["scontrol", "requeue"]):
            found[" ".join(words)] = lambda w=words, j=job: told(cluster, *w, j)
        found["scontrol suspend"] = lambda j=job: suspend(reign, cluster, j)
    return found


def running_job(reign: Chaos, cluster: SlurmCluster) -> list[str]:
    """One of them; none where there is none, or no answer."""
    with contextlib.suppress(RigUnavailable, subprocess.TimeoutExpired, IndexError):
        return [reign.chance.choice(sorted(cluster.jobs("RUNNING")))]
    return []


def told(cluster: SlurmCluster, *words: str) -> None:
    """A controller that was killed a moment ago is told nothing."""
    with contextlib.suppress(RigUnavailable, subprocess.TimeoutExpired):
        cluster.run(*words)


def suspend(reign: Chaos, cluster: SlurmCluster, job: str) -> None:
    told(cluster, "scontrol", "suspend", job)
    reign.later(reign.chance.uniform(0.5, 4), lambda: told(cluster, "scontrol", "resume", job))


@pytest.mark.parametrize("count", COUNTS)
def test_jobs_survive_chaos(
    slurm_cluster: SlurmCluster, endpoint: Rationed, tmp_path: Path, count: int
) -> None:
    profile = str(ROOT / "profiles" / "slurm")
    project = Project(tmp_path / "project", endpoint.chat_url, {"SNAKEVAL_SILENCE": "5"}, profile)

    def strikes(reign: Chaos) -> Strikes:
        return {
            **chaos.on_processes(reign, PARTS),
            **chaos.on_the_endpoint(reign),
            **on_slurm(reign, slurm_cluster),
        }

    reign = Chaos(project, endpoint, "jobs of Slurm", count, strikes, words=QUICK)
    chaos.write(reign)
    reign.reign()
    reign.check()
    wait_until(lambda: not slurm_cluster.jobs(), told=slurm_cluster.jobs)
