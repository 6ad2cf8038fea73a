"""What cannot work on this cluster is told in Slurm's own words before anything is submitted; what
the cluster does with a run is shown, and what nobody can know is said to be unknown."""

import os
import re
import shutil
import sys
from pathlib import Path

from on_slurm import ClusterProject

from rig.pipeline import HARNESSES
from rig.waiting import PATIENCE


def without(project: ClusterProject, *programs: str) -> None:
    """From now on the project's PATH has everything but these programs."""
    folder = project.folder / "path"
    folder.mkdir(parents=True)
    for place in reversed([str(Path(sys.executable).parent), *os.environ["PATH"].split(":")]):
        for file in Path(place).glob("*"):
            if file.name not in programs:
                (folder / file.name).unlink(missing_ok=True)
                (folder / file.name).symlink_to(file)
    project.environment["PATH"] = str(folder)


def test_wrong_partition_and_account_are_told_in_slurms_words(project: ClusterProject) -> None:
    project.write_benchmarks(
        {"wrong_a": 2, "wrong_b": 2},
        execution={
            "type": "slurm",
            "account": "nobody",
            "partition": "batch",
            "hostname": "login.example.org",
            "username": "me",
            "sbatch_extra_flags": {"output": "x.log"},
        },
        resources={"wrong_b": {"partition": "nowhere"}},
    )

    foreseen = project.snakemake("-n").check()
    refused = project.snakemake().refused()

    assert "Invalid account or account/partition combination specified" in refused.output
    assert "invalid partition specified: nowhere" in refused.output
    assert "sbatch_extra_flags.output" in refused.output
    assert "3 problems; nothing was started" in refused.output
    told = set(re.findall(r"(?<=refused: )(?:sbatch|execution).*", foreseen.output))
    assert len(told) == 3
    assert all(problem in refused.output for problem in told), told
    assert not (project.folder / "out").exists()
    assert not project.submitted_names("wrong_a.", "wrong_b.")


def test_a_machine_without_sbatch_is_told(project: ClusterProject) -> None:
    project.write_benchmarks({"one": 2})
    without(project, "sbatch")
    refused = project.snakemake().refused()
    assert "sbatch: is not on the PATH" in refused.output
    assert "login node" in refused.output


def test_what_the_nodes_do_not_see_is_told_before_anything_is_submitted(
    project: ClusterProject,
) -> None:
    # given a Python environment and an output folder that only the login node has
    here = Path(sys.executable)
    hidden = project.cluster.login_only / "venv"
    (hidden / "bin").mkdir(parents=True, exist_ok=True)
    shutil.copy(here.parents[1] / "pyvenv.cfg", hidden / "pyvenv.cfg")
    for link, target in {"bin/python": here.resolve(), "lib": here.parents[1] / "lib"}.items():
        (hidden / link).unlink(missing_ok=True)
        (hidden / link).symlink_to(target)
    out = project.cluster.login_only / "out"
    project.write_benchmarks({"unseen": 2}, execution={"output_dir": str(out)})
    # and a runtime that no node has
    tasks = {"lacking": None}
    image = {"kind": "command", "command": "true", "image": "some/image:1", "tasks": tasks}
    other = ClusterProject(
        project.folder / "other", project.url, cluster=project.cluster, endpoint=project.endpoint
    )
    other.write([{"name": "own.lacking"}], harnesses={**HARNESSES, "own": image})
    without(other, "docker")

    command = project.command()
    refused = project.run(str(hidden / "bin" / "python"), "-m", "snakemake", *command[1:])
    lacking = other.snakemake()

    assert f"{out}/" in refused.refused().output
    assert "is not seen by the nodes (looked at on m" in refused.output
    assert "choose a folder on a file system that all nodes share" in refused.output
    assert f"{hidden}/bin/python is not seen by the nodes" in refused.output
    assert "2 problems; nothing was started" in refused.output
    assert "docker is missing on the nodes (looked at on m" in lacking.refused().output
    assert not project.submitted_names("unseen.", "lacking.")


def test_on_a_full_cluster_the_jobs_themselves_tell_what_is_missing(
    project: ClusterProject,
) -> None:
    # given a cluster on which no node is free for a look, and a folder that the nodes do not see
    out = project.cluster.login_only / "full"
    project.write_benchmarks({"one": 2}, execution={"output_dir": str(out)})
    flags = ("--exclusive", "--nodes=2", "--partition=batch", "--output=/dev/null")
    blocking = project.cluster.run("sbatch", "--parsable", *flags, "--wrap=sleep 600")
    project.environment["SNAKEVAL_LOOK"] = "1"
    with project.started("--retries", "0") as snakemake:
        project.endpoint.wait_for(lambda: "submitted as job" in project.log)
        assert "no node was looked at (none was free within 1 s)" in project.log
        project.cluster.run("scancel", blocking)
        assert snakemake.wait(PATIENCE) != 0
    assert f"do the nodes see {out}" in project.log
    assert "a file system that all nodes share" in project.log


def test_no_gpu_is_asked_for_and_fields_of_the_launcher_are_honoured(
    project: ClusterProject,
) -> None:
    # given a config of the launcher, with its default of eight GPUs
    project.write_benchmarks({"one": 2, "two": 2}, resources={"two": {"walltime": "2:00:00"}})
    text = project.config.read_text().replace("execution:", "execution_:", 1)
    project.config.write_text(
        "defaults: [{execution: slurm/default}, {deployment: none}, _self_]\n"
        + text.partition("execution_:")[0]
        + "execution:\n  account: tests\n  output_dir: out\n  min_free_gb: 0\n"
        "  cpu_partition: cpu\n  walltime: 00:30:00\n  sbatch_comment: paid by us\n"
        "  sbatch_extra_flags: {exclusive: false, nice: 10, hold: true}\n"
        + "target:"
        + text.partition("target:")[2]
    )
    with project.started() as snakemake:
        project.cluster.wait(lambda: len(project.cluster.jobs()) == 2)
        shown = project.cluster.run("scontrol", "--oneliner", "show", "job", project.job("one"))
        other = project.cluster.run("scontrol", "--oneliner", "show", "job", project.job("two"))
        for fact in (
            *("Account=tests", "Partition=cpu", "TimeLimit=00:30:00", "Nice=10"),
            *("Comment=paid by us", "CPUs/Task=2", "MinMemoryNode=4000M", "Requeue=1"),
        ):
            assert fact in shown, shown
        assert "gres" not in shown and "TresPer" not in shown
        assert "TimeLimit=02:00:00" in other
        # and status shows what Slurm waits for
        status = project.target("status").check().output
        assert f"one: job {project.job('one')} is in the queue: JobHeldUser" in status
        # and says unknown where Slurm cannot be asked
        (project.folder / "slurm.conf").touch()
        project.environment["SLURM_CONF"] = str(project.folder / "slurm.conf")
        status = project.target("status").check().output
        assert "one: Slurm could not be asked: squeue: " in status
        assert "2 unknown" in status
        assert "failed" not in status
        del project.environment["SLURM_CONF"]
        snakemake.kill()
