"""How many benchmarks ask one endpoint at once, and what a start costs before anything runs."""

from typing import Any

import pytest
from quiz_project import quiz, target_command, write

from rig.endpoint import ScriptedEndpoint
from rig.pipeline import Project
from rig.waiting import PATIENCE

QUIZZES = [quiz(seed=seed) for seed in range(1, 5)]
"""Each asks one question after the other: requests in flight are benchmarks at the endpoint."""


@pytest.mark.parametrize(
    ("execution", "cap"), [({"mode": "sequential"}, 1), ({"benchmarks_per_endpoint": 2}, 2)]
)
def test_cap_of_an_endpoint_holds(
    project: Project, endpoint: ScriptedEndpoint, execution: dict[str, Any], cap: int
) -> None:
    endpoint.latency = 0.1
    write(project, QUIZZES, execution={"output_dir": "out", "min_free_gb": 0, **execution})

    project.snakemake().check()

    assert endpoint.answers.total() == 32
    assert endpoint.highest_in_flight == cap


def test_without_a_cap_there_are_as_many_as_the_profiles_cores(
    project: Project, endpoint: ScriptedEndpoint
) -> None:
    endpoint.latency = 0.1
    write(project, [*QUIZZES, *(quiz(seed=seed) for seed in range(5, 9))])

    # given that no benchmark gets its first answer before all four have asked
    with project.started() as process:
        with endpoint.holding():
            endpoint.wait_for(lambda: endpoint.in_flight >= 4)
        assert process.wait(PATIENCE) == 0, project.log

    assert endpoint.highest_in_flight == 4
    assert endpoint.answers.total() == 64


@pytest.mark.parametrize("start", ["dry run", "status"])
def test_parsing_imports_nothing_heavy(finished: Project, start: str) -> None:
    # given a plan with something in it (the dry run) and the cheapest target
    finished.environment["PYTHONPROFILEIMPORTTIME"] = "1"
    write(finished, [quiz(seed=7)])
    command = {
        "dry run": finished.command("-n"),
        "status": [*target_command(finished, "status"), "-n"],
    }[start]

    ended = finished.run(*command).check()

    imported = {line.rpartition("|")[2].strip() for line in ended.output.splitlines()
                if line.startswith("import time:")}  # fmt: skip
    assert {"snakeval.pipeline", "snakeval.plan"} <= imported
    # pandas comes with Snakemake's Slurm plugin; for ours see tests/unit/test_plan.py.
    heavy = {"mlflow", "docker", "datasets", "lm_eval", "torch", "scipy"}
    assert imported & heavy == set()
