"""What planning costs: a start, a no-op and a dry run with 1,000 benchmarks, beside a pipeline
that does nothing but have as many jobs.

    python -m bench.scale [--tasks 1000] [--times 3]
"""

from __future__ import annotations

import argparse
import json
import os
import tempfile
from pathlib import Path

import yaml

from bench.side_by_side import PROFILE, ROOT, SNAKEMAKE, Cost, compare, cost, in_turns
from snakeval.config.load import load
from snakeval.job import attempt, verify
from snakeval.plan.make import make_run
from snakeval.plan.run import Task
from snakeval.results.tables import write_tables

EMPTY = """
rule all:
    input:
        expand("out/{{n}}/done", n=range({tasks})),

rule one:
    output:
        "out/{{n}}/done",
    shell:
        "true"
"""
FLAGS = ["--cores", "4", "--quiet", "rules", "--rerun-triggers", "mtime", "params"]
"""profiles/default and profiles/local in short: the empty pipeline gets no more and no less."""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=1000)
    parser.add_argument("--times", type=int, default=3)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="snakeval-bench-") as folder:
        measure(Path(folder), given.tasks, given.times)


def measure(folder: Path, tasks: int, times: int) -> None:
    few, many = folder / "few", folder / "many"
    for place, count in ((few, 1), (many, tasks)):
        place.mkdir()
        write_empty(place / "empty", count)
        write_config(place, count)

    def empty(place: Path, *flags: str) -> Cost:
        return cost([SNAKEMAKE, *FLAGS, *flags], place / "empty")

    def ours(place: Path, *flags: str) -> Cost:
        snakefile = ["-s", str(ROOT / "Snakefile"), "--profile", PROFILE]
        return cost([SNAKEMAKE, *snakefile, "--configfile", "my.yaml", *flags], place)

    def side_by_side(title: str, wanted: str, kept: bool, place: Path, *flags: str) -> None:
        costs = in_turns(
            {
                "an empty pipeline": lambda: empty(place, *flags),
                "snakeval": lambda: ours(place, *flags),
            },
            times,
        )
        compare(title, wanted, costs, "an empty pipeline", kept=f"{title}, CPU" if kept else "")

    most = "ratio 1.5" if tasks <= 1000 else "ratio 1.3"
    side_by_side("parsing: dry run of one benchmark", "cpu over: 0.25 s", False, few, "-n")
    side_by_side(f"dry run, {tasks} pending", most, True, many, "-n")
    for n in range(tasks):
        (many / "empty" / "out" / str(n)).mkdir(parents=True)
        (many / "empty" / "out" / str(n) / "done").touch()
    finish_all(many)
    side_by_side(f"nothing to be done, {tasks} finished", most, True, many)


def write_empty(folder: Path, tasks: int) -> None:
    folder.mkdir()
    (folder / "Snakefile").write_text(EMPTY.format(tasks=tasks))


def write_config(folder: Path, tasks: int) -> None:
    """A config with a benchmark of one's own for every task; they are never started."""
    names = [f"task_{n}" for n in range(tasks)]
    config = {
        "execution": {"output_dir": "out", "min_free_gb": 0},
        "target": {
            "api_endpoint": {"url": "http://127.0.0.1:9/v1/chat/completions", "model_id": "m"}
        },
        "harnesses": {"own": {"kind": "command", "command": "true", "tasks": dict.fromkeys(names)}},
        "evaluation": {"tasks": [{"name": f"own.{name}"} for name in names]},
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(config))


def finish_all(folder: Path) -> None:
    """Leaves what a finished run of the config leaves."""
    os.chdir(folder)
    loaded = load([Path("my.yaml")], {})
    run = make_run(loaded, ROOT / "config" / "catalogue")
    for task in run.tasks:
        finish(task)
    write_tables(run, run.members)


def finish(task: Task) -> None:
    work, ours = task.paths.work(task.digest), task.paths.record(task.digest)
    work.mkdir(parents=True)
    ours.mkdir(parents=True)
    spec = {"format": "scores", "results": "results.json", "benchmark": task.name}
    task.paths.check_spec(task.digest).write_text(json.dumps(spec))
    result = {"scores": {"accuracy": 0.5}, "samples": {"expected": 4, "scored": 4}}
    (work / "results.json").write_text(json.dumps(result))
    verify.main([str(work), "--record", str(ours), "--exit-code", "0"])
    given = attempt.parser().parse_args(["publish", str(task.paths.dir), task.digest])
    if given.run(given) != 0:
        raise RuntimeError(f"{task.name} could not be published")


if __name__ == "__main__":
    main()
