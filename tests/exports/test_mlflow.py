"""MLflow: a real server with a SQLite back end, and the embedded database without any server."""

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from uuid import uuid4

import pytest
from mlflow import MlflowClient
from mlflow.entities import Run as TrackedRun
from published import make, publish, publish_all, unpublish

from rig.built_runs import built_run, records
from rig.mlflow_server import mlflow_server
from rig.refusing import refusing_server
from snakeval.config.export import MlflowExport
from snakeval.export.destinations import Outcome, export_run
from snakeval.export.mlflow_record import NAME_LENGTH, metric_name
from snakeval.plan.run import Run


@pytest.fixture(scope="module")
def uri(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    with mlflow_server(tmp_path_factory.mktemp("mlflow")) as uri:
        yield uri


@pytest.fixture(scope="module")
def client(uri: str) -> MlflowClient:
    return MlflowClient(tracking_uri=uri)


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of two published tasks."""
    run = make(tmp_path, tasks=2)
    publish_all(run)
    return run


@pytest.fixture
def options(uri: str) -> dict[str, Any]:
    """An experiment of the test's own, with a run per benchmark."""
    return {"tracking_uri": uri, "experiment_name": f"e-{uuid4().hex[:8]}", "layout": "task"}


@pytest.fixture
def per_model(options: dict[str, Any]) -> dict[str, Any]:
    """The same as most people have it: nothing is said of the layout."""
    return {key: value for key, value in options.items() if key != "layout"}


def export(run: Run, **options: Any) -> Outcome:
    mlflow = MlflowExport(**options)
    config = run.config.model_copy(
        update={"export": run.config.export.model_copy(update={"mlflow": mlflow})}
    )
    [outcome] = export_run(run, config, ["mlflow"])
    return outcome


def tracked(client: MlflowClient, options: dict[str, Any]) -> dict[str, TrackedRun]:
    """Runs of the experiment by their names; two of one name are a failure."""
    experiment = client.get_experiment_by_name(options["experiment_name"])
    runs = client.search_runs([experiment.experiment_id])
    found = {run.info.run_name: run for run in runs}
    assert len(found) == len(runs)
    return found


def artifacts(client: MlflowClient, run_id: str, path: str | None = None) -> set[str]:
    found: set[str] = set()
    for entry in client.list_artifacts(run_id, path):
        found |= artifacts(client, run_id, entry.path) if entry.is_dir else {entry.path}
    return found


def test_run_per_task_with_the_launchers_names(
    run: Run, client: MlflowClient, options: dict[str, Any]
) -> None:
    outcome = export(
        run, **options, tags={"team": "evals"}, extra_metadata={"cost": 3}, description="nightly"
    )

    assert (outcome.sent, outcome.failed) == (2, None)
    runs = tracked(client, options)
    assert set(runs) == {f"eval-{run.paths.id}-quiz{number}" for number in range(2)}
    one = runs[f"eval-{run.paths.id}-quiz1"]
    assert one.data.metrics == {"quiz1_accuracy": 0.1, "quiz1_pass_at_1": 0.5}
    assert one.data.params == {
        "invocation_id": run.paths.id,
        "executor": "local",
        "timestamp": "2026-11-22T01:02:03Z",
        "cost": "3",
    }
    expected = {
        "invocation_id": run.paths.id,
        "job_id": f"{run.paths.id}.quiz1",
        "task_name": "quiz1",
        "benchmark": "quiz1",
        "harness": "own",
        "executor": "local",
        "team": "evals",
        "mlflow.note.content": "nightly",
    }
    assert {key: one.data.tags.get(key) for key in expected} == expected
    assert one.info.status == "FINISHED"
    assert artifacts(client, one.info.run_id) == {
        "config.yaml",
        "own.quiz1/artifacts/results.json",
    }


def test_second_export_sends_nothing_and_a_changed_result_updates_its_run(
    run: Run, client: MlflowClient, options: dict[str, Any]
) -> None:
    export(run, **options)
    before = tracked(client, options)
    assert export(run, **options).sent == 0

    publish(run.tasks[1], when="2026-11-22T03:00:00Z", accuracy=0.9)
    assert export(run, **options).sent == 1

    after = tracked(client, options)
    name = f"eval-{run.paths.id}-quiz1"
    assert {run.info.run_id for run in after.values()} == {
        run.info.run_id for run in before.values()
    }
    assert after[name].data.metrics["quiz1_accuracy"] == 0.9
    assert after[name].data.tags["timestamp"] == "2026-11-22T03:00:00Z"
    # a parameter never changes at MLflow
    assert after[name].data.params["timestamp"] == "2026-11-22T01:02:03Z"
    assert after[name].data.tags["param.timestamp"] == "2026-11-22T03:00:00Z"


def test_run_is_found_again_without_receipts_and_skip_existing_leaves_it_alone(
    run: Run, client: MlflowClient, options: dict[str, Any]
) -> None:
    export(run, **options)
    for receipt in run.paths.exports("mlflow").glob("*.json"):
        receipt.unlink()
    publish(run.tasks[1], when="2026-11-22T03:00:00Z", accuracy=0.9)

    left_alone = export(run, **options, skip_existing=True)
    assert len(left_alone.notes) == 2
    assert tracked(client, options)[f"eval-{run.paths.id}-quiz1"].data.metrics[
        "quiz1_accuracy"
    ] == pytest.approx(0.1)

    assert export(run, **options).sent == 2
    assert len(tracked(client, options)) == 2
    history = client.get_metric_history(
        tracked(client, options)[f"eval-{run.paths.id}-quiz0"].info.run_id, "quiz0_accuracy"
    )
    assert [point.value for point in history] == [0.0], "the same value is not sent again"


def test_export_that_dies_half_way_continues(
    run: Run, client: MlflowClient, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    # given an export that dies in the middle of the second run
    plain = MlflowClient.log_batch
    seen: list[str] = []

    def dying(self: MlflowClient, run_id: str, *given: Any, **named: Any) -> Any:
        seen.append(run_id)
        if len(set(seen)) == 2:
            raise KeyboardInterrupt
        return plain(self, run_id, *given, **named)

    monkeypatch.setattr(MlflowClient, "log_batch", dying)
    with pytest.raises(KeyboardInterrupt):
        export(run, **options)
    monkeypatch.setattr(MlflowClient, "log_batch", plain)

    outcome = export(run, **options)

    assert outcome.sent == 1
    runs = tracked(client, options)
    assert len(runs) == 2
    assert all(len(run.data.metrics) == 2 for run in runs.values())


def test_log_metrics_run_name_and_config_params(
    run: Run, client: MlflowClient, options: dict[str, Any]
) -> None:
    unpublish(run.tasks[1])
    export(
        run, **options, log_metrics=["accuracy"], run_name="mine", log_config_params=True,
        log_config_params_max_depth=4, copy_artifacts=False, copy_logs=True,
    )  # fmt: skip

    [(name, one)] = tracked(client, options).items()
    assert name == "mine"
    assert set(one.data.metrics) == {"quiz0_accuracy"}
    assert one.data.params["config.target.api_endpoint.model_id"] == "org/model-1"
    assert one.data.params["config.evaluation.tasks.1"] == "own.quiz1"
    assert artifacts(client, one.info.run_id) == {"own.quiz0/logs/evaluate.1.log"}


def test_nested_runs_stand_below_one_of_their_run_folder(
    run: Run, client: MlflowClient, options: dict[str, Any]
) -> None:
    export(run, **options, nested=True)
    publish(run.tasks[1], when="2026-11-22T03:00:00Z", accuracy=0.9)
    export(run, **options, nested=True)

    runs = tracked(client, options)
    parent = runs.pop(f"eval-{run.paths.id}")
    assert len(runs) == 2
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {parent.info.run_id}


def test_without_a_server_a_database_in_the_output_folder_is_used(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    run = make(tmp_path, tasks=1)
    publish_all(run)

    outcome = export(run)

    assert outcome.failed is None
    database = run.paths.dir.parent / "mlflow.db"
    client = MlflowClient(tracking_uri=f"sqlite:///{database}")
    [one] = tracked(client, {"experiment_name": "nemo-evaluator-launcher"}).values()
    assert one.data.metrics["quiz0_pass_at_1"] == 0.5
    assert "own.quiz0/artifacts/results.json" in artifacts(client, one.info.run_id)
    assert (run.paths.dir.parent / "mlartifacts").is_dir()
    assert not (tmp_path / "mlruns").exists()
    assert str(tmp_path) not in (run.paths.exports("mlflow") / "quiz0.json").read_text()


def test_server_that_is_down_is_one_sentence_and_hides_no_other(
    run: Run, uri: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    mlflow = MlflowExport(tracking_uri="http://127.0.0.1:9")
    config = run.config.model_copy(
        update={"export": run.config.export.model_copy(update={"mlflow": mlflow})}
    )

    down, local = export_run(run, config, ["mlflow", "local"])

    assert down.failed is not None
    assert "http://127.0.0.1:9" in down.failed and "does not answer" in down.failed
    assert "\n" not in down.failed
    assert (local.sent, local.failed) == (2, None)
    # and when it is back, all of it is sent
    assert export(run, tracking_uri=uri, experiment_name="back").sent == 2


def test_refused_credentials_are_told_as_such(run: Run) -> None:
    with refusing_server() as url:
        failed = export(run, tracking_uri=url).failed

    assert failed is not None
    assert "refuses the credentials; set MLFLOW_TRACKING_TOKEN" in failed


def test_missing_package_is_one_sentence(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "mlflow", None)

    mlflow, local = export_run(run, run.config, ["mlflow", "local"])

    assert mlflow.failed == "the package mlflow is not installed: pip install mlflow"
    assert (local.sent, local.failed) == (2, None)


def test_long_parameters_and_tags_are_cut(
    run: Run, client: MlflowClient, options: dict[str, Any]
) -> None:
    unpublish(run.tasks[1])
    told = export(run, **options, tags={"long": "t" * 9000}, extra_metadata={"long": "p" * 9000})

    assert told.failed is None
    [one] = tracked(client, options).values()
    assert (len(one.data.params["long"]), len(one.data.tags["long"])) == (6000, 5000)


def test_uri_from_a_variable_and_one_that_is_not_set(
    run: Run, options: dict[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    uri = options.pop("tracking_uri")
    monkeypatch.setenv("TEAM_MLFLOW", uri.replace("http://", "http://me:secret@"))
    outcome = export(run, tracking_uri="TEAM_MLFLOW", **options)
    assert outcome.failed is None
    assert "secret" not in str(outcome)
    assert "secret" not in (run.paths.exports("mlflow") / "quiz0.json").read_text()

    monkeypatch.delenv("TEAM_MLFLOW")
    failed = export(run, tracking_uri="TEAM_MLFLOW", **options).failed
    assert failed is not None and "the variable TEAM_MLFLOW is not set" in failed


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("mmlu_acc", "mmlu_acc"),
        ("human_eval_pass@k", "human_eval_pass_at_k"),
        ("a (b), c=d", "a _b__ c_d"),
        ("/up/../x", "up/__/x"),
    ],
)
def test_metric_names_that_mlflow_takes(name: str, expected: str) -> None:
    assert metric_name(name) == expected


def embedded(run: Run) -> MlflowClient:
    """The database that is used without a server."""
    return MlflowClient(f"sqlite:///{run.paths.dir.parent / 'mlflow.db'}")


def test_two_scores_never_share_a_name(tmp_path: Path) -> None:
    # given names of a real result, of which several are one to a careless eye
    scores = {"准确率": 0.5, "召回率": 0.7, "BLEU (en→de)": 31.0, "BLEU (en→fr)": 44.0,
              "acc<=5": 0.1, "acc>=5": 0.9, "top1": 0.25, "TOP1": 0.26}  # fmt: skip
    run = make(tmp_path, tasks=1)
    publish(run.tasks[0], **scores)
    options = {
        "experiment_name": "names",
        "layout": "task",
    }  # into the database in the output folder

    assert export(run, **options).failed is None

    [found] = tracked(embedded(run), options).values()
    assert sorted(found.data.metrics.values()) == sorted(scores.values())
    assert len({name.casefold() for name in found.data.metrics}) == 8
    assert found.data.metrics["quiz0_准确率"] == 0.5


def test_long_metric_names_stay_different() -> None:
    first, second = metric_name("x" * 400 + "1"), metric_name("x" * 400 + "2")
    assert first != second
    assert len(first) == len(second) == NAME_LENGTH


# ---------------------------------------------------------------- a run per model


def test_run_per_model_holds_all_scores_with_their_errors(
    run: Run, client: MlflowClient, per_model: dict[str, Any]
) -> None:
    outcome = export(run, **per_model, tags={"team": "evals"})

    assert (outcome.sent, outcome.failed) == (2, None)
    [one] = tracked(client, per_model).values()
    metrics = one.data.metrics
    assert (metrics["quiz0_accuracy"], metrics["quiz1_accuracy"]) == (0.0, 0.1)
    assert metrics["uncertainty/quiz1_accuracy_stderr"] == 0.05
    assert metrics["uncertainty/quiz1_accuracy_n"] == 8
    low, high = (metrics[f"uncertainty/quiz1_accuracy_ci95_{end}"] for end in ("low", "high"))
    assert low < 0.1 < high
    assert "uncertainty/quiz1_pass_at_1_stderr" not in metrics, "not known"
    assert one.data.params["model"] == "org/model-1"
    assert one.data.params["benchmark.quiz1"] == "own.quiz1"
    told = {"kind": "model", "team": "evals", "published": "2 of 2", "benchmarks": "quiz0, quiz1"}
    assert {key: one.data.tags.get(key) for key in told} == told
    assert one.data.tags["spec.quiz1"] == run.tasks[1].digest
    day = "-".join(run.paths.id.split("-")[1:3])
    assert one.info.run_name[:30].startswith(f"model-1 {day} "), one.info.run_name
    assert one.info.run_name.endswith(run.paths.id[-8:]), "two may begin in one minute"
    assert {"config.yaml", "own.quiz1/artifacts/results.json"} <= artifacts(client, one.info.run_id)
    assert {each.dataset.name for each in one.inputs.dataset_inputs} == {"own.quiz0", "own.quiz1"}


def test_run_per_model_is_updated_and_never_doubled(
    run: Run, client: MlflowClient, per_model: dict[str, Any]
) -> None:
    unpublish(run.tasks[1])
    assert export(run, **per_model).sent == 1
    publish_all(run)
    assert export(run, **per_model).sent == 1
    assert export(run, **per_model).sent == 0
    for receipt in run.paths.exports("mlflow").glob("*.json"):
        receipt.unlink()
    assert export(run, **per_model).sent == 2

    [one] = tracked(client, per_model).values()
    assert one.data.tags["published"] == "2 of 2"
    history = client.get_metric_history(one.info.run_id, "quiz0_accuracy")
    assert [point.value for point in history] == [0.0]


def test_run_folder_that_was_sent_per_benchmark_before_stays_so(
    run: Run, client: MlflowClient, options: dict[str, Any], per_model: dict[str, Any]
) -> None:
    export(run, **options)
    publish(run.tasks[1], when="2026-11-22T03:00:00Z", accuracy=0.9)

    assert export(run, **per_model).failed is None

    assert set(tracked(client, options)) == {
        f"eval-{run.paths.id}-quiz{number}" for number in range(2)
    }


def test_receipts_of_before_the_key_layout_hold(run: Run) -> None:
    given = MlflowExport(experiment_name="x")
    assert "layout" not in given.as_sent()
    assert MlflowExport(experiment_name="x", layout="task").as_sent() != given.as_sent()


def test_interval_is_told_where_only_single_samples_know_it(
    tmp_path: Path, client: MlflowClient, per_model: dict[str, Any]
) -> None:
    """The report and the leaderboard had an interval, MLflow had none."""
    run = built_run(tmp_path, "run", {"quiz": records([1.0] * 30 + [0.0] * 10)})

    export(run, **per_model)

    [one] = tracked(client, per_model).values()
    metrics = one.data.metrics
    assert metrics["uncertainty/quiz_accuracy_n"] == 40
    assert metrics["uncertainty/quiz_accuracy_stderr"] == pytest.approx(0.0693, abs=0.001)
    low, high = (metrics[f"uncertainty/quiz_accuracy_ci95_{end}"] for end in ("low", "high"))
    assert low < 0.75 < high


def test_nested_has_the_benchmarks_below_their_model(
    run: Run, client: MlflowClient, per_model: dict[str, Any]
) -> None:
    export(run, **per_model, nested=True)

    runs = tracked(client, per_model)
    [parent] = [run for run in runs.values() if run.data.tags.get("kind") == "model"]
    children = [run for run in runs.values() if run is not parent]
    assert parent.data.metrics["quiz1_accuracy"] == 0.1
    assert {run.data.tags["mlflow.parentRunId"] for run in children} == {parent.info.run_id}
    assert len(children) == 2


def test_checkpoints_are_lines_of_one_training(
    tmp_path: Path, client: MlflowClient, per_model: dict[str, Any]
) -> None:
    for at in (2, 1, 3):
        run = make(tmp_path / str(at), tasks=1, model=f"org/llama-step-{at}000")
        publish(run.tasks[0], accuracy={"value": at / 10, "stderr": 0.05, "n": 8})
        export(run, **per_model)
        export(run, **per_model)

    runs = tracked(client, per_model)
    training = runs.pop("org/llama, all steps")
    line = client.get_metric_history(training.info.run_id, "quiz0_accuracy")
    assert sorted((point.step, point.value) for point in line) == [
        (1000, 0.1), (2000, 0.2), (3000, 0.3),
    ]  # fmt: skip
    assert {run.data.tags["mlflow.parentRunId"] for run in runs.values()} == {training.info.run_id}
    assert {run.data.params["step"] for run in runs.values()} == {"1000", "2000", "3000"}
    # MLflow draws sections above all else: five charts of it for each score that one looks for.
    assert not [name for name in training.data.metrics if "/" in name]
    assert all("uncertainty/quiz0_accuracy_stderr" in run.data.metrics for run in runs.values())
