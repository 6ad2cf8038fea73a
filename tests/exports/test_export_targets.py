"""Exports as a person starts them: part of a run, or as targets, with and without a config."""

import json
from pathlib import Path

import pytest

from rig.endpoint import ScriptedEndpoint
from rig.pipeline import Finished, Project
from rig.warm_snakemake import SNAKEMAKE

RESULT = '{"scores": {"accuracy": 0.5}, "samples": {"expected": 4, "scored": 4}}'
DOWN = "http://127.0.0.1:9"


@pytest.fixture
def project(endpoint: ScriptedEndpoint, tmp_path: Path) -> Project:
    """Two benchmarks that ask nothing; `riddle` fails while the file `broken` exists."""
    project = Project(tmp_path / "project", endpoint.chat_url)
    project.environment |= {"MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0", "TEAM_MLFLOW": DOWN}
    write = f"echo '{RESULT}' >{{results}}/results.json"
    broken = project.folder / "broken"
    tasks = {"quiz": None, "riddle": None}
    own = {
        "quick": {"kind": "command", "command": write, "tasks": {"quiz": None}},
        "flaky": {"kind": "command", "command": f"[ ! -e {broken} ] && {write}", "tasks": tasks},
    }
    project.write(
        [{"name": "quick.quiz"}, {"name": "flaky.riddle"}],
        harnesses=own,
        execution={
            "output_dir": "out",
            "min_free_gb": 0,
            "auto_export": {"destinations": ["mlflow", "local"]},
        },
        export={"mlflow": {"tracking_uri": "TEAM_MLFLOW", "copy_artifacts": False}},
    )
    return project


def target(project: Project, name: str, *arguments: str) -> Finished:
    """A utility target without any config."""
    return project.run_warm(SNAKEMAKE, "-s", str(project.snakefile), name, *arguments)


def receipts(project: Project, destination: str) -> set[str]:
    folder = project.run_folder / "exports" / destination
    return {path.stem for path in folder.glob("*.json") if "digest" in json.loads(path.read_text())}


def test_automatic_export_is_part_of_a_run_and_is_made_up_for_by_the_next(
    project: Project,
) -> None:
    # given an MLflow server that is down, and a benchmark that fails
    (project.folder / "broken").touch()

    first = project.snakemake("--retries", "0").refused()

    # then what is published is at the other destination, and the reason is one sentence
    assert f"{DOWN}, experiment nemo-evaluator-launcher does not answer" in first.output
    assert receipts(project, "local") == {"quiz"}
    assert receipts(project, "mlflow") == set()

    # when the benchmark works
    (project.folder / "broken").unlink()
    second = project.snakemake("--retries", "0").refused()
    assert "2 of 2 benchmarks published" in second.output
    assert receipts(project, "local") == {"quiz", "riddle"}

    # and the target by itself ends with an error too
    named = f"run={project.run_folder.name}"
    failed = target(project, "export_all", "--config", named).refused()
    assert "mlflow: 0 new or changed, then failed" in failed.output
    assert "local: 0 new or changed, 2 benchmarks at exports/local" in failed.output

    # when the server is back
    project.environment["TEAM_MLFLOW"] = f"sqlite:///{project.folder / 'team.db'}"
    third = project.snakemake().check()
    assert "mlflow: 2 new or changed, 2 benchmarks" in third.output
    assert "local: 0 new or changed" in third.output
    assert receipts(project, "mlflow") == {"quiz", "riddle"}
    assert "Nothing to be done" in project.snakemake().check().output

    # and the table of samples can be had again by itself
    (project.run_folder / "results" / "samples.parquet").unlink()
    assert "quiz: no samples kept" in target(project, "samples", "--config", named).check().output
    assert (project.run_folder / "results" / "samples.parquet").exists()

    # and without a config nothing is guessed beyond the output folder
    assert "there is no run in results" in target(project, "export_all").refused().output

    # and any run is exported without a config, with its own export section
    again = target(project, "export_all", "--config", named).check()
    assert "mlflow: 0 new or changed" in again.output
    other = ["set=[export.mlflow.experiment_name=other]", f"run={project.run_folder.name}"]
    assert "mlflow: 2 new" in target(project, "export_mlflow", "--config", *other).check().output
