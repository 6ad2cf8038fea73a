"""The worked example of docs/custom-executor.md: any scheduler by three commands."""

from on_slurm import ClusterProject

from rig.pipeline import ROOT, Project
from rig.waiting import PATIENCE


def test_the_example_profile_runs_benchmarks_and_continues_them(project: ClusterProject) -> None:
    # given a project with the example's profile, run by snakemake-executor-plugin-cluster-generic
    project.write_benchmarks({"one": 6, "two": 6})
    generic = Project(
        project.folder,
        project.url,
        profile=str(ROOT / "config" / "examples" / "custom_executor"),
    )
    flags = ("--seconds-between-status-checks", "1", "--latency-wait", "5")

    # when its first job is cancelled in the middle
    project.endpoint.latency = 0.4
    with generic.started(*flags, "--retries", "0", "--config", "tasks=one") as snakemake:
        project.wait_for_answers("one", 2)
        number = project.status("one")["attempts"][0]["job"]
        with project.endpoint.holding():
            project.cluster.run("scancel", number)
            assert snakemake.wait(PATIENCE) != 0
    project.endpoint.latency = 0
    # and the config is edited while the next start's jobs are in the queue (they parse the
    # Snakefile again, but not the config)
    held = ("--cluster-generic-submit-cmd", "sbatch --parsable --hold --output=/dev/null")
    with generic.started(*flags, *held) as snakemake:
        project.cluster.wait(lambda: len(project.cluster.jobs()) == 2)
        project.config.write_text("evaluation: {tasks: [no_such_benchmark]}\n")
        project.cluster.run("scontrol", "release", *project.cluster.jobs())
        assert snakemake.wait(PATIENCE) == 0, generic.log

    # then the next start has continued it, on a node, and everything is published
    assert "2 of 2 benchmarks published" in generic.log
    assert project.states("one") == ["cancelled", "published"]
    assert len(project.asked("one")) == 6
    assert sum(project.asked("one").values()) <= 8
    assert project.status("two")["attempts"][0]["host"].startswith("m")
    assert project.cluster.jobs() == {}
