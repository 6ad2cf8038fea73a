"""Small benchmarks on a real Slurm: the pipeline beside plain `sbatch` in a loop.

Starts the tests' own cluster (root, Debian's packages), submits the same number of jobs both ways
and prints the seconds from the first submission to the end of the last job.

    PYTHONPATH=.:tests .venv/bin/python bench/slurm_throughput.py --tasks 100
"""

from __future__ import annotations

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT / "tests"), str(ROOT / "tests" / "slurm")]

from on_slurm import ClusterProject  # type: ignore[import-not-found]  # noqa: E402

from rig.docker_engine import RigUnavailable  # type: ignore[import-not-found]  # noqa: E402
from rig.endpoint import ScriptedEndpoint  # type: ignore[import-not-found]  # noqa: E402
from rig.slurm_cluster import (  # type: ignore[import-not-found]  # noqa: E402
    SlurmCluster,
    slurm_for_session,
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--tasks", type=int, default=100)
    tasks = parser.parse_args().tasks
    try:
        with slurm_for_session() as cluster, tempfile.TemporaryDirectory() as folder:
            os.environ.update(cluster.environment)
            measure(cluster, Path(folder), tasks)
    except RigUnavailable as reason:
        raise SystemExit(f"no Slurm to measure on: {reason}") from None


def measure(cluster: SlurmCluster, folder: Path, tasks: int) -> None:
    with ScriptedEndpoint(host=cluster.address) as endpoint:
        project = ClusterProject(
            folder / "project", endpoint.chat_url, cluster=cluster, endpoint=endpoint
        )
        project.write_benchmarks({f"t{number}": 1 for number in range(tasks)}, threads=1)
        began = time.monotonic()
        project.snakemake("--jobs", str(tasks), timeout=3600).check()
        pipeline = time.monotonic() - began
        # The very same scripts, by hand; the first run's results are out of the way.
        for done in project.run_folder.glob("t*/work"):
            done.rename(done.with_name("before"))
        scripts = sorted(project.run_folder.glob("sbatch_t*.sh"))
        began = time.monotonic()
        for script in scripts:
            subprocess.run(
                ["sbatch", "--parsable", "--output=/dev/null", script],
                check=True,
                capture_output=True,
            )
        cluster.wait(lambda: not cluster.jobs(), 3600)
        plain = time.monotonic() - began
        asked = endpoint.requests.total()
    print(f"{tasks} jobs, {os.cpu_count()} cores, 2 nodes of 4 CPUs; {asked} requests")
    print(f"  plain sbatch in a loop   {plain:6.1f} s")
    print(f"  the pipeline             {pipeline:6.1f} s   ({pipeline / plain:.2f} times)")


if __name__ == "__main__":
    main()
