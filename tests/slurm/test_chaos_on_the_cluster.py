"""On a real Slurm, too: whatever is killed, requeued or away, the same scores, and nobody is
needed."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path
from typing import Any

import psutil
import pytest
from on_slurm import QUICK

from rig import chaos
from rig.chaos import MANY, Chaos, Rationed, Strikes
from rig.docker_engine import RigUnavailable
from rig.moving import Moving
from rig.pipeline import ROOT
from rig.slurm_cluster import NODES, SlurmCluster
from rig.small_disk import small_disk
from rig.waiting import wait_until

COUNTS = [pytest.param(4, id="few"), pytest.param(MANY, id="many", marks=[pytest.mark.long])]
PARTS = {"controller": "bin/snakemake", "keeper": "lib/keeper.py", "harness": "ask.py"}


@pytest.fixture
def endpoint(slurm_cluster: SlurmCluster) -> Iterator[Rationed]:
    with Rationed(host=slurm_cluster.address) as endpoint:
        yield endpoint
    slurm_cluster.clear()


@pytest.fixture
def project(slurm_cluster: SlurmCluster, endpoint: Rationed) -> Iterator[Moving]:
    """Its runs are on a small disk, which the nodes see too."""
    profile = str(ROOT / "profiles" / "slurm")
    with tempfile.TemporaryDirectory(dir=slurm_cluster.shared, ignore_cleanup_errors=True) as made:
        folder = Path(made) / "project"
        with small_disk(folder / "disk", 24):
            yield Moving(folder, endpoint.chat_url, chaos.environment(folder), profile)


def on_slurm(reign: Chaos, cluster: SlurmCluster) -> Strikes:
    """What a person, an administrator or a crash does to jobs and daemons."""
    found: dict[str, Callable[[], Any]] = {}
    for daemon in cluster.living("slurmctld", "slurmdbd", *(f"slurmd-{node}" for node in NODES)):
        name = daemon.partition("-")[0]
        found[f"{name}: KILL"] = partial(killed, reign, cluster, daemon)
        with contextlib.suppress(psutil.Error, OSError, ValueError):  # it has just gone
            process = psutil.Process(cluster.pid_of(daemon))
            found[f"{name}: pause"] = partial(chaos.pause, reign, process)
    for job in running_job(reign, cluster):
        found["job: scancel"] = partial(told, cluster, "scancel", job)
        found["job: requeue"] = partial(told, cluster, "scontrol", "requeue", job)
        found["job: suspend"] = partial(suspend, reign, cluster, job)
    return found


def killed(reign: Chaos, cluster: SlurmCluster, daemon: str) -> None:
    with contextlib.suppress(OSError, ValueError):
        reign.later(reign.chance.uniform(0.5, 4), cluster.kill(daemon))


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
    slurm_cluster: SlurmCluster, endpoint: Rationed, project: Moving, count: int
) -> None:
    def strikes(reign: Chaos) -> Strikes:
        return {
            **chaos.on_processes(reign, PARTS),
            **chaos.on_the_endpoint(reign),
            **chaos.on_the_disk(reign, project.folder / "disk"),
            **on_slurm(reign, slurm_cluster),
        }

    place = "jobs of Slurm"
    reign = Chaos(project, endpoint, place, count, strikes, project.move, words=QUICK)
    chaos.write(reign, execution={"output_dir": f"disk/{project.out.name}"})
    reign.reign()
    reign.check()
    wait_until(lambda: not slurm_cluster.jobs(), told=slurm_cluster.jobs)
