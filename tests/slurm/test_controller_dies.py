"""The controller is replaceable: jobs go on without it, and the next start adopts them."""

import os
import signal

from on_slurm import ClusterProject

from rig.waiting import PATIENCE


def test_the_next_start_adopts_jobs_in_every_state(project: ClusterProject) -> None:
    # given a run with a published benchmark, one that was never submitted, and four jobs at work
    questions = {"published": 3, "ends": 12, "runs": 400, "waits": 99, "stopped": 99, "rest": 3}
    project.write_benchmarks(questions, threads=2)
    project.snakemake("--config", "tasks=published").check()
    project.endpoint.latency = 0.3
    names = ("ends", "runs", "waits", "stopped")
    with project.started("--config", f"tasks={','.join(names)}") as snakemake:
        for name in names:
            project.wait_for_answers(name, 2)
        jobs = {name: project.job(name) for name in names}
        # when the controller is killed, and meanwhile one job has to wait again, one ends, and one
        # is ended by a person
        os.killpg(snakemake.pid, signal.SIGKILL)
        snakemake.wait()
        project.cluster.run("scontrol", "requeuehold", jobs["waits"])
        project.cluster.run("scancel", jobs["stopped"])
        project.endpoint.wait_for((project.task("ends") / "artifacts").exists)
        project.cluster.wait(lambda: project.cluster.jobs().get(jobs["waits"]) == "PENDING")
    # then the next start submits nothing that is live or finished, and waits for what is live
    with project.started() as snakemake:
        for name in ("runs", "waits"):
            said = f"{name}: job {jobs[name]} of an earlier start is"
            project.endpoint.wait_for(lambda said=said: said in project.log)  # type: ignore[misc]
        project.cluster.run("scontrol", "release", jobs["waits"])
        project.endpoint.latency = 0
        assert snakemake.wait(PATIENCE) == 0, project.log
    assert project.log.count("submitted as job") == len(names) + 2, project.log
    for name in ("ends", "runs", "waits"):
        assert project.job(name) == jobs[name]
    # and no answer was paid twice but those in flight when a job was ended
    for name in ("published", "ends", "runs", "rest"):
        assert project.states(name) == ["published"]
        assert list(project.asked(name).values()) == [1] * questions[name]
    for name, first in {"waits": "interrupted", "stopped": "cancelled"}.items():
        assert project.states(name) == [first, "published"]
        assert sum(project.asked(name).values()) <= questions[name] + 2


def test_a_controller_in_a_job_hands_over_before_its_limit(project: ClusterProject) -> None:
    # given a pipeline that runs as a job
    execution = {"type": "slurm", "account": "tests", "walltime": "01:00:00"}
    project.write_benchmarks({"long": 400}, execution=execution)
    project.endpoint.latency = 0.8
    said = project.snakemake("--config", "controller=job").check().output
    controller = said.partition(" drives the run now")[0].split()[-1]
    project.wait_for_answers("long", 2)
    job = project.job("long")
    # when the user goes on to other things in the same file
    project.write_benchmarks({"long": 400, "other": 3}, execution=execution, name="another")
    # and its limit is near
    log = project.run_folder / f"controller-{controller}.log"
    project.limit_strikes(controller, 60)
    project.endpoint.wait_for(lambda: "handing over" in log.read_text())
    # then it comes back under its number, and waits for the job that went on
    adopted = f"job {job} of an earlier start is running"
    project.endpoint.wait_for(lambda: adopted in log.read_text())
    # and where Slurm does not let it come back, it submits a successor
    update = ("scontrol", "update", f"jobid={controller}")
    project.cluster.run(*update, "TimeLimit=60")
    project.cluster.run(*update, "Requeue=0")
    project.cluster.run("scancel", "--batch", "--signal=USR1", controller)

    def successor() -> str:
        logs = project.run_folder.glob("controller-*.log")
        return "".join(each.read_text() for each in logs if each != log)

    project.endpoint.wait_for(lambda: adopted in successor())
    project.endpoint.latency = 0
    # and the run ends complete, with every question asked once
    project.endpoint.wait_for((project.run_folder / "results" / "results.json").exists)
    project.cluster.wait(lambda: not project.cluster.jobs())
    assert "1 of 1 benchmarks published" in successor()
    assert len(project.runs) == 1 and not project.asked("other")
    assert list(project.asked("long").values()) == [1] * 400
    assert not (project.run_folder / "controller.json").exists()


def test_jobs_that_wait_for_an_earlier_spec_are_withdrawn(project: ClusterProject) -> None:
    # given a job in the queue, without a controller, and a spec that was changed since
    held = {"type": "slurm", "account": "tests", "sbatch_extra_flags": {"hold": True}}
    project.write_benchmarks({"other": 3}, execution=held)
    with project.started() as snakemake:
        project.cluster.wait(lambda: "PENDING" in project.cluster.jobs().values())
        project.cluster.wait((project.task("other") / "job.json").exists)
        os.killpg(snakemake.pid, signal.SIGKILL)
        snakemake.wait()
    old = project.job("other")
    project.write_benchmarks({"other": 4}, execution=held | {"sbatch_extra_flags": {}})
    # when the pipeline is started again
    said = project.snakemake().check().output
    # then what waited for the old spec is gone
    shown = project.cluster.run("squeue", "--noheader", "--states=all", "--format=%i %T")
    assert f"{old} CANCELLED" in shown.splitlines()
    assert f"other: job {old} waited for an earlier spec; it is withdrawn" in said
    assert [row["state"] for row in project.rows()] == ["published"]


def test_one_job_drives_all_runs_of_a_sweep(project: ClusterProject) -> None:
    # given two models of one endpoint
    endpoint = {"url": project.url, "check_model": False}
    models = [{"target": {"api_endpoint": {"model_id": name}}} for name in ("one", "two")]
    execution = {"type": "slurm", "account": "tests", "walltime": "01:00:00"}
    project.write_benchmarks(
        {"sums": 3}, execution=execution, target={"api_endpoint": endpoint}, models=models
    )
    # when they are given to a job, and the file is gone
    said = project.snakemake("--config", "controller=job").check().output
    controller = said.partition(" drives the run now")[0].split()[-1]
    project.config.unlink()
    project.cluster.wait(lambda: not project.cluster.jobs())
    # then that one job has driven both
    assert len(project.runs) == 2
    assert [len(list(run.glob("controller-*.log"))) for run in project.runs].count(1) == 1
    for run in project.runs:
        assert (run / "sums" / "artifacts").exists()
        assert (run / "results" / "results.json").exists()
    shown = project.cluster.run("squeue", "--noheader", "--states=all", "--format=%i %T")
    assert f"{controller} COMPLETED" in shown.splitlines()
