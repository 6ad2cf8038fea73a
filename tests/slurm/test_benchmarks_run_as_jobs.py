"""Every benchmark is a Slurm job, whatever runs its harness; finished work is not run again."""

import json

import pytest
from on_slurm import QUICK, ClusterProject

from rig.pipeline import MODEL, ROOT, SUMS, nemo_sums
from rig.warm_snakemake import SNAKEMAKE
from snakeval.job.gateway.ledger import LEDGER, rows

KEY = "sk-the-real-key"


def test_the_bare_command_runs_the_demo_on_the_cluster(project: ClusterProject) -> None:
    # given nothing but the profile
    bare = [SNAKEMAKE, "-s", str(ROOT / "Snakefile"), "--profile", str(ROOT / "profiles/slurm")]
    project.folder.mkdir()

    ended = project.run(*bare, *QUICK).check()

    # then the three benchmarks were jobs on nodes, and their scores are the demo's
    (run,) = (project.folder / "results").glob("20*")
    assert "3 of 3 benchmarks published" in ended.output
    assert "has what is needed, and locks hold between it and this machine" in ended.output
    rows = (run / "results" / "results.csv").read_text()
    assert all(f",{score}" in rows for score in ("0.85", "0.7666", "0.6666")), rows
    for name in ("demo_arithmetic", "demo_letters", "demo_capitals"):
        assert '"host": "m' in (run / name / "status.json").read_text()
    # and again: nothing to be done
    assert "Nothing to be done" in project.run(*bare, *QUICK).check().output


@pytest.mark.docker
def test_the_nemo_image_runs_in_docker_on_a_node(project: ClusterProject, nemo_image: str) -> None:
    # given a benchmark by the real image, and one by plain lm-eval without a container
    project.environment["PAID_KEY"] = project.endpoint.required_key = KEY
    shows = {"pre_cmd": 'env >"$SNAKEVAL_RESULTS/environment"'}
    endpoint = {"url": project.url, "model_id": MODEL, "api_key_name": "PAID_KEY"}
    project.write(
        tasks=[nemo_sums() | shows, {**SUMS, **shows}],
        params={"limit_samples": 10, "parallelism": 4},
        target={"api_endpoint": endpoint},
        gateway=True,
    )

    project.snakemake().check()

    # then both have asked each question once, and have the same score
    assert {row["value"] for row in project.rows()} == {project.rows()[0]["value"]}
    assert project.status("mmlu_instruct")["attempts"][0]["runtime"] == "docker"
    assert project.status("mmlu_instruct")["attempts"][0]["job"] == project.job("mmlu_instruct")
    assert set(project.endpoint.requests.values()) == {2}
    assert len(project.endpoint.requests) == 10
    # and on their nodes both were behind the gateway, which alone had the key
    for task in ("snakeval_sums", "mmlu_instruct"):
        (ledger,) = project.task(task).glob(f"record/*/{LEDGER}")
        assert [row["outcome"] for row in rows(ledger) if "key" in row] == ["answered"] * 10
        (environment,) = project.task(task).glob("work/*/environment")
        assert "PAID_KEY=" in environment.read_text() and KEY not in environment.read_text()
    # and the batch script names the very image that has run
    (pinned,) = json.loads((project.run_folder / "run.json").read_text())["images"].values()
    assert "sha256:" in pinned
    script = (project.run_folder / "sbatch_mmlu_instruct.sh").read_text()
    assert f"# image:     {pinned}" in script
    assert project.status("mmlu_instruct")["attempts"][0]["image"] == pinned
