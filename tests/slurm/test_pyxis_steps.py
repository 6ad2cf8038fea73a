"""pyxis: a real step of the real Slurm, started by a stand-in that writes the call down and runs
the command on the node itself. The container is what this cannot show."""

import contextlib
import json
import os
import signal
import subprocess
from pathlib import Path

from on_slurm import ClusterProject

from rig.pipeline import ROOT
from rig.promised import within
from rig.waiting import PATIENCE

STAND_IN = ROOT / "tests" / "rig" / "on_nodes"
IMAGE = "nvcr.io/team/own:1"
WITH_PYXIS = ("--default-resources", "container_runtime='pyxis'", "runtime=10", "cpus_per_task=2")


def with_pyxis(project: ClusterProject) -> Path:
    """The project's benchmarks name an image; where the calls of srun are written."""
    calls = project.folder / "calls"
    project.environment |= {
        "PATH": os.pathsep.join([str(STAND_IN), os.environ["PATH"]]),
        "CALLS_OF_SRUN": str(calls),
    }
    return calls


def asking(project: ClusterProject) -> list[str]:
    """Processes of the benchmark's program, wherever they run."""
    found = subprocess.run(
        ["pgrep", "-f", f"{project.folder}/files/ask.py"], capture_output=True, text=True
    )
    return found.stdout.split()


def kill_scripts(project: ClusterProject) -> None:
    found = subprocess.run(
        ["pgrep", "-f", f"{project.task('sums')}/run.sh"], capture_output=True, text=True
    )
    for pid in found.stdout.split():
        with contextlib.suppress(ProcessLookupError):
            os.kill(int(pid), signal.SIGKILL)


def test_a_pyxis_step_is_asked_for_as_the_launcher_does_and_ends_with_its_script(
    project: ClusterProject,
) -> None:
    calls = with_pyxis(project)
    project.write_benchmarks(
        {"sums": 400},
        image=IMAGE,
        execution={"mounts": {"evaluation": {str(project.folder): "/data"}, "mount_home": False}},
        env_vars={"TOKEN_OF_MINE": "host:TOKEN_OF_MINE"},
    )
    project.environment["TOKEN_OF_MINE"] = "canary-of-pyxis"
    project.endpoint.latency = 0.2
    with project.started(*WITH_PYXIS) as snakemake:
        project.wait_for_answers("sums", 4)
        with project.endpoint.holding():
            # when run.sh is killed, and only Slurm and the lifeline can end the step
            kill_scripts(project)
            within(20, lambda: not asking(project))
            # and the next attempt is cancelled
            project.cluster.wait(lambda: len(calls.read_text().splitlines()) == 2)
            project.cluster.wait(lambda: bool(asking(project)))
            project.cluster.run("scancel", project.job("sums"))
            within(20, lambda: not asking(project))
        assert snakemake.wait(PATIENCE) != 0
    assert project.states("sums")[-1] == "cancelled"

    # then the next start continues
    project.endpoint.latency = 0
    project.snakemake(*WITH_PYXIS).check()
    assert set(project.asked("sums").values()) <= {1, 2, 3}
    assert len(project.asked("sums")) == 400
    first = json.loads(calls.read_text().splitlines()[0])

    def value(flag: str) -> str:
        return str(first[first.index(flag) + 1])

    assert value("--container-image") == "nvcr.io#team/own:1"
    work = next((project.task("sums") / "work").iterdir()).resolve()
    mounts = value("--container-mounts").split(",")
    assert mounts[0] == f"{work}:/results"
    assert f"{project.folder.resolve()}:/data" in mounts
    assert {"--overlap", "--no-container-mount-home", "--cpus-per-task=2"} <= set(first)
    # a name of ours on the way, so that no script of ours ever has it as a variable
    assert any("export TOKEN_OF_MINE=" in word for word in first)
    assert "canary-of-pyxis" not in calls.read_text()
