"""Samples of a real NeMo image: every one with its prompt, its answer, its score and its tokens."""

from pathlib import Path

import pandas as pd
import pytest

from rig.endpoint import ScriptedEndpoint
from rig.pipeline import Project, nemo_sums

pytestmark = pytest.mark.docker


def test_samples_of_a_nemo_image_have_scores_and_tokens(
    nemo_image: str, endpoint: ScriptedEndpoint, tmp_path: Path
) -> None:
    project = Project(tmp_path / "project", endpoint.chat_url)
    project.write([nemo_sums()], {"limit_samples": 30, "parallelism": 4})

    project.snakemake().check()

    samples = pd.read_parquet(project.run_folder / "results" / "samples.parquet")
    [row] = project.rows()
    assert len(samples) == row["n"] == 30
    assert samples["score"].mean() == pytest.approx(row["value"])
    assert set(samples["metric"]) == {row["metric"]}
    assert samples["prompt"].nunique() == 30
    assert set(samples["prompt_tokens"]) == {10}
    assert samples["completion_tokens"].min() > 0
    right = samples[samples["score"] == 1]
    assert (right["extracted"] == right["expected"]).all()
