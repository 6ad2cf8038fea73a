"""What the catalogue knows of a harness is told before anything is paid for."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from snakeval.config.load import load
from snakeval.errors import Problem
from snakeval.harness import hints
from snakeval.plan.make import make_run

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"


def told(folder: Path, name: str, extra: dict[str, Any], **more: Any) -> list[Problem]:
    params = {"config": {"params": {"extra": extra}}}
    content = {
        "execution": {"output_dir": str(folder / "out")},
        "target": {"api_endpoint": {"url": "http://h/v1/chat/completions", "model_id": "m"}},
        "evaluation": {"tasks": [{"name": name, "nemo_evaluator_config": params, **more}]},
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(content))
    (task,) = make_run(load([folder / "my.yaml"], {}), CATALOGUE).tasks
    return list(hints(task))


@pytest.mark.parametrize(
    ("probes", "named"),
    [
        (None, ["packagehallucination", "misleading", "lmrc"]),
        ("dan.Dan_11_0,misleading.FalseAssertion", ["misleading"]),
        ("latentinjection", ["latentinjection.LatentJailbreak"]),
        ("dan,latentinjection.LatentWhois", []),
    ],
)
def test_what_probes_of_garak_bring_from_elsewhere_is_told(
    probes: str | None, named: list[str], tmp_path: Path
) -> None:
    said = "\n".join(map(str, told(tmp_path, "garak.garak", {"probes": probes} if probes else {})))

    assert all(f"({name})" in said for name in named) and bool(said) == bool(named)


JUDGE = {"url": "http://j/v1", "model_id": "judge"}


def test_mtbench_is_refused_with_a_judge_that_it_finds_no_result_of(tmp_path: Path) -> None:
    (refused,) = told(tmp_path, "mtbench.mtbench", {"judge": JUDGE})
    fine = told(tmp_path, "mtbench.mtbench", {"judge": {**JUDGE, "model_id": "gpt-4"}})

    assert not refused.warning and "extra.judge.model_id" in str(refused) and not fine


@pytest.mark.parametrize("more", [{"container": "my/mtbench:27.01"}, {"pre_cmd": "patch ..."}])
def test_a_harness_that_may_be_mended_is_warned_of_alone(
    more: dict[str, Any], tmp_path: Path
) -> None:
    (warned,) = told(tmp_path, "mtbench.mtbench", {"judge": JUDGE}, **more)

    assert warned.warning
