"""Whose data `snakemake prefetch` can bring, and what it says of the others."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from rig.hub import Hub
from rig.pipeline import NEMO_IMAGE, ROOT
from snakeval.errors import InputError
from snakeval.plan.make import plan
from snakeval.plan.run import Run
from snakeval.prefetch import datasets

TASKS = ROOT / "tests" / "rig" / "hub_benchmark"
OWN: dict[str, Any] = {
    "own": {
        "kind": "lm_eval",
        "include_path": str(TASKS),
        "tasks": {"snakeval_hub": {"endpoint_type": "chat"}, "snakeval_none": None},
    },
    "mine": {"kind": "command", "command": "true", "tasks": {"quiz": None}},
}


IN_NEMO: dict[str, Any] = {
    "name": "lm-evaluation-harness.mmlu_instruct",
    "container": NEMO_IMAGE,
    "dataset_dir": str(TASKS),
    "dataset_mount_path": "/benchmark",
    "nemo_evaluator_config": {
        "config": {
            "params": {"task": "snakeval_hub", "extra": {"args": "--include_path /benchmark"}}
        }
    },
}


def planned(folder: Path, *names: str | dict[str, Any], **execution: Any) -> Run:
    content = {
        "execution": {"output_dir": str(folder / "out"), **execution},
        "target": {"api_endpoint": {"url": "http://h/v1/chat/completions", "model_id": "m"}},
        "harnesses": OWN,
        "evaluation": {"tasks": list(names)},
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(content))
    (run,) = plan([folder / "my.yaml"], {}, ROOT / "config" / "catalogue")
    return run


def test_data_that_the_hub_does_not_have_is_named_and_the_rest_is_brought(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = planned(tmp_path, "own.snakeval_hub", "own.snakeval_none", hf_home=str(tmp_path / "hf"))
    said: list[str] = []
    with Hub() as hub, pytest.raises(InputError) as refused:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        monkeypatch.setenv("HF_HUB_OFFLINE", "1")  # of the caller; a prefetch asks all the same
        datasets.bring(run, run.tasks, "docker", said.append)

    (problem,) = refused.value.problems
    assert "the datasets of snakeval_none could not be loaded: DatasetNotFoundError" in problem.what
    assert said == [f"2 benchmarks of lm-eval: loading datasets into {tmp_path / 'hf'}"]
    assert list((tmp_path / "hf" / "hub").glob("datasets--org--quiz"))


@pytest.mark.docker
def test_the_nemo_image_is_asked_for_the_data_of_the_task_that_it_would_run(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, nemo_image: str
) -> None:
    assert nemo_image == NEMO_IMAGE
    run = planned(tmp_path, IN_NEMO, hf_home=str(tmp_path / "hf"))
    with Hub() as hub:
        monkeypatch.setenv("HF_ENDPOINT", hub.url)
        datasets.bring(run, run.tasks, "docker", print)
    assert list((tmp_path / "hf" / "hub").glob("datasets--org--quiz"))


def test_harnesses_that_cannot_be_asked_are_told_what_to_do(tmp_path: Path) -> None:
    run = planned(tmp_path, "mine.quiz", "simple_evals.mmlu", "lm-evaluation-harness.ifeval")
    said: list[str] = []

    datasets.bring(run, run.tasks, "pyxis", said.append)

    assert [line.partition(";")[0] for line in said] == [
        "quiz: what its command loads is not known",
        "mmlu: what simple_evals loads is not known",
        "ifeval: its image is not started by pyxis here",
    ]
    assert all("limit_samples=1" in line for line in said)
    kept = planned(tmp_path, "own.snakeval_hub", hf_home=False)
    datasets.bring(kept, kept.tasks, "docker", said.append)
    assert said[-1].startswith("snakeval_hub: its Hugging Face cache is not the shared one")
