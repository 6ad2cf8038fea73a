"""Finished runs made by hand in milliseconds: the files that a real start and a real `command`
harness leave, with the scores that a test wants."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import yaml

from rig.checked import publish_checked, write_spec
from snakeval.config.load import load
from snakeval.job import attempt
from snakeval.plan.make import make_run
from snakeval.plan.run import Run, Task
from snakeval.results.tables import write_tables
from snakeval.start.begin import resolved_text

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
Record = dict[str, Any]


def records(scores: Sequence[float], metric: str = "accuracy", **extra: Any) -> list[Record]:
    """A record per score: sample `0` was asked `Question 0?`, and so on."""
    return [
        {
            "id": number,
            "prompt": f"Question {number}?",
            "expected": str(number),
            "answer": str(number) if score else "no idea",
            "scores": {metric: score},
            **extra,
        }
        for number, score in enumerate(scores)
    ]


def built_run(
    folder: Path,
    name: str,
    tasks: Mapping[str, Sequence[Record] | None],
    model: str = "m",
    params: Mapping[str, Any] | None = None,
    scores: Mapping[str, Any] | None = None,
    failed: Mapping[str, str] | None = None,
    labels: Mapping[str, str] | None = None,
) -> Run:
    """A run below `folder/out`; `tasks`: their samples, None for one without a result.

    scores  what the result files say, else the means of the samples
    failed  causes of tasks without a result
    labels  what tasks are called
    """
    own = {
        "kind": "command",
        "command": "x",
        "format": "scores",
        "results": "results.json",
        "samples": "samples.jsonl",
        "tasks": dict.fromkeys(tasks),
    }
    content = {
        "name": name,
        "execution": {"output_dir": str(folder / "out")},
        "target": {"api_endpoint": {"url": "http://h/v1/chat/completions", "model_id": model}},
        "harnesses": {"own": own},
        "evaluation": {
            "nemo_evaluator_config": {"config": {"params": dict(params or {})}},
            "tasks": [{"name": f"own.{task}", "label": (labels or {}).get(task)} for task in tasks],
        },
    }
    folder.mkdir(parents=True, exist_ok=True)
    file = folder / f"{name}.yaml"
    file.write_text(yaml.safe_dump(content))
    run = make_run(load([file], {}), CATALOGUE, datetime(2026, 11, 22, 3, 0, 0, tzinfo=UTC))
    run.paths.dir.mkdir(parents=True)
    run.paths.config.write_text(resolved_text(run))
    run.paths.record.write_text(
        json.dumps(
            {
                "id": run.paths.id,
                "identity": run.identity,
                "created": "2026-11-22T03:00:00Z",
                "images": {},
                "tasks": [task.name for task in run.tasks],
                "last_start": {
                    "time": "2026-11-22T03:00:00Z",
                    "host": "node1",
                    "user": "ada",
                    "versions": {"snakeval": "0.1.0", "python": "3.11.9"},
                    "revision": "0123456789abcdef0123456789abcdef01234567",
                },
            }
        )
    )
    for task in run.tasks:
        task.paths.spec.parent.mkdir(exist_ok=True)
        spec = {"name": task.name, "label": task.label, "digest": task.digest}
        task.paths.spec.write_text(yaml.safe_dump(spec))
        found = tasks[task.name]
        if found is not None:
            publish(task, found, (scores or {}).get(task.name))
        elif task.name in (failed or {}):
            fail(task, (failed or {})[task.name])
    write_tables(run, run.members)
    return run


def publish(task: Task, found: Sequence[Record], scores: Any = None) -> None:
    """What a finished attempt leaves."""
    _begin(task)
    work = task.paths.work(task.digest)
    work.mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(record) + "\n" for record in found)
    (work / "samples.jsonl").write_text(lines)
    write_spec(task, {"format": "scores", "results": "results.json", "benchmark": task.name})
    content = {
        "scores": scores or _means(found),
        "samples": {"expected": len(found), "scored": len(found)},
    }
    (work / "results.json").write_text(json.dumps(content))
    publish_checked(task, ["results.json"], 1, **content["samples"], unanswered=0)


def fail(task: Task, cause: str) -> None:
    _begin(task)
    given = attempt.parser().parse_args(
        ["end", str(task.paths.dir), "--number", "1", "--state", "failed", "--cause", cause]
    )
    assert given.run(given) == 0


def _begin(task: Task) -> None:
    (task.paths.dir / "work" / task.digest).mkdir(parents=True)
    given = attempt.parser().parse_args(
        ["begin", str(task.paths.dir), "--digest", task.digest, "--runtime", "process"]
    )
    assert given.run(given) == 0


def _means(found: Sequence[Record]) -> dict[str, Any]:
    names = dict.fromkeys(name for record in found for name in record["scores"])
    means = {name: sum(record["scores"][name] for record in found) / len(found) for name in names}
    return {name: {"value": mean, "higher_is_better": True} for name, mean in means.items()}
