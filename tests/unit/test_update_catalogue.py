"""`update_catalogue`: what an image says becomes rows; what has changed is told; an error writes
nothing. With the real image: tests/docker/test_tasks_of_an_image.py."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
import yaml

from snakeval.config.model import TaskEntry
from snakeval.errors import InputError
from snakeval.plan.catalogue import shipped
from snakeval.reference.listing import print_task
from snakeval.reference.update_catalogue import MARK, default_params, harnesses, update

FOLDER = Path(__file__).parents[2] / "config" / "catalogue"
FRAMEWORK = """
framework: {name: ifbench, full_name: Following, url: https://example.com}
defaults:
  config:
    supported_endpoint_types: [chat]
    params: {temperature: 0.5, limit_samples: null, extra: {judge: {}, seed: 1}}
evaluations:
  - name: IFBench
    defaults: {config: {type: ifbench}}
  - name: Again
    defaults:
      config:
        type: ifbench_logits
        supported_endpoint_types: [completions, chat]
        required_capabilities: [logprobs]
        params: {limit_samples: 50, extra: {seed: 2}}
  - name: Ranking
    defaults: {config: {type: ifbench_rank, supported_endpoint_types: [ranking]}}
  - name: Bad
    defaults: {config: {type: a.b}}
"""


def printed(text: str = FRAMEWORK, file: str = "/opt/metadata/framework.yml") -> str:
    return f"{MARK}{file}\n{text}"


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The catalogue that comes along, to be changed."""
    shutil.copytree(FOLDER, tmp_path / "catalogue")
    return tmp_path / "catalogue"


def texts(folder: Path) -> dict[str, str]:
    return {str(path): path.read_text() for path in folder.rglob("*") if path.is_file()}


def test_what_has_changed_is_told_and_written(folder: Path) -> None:
    found = harnesses("image:2", "sha256:2", printed())

    lines = update(folder, found)

    assert lines[0] == "ifbench: 2 tasks (1 added, 0 changed, 1 removed)"
    assert "  ~ image nvcr.io/nvidia/eval-factory/ifbench:26.03 -> image:2" in lines
    assert "  + ifbench_logits (completions)" in lines
    assert "  - ifbench_aa_v2" in lines
    assert "  left out: ifbench.ifbench_rank: asks an endpoint of type 'ranking'" in lines
    assert "  left out: ifbench.a.b: its name cannot be the name of a folder" in lines
    before, after = texts(FOLDER), texts(folder)
    rows = "\n".join(after[str(folder / "nemo_tasks.csv")].splitlines())
    assert "ifbench,ifbench_logits,completions,logprobs,ifbench_logits,50" in rows
    others = [
        line
        for line in before[str(FOLDER / "nemo_tasks.csv")].splitlines()
        if not line.startswith("ifbench,")
    ]
    assert [line for line in rows.splitlines() if not line.startswith("ifbench,")] == others
    catalogue = shipped.__wrapped__(folder)
    assert catalogue.find(TaskEntry(name="ifbench_logits"), "").details.needs == "logprobs"
    assert default_params(folder, "ifbench", "ifbench_logits") == {
        "temperature": 0.5,
        "limit_samples": 50,
        "extra": {"seed": 2},
    }
    again = update(folder, found)
    assert again[0] == "ifbench: 2 tasks (0 added, 0 changed, 0 removed)"
    assert texts(folder) == after


def test_a_new_harness_and_a_changed_task_are_told(folder: Path) -> None:
    fresh = FRAMEWORK.replace("name: ifbench,", "name: brandnew,")
    changed = FRAMEWORK.replace("[chat]\n    params", "[vlm]\n    params")

    assert update(folder, harnesses("i:1", "d", printed(fresh)))[0].endswith("; a new harness")
    told = update(folder, harnesses("i:1", "d", printed(changed)))

    assert "  ~ ifbench: endpoint_types chat -> vlm" in told
    assert shipped.__wrapped__(folder).find(TaskEntry(name="brandnew.ifbench"), "")


def test_elsewhere_leaves_the_catalogue_alone(folder: Path, tmp_path: Path) -> None:
    before = texts(folder)

    update(folder, harnesses("image:2", "", printed()), tmp_path / "elsewhere")

    assert texts(folder) == before
    assert (tmp_path / "elsewhere" / "nemo_tasks.csv").exists()


@pytest.mark.parametrize(
    ("output", "message"),
    [
        ("", "image:1: holds no framework.yml (looked in /opt/metadata and in core_evals)"),
        (printed("a: ["), "image:1: /opt/metadata/framework.yml: is not understood: "),
        (printed("framework: {}"), "is not understood: KeyError: 'name'"),
        (printed(FRAMEWORK.replace("name: ifbench,", "name: a/b,")), "'a/b' cannot be the name"),
    ],
)
def test_image_that_is_not_understood_is_refused(output: str, message: str) -> None:
    with pytest.raises(InputError) as error:
        harnesses("image:1", "", output)

    assert message in str(error.value)


def test_same_definition_in_two_places_counts_once() -> None:
    both = printed() + "\n" + printed(file="/site-packages/core_evals/ifbench/framework.yml")

    assert len(harnesses("image:1", "", both)) == 1


def test_catalogue_that_cannot_be_written_is_refused(folder: Path) -> None:
    (folder / "file").write_text("")

    with pytest.raises(InputError, match=r"cannot be written.*\n.*write elsewhere"):
        update(folder, harnesses("image:2", "", printed()), folder / "file" / "x")


# --- what a task needs ---------------------------------------------------------------------------


def shown(capsys: pytest.CaptureFixture[str], name: str, as_json: bool = False) -> str:
    print_task(shipped(FOLDER), FOLDER, name, as_json)
    return capsys.readouterr().out


def test_task_tells_what_it_needs(capsys: pytest.CaptureFixture[str]) -> None:
    gated = shown(capsys, "lm-evaluation-harness.gpqa")

    assert "variables       HF_TOKEN\n" in gated
    assert "gated data      Idavidrein/gpqa: ask for access at https://huggingface.co/" in gated
    assert "endpoint type   completions with logprobs\n" in gated
    assert "task: leaderboard_gpqa" in gated
    snippet = yaml.safe_load(gated.partition("In a config:")[2])
    assert snippet == {
        "evaluation": {
            "tasks": [
                {"name": "lm-evaluation-harness.gpqa", "env_vars": {"HF_TOKEN": "host:HF_TOKEN"}}
            ]
        }
    }


def test_what_nobody_knows_is_said_to_be_unknown(capsys: pytest.CaptureFixture[str]) -> None:
    unknown = shown(capsys, "nemo_skills.ns_hle")

    assert "variables       unknown\n" in unknown
    assert "gated data      unknown\n" in unknown
    assert (
        "defaults        unknown; `snakemake update_catalogue --config "
        "image=nvcr.io/nvidia/eval-factory/nemo-skills:26.03` reads them" in unknown
    )
    assert "variables       none\n" in shown(capsys, "garak.garak")
    assert "misleading*     fetches while it runs: models" in shown(capsys, "garak.garak")
    assert "extra.judge.model_id must be gpt-4" in shown(capsys, "mtbench.mtbench")
    assert "limit_samples: 1000" in shown(capsys, "codec.hle")
    assert "variables" not in shown(capsys, "demo_letters")
    row = json.loads(shown(capsys, "nemo_skills.ns_hle", as_json=True))
    assert row["variables"] is None
    assert row["default_params"] is None
