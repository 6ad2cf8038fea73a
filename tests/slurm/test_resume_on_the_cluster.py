"""What Slurm does to a job costs no answer: it continues without anyone's help."""

import json
import signal

from on_slurm import ClusterProject

from rig.waiting import PATIENCE

THREADS = 2


def check_continued(project: ClusterProject, task: str, questions: int) -> None:
    """Published, with every answer paid once, but for what was in flight at an interruption."""
    assert project.states(task)[-1] == "published"
    asked = project.asked(task)
    assert len(asked) == questions
    again = sum(asked.values()) - questions
    assert again <= THREADS * (len(project.states(task)) - 1), asked


def test_what_slurm_interrupts_continues_by_itself(project: ClusterProject) -> None:
    # given benchmarks in their middle, one in a partition whose preempted jobs Slurm does not start
    # again (PreemptMode=CANCEL), and a profile without retries
    names = ("requeued", "batch", "spot")
    project.write_benchmarks(
        dict.fromkeys(names, 400), THREADS, resources={"spot": {"partition": "spot"}}
    )
    project.endpoint.latency = 0.5
    with project.started("--retries", "0") as snakemake:
        for name in names:
            project.wait_for_answers(name, 4)
        first = {name: project.job(name) for name in names}

        def attempts(name: str) -> int:
            return len(project.status(name)["attempts"])

        # when one is requeued
        project.cluster.run("scontrol", "requeue", first["requeued"])
        project.endpoint.wait_for(lambda: attempts("requeued") == 2)
        # and a node fails
        node = project.status("batch")["attempts"][-1]["host"]
        before = attempts("batch")
        project.cluster.run("scontrol", "update", f"node={node}", "state=down", "reason=test")
        project.endpoint.wait_for(lambda: attempts("batch") > before)
        project.cluster.give_back_nodes()
        # and somebody with more right takes all nodes for a moment (the node that failed may have
        # been this benchmark's too)
        project.endpoint.wait_for(lambda: project.states("spot")[-1] == "running")
        before = attempts("spot")
        project.cluster.run("scontrol", "update", f"jobid={first['spot']}", "requeue=0")
        flags = ["--partition=urgent", "--nodes=2", "--exclusive", "--output=/dev/null"]
        project.cluster.run("sbatch", *flags, "--wrap=sleep 1")
        project.endpoint.wait_for(lambda: attempts("spot") > before)
        project.endpoint.latency = 0
        # then all go on in the same start, and are published
        assert snakemake.wait(PATIENCE) == 0, project.log
    for name in names:
        assert set(project.states(name)[:-1]) == {"interrupted"}
        check_continued(project, name, 400)
    # under their own numbers, where Slurm lets them come back
    assert {name: project.job(name) == first[name] for name in names} == {
        "requeued": True,
        "batch": True,
        "spot": False,
    }
    ended = f"job {first['spot']} was ended by a preemption; another one continues it"
    assert ended in project.log


def test_time_limits_are_no_failures(project: ClusterProject) -> None:
    """Two benchmarks: one is told of its limit in time and comes back, one has used max_walltime
    up."""
    execution = {"type": "slurm", "account": "tests", "walltime": "01:00:00"}
    project.write_benchmarks({"long": 100}, THREADS, execution=execution)
    spent = ClusterProject(
        project.folder / "spent", project.url, cluster=project.cluster, endpoint=project.endpoint
    )
    spent.write_benchmarks(
        {"spent": 100}, THREADS, execution={**execution, "max_walltime": "00:00:10"}
    )
    project.endpoint.latency = 1.0
    with project.started("--retries", "0") as snakemake, spent.started() as other:
        project.wait_for_answers("long", 4)
        project.limit_strikes(project.job("long"), 60)
        assert project.status("long")["attempts"][0]["deadline"]  # as it was when it began
        # then the one beyond max_walltime ends with a message that says so, and is not retried
        assert other.wait(PATIENCE) != 0, spent.log
        assert "max_walltime (10 s) is used up" in spent.log
        assert set(spent.states("spent")) == {"failed"}
        assert 0 < spent.answered("spent") < 100
        # and the long one comes back after its limit
        project.endpoint.wait_for(lambda: len(project.status("long")["attempts"]) == 2)
        project.has_time_again(project.job("long"))
        project.endpoint.latency = 0
        assert snakemake.wait(PATIENCE) == 0, project.log
    assert project.states("long") == ["interrupted", "published"]
    assert "time limit" in project.status("long")["attempts"][0]["cause"]
    check_continued(project, "long", 100)
    # and with a larger budget the spent one continues from its samples
    spent.write_benchmarks({"spent": 100}, THREADS, execution=execution)
    spent.snakemake().check()
    check_continued(spent, "spent", 100)


def held() -> dict[str, object]:
    """An `execution` whose jobs wait until somebody releases them."""
    return {"type": "slurm", "account": "tests", "sbatch_extra_flags": {"hold": True}}


def test_a_cancelled_task_stays_away_in_this_start_and_continues_in_the_next(
    project: ClusterProject,
) -> None:
    # given two benchmarks in their middle, and a profile that retries
    project.write_benchmarks({"cancelled": 400, "other": 12}, THREADS)
    project.endpoint.latency = 0.4
    with project.started("--retries", "3") as snakemake:
        project.wait_for_answers("cancelled", 4)
        project.wait_for_answers("other", 1)
        # when a person cancels one
        project.cluster.run("scancel", project.job("cancelled"))
        # then it is reported as cancelled and does not come back, and the other one is published
        assert snakemake.wait(PATIENCE) != 0
    assert project.states("cancelled") == ["cancelled"]
    assert "scancel" in project.status("cancelled")["cause"]
    assert project.states("other") == ["published"]
    assert project.log.count("cancelled: submitted as job") == 1, project.log
    assert "cancelled: cancelled: stopped by scancel" in project.log
    assert "1 of 2 benchmarks published, 1 cancelled." in project.log
    assert "1 of 2 published, 1 cancelled" in project.target("ls_runs").check().output
    # and the end of a job elsewhere has the name of its benchmark, not Snakemake's number
    assert "other: published" in project.log and "Finished jobid" not in project.log
    # and the next start continues it
    project.endpoint.latency = 0
    project.snakemake().check()
    assert project.states("cancelled") == ["cancelled", "published"]
    check_continued(project, "cancelled", 400)


def test_a_job_that_waits_may_be_cancelled_and_may_find_its_work_done(
    project: ClusterProject,
) -> None:
    project.write_benchmarks({"one": 4, "two": 4, "short": 6}, execution=held())
    with project.started("--retries", "3") as snakemake:
        project.cluster.wait(lambda: len(project.cluster.jobs()) == 3)
        jobs = {name: project.job(name) for name in ("one", "two", "short")}
        # when one is cancelled by scancel and one by the pipeline's own kill
        project.cluster.run("scancel", jobs["one"])
        killed = project.target("kill", "--config", f"run={project.run_folder.name}", "task=two")
        assert f"ended job {jobs['two']}" in killed.check().output
        # and what a third one is for is finished by hand before it starts
        project.run("bash", str(project.task("short") / "run.sh")).check()
        asked = project.endpoint.requests.total()
        project.cluster.run("scontrol", "release", jobs["short"])
        assert snakemake.wait(PATIENCE) != 0
    # then the cancelled ones have not come back, and the third one adopts the result
    assert project.log.count("submitted as job") == 3, project.log
    shown = project.target("status").check().output
    assert shown.count("cancelled before it ran") == 2, shown
    assert project.states("short") == ["published"]
    assert project.endpoint.requests.total() == asked == 6


def test_status_and_kill_know_the_jobs_of_a_run(project: ClusterProject) -> None:
    # given two benchmarks at work, one of which was requeued
    project.write_benchmarks({"one": 400, "two": 200}, THREADS)
    project.endpoint.latency = 0.4
    with project.started("--retries", "3") as snakemake:
        project.wait_for_answers("one", 2)
        project.cluster.run("scontrol", "requeue", project.job("one"))
        project.wait_for_answers("two", 2)
        with project.endpoint.holding():
            # then status shows where one runs, and how often it was tried
            status = project.target("status").check().output
            assert f"two: job {project.job('two')} runs on m" in status
            # and kill ends the other one, whatever its job is doing, and leaves that one alone
            run = f"run={project.run_folder.name}"
            project.target("kill", "--config", run, "task=one").check()
            assert not [job for job in project.jobs() if " one." in job]
        project.endpoint.latency = 0
        assert snakemake.wait(PATIENCE) != 0
    assert project.states("one")[-1] in ("cancelled", "interrupted")
    assert project.log.count("one: submitted as job") == 1
    assert project.states("two") == ["published"]
    project.snakemake().check()
    check_continued(project, "one", 400)


def test_by_hand_the_batch_script_does_what_the_pipeline_does(project: ClusterProject) -> None:
    # given a run that was cancelled before anything ran
    project.write_benchmarks({"long": 400}, THREADS, execution=held())
    with project.started() as snakemake:
        project.endpoint.wait_for(lambda: "long: submitted as job" in project.log)
        snakemake.send_signal(signal.SIGINT)
        assert snakemake.wait(PATIENCE) != 0
    # when the run folder has moved, and its script is submitted by hand and requeued in the middle
    moved = project.folder / "moved" / project.run_folder.name
    moved.parent.mkdir()
    project.run_folder.rename(moved)
    project.endpoint.latency = 0.4
    job = project.sbatch(moved / "sbatch_long.sh", "--output=long.out")
    project.cluster.run("scontrol", "release", job)
    project.wait_for_answers("long", 6)
    project.cluster.run("scontrol", "requeue", job)
    status = moved / "long" / "status.json"
    project.endpoint.wait_for(lambda: len(json.loads(status.read_text())["attempts"]) == 2)
    project.endpoint.latency = 0
    project.endpoint.wait_for((moved / "long" / "artifacts").exists)
    # then it has continued, and the pipeline finds the result
    moved.rename(project.folder / "out" / moved.name)
    check_continued(project, "long", 400)
    assert project.snakemake("-n").planned == 0
    header = (project.run_folder / "sbatch_long.sh").read_text().splitlines()
    for fact in ("# run:", "# task:", "# model:", "# image:", "# created:"):
        assert any(line.startswith(fact) for line in header)
