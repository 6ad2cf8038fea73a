"""Runs with published results, made without an evaluation: what an export reads lies there."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import yaml

from rig.checked import marked_at, publish_checked, write_spec
from snakeval.config.load import load
from snakeval.job import attempt
from snakeval.plan.make import make_run
from snakeval.plan.run import Run, Task
from snakeval.start.begin import resolved_text

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"


def make(folder: Path, tasks: int = 3, model: str = "org/model-1", **sections: Any) -> Run:
    """A run of `quiz0`, `quiz1`, ..., of which nothing is published; `sections`: of the config."""
    names = [f"quiz{number}" for number in range(tasks)]
    content = {
        "execution": {"output_dir": str(folder / "out")},
        "target": {"api_endpoint": {"url": "http://h/v1/chat/completions", "model_id": model}},
        "harnesses": {"own": {"kind": "command", "command": "x", "tasks": dict.fromkeys(names)}},
        "evaluation": {"tasks": [f"own.{name}" for name in names]},
        **sections,
    }
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "my.yaml"
    config.write_text(yaml.safe_dump(content))
    run = make_run(load([config], {}), CATALOGUE)
    run.paths.dir.mkdir(parents=True, exist_ok=True)
    run.paths.config.write_text(resolved_text(run))
    run.paths.record.write_text(json.dumps({"images": {}, "tasks": names}))
    return run


def publish(task: Task, when: str = "2026-11-22T01:02:03Z", **scores: Any) -> None:
    """What a finished attempt leaves: result, harness's cache, logs, record of the attempt."""
    work = task.paths.work(task.digest)
    work.mkdir(parents=True, exist_ok=True)
    write_spec(task, {"format": "scores", "results": "results.json", "benchmark": task.name})
    counts = {"expected": 8, "scored": 8, "unanswered": 0}
    (work / "results.json").write_text(json.dumps({"scores": scores, "samples": counts}))
    (work / "details" / "cache").mkdir(parents=True, exist_ok=True)
    (work / "details" / "answers.jsonl").write_text('{"answer": "4"}\n')
    (work / "details" / "cache" / "answer").write_text("cached")
    for name in ("lm_cache_rank0.db", "answers.lock", ".env", "service_account.json"):
        (work / name).write_text("not for others")
    task.paths.logs.mkdir(exist_ok=True)
    (task.paths.logs / "evaluate.1.log").write_text("asked 8\n")
    publish_checked(task, ["results.json"])
    marked_at(task, when)
    record = {"number": 1, "digest": task.digest, "state": "published", "ended": when}
    attempt.write(task.paths.dir, {"attempts": [record], "state": "published"})


def publish_all(run: Run) -> None:
    """Every task with two scores; those of `quiz1` are 0.1, of `quiz2` 0.2, and so on."""
    for number, task in enumerate(run.tasks):
        accuracy = {"value": number / 10, "stderr": 0.05, "n": 8}
        publish(task, **{"accuracy": accuracy, "pass@1": 0.5})


def unpublish(task: Task) -> None:
    task.paths.published(task.digest).unlink()
    task.paths.complete(task.digest).unlink()
