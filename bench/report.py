"""What results cost: tables, samples and the report of 50 benchmarks with 100,000 samples together.

    python -m bench.report [--tasks 50] [--samples 100000]

Wanted: under 60 s on two cores, and under 2 GB. Each step is a process of its own, as in a run.
"""

from __future__ import annotations

import argparse
import json
import os
import random
import sys
import tempfile
from pathlib import Path

import yaml

from bench.side_by_side import ROOT
from snakeval.config.load import load
from snakeval.job import attempt, verify
from snakeval.plan.make import make_run
from snakeval.plan.run import Run, Task
from snakeval.start.begin import resolved_text

SECONDS, MEGABYTES = 60, 2000
TEXT = (
    "a farmer has some sheep and goes to the market with his neighbour to sell seven of them so "
    "how many are left when the evening comes think step by step and say the number at the end"
)
WORDS = TEXT.split()


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--tasks", type=int, default=50)
    parser.add_argument("--samples", type=int, default=100_000)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="snakeval-bench-") as folder:
        run = finished(Path(folder), given.tasks, given.samples)
        seconds, peak = 0.0, 0.0
        steps = {
            "results and samples": ["results.py", str(run.paths.dir), run.members],
            "report": ["report.py", "--run", str(run.paths.dir)],
        }
        for title, (script, *arguments) in steps.items():
            took, memory = measured([str(ROOT / "scripts" / script), *arguments])
            seconds, peak = seconds + took, max(peak, memory)
            print(f"{title}: {took:.1f} s, peak {memory:,.0f} MB")
        print(f"report.html: {run.paths.report.stat().st_size / 1e6:.1f} MB")
        print(
            f"together: {seconds:.1f} s (wanted: under {SECONDS}), "
            f"peak {peak:,.0f} MB (wanted: under {MEGABYTES:,})"
        )
    return 0 if seconds < SECONDS and peak < MEGABYTES else 1


def measured(words: list[str]) -> tuple[float, float]:
    """Seconds of wall clock and peak megabytes of a Python process. Raises when it fails."""
    import time

    began = time.monotonic()
    pid = os.posix_spawn(sys.executable, [sys.executable, *words], os.environ)
    _, status, usage = os.wait4(pid, 0)
    if status:
        raise RuntimeError(f"{words[0]} ended with {os.waitstatus_to_exitcode(status)}")
    return time.monotonic() - began, usage.ru_maxrss / 1024


def finished(folder: Path, tasks: int, samples: int) -> Run:
    """A run whose benchmarks are published, with the samples of a `command` harness."""
    names = [f"task_{n}" for n in range(tasks)]
    own = {
        "kind": "command",
        "command": "true",
        "format": "scores",
        "results": "results.json",
        "samples": "samples.jsonl",
        "tasks": dict.fromkeys(names),
    }
    config = {
        "execution": {"output_dir": str(folder / "out")},
        "target": {
            "api_endpoint": {"url": "http://127.0.0.1:9/v1/chat/completions", "model_id": "m"}
        },
        "harnesses": {"own": own},
        "evaluation": {"tasks": [f"own.{name}" for name in names]},
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(config))
    run = make_run(load([folder / "my.yaml"], {}), ROOT / "config" / "catalogue")
    run.paths.dir.mkdir(parents=True)
    run.paths.config.write_text(resolved_text(run))
    run.paths.record.write_text(json.dumps({"id": run.paths.id, "tasks": names}))
    rng = random.Random(0)
    for task in run.tasks:
        finish(task, samples // tasks, rng)
    return run


def finish(task: Task, samples: int, rng: random.Random) -> None:
    """Answers of some 1,000 characters, seven of ten right."""
    work, ours = task.paths.work(task.digest), task.paths.record(task.digest)
    work.mkdir(parents=True)
    ours.mkdir(parents=True)
    right = 0
    with (work / "samples.jsonl").open("w") as file:
        for number in range(samples):
            score = int(rng.random() < 0.7)
            right += score
            record = {
                "id": number,
                "prompt": f"{number}: {' '.join(rng.choices(WORDS, k=80))}",
                "expected": str(number),
                "answer": f"{' '.join(rng.choices(WORDS, k=200))} {number}",
                "scores": {"accuracy": score},
                "prompt_tokens": 100,
                "completion_tokens": 250,
            }
            file.write(json.dumps(record) + "\n")
    spec = {"format": "scores", "results": "results.json", "benchmark": task.name}
    task.paths.check_spec(task.digest).write_text(json.dumps(spec))
    result = {
        "scores": {"accuracy": right / samples},
        "samples": {"expected": samples, "scored": samples},
    }
    (work / "results.json").write_text(json.dumps(result))
    verify.main([str(work), "--record", str(ours), "--exit-code", "0"])
    given = attempt.parser().parse_args(["publish", str(task.paths.dir), task.digest])
    if given.run(given) != 0:
        raise RuntimeError(f"{task.name} could not be published")


if __name__ == "__main__":
    sys.exit(main())
