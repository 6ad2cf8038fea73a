"""Two hundred small benchmarks at once: none lost, none run twice, few questions to Slurm."""

import os
import shutil
import sys
from pathlib import Path

from on_slurm import ClusterProject

TASKS = 200


def test_of_two_hundred_benchmarks_none_is_lost_or_run_twice(project: ClusterProject) -> None:
    names = [f"t{number}" for number in range(TASKS)]
    project.write_benchmarks(dict.fromkeys(names, 1), threads=1)
    queries = answer_two_of_three_queries(project)

    ended = project.snakemake("--jobs", "300").check()

    assert f"{TASKS} of {TASKS} benchmarks published" in ended.output
    assert ended.output.count("submitted as job") == TASKS
    assert set(project.endpoint.requests.values()) == {1}
    assert project.endpoint.requests.total() == TASKS
    assert project.cluster.jobs() == {}
    # one query for all jobs at a time, about one a second; one that fails says nothing of a job
    assert 3 <= len(queries.read_text().splitlines()) < TASKS * 2


def answer_two_of_three_queries(project: ClusterProject) -> Path:
    """A squeue in front of the real one, which leaves a line each time the controller asks."""
    programs = project.folder / "programs"
    programs.mkdir(parents=True)
    log = project.folder / "queries"
    log.touch()
    (programs / "squeue").write_text(
        f"""#!/bin/sh
echo asked >>{log}
if [ $(($(wc -l <{log}) % 3)) = 0 ]; then
    echo "slurm_load_jobs error: Unable to contact slurm controller (connect failure)" >&2
    exit 1
fi
exec {shutil.which("squeue")} "$@"
"""
    )
    (programs / "squeue").chmod(0o755)
    path = [str(programs), str(Path(sys.executable).parent), os.environ["PATH"]]
    project.environment["PATH"] = os.pathsep.join(path)
    return log
