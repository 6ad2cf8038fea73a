"""`kill` and the Lepton jobs of a run: found by their labels, ended though the service falters."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from snakemake_executor_plugin_lepton.client import Denied, Found, Missing, Unreachable
from snakemake_executor_plugin_lepton.states import Phase
from snakeval.executors.base import CannotAsk, Stopped
from snakeval.executors.lepton.jobs import stop, was_used
from snakeval.run_folder.layout import RunPaths


class Faltering:
    """A service that does not answer the first call of each kind."""

    def __init__(self, run: RunPaths) -> None:
        self.jobs = dict.fromkeys(("arc-1", "quiz-1"), Phase.RUNNING)
        self.run = run
        self.to_fail = {"find", "stop", "delete"}

    def _falter(self, call: str) -> None:
        if call in self.to_fail:
            self.to_fail.remove(call)
            raise Unreachable("503")

    def find(self, labels: dict[str, str]) -> list[Found]:
        self._falter("find")
        assert labels == {"snakeval-run": self.run.id}
        return [
            Found(name, name, phase, {"snakeval-task": name.partition("-")[0]})
            for name, phase in self.jobs.items()
        ]

    def stop(self, job: str) -> None:
        self._falter("stop")
        self.jobs[job] = Phase.STOPPED

    def delete(self, job: str) -> None:
        self._falter("delete")
        if self.jobs.pop(job, None) is None:
            raise Missing("404")


@pytest.fixture
def run(tmp_path: Path) -> RunPaths:
    return RunPaths(tmp_path / "2026-01-01-00-00-00-01234567")


def test_jobs_are_stopped_and_deleted_though_the_service_falters(run: RunPaths) -> None:
    service: Any = Faltering(run)
    assert stop(run, lambda task: task == "arc", service) == Stopped(["job arc-1 (arc)"])
    assert list(service.jobs) == ["quiz-1"]


def test_a_refused_token_is_told_at_once(run: RunPaths) -> None:
    service: Any = Faltering(run)

    def refused(_: object) -> list[Found]:
        raise Denied("401")

    service.find = refused
    with pytest.raises(CannotAsk, match="401"):
        stop(run, lambda _: True, service)


def test_a_run_that_died_while_it_created_its_first_job_is_looked_for(run: RunPaths) -> None:
    # given a job's folder, which is written before the job is asked for, and no note of its id
    assert not was_used(run)
    folder = run.task("arc").logs / "snakemake-evaluate-01234567"
    folder.mkdir(parents=True)
    (folder / "job.sh").touch()
    assert was_used(run)
