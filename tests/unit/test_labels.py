"""Names where people read: labels, variants by what they differ in, sweeps, digits of run ids."""

import json
from pathlib import Path
from typing import Any

import pytest

from snakeval.config.load import Loaded
from snakeval.config.model import Config
from snakeval.plan.make import make_run
from snakeval.plan.run import Run
from snakeval.run_folder.layout import RunPaths
from snakeval.runs.find import chosen_runs, find_run

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"


def _run(folder: Path, *tasks: Any) -> Run:
    raw = {
        "execution": {"output_dir": str(folder)},
        "target": {
            "api_endpoint": {"url": "http://localhost:1/v1/chat/completions", "model_id": "m"}
        },
        "evaluation": {"tasks": list(tasks)},
    }
    return make_run(Loaded(Config.model_validate(raw), raw, (Path("my.yaml"),)), CATALOGUE)


def _mmlu(label: str | None = None, **params: Any) -> dict[str, Any]:
    return {
        "name": "lm-evaluation-harness.mmlu_instruct",
        "nemo_evaluator_config": {"config": {"params": params}},
        **({"label": label} if label else {}),
    }


def test_variants_are_told_apart_by_the_parameters_in_which_they_differ(tmp_path: Path) -> None:
    run = _run(
        tmp_path,
        _mmlu(temperature=0.0),
        _mmlu(temperature=0.0, extra={"num_fewshot": 5}),
        _mmlu(temperature=0.5, extra={"num_fewshot": 5}),
        "gsm8k_cot_instruct",
    )

    assert [task.label for task in run.tasks] == [
        "mmlu_instruct [temperature=0.0]",
        "mmlu_instruct [temperature=0.0, num_fewshot=5]",
        "mmlu_instruct [temperature=0.5, num_fewshot=5]",
        "gsm8k_cot_instruct",
    ]


def test_label_is_what_it_is_called_and_changes_no_digest(tmp_path: Path) -> None:
    plain = _run(tmp_path, _mmlu())
    named = _run(tmp_path, _mmlu("knowledge"))

    assert [task.label for task in named.tasks] == ["knowledge"]
    assert named.tasks[0].name == plain.tasks[0].name
    assert named.tasks[0].digest == plain.tasks[0].digest


def test_no_two_are_called_the_same(tmp_path: Path) -> None:
    run = _run(tmp_path, _mmlu("a"), _mmlu("a", temperature=0.5))

    assert len({task.label for task in run.tasks}) == 2
    assert all(task.label.startswith("a (mmlu_instruct") for task in run.tasks)


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    return tmp_path / "out"


def _made(folder: Path, name: str, sweep: list[str]) -> RunPaths:
    run = RunPaths(folder / name)
    run.dir.mkdir(parents=True)
    run.record.write_text(json.dumps({"tasks": [], "sweep": sweep}))
    return run


def test_latest_after_a_sweep_is_the_sweep(home: Path) -> None:
    sweep = ["2026-01-02-03-04-05-aaaaaaaa", "2026-01-02-03-04-05-bbbbbbbb"]
    _made(home, "2026-01-01-00-00-00-cccccccc", [])
    for name in sweep:
        _made(home, name, sweep)

    assert [run.id for run in chosen_runs(None, [], [home])] == sweep


def test_new_run_of_a_config_makes_its_digits_no_riddle(home: Path) -> None:
    _made(home, "2026-01-01-00-00-00-0123abcd", [])
    newer = _made(home, "2026-01-02-00-00-00-0123abcd", [])

    assert find_run("0123", [home]).id == newer.id


def test_latest_is_this_folders_whatever_was_started_elsewhere_since(
    home: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours = _made(home, "2026-01-01-00-00-00-cccccccc", [])
    theirs = _made(home.parent / "other", "2026-01-02-00-00-00-dddddddd", [])
    listed = home.parent / "home" / ".nv-eval" / "run_configs" / f"{theirs.id}.yaml"
    listed.parent.mkdir(parents=True)
    listed.write_text(f"# run folder: {theirs.dir}\n")

    assert [run.id for run in chosen_runs(None, [], [home])] == [ours.id]
    assert capsys.readouterr().err == ""
    assert find_run("latest", [home], "--config base").id == ours.id
    assert f"base: the latest run is {ours.id}" in capsys.readouterr().err
    assert [run.id for run in chosen_runs("latest", [ours.dir], [home])] == [ours.id]

    empty = home.parent / "empty"
    assert [run.id for run in chosen_runs(None, [], [empty])] == [theirs.id]
    assert f"no run in {empty}" in capsys.readouterr().err
