"""Registries are asked beside a start, and never waited for long."""

from __future__ import annotations

import json
import threading
from pathlib import Path
from typing import Any

import pytest
import yaml

from rig.waiting import PATIENCE, wait_until
from snakeval.plan.make import plan
from snakeval.plan.run import Run
from snakeval.runtime import RUNTIMES
from snakeval.start import fresh_images
from snakeval.start.fresh_images import Look, planned_again

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
BEGUN, NEW = (f"r.io/eval@sha256:{letter * 64}" for letter in "ab")


class Registry:
    """Stands for a runtime whose registry answers when it is let, or never."""

    def __init__(self, answer: str | None = NEW) -> None:
        self.answer = answer
        self.may_answer = threading.Event()

    def latest(self, image: str, mirror: str | None = None) -> str | None:
        self.may_answer.wait(PATIENCE)
        return self.answer

    def here(self, image: str) -> str | None:
        return None


@pytest.fixture
def run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Run:
    """A run that has begun, and finished its benchmark, in BEGUN."""
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.chdir(tmp_path)
    content = {
        "execution": {"output_dir": "out", "min_free_gb": 0},
        "target": {"api_endpoint": {"url": "http://h/v1/chat/completions", "model_id": "m"}},
        "evaluation": {"tasks": [{"name": "gsm8k_cot_instruct", "container": "r.io/eval:1"}]},
    }
    Path("my.yaml").write_text(yaml.safe_dump(content))
    (run,) = plan([Path("my.yaml")], {"update_images": True}, CATALOGUE)
    (task,) = run.tasks
    task.paths.dir.mkdir(parents=True)
    run.paths.record.write_text(json.dumps({"images": {"r.io/eval:1": BEGUN}}))
    attempt = {"digest": task.digest, "state": "published", "image": BEGUN}
    task.paths.status.write_text(json.dumps({"attempts": [attempt]}))
    monkeypatch.setattr(type(task), "published", property(lambda task: True))
    return run


def test_a_registry_that_does_not_answer_holds_no_start_and_is_told_when_it_does(
    run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(fresh_images, "PATIENCE", 0.0)
    registry, told = Registry(), list[str]()
    (again,) = plan([Path("my.yaml")], {}, CATALOGUE)
    # given a registry that is silent, when a start looks, then it goes on
    Look([again], "docker", runtimes={"docker": registry}).tell(told.append)  # type: ignore[dict-item]
    assert told == []
    # and what comes late is told all the same
    registry.may_answer.set()
    wait_until(lambda: told)
    assert "image r.io/eval:1 is another one by now in its registry" in told[0]
    assert "evaluates gsm8k_cot_instruct again" in told[0]


@pytest.mark.parametrize(("answer", "again"), [(NEW, 1), (BEGUN, 0), (None, 0)])
def test_what_was_made_in_another_image_is_planned_again_and_nothing_else(
    run: Run, monkeypatch: pytest.MonkeyPatch, answer: str | None, again: int
) -> None:
    registry, told, warned = Registry(answer), list[str](), list[str]()
    registry.may_answer.set()
    runtimes: dict[str, Any] = {**RUNTIMES, "docker": lambda: registry}
    monkeypatch.setattr(fresh_images, "RUNTIMES", runtimes)
    (planned,) = planned_again([run], "docker", False, told.append, warned.append)
    assert len(planned.fresh) == len(told) == again
    # an image of which nobody can say what it means now: nothing is paid for again, and it is told
    assert len(warned) == (answer is None)
