"""Config files in the style of the NeMo Evaluator Launcher 0.2.6 work unchanged."""

from __future__ import annotations

from pathlib import Path

import pytest
import yaml

from snakeval.config.load import load, load_resolved
from snakeval.plan.make import make_run

ROOT = Path(__file__).resolve().parents[2]
CATALOGUE = ROOT / "config" / "catalogue"
CONFIGS = sorted((Path(__file__).parent / "data" / "launcher").glob("*.yaml"))


@pytest.mark.parametrize("path", CONFIGS, ids=lambda path: path.stem)
def test_a_launcher_config_is_planned_unchanged(path: Path) -> None:
    run = make_run(load([path], {}), CATALOGUE)
    assert len(run.tasks) == len(run.raw["evaluation"]["tasks"])
    assert "???" not in str(run.raw) and "${" not in str(run.raw)


def test_every_group_is_in_one_of_them() -> None:
    text = " ".join(path.read_text() for path in CONFIGS)
    groups = [
        f"{group}: {file.relative_to(ROOT / 'config' / group).with_suffix('')}"
        for group in ("execution", "deployment")
        for file in (ROOT / "config" / group).rglob("*.yaml")
        if file.stem not in ("demo", "process")  # ours
    ]
    assert [group for group in groups if group not in text] == []


def test_ignored_keys_are_told_once_each_and_why() -> None:
    slurm = next(path for path in CONFIGS if path.stem == "slurm_vllm")
    told = [str(warning) for warning in load([slurm], {}).warnings]
    assert len(told) == len(set(told)) == 1
    assert "execution.subproject: ignored: folders are named after the run" in told[0]


def test_resolution_is_stable() -> None:
    path = next(path for path in CONFIGS if path.stem == "interpolated")
    first, second = (make_run(load([path], {}), CATALOGUE) for _ in range(2))
    assert first.raw == second.raw
    assert [task.digest for task in first.tasks] == [task.digest for task in second.tasks]
    assert first.config.name == "my-model"
    assert first.config.evaluation.nemo_evaluator_config.config.params.request_timeout == 600


def test_a_shells_variable_stays_one_in_the_run_folders_config(tmp_path: Path) -> None:
    path = tmp_path / "my.yaml"
    text = next(path for path in CONFIGS if path.stem == "local_minimal").read_text()
    path.write_text(text + "  pre_cmd: echo \\${HOME} ${target.api_endpoint.model_id}\n")
    first = load([path], {})
    assert first.config.evaluation.pre_cmd == "echo ${HOME} meta/llama-3.2-3b-instruct"
    (tmp_path / "config.yaml").write_text(yaml.safe_dump(first.raw))
    again = load_resolved(tmp_path / "config.yaml")
    assert again.config == first.config
