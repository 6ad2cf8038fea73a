"""Weights & Biases: the real client in offline mode, and its files read back."""

import json
from pathlib import Path
from typing import Any

import pytest
from published import make, publish, unpublish

from rig.refusing import refusing_server
from rig.wandb_files import records
from snakeval.config.export import WandbExport
from snakeval.export import wandb as wandb_export
from snakeval.export.destinations import Outcome, export_run
from snakeval.plan.run import Run


@pytest.fixture(autouse=True)
def offline(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("WANDB_MODE", "offline")
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    for name in ("CACHE", "CONFIG", "DATA", "ARTIFACT"):
        monkeypatch.setenv(f"WANDB_{name}_DIR", str(tmp_path / "home" / name))


def export(run: Run, **options: Any) -> Outcome:
    wandb = WandbExport(**{"entity": "team", "project": "evals", "log_mode": "per_task", **options})
    config = run.config.model_copy(
        update={"export": run.config.export.model_copy(update={"wandb": wandb})}
    )
    [outcome] = export_run(run, config, ["wandb"])
    assert outcome.failed is None, outcome
    return outcome


class Written:
    """What an offline run holds."""

    def __init__(self, path: Path) -> None:
        self.id = path.name.removeprefix("run-").removesuffix(".wandb")
        self.metrics: dict[str, float] = {}
        self.config: dict[str, Any] = {}
        self.artifacts: dict[str, set[str]] = {}
        for record in records(path):
            self._read(record)

    def _read(self, record: Any) -> None:
        match record.WhichOneof("record_type"):
            case "run":
                self.run = record.run
                for item in record.run.config.update:
                    self.config[item.key] = json.loads(item.value_json)
            case "config":
                for item in record.config.update:
                    self.config[item.key] = json.loads(item.value_json)
            case "history":
                for item in record.history.item:
                    name = item.key or "/".join(item.nested_key)
                    if not name.startswith("_"):
                        self.metrics[name] = json.loads(item.value_json)
            case "artifact":
                files = {entry.path for entry in record.artifact.manifest.contents}
                assert record.artifact.type == "evaluation_result"
                self.artifacts[record.artifact.name] = files


def written(run: Run) -> list[Written]:
    """Every offline run, oldest first."""
    found = sorted(run.paths.exports("wandb").rglob("*.wandb"), key=lambda p: p.stat().st_mtime_ns)
    return [Written(path) for path in found]


def test_run_per_task_in_the_group_of_its_run_folder(run: Run) -> None:
    assert export(run, tags=["nightly"], description="tonight", extra_metadata={"x": 1}).sent == 3

    found = {one.id: one for one in written(run)}
    assert set(found) == {f"{run.paths.id}-quiz{number}" for number in range(3)}
    one = found[f"{run.paths.id}-quiz1"]
    assert (one.run.entity, one.run.project) == ("team", "evals")
    assert one.run.display_name == f"eval-{run.paths.id}-quiz1"
    assert one.run.run_group == run.paths.id
    assert (one.run.job_type, list(one.run.tags), one.run.notes) == (
        "evaluation", ["nightly"], "tonight"
    )  # fmt: skip
    assert one.metrics == {"quiz1_accuracy": 0.1, "quiz1_pass@1": 0.5}
    assert one.config["invocation_id"] == run.paths.id
    assert (one.config["benchmark"], one.config["harness"], one.config["x"]) == ("quiz1", "own", 1)
    assert one.artifacts == {
        f"{run.paths.id}_quiz1": {"own.quiz1/config.yaml", "own.quiz1/artifacts/results.json"}
    }


def test_second_export_sends_nothing_and_a_changed_result_has_the_same_id(run: Run) -> None:
    unpublish(run.tasks[2])
    export(run)
    assert export(run).sent == 0
    assert len(written(run)) == 2

    publish(run.tasks[1], when="2026-11-22T03:00:00Z", accuracy=0.9)
    assert export(run).sent == 1

    ids = [one.id for one in written(run)]
    assert len(ids) == 3
    assert ids[-1] == f"{run.paths.id}-quiz1"
    assert written(run)[-1].metrics == {"quiz1_accuracy": 0.9}


def test_one_run_for_all_tasks(run: Run) -> None:
    export(run, log_mode="multi_task", log_metrics=["accuracy"], copy_artifacts=False)

    [one] = written(run)
    assert one.id == run.paths.id
    assert one.run.display_name.startswith("model-1 ")
    scores = {name: value for name, value in one.metrics.items() if "/" not in name}
    assert scores == {f"quiz{number}_accuracy": number / 10 for number in range(3)}
    assert one.metrics["uncertainty/quiz1_accuracy_stderr"] == 0.05
    assert one.config["specs"]["quiz1"] == run.tasks[1].digest
    assert one.config["benchmarks"] == ["quiz0", "quiz1", "quiz2"]
    assert one.artifacts == {}

    publish(run.tasks[0], when="2026-11-22T03:00:00Z", accuracy=0.9)
    assert export(run, log_mode="multi_task", log_metrics=["accuracy"], copy_artifacts=False).sent
    assert [one.id for one in written(run)] == [run.paths.id] * 2
    assert written(run)[-1].metrics["quiz0_accuracy"] == 0.9


def test_layout_is_a_run_per_model_unless_it_was_sent_per_benchmark_before(
    run: Run, tmp_path: Path
) -> None:
    export(run, log_mode=None)
    assert [one.id for one in written(run)] == [run.paths.id]

    other = make(tmp_path / "other", tasks=2, model="org/llama-step-500")
    publish(other.tasks[0], accuracy=0.5)
    export(other, log_mode="per_task")
    publish(other.tasks[1], accuracy=0.5)
    assert export(other, log_mode=None).sent == 1, "what was sent is not sent again"
    assert [one.id for one in written(other)] == [f"{other.paths.id}-quiz{at}" for at in (0, 1)]


def test_checkpoint_has_its_step_and_is_in_the_group_of_its_training(tmp_path: Path) -> None:
    run = make(tmp_path, tasks=1, model="org/llama-step-500")
    publish(run.tasks[0], accuracy=0.5)

    export(run, log_mode=None)

    [one] = written(run)
    assert (one.run.run_group, one.metrics["training_step"]) == ("org/llama", 500)


def test_missing_key_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_BASE_URL", "http://127.0.0.1:9")
    monkeypatch.delenv("WANDB_API_KEY", raising=False)

    [outcome] = export_run(run, run.config, ["wandb"])

    assert outcome.sent == 0
    assert outcome.failed is not None
    assert "set WANDB_API_KEY" in outcome.failed
    assert "\n" not in outcome.failed


@pytest.mark.parametrize(
    ("case", "expected"),
    [("refused", "refuses the credentials; set WANDB_API_KEY"), ("down", "does not answer")],
)
def test_server_that_refuses_or_is_down_is_one_sentence_and_hides_no_other(
    run: Run, monkeypatch: pytest.MonkeyPatch, case: str, expected: str
) -> None:
    monkeypatch.setenv("WANDB_MODE", "online")
    monkeypatch.setenv("WANDB_API_KEY", "a" * 40)
    monkeypatch.setattr(wandb_export, "PATIENCE", 2.0)
    with refusing_server() as url:
        monkeypatch.setenv("WANDB_BASE_URL", url if case == "refused" else "http://127.0.0.1:9")
        wandb, local = export_run(run, run.config, ["wandb", "local"])

    assert wandb.sent == 0
    assert wandb.failed is not None
    assert expected in wandb.failed and "\n" not in wandb.failed
    assert (local.sent, local.failed) == (3, None)


def test_names_of_ones_own(run: Run) -> None:
    own = {"name": "mine", "group": "nightly", "job_type": "gate"}
    export(run, log_mode="multi_task", run_id="my/run", **own)

    [one] = written(run)
    assert one.id == "my_run"
    assert (one.run.display_name, one.run.run_group, one.run.job_type) == (*own.values(),)


def test_missing_package_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    import sys

    monkeypatch.setitem(sys.modules, "wandb", None)
    monkeypatch.setitem(sys.modules, "gspread", None)

    wandb, gsheets, local = export_run(run, run.config, ["wandb", "gsheets", "local"])

    assert wandb.failed == "the package wandb is not installed: pip install -e '.[wandb]'"
    assert gsheets.failed == "the package gspread is not installed: pip install -e '.[gsheets]'"
    assert (local.sent, local.failed) == (3, None)
