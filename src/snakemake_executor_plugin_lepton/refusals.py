"""What cannot be run as a Lepton job, each in one sentence, told before the first job."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Sequence
from pathlib import Path
from typing import Any

from snakemake_executor_plugin_lepton.client import Denied, Service, patiently
from snakemake_executor_plugin_lepton.spec import Wanted
from snakemake_executor_plugin_lepton.storage import Unusable, seen_in_job

DIRECTIVES = (
    ("is_script", "script:"),
    ("is_notebook", "notebook:"),
    ("is_wrapper", "wrapper:"),
    ("is_cwl", "cwl:"),
    ("is_template_engine", "template_engine:"),
)


def of(
    job: Any, wanted: Callable[[Any], Wanted], title: str = "Lepton", flag: str = "lepton"
) -> Iterable[str]:
    """Why a job cannot be run there.

    title  of the service
    flag   what the plugin's settings begin with
    """
    name = f"rule {job.rule.name}"
    if job.group is not None:
        yield f"{name}: a {title} job runs one job; leave `group:` out"
        return
    for attribute, directive in DIRECTIVES:
        if getattr(job, attribute, False):
            yield (
                f"{name}: `{directive}` needs Snakemake in the image; write `shell:`, or make it "
                "local"
            )
            return
    if job.is_run:
        yield f"{name}: `run:` needs Snakemake in the image; write `shell:`, or make it local"
        return
    if job.is_shadow:
        yield f"{name}: `shadow:` is not possible in a {title} job; leave it out"
    if job.is_pipe or job.is_service:
        yield f"{name}: pipes and services do not reach other {title} jobs; write a file"
    if job.benchmark:
        yield f"{name}: `benchmark:` needs Snakemake in the image; leave it out"
    try:
        asked = wanted(job)
    except Unusable as error:
        yield f"{name}: {error}"
    else:
        yield from _storage(name, job, asked, title, flag)


def _storage(name: str, job: Any, asked: Wanted, title: str, flag: str) -> Iterable[str]:
    """Files that the job would not find."""
    here = asked.mounts[0].here
    if not here.is_dir():
        yield (
            f"the storage {asked.mounts[0].source} is not at {here} on this machine: mount it, or "
            f"say with --{flag}-storage where it is"
        )
        return
    for file in (*job.input, *job.output):
        path = Path(str(file))
        if path.is_absolute() and seen_in_job(path, asked.mounts) is None:
            yield f"{name}: {path} is not on the storage of its jobs ({here}); write it there"
    if job.is_containerized and job.conda_env:
        yield f"{name}: conda environments are not made in {title} jobs; put them into the image"


def secrets(wanted: Sequence[Wanted], service: Service, to_come: Collection[str]) -> list[str]:
    """Secrets that jobs refer to and the workspace neither has nor will have."""
    names = {
        (variable.secret, variable.name)
        for each in wanted
        for variable in each.variables
        if variable.secret
    }
    if not names:
        return []
    try:
        known = patiently(service.secrets)
    except Denied:  # may create jobs, and not list secrets: the service will say
        return []
    return [
        f"the workspace has no secret '{secret}' for the variable {name}: "
        f"`lep secret create -n {secret} -v ...`"
        for secret, name in sorted(names)
        if secret not in known and secret not in to_come
    ]
