"""What planning costs: a dry run, a no-op, a start up to its first job, `status`, and a sweep,
beside a pipeline that does nothing but have as many jobs.

    python -m bench.scale [--tasks 1 100 1000 5000] [--models 100] [--times 3]

CPU seconds, memory, and what one benchmark more costs. Other work on the machine disturbs both.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from itertools import pairwise
from pathlib import Path

import yaml
from tests.rig.endpoint import ScriptedEndpoint

from bench.side_by_side import PROFILE, ROOT, SNAKEMAKE, Cost, cost, in_turns, note
from snakeval.config.load import Loaded, load
from snakeval.job import attempt, verify
from snakeval.plan.make import make_run
from snakeval.plan.run import Task
from snakeval.results.tables import write_tables
from snakeval.start.begin import resolved_text

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
FLAGS = ["--cores", "4", "--quiet", "rules", "--rerun-triggers", "mtime", "params", "--nolock"]
"""profiles/default and profiles/local in short: the empty pipeline gets no more and no less."""

YARDSTICK = "an empty pipeline"
OF_A_SWEEP = 50
"""Benchmarks of each model."""

HERTZ = os.sysconf("SC_CLK_TCK")


@dataclass(frozen=True)
class Place:
    """A folder with both pipelines, of as many benchmarks."""

    folder: Path
    tasks: int

    @property
    def empty(self) -> Path:
        return self.folder / "empty"

    def ways(self, *flags: str) -> dict[str, Callable[[], Cost]]:
        """Both, to be run to their ends."""
        return {
            YARDSTICK: lambda: cost([*of_empty(), *flags], self.empty),
            "snakeval": lambda: cost([*ours(), *flags], self.folder),
        }

    def starts(self) -> dict[str, Callable[[], Cost]]:
        """Both, up to their first job."""
        return {
            YARDSTICK: lambda: until(of_empty(), self.empty, lambda _: any_in(self.empty / "out")),
            "snakeval": lambda: until(ours(), self.folder, runs_a_task),
        }


def of_empty() -> list[str]:
    return [SNAKEMAKE, *FLAGS]


def ours() -> list[str]:
    return [
        *(SNAKEMAKE, "-s", str(ROOT / "Snakefile"), "--profile", PROFILE),
        *("--configfile", "my.yaml"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, nargs="+", default=[1, 100, 1000, 5000])
    parser.add_argument("--models", type=int, default=100, help="of the sweep; 0: none")
    parser.add_argument("--times", type=int, default=3)
    parser.add_argument("--only", nargs="+", default=list(MEASURES), choices=MEASURES)
    given = parser.parse_args()
    with (
        ScriptedEndpoint() as endpoint,
        tempfile.TemporaryDirectory(prefix="snakeval-bench-") as folder,
    ):
        for number, name in enumerate(given.only):
            below = Path(folder) / str(number)
            below.mkdir()
            sizes = given.tasks if name != "sweep" else [given.models * OF_A_SWEEP]
            places = [
                place(below / str(size), size, endpoint.chat_url, name == "sweep")
                for size in sizes
                if size
            ]
            MEASURES[name](places, given.times)


def place(folder: Path, tasks: int, url: str, sweep: bool = False) -> Place:
    folder.mkdir()
    write_empty(folder / "empty", tasks)
    write_config(folder, tasks, url, tasks // OF_A_SWEEP if sweep else 0)
    return Place(folder, tasks)


# --- what is measured -----------------------------------------------------------------------------


def parsing(places: list[Place], times: int) -> None:
    """What each job on a cluster pays before its benchmark begins."""
    one = places[0]
    run = make_run(loaded(one), ROOT / "config" / "catalogue")
    run.paths.dir.mkdir(parents=True)
    run.paths.config.write_text(resolved_text(run))
    task = run.tasks[0]
    target = f"evaluate:run={run.paths.dir},task={task.name},digest={task.digest}"
    job = ["-n", "--mode", "subprocess", "--no-hooks"]
    of_empties = ["--allowed-rules", "one", "--target-jobs", "one:n=0"]
    of_ours = ["--allowed-rules", "evaluate", "--target-jobs", target]
    ways = {
        YARDSTICK: partial(cost, [*of_empty(), *job, *of_empties], one.empty),
        "snakeval": partial(cost, [*ours()[:-2], *job, *of_ours], one.folder),
    }
    costs = {one.tasks: in_turns(ways, max(times, 3))}
    told("what a job on a cluster pays to parse the Snakefile", "0.25 s more", costs, kept="")
    over = costs[one.tasks]["snakeval"].cpu - costs[one.tasks][YARDSTICK].cpu
    print(f"  {over:.2f} s more", flush=True)


def dry_run(places: list[Place], times: int) -> None:
    costs = {each.tasks: in_turns(each.ways("-n"), times) for each in places}
    told("dry run, all pending", wanted(), costs, kept="dry run, {} pending, CPU")


def start(places: list[Place], times: int) -> None:
    costs = {each.tasks: in_turns(each.starts(), times) for each in places}
    told("start, up to the first job", wanted(), costs, kept="start, {} pending, CPU")


def nothing_to_do(places: list[Place], times: int) -> None:
    for each in places:
        finish_all(each)
    costs = {each.tasks: in_turns(each.ways(), times) for each in places}
    told("nothing to be done", wanted(), costs, kept="nothing to be done, {} finished, CPU")


def status(places: list[Place], times: int) -> None:
    """Beside a dry run of the empty pipeline with one job: there is no other yardstick."""
    costs = {}
    for each in places:
        each.starts()["snakeval"]()  # what a start writes is there
        finish_all(each)
        write_empty(each.folder / "one", 1)
        ways = {
            YARDSTICK: partial(cost, [*of_empty(), "-n"], each.folder / "one"),
            "snakeval": partial(cost, [*ours()[:-2], "status", *FROM_HERE], each.folder),
        }
        costs[each.tasks] = in_turns(ways, times)
    title = "status of a run, beside the empty pipeline with one job"
    told(title, "2 s on the clock at 5000", costs, kept="status of {}, CPU")


def sweep(places: list[Place], times: int) -> None:
    for each in places:
        models = each.tasks // OF_A_SWEEP
        title = f"dry run of a sweep, {models} models x {OF_A_SWEEP}"
        costs = {each.tasks: in_turns(each.ways("-n"), times)}
        told(title, wanted(), costs, kept=f"{title}, CPU")


MEASURES: Mapping[str, Callable[[list[Place], int], None]] = {
    "parsing": parsing,
    "dry_run": dry_run,
    "nothing_to_do": nothing_to_do,
    "start": start,
    "status": status,
    "sweep": sweep,
}
FROM_HERE = ["--config", "execution={output_dir: out}"]


def wanted() -> str:
    return "ratio 1.5 at 1000, 1.3 at 5000"


def told(title: str, goal: str, costs: Mapping[int, Mapping[str, Cost]], kept: str) -> None:
    """A table, a line for each number of benchmarks, and what each benchmark more costs."""
    print(f"\n{title}   (wanted: {goal})")
    heads = ("benchmarks", "empty", "snakeval", "ratio", "on the clock", "memory", "of empty")
    print("  " + "".join(f"{head:>13}" for head in heads))
    for tasks, both in costs.items():
        theirs, own = both[YARDSTICK], both["snakeval"]
        cells = [
            *(f"{tasks:,}", f"{theirs.cpu:.2f} s", f"{own.cpu:.2f} s"),
            *(f"{own.cpu / theirs.cpu:.2f}", f"{own.wall:.2f} s"),
            *(f"{own.memory:.0f} MB", f"{theirs.memory:.0f} MB"),
        ]
        print("  " + "".join(f"{cell:>13}" for cell in cells))
        if kept:
            note(kept.format(tasks), own.cpu / theirs.cpu)
    for (few, before), (many, after) in pairwise(costs.items()):
        slopes = [(after[n].cpu - before[n].cpu) / (many - few) * 1000 for n in before]
        print(
            f"  {few:,} to {many:,}: {slopes[1]:.2f} ms a benchmark (empty: {slopes[0]:.2f} ms)",
            flush=True,
        )


# --- a start up to its first job ------------------------------------------------------------------


def until(command: list[str], folder: Path, begun: Callable[[int], bool]) -> Cost:
    """Starts a pipeline anew and ends it when its first job has begun.

    begun  tells it from the id of the process
    """
    shutil.rmtree(folder / "out", ignore_errors=True)
    began = time.monotonic()
    with tempfile.TemporaryFile("w+") as said:
        process = subprocess.Popen(
            command,
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
            start_new_session=True,
        )
        try:
            while not begun(process.pid):
                if process.poll() is not None:
                    said.seek(0)
                    raise RuntimeError(f"{' '.join(command)} ended:\n{said.read()}")
                time.sleep(0.02)
            return Cost(time.monotonic() - began, cpu_of(process.pid), memory_of(process.pid))
        finally:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def cpu_of(pid: int) -> float:
    """Seconds of CPU of a live process and those of its children that have ended."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return sum(map(int, fields[11:15])) / HERTZ


def memory_of(pid: int) -> float:
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) / 1024 for line in lines if line.startswith("VmHWM"))


def runs_a_task(pid: int) -> bool:
    """Whether a process has a child that runs a benchmark."""
    with contextlib.suppress(OSError):
        for thread in Path(f"/proc/{pid}/task").iterdir():
            for child in (thread / "children").read_text().split():
                if "/run.sh" in Path(f"/proc/{child}/cmdline").read_text():
                    return True
    return False


def any_in(folder: Path) -> bool:
    with contextlib.suppress(OSError), os.scandir(folder) as found:
        return any(found)
    return False


# --- the two pipelines ----------------------------------------------------------------------------


def write_empty(folder: Path, tasks: int) -> None:
    folder.mkdir()
    (folder / "Snakefile").write_text(EMPTY.format(tasks=tasks))


def write_config(folder: Path, tasks: int, url: str, models: int = 0) -> None:
    """A config with a benchmark of one's own for every task of every model."""
    names = [f"task_{n}" for n in range(tasks // (models or 1))]
    config = {
        "execution": {"output_dir": "out", "min_free_gb": 0},
        "target": {"api_endpoint": {"url": url, "model_id": "m", "check_model": False}},
        "harnesses": {"own": {"kind": "command", "command": "true", "tasks": dict.fromkeys(names)}},
        "evaluation": {"tasks": [{"name": f"own.{name}"} for name in names]},
    }
    if models:
        config["models"] = [
            {"target": {"api_endpoint": {"model_id": f"model-{n}"}}} for n in range(models)
        ]
    (folder / "my.yaml").write_text(yaml.safe_dump(config))


def loaded(one: Place) -> Loaded:
    os.chdir(one.folder)
    return load([Path("my.yaml")], {})


def finish_all(one: Place) -> None:
    """Leaves what a finished run of the config leaves, in both pipelines."""
    for n in range(one.tasks):
        (one.empty / "out" / str(n)).mkdir(parents=True, exist_ok=True)
        (one.empty / "out" / str(n) / "done").touch()
    run = make_run(loaded(one), ROOT / "config" / "catalogue")
    for task in run.tasks:
        finish(task)
    write_tables(run, run.members)


def finish(task: Task) -> None:
    work, ours = task.paths.work(task.digest), task.paths.record(task.digest)
    work.mkdir(parents=True, exist_ok=True)
    ours.mkdir(parents=True, exist_ok=True)
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
