"""As a Snakemake `module` of somebody's own workflow: the worked example of config/examples."""

import shutil
from pathlib import Path

import pytest
import yaml

from rig.pipeline import ROOT, Finished, Project
from rig.warm_snakemake import SNAKEMAKE
from snakeval.errors import InputError
from snakeval.start.as_module import of_module
from snakeval.start.snakemake_internals import Module

THEIR_HOOKS = """

onstart:
    print("their start")


onsuccess:
    print("their success")
"""

EXAMPLES = ROOT / "config" / "examples"


@pytest.fixture
def training(tmp_path: Path) -> Project:
    """The example, elsewhere."""
    for name in ("training", "own_benchmark"):
        shutil.copytree(EXAMPLES / name, tmp_path / name)
    snakefile = tmp_path / "training" / "Snakefile"
    text = snakefile.read_text()
    assert '"../../../Snakefile"' in text
    text = text.replace('"../../../Snakefile"', f'"{ROOT / "Snakefile"}"')
    snakefile.write_text(text + THEIR_HOOKS)
    return Project(tmp_path / "training", "", profile=None)


def snakemake(project: Project, *arguments: str) -> Finished:
    return project.run_warm(SNAKEMAKE, "--cores", "2", *arguments)


def planned(project: Project) -> dict[str, int]:
    """How many jobs of each rule a dry run plans."""
    rows = [line.split() for line in snakemake(project, "-n").check().output.splitlines()]
    return {row[0]: int(row[1]) for row in rows if len(row) == 2 and row[1].isdigit()}


def test_checkpoints_of_ones_own_training_are_evaluated_once_as_they_are_made(
    training: Project,
) -> None:
    # given a training with two steps; values for its own config that would mean something to ours
    theirs = ["--config", "limit_samples=3", "target=theirs"]

    before = planned(training)
    ended = snakemake(training, *theirs).check()

    assert before == {"train": 2, "snakeval_evaluate": 2, "snakeval_results": 2, "all": 1,
                      "total": 7}  # fmt: skip
    assert ended.output.count("1 of 1 benchmarks published.") == 2
    assert ended.output.count("12 of 12") == 2
    assert "Leaderboard" in ended.output
    assert "their start" in ended.output
    assert "their success" in ended.output

    # what is evaluated needs its checkpoint no more, and a new one is trained and evaluated
    for checkpoint in (training.folder / "checkpoints").glob("*/*"):  # trained again
        checkpoint.write_text("another\n")
    assert planned(training) == {}
    shutil.rmtree(training.folder / "checkpoints")
    assert planned(training) == {}
    config = training.folder / "evaluation.yaml"
    content = yaml.safe_load(config.read_text())
    content["models"].append({"name": "step-300", "step": 300})
    config.write_text(yaml.safe_dump(content))
    assert planned(training) == {"train": 1, "snakeval_evaluate": 1, "snakeval_results": 1,
                                 "all": 1, "total": 4}  # fmt: skip


def test_mistakes_in_a_module_statement_are_told_together() -> None:
    given = of_module(Module("snakeval", {"needs": "checkpoints/{modell}"}, str))
    assert given is not None

    said = str(InputError(given.wrong()))

    assert "module snakeval: config: names no configfile of snakeval" in said
    assert "has {modell}, which nothing fills in" in said
    assert "did you mean 'model'?" in said
