"""Many small benchmarks at once: none lost, none run twice, few questions to Slurm."""

import os
import shutil
import sys
import time
from pathlib import Path

import pytest
from on_slurm import ClusterProject

from rig import reliability

HOURS = 3600.0


@pytest.mark.parametrize(
    "tasks",
    [
        40,
        pytest.param(200, marks=pytest.mark.long),
        pytest.param(5000, marks=[pytest.mark.long, pytest.mark.timeout(6 * HOURS)]),
    ],
)
def test_of_many_benchmarks_none_is_lost_or_run_twice(project: ClusterProject, tasks: int) -> None:
    names = [f"t{number}" for number in range(tasks)]
    project.write_benchmarks(dict.fromkeys(names, 1), threads=1)
    queries = answer_two_of_three_queries(project)

    began = time.monotonic()
    ended = project.snakemake("--jobs", "300", timeout=6 * HOURS).check()
    seconds = time.monotonic() - began

    assert f"{tasks} of {tasks} benchmarks published" in ended.output
    assert ended.output.count("submitted as job") == tasks
    assert set(project.endpoint.requests.values()) == {1}
    assert project.endpoint.requests.total() == tasks
    assert project.cluster.jobs() == {}
    # one query for all jobs at a time, about one a second; one that fails says nothing of a job
    asked = len(queries.read_text().splitlines())
    assert 3 <= asked <= 10 + seconds * 2
    if tasks > 40:
        reliability.note(
            f"{tasks:,} benchmarks on a two-node Slurm",
            f"none lost, none twice; {seconds:,.0f} s, {asked:,} questions to squeue",
        )


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
