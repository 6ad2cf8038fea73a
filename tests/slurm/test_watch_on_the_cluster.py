"""`snakeval watch` beside a training on the cluster: looks that end at once, and a job that hands
over to the next one."""

import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from served import ServedProject

from rig.endpoint import ScriptedEndpoint
from rig.slurm_cluster import SlurmCluster

SNAKEVAL = str(Path(sys.executable).with_name("snakeval"))
AS_A_JOB = ("-o", "controller=job")


@pytest.fixture
def project(slurm_cluster: SlurmCluster, tmp_path: Path) -> Iterator[ServedProject]:
    """A config that watches `ckpt/step-*`, each served by a scripted server of its own name."""
    with ScriptedEndpoint(host=slurm_cluster.address) as endpoint:
        project = ServedProject(tmp_path / "project", "", cluster=slurm_cluster, endpoint=endpoint)
        models = [
            {
                "checkpoints": str(project.folder / "ckpt" / name),
                "deployment": project.scripted(f"--name {name}", served_model_name=name),
            }
            for name in ("step-1000", "step-2000")
        ]
        project.configure(
            {"type": "process"}, {"sums": 3}, execution={"walltime": "01:00:00"}, models=models
        )
        (project.folder / "policy.yaml").write_text("others: {max_drop: 0.05}\n")
        yield project
    slurm_cluster.clear()


def complete(project: ServedProject, name: str) -> None:
    folder = project.folder / "ckpt" / name
    folder.mkdir(parents=True)
    (folder / "done").touch()


def look(project: ServedProject, *more: str) -> str:
    words = ("--config", "my.yaml", "--marker", "done", "--gate", "policy.yaml", *more)
    return project.run(SNAKEVAL, "watch", *words).check().output


def known(project: ServedProject) -> dict[str, dict[str, Any]]:
    [file] = (project.folder / "out" / "watch").glob("*/state.json")
    content = json.loads(file.read_text())["checkpoints"]
    return {Path(folder).name: each for folder, each in content.items()}


def test_a_look_gives_a_checkpoint_to_a_job_and_leaves_it_to_that_one(
    project: ServedProject,
) -> None:
    # given a checkpoint that a job evaluates since the first look
    hold = project.hold()
    complete(project, "step-1000")
    assert "evaluating step-1000" in look(project, "--once", *AS_A_JOB)
    project.cluster.wait(lambda: project.noted("asked"))
    # when another one is complete at the second
    complete(project, "step-2000")
    said = look(project, "--once", *AS_A_JOB)
    # then this one has a job, too, and the first one its own still
    assert "evaluating step-2000\n" in said
    assert "being evaluated: step-1000\n" in said
    project.cluster.wait(lambda: len(project.runs) == 2)
    assert "being evaluated: step-1000, step-2000\n" in look(project, "--once", *AS_A_JOB)
    hold.unlink()
    project.cluster.wait(lambda: not project.cluster.jobs())
    # and a later look decides, and starts nothing again
    said = look(project, "--once", *AS_A_JOB)
    assert "step-2000: INCONCLUSIVE against" in said, "three questions decide nothing"
    assert "evaluating" not in said
    assert {name: each["starts"] for name, each in known(project).items()} == {
        "step-1000": 0, "step-2000": 0,
    }  # fmt: skip
    assert len(project.noted("asked")) == 2 * 3, "every question of each once"


def test_a_watch_in_a_small_job_submits_its_successor(project: ServedProject) -> None:
    # given the job of docs/watch.md, whose time is over after its first look
    script = project.folder / "watch.sh"
    script.write_text(
        "#!/bin/bash\n#SBATCH --time=00:10:00 --cpus-per-task=1 --job-name=watch\n"
        f"cd {project.folder}\n"
        f"{SNAKEVAL} watch --config my.yaml --marker done --for 1 --every 5 -o controller=job\n"
        '[ $? -ne 75 ] || sbatch "$0"\n'
    )
    # when it runs, and a checkpoint is complete only after that look
    first = project.sbatch(script)
    project.cluster.wait(lambda: len(project.submitted_names("watch")) > 1)
    complete(project, "step-1000")
    # then a job after it evaluates the checkpoint
    project.cluster.wait(lambda: known(project).get("step-1000", {}).get("finished"))
    project.cluster.run("scancel", "--name", "watch")
    project.cluster.wait((project.run_folder / "results" / "results.json").exists)
    assert [row["state"] for row in project.rows()] == ["published"]
    shown = project.cluster.run("squeue", "--noheader", "--states=all", "--format=%i %T")
    assert f"{first} COMPLETED" in shown.splitlines()
