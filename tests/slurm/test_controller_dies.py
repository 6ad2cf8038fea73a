"""The controller is replaceable: jobs go on without it, and the next start adopts them."""

import os
import signal

from on_slurm import ClusterProject

HELD = {"type": "slurm", "account": "tests", "sbatch_extra_flags": {"hold": True}}


def test_the_next_start_adopts_jobs_in_every_state(project: ClusterProject) -> None:
    # given a run with a published benchmark and three jobs: two at work, one in the queue
    project.write_benchmarks({"published": 3, "ends": 12, "runs": 400, "waits": 6}, threads=2)
    project.snakemake("--config", "tasks=published").check()
    project.endpoint.latency = 0.3
    with project.started() as snakemake:
        for name in ("ends", "runs"):
            project.wait_for_answers(name, 2)
        project.wait_for_answers("waits", 0)
        project.endpoint.wait_for((project.run_folder / "waits" / "job.json").exists, 30)
        jobs = {name: project.job(name) for name in ("ends", "runs", "waits")}
        # when the controller is killed, one job waits again, and one ends meanwhile
        os.killpg(snakemake.pid, signal.SIGKILL)
        snakemake.wait()
        project.cluster.run("scontrol", "requeuehold", jobs["waits"])
        project.endpoint.wait_for((project.task("ends") / "artifacts").exists, 60)
        project.cluster.wait(lambda: project.cluster.jobs().get(jobs["waits"]) == "PENDING", 60)
    # then the same command plans what is not finished, and submits nothing that is live
    with project.started() as snakemake:
        for name in ("runs", "waits"):
            said = f"{name}: job {jobs[name]} of an earlier start is"
            project.endpoint.wait_for(lambda said=said: said in project.log, 40)  # type: ignore[misc]
        project.cluster.run("scontrol", "release", jobs["waits"])
        project.endpoint.latency = 0
        assert snakemake.wait(90) == 0, project.log
    assert project.log.count("submitted as job") == 3, project.log
    # and no answer was paid twice but those in flight at the requeue
    for name, questions in {"published": 3, "ends": 12, "runs": 400}.items():
        assert project.states(name) == ["published"]
        assert list(project.asked(name).values()) == [1] * questions
    assert {project.job(name) for name in jobs} == set(jobs.values())


def test_a_controller_in_a_job_hands_over_before_its_limit(project: ClusterProject) -> None:
    # given a pipeline that runs as a job of a minute
    execution = {"type": "slurm", "account": "tests", "walltime": "00:01:00"}
    long = {"long": {"walltime": "01:00:00"}}
    project.write_benchmarks({"long": 400}, execution=execution, resources=long)
    project.endpoint.latency = 0.8
    said = project.snakemake("--config", "controller=job").check().output
    controller = said.partition(" drives the run now")[0].split()[-1]
    project.wait_for_answers("long", 2)
    job = project.job("long")
    # when it reaches its limit
    log = project.run_folder / f"controller-{controller}.log"
    project.endpoint.wait_for(lambda: "handing over" in log.read_text(), 100)
    # then it comes back, waits for the job that went on, and the run ends complete
    adopted = f"job {job} of an earlier start is running"
    project.endpoint.wait_for(lambda: adopted in log.read_text(), 60)
    project.endpoint.latency = 0
    project.endpoint.wait_for((project.run_folder / "results" / "results.json").exists, 60)
    project.cluster.wait(lambda: not project.cluster.jobs(), 60)
    assert "1 of 1 benchmarks published" in log.read_text()
    assert list(project.asked("long").values()) == [1] * 400
    assert not (project.run_folder / "controller.json").exists()
