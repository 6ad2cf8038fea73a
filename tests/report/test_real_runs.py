"""Two real evaluations by lm-eval against an endpoint that has got worse: compared, gated, and on
the pages that people look at."""

import base64
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rig.endpoint import ScriptedEndpoint
from rig.pipeline import HARNESSES, ROOT, SUMS, Finished, Project
from rig.warm_snakemake import SNAKEMAKE

BROKEN = {"broken": {"kind": "command", "command": "false", "tasks": {"riddle": None}}}
ASKED = 60


class Evaluated:
    """A project with the runs `base`, `candidate` (other answers, and a benchmark that fails) and
    `short` (fewer samples)."""

    def __init__(self, folder: Path) -> None:
        with ScriptedEndpoint(right_share=0.9) as endpoint:
            self.project = Project(folder, endpoint.chat_url)
            self.base = self._run("base", [SUMS], ASKED)
            endpoint.right_share = 0.5
            self.candidate = self._run("candidate", [SUMS, {"name": "broken.riddle"}], ASKED)
            # Snakemake's own report is about the config in force, and asks the endpoint nothing.
            asked = sum(endpoint.requests.values())
            self.page = folder / "snakemake.html"
            self.reported = self.project.snakemake("--report", str(self.page))
            assert sum(endpoint.requests.values()) == asked
            self.short = self._run("short", [SUMS], ASKED // 2)

    def _run(self, name: str, tasks: list[dict[str, Any]], limit: int) -> Path:
        before = set(self.project.runs)
        self.project.write(
            tasks, {"limit_samples": limit}, name=name, harnesses={**HARNESSES, **BROKEN}
        )
        ended = self.project.snakemake("--retries", "0")
        ended.check() if len(tasks) == 1 else ended.refused()
        (run,) = set(self.project.runs) - before
        return run

    def target(self, name: str, base: Path, candidate: Path) -> Finished:
        """`compare`, without a config."""
        command = [SNAKEMAKE, "-s", str(ROOT / "Snakefile"), name, "--config"]
        return self.project.run_warm(*command, f"base={base}", f"candidate={candidate}")


@pytest.fixture(scope="module")
def evaluated(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Evaluated]:
    yield Evaluated(tmp_path_factory.mktemp("real") / "project")


def score_of(run: Path) -> float:
    rows = json.loads((run / "results" / "results.json").read_text())["rows"]
    return float(next(row["value"] for row in rows if row["task"] == "snakeval_sums"))


def test_two_real_evaluations_are_compared_sample_by_sample(evaluated: Evaluated) -> None:
    base, candidate = evaluated.base, evaluated.candidate

    said = evaluated.target("compare", base, candidate).check().output

    assert "riddle: not compared: only the candidate has it" in said
    content = json.loads((candidate / "results" / "compare" / f"{base.name}.json").read_text())
    (score,) = content["scores"]
    assert (score["n"], score["base"], score["candidate"]) == (
        ASKED, pytest.approx(score_of(base)), pytest.approx(score_of(candidate))
    )  # fmt: skip
    # the endpoint gives wrong answers to more of the same questions, and to no other ones
    assert score["won"] == 0
    assert score["lost"] == round((score_of(base) - score_of(candidate)) * ASKED) > 5
    assert score["difference"]["interval"][1] < 0 and score["p_holm"] < 0.05
    flip = score["flips"][0]
    assert flip["prompt"].startswith("What is ")
    assert flip["base_answer"] != flip["candidate_answer"]
    assert {"key": "name", "base": "base", "candidate": "candidate"} in content["changed"]


def test_another_sample_set_is_refused_with_the_reason(evaluated: Evaluated) -> None:
    said = evaluated.target("compare", evaluated.base, evaluated.short).refused().output

    assert f"another sample set: {ASKED} samples in base, {ASKED // 2} in candidate" in said
    assert "0 benchmarks compared, 1 not." in said


def test_snakemakes_own_report_holds_our_page_and_the_table(evaluated: Evaluated) -> None:
    evaluated.reported.check()

    text = evaluated.page.read_text()
    found = re.search(r"filename=report\.html;base64,([A-Za-z0-9+/=]+)", text)
    assert found, evaluated.reported.output
    page = base64.b64decode(found.group(1)).decode()
    assert '<p class="eyebrow">Evaluation report</p>' in page
    assert evaluated.candidate.name in page
    assert "1 of 2 benchmarks has no result" in page
    assert 'data-task="snakeval_sums" data-count="60"' in page
    assert "filename=results.csv" in text and "One row per score" in text
    # and none is written where nobody asks for one
    assert not (evaluated.short / "results" / "report.html").exists()
