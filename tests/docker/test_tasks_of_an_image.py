"""The real evaluation image tells its benchmarks."""

from __future__ import annotations

import csv
from pathlib import Path

import pytest

from rig.endpoint import ScriptedEndpoint
from rig.pipeline import ROOT, Project
from rig.warm_snakemake import SNAKEMAKE

pytestmark = pytest.mark.docker


def update(project: Project, image: str) -> list[str]:
    return [
        SNAKEMAKE,
        *("-s", str(ROOT / "Snakefile"), "update_catalogue"),
        *("--config", f"image={image}", "output=here"),
    ]


def test_tasks_of_the_real_image_are_those_of_the_catalogue(
    endpoint: ScriptedEndpoint, tmp_path: Path, nemo_image: str
) -> None:
    project = Project(tmp_path, endpoint.chat_url)

    done = project.run_warm(*update(project, nemo_image)).check()

    # then its 133 tasks are the rows that came with the launcher, and only the image is another
    assert "lm-evaluation-harness: 133 tasks (0 added, 0 changed, 0 removed)" in done.output
    assert f"26.03 -> {nemo_image}" in done.output
    shipped = ROOT / "config" / "catalogue"
    for name in ("nemo_tasks.csv", "defaults/lm-evaluation-harness.yaml"):
        old, new = (shipped / name).read_text(), (tmp_path / "here" / name).read_text()
        assert [line for line in new.splitlines() if not line.startswith("image:")] == [
            line for line in old.splitlines() if not line.startswith("image:")
        ], name
    with (tmp_path / "here" / "nemo_harnesses.csv").open() as file:
        (row,) = [row for row in csv.DictReader(file) if row["image"] == nemo_image]
    assert row["harness"] == "lm-evaluation-harness"
    assert row["digest"].startswith("sha256:")


def test_image_without_benchmarks_is_refused_and_nothing_is_written(
    endpoint: ScriptedEndpoint, tmp_path: Path, nemo_image: str
) -> None:
    project = Project(tmp_path, endpoint.chat_url)

    base = project.run_warm(*update(project, "snakeval-test/base:latest")).refused()
    absent = project.run_warm(*update(project, "127.0.0.1:1/nowhere/image:1")).refused()

    assert "snakeval-test/base:latest: holds no framework.yml" in base.output
    assert "127.0.0.1:1/nowhere/image:1 is not here and cannot be pulled" in absent.output
    assert not (tmp_path / "here").exists()
