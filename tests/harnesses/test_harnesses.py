"""NVIDIA's own harnesses of version 26.3, run by the pipeline in images of their packages.

Each is run with every third request of its failing, and again when they are answered: the first is
refused, the second asks only what is missing and publishes what the harness itself has counted.
"""

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from answers import JUDGE

from rig.endpoint import Fault, ScriptedEndpoint
from rig.pipeline import MODEL, Project

KEYS = {"MY_KEY": "sk-model", "JUDGE_API_KEY": "sk-judge", "USER_API_KEY": "sk-user"}


@dataclass(frozen=True)
class Case:
    """A benchmark of a harness, small.

    samples  that it has then
    asked    requests to the model that it takes
    mean     whether its headline is the mean of its samples' scores, times this (0: it is not)
    """

    harness: str
    task: str
    headline: str
    samples: int
    asked: int
    params: dict[str, Any] = field(default_factory=dict)
    mean: float = 1.0

    def __str__(self) -> str:
        return self.harness


CASES = {
    "AA-LCR": Case("AA-LCR", "aa_lcr", "accuracy", 3, 6, {"extra": {"n_samples": 2}}),
    "bfcl": Case("bfcl", "bfclv3_ast", "non_live_overall_acc", 6, 6, {"task": "irrelevance"}, 100),
    "ifbench": Case("ifbench", "ifbench", "loose:prompt-level", 6, 6),
    "mmath": Case("mmath", "mmath_en", "accuracy", 6, 6, {"extra": {"n_samples": 2}}),
}


def project_of(case: Case, image: str, endpoint: ScriptedEndpoint, folder: Path) -> Project:
    judge = {"url": endpoint.chat_url, "model_id": JUDGE, "api_key": "JUDGE_API_KEY"}
    extra = {
        **case.params.get("extra", {}),
        **({"judge": judge} if case.harness == "AA-LCR" else {}),
    }
    params = {
        "limit_samples": case.samples,
        "parallelism": 4,
        "max_retries": 1,
        "request_timeout": 60,
        **case.params,
        **({"extra": extra} if extra else {}),
    }
    project = Project(folder, endpoint.chat_url, KEYS)
    project.write(
        tasks=[
            {
                "name": f"{case.harness}.{case.task}",
                "container": image,
                "nemo_evaluator_config": {"config": {"params": params}},
            }
        ],
        target={
            "api_endpoint": {
                "url": endpoint.chat_url,
                "model_id": MODEL,
                "api_key_name": "MY_KEY",
            }
        },
    )
    return project


def asked_of(endpoint: ScriptedEndpoint, model: str) -> list[Any]:
    return [body for body in endpoint.bodies if body.get("model") == model]


@pytest.mark.docker
@pytest.mark.parametrize("case", CASES.values(), ids=str)
def test_what_is_missing_is_refused_then_asked_and_the_score_is_right(
    case: Case, tmp_path: Path, endpoint: ScriptedEndpoint, image_of: Callable[[str], str]
) -> None:
    project = project_of(case, image_of(case.harness), endpoint, tmp_path)
    endpoint.fault = Fault("status", every=3, model=MODEL)

    project.snakemake("--retries", "0").refused()
    assert project.status(case.task)["state"] == "failed"
    answered = endpoint.answers.total()

    endpoint.fault = None
    project.snakemake("--retries", "0").check()

    rows = project.rows()
    (headline,) = [row for row in rows if row["headline"]]
    assert rows[0] == headline and headline["metric"] == case.headline
    assert headline["better"] == "higher" and headline["unit"] in ("fraction", "percent")
    assert (headline["lowest"], headline["highest"]) == (0.0, 100.0 if case.mean == 100 else 1.0)
    assert (headline["scored"], headline["expected"]) == (case.samples, case.samples)

    samples = pd.read_parquet(project.run_folder / "results" / "samples.parquet")
    assert samples["sample"].nunique() == case.samples
    assert samples["answer"].notna().all()
    per_sample = samples.groupby("sample")["score"].mean()
    assert headline["value"] == pytest.approx(case.mean * per_sample.mean())

    if case.harness != "AA-LCR":  # its judge is asked again about what the model has said before
        assert answered < case.asked and endpoint.answers.total() == case.asked
