"""The profile's `default-resources` are known before there are jobs: to a dry run, to servers."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

from snakemake.resources import Resources

from snakeval.executors.profile import Profile, of_all_jobs
from snakeval.start.snakemake_internals import default_resources


def workflow(*expressions: str) -> Any:
    """What a Snakefile has of `--default-resources`, parsed by Snakemake itself."""
    parsed = Resources.parse(list(expressions), allow_expressions=True, defaults="bare")
    return SimpleNamespace(resource_settings=SimpleNamespace(default_resources=parsed))


def test_what_a_profile_says_for_every_job_alike_is_known() -> None:
    given = ["slurm_account='us'", "slurm_partition=cpu", "runtime=4h", "mem_mb=4000", "a='b c'"]
    found = of_all_jobs(default_resources(workflow(*given)))
    assert found == {
        "slurm_account": "us",
        "slurm_partition": "cpu",
        "runtime": 240,
        "mem_mb": 4000,
        "a": "b c",
    }


def test_what_is_computed_for_each_job_is_not() -> None:
    given = workflow("mem_mb=attempt*1000", "runtime=60 * threads")
    assert of_all_jobs(default_resources(given)) == {}


def runtime(*expressions: str) -> str:
    return Profile(of_all_jobs(default_resources(workflow(*expressions)))).runtime


def test_the_runtime_of_containers_is_the_profiles() -> None:
    assert runtime("container_runtime='podman'") == "podman"
    assert runtime("container_runtime=apptainer") == "apptainer"
    assert runtime("mem_mb=1") == "docker"
    nothing = SimpleNamespace(resource_settings=SimpleNamespace(default_resources=None))
    assert default_resources(nothing) == {}
    assert Profile().runtime == "docker"
