"""What the executor does with jobs, against a service that goes as told: none is left behind."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from rig.lepton_service import LeptonService
from rig.waiting import PATIENCE
from snakemake_executor_plugin_lepton import executor as module
from snakemake_executor_plugin_lepton import watch
from snakemake_executor_plugin_lepton.client import (
    Denied,
    Found,
    Missing,
    Rejected,
    ServiceError,
    Unauthorized,
    Unreachable,
    create_once,
)
from snakemake_executor_plugin_lepton.executor import Executor
from snakemake_executor_plugin_lepton.hooks import Hooks
from snakemake_executor_plugin_lepton.registry import Registry, tried
from snakemake_executor_plugin_lepton.settings import ExecutorSettings
from snakemake_executor_plugin_lepton.states import Phase


class Scripted:
    """A service; `failing` has what each kind of call raises as long as it is there."""

    def __init__(self) -> None:
        self.jobs: dict[str, dict[str, str]] = {}
        self.made = 0
        self.state = Phase.RUNNING
        self.failing: dict[str, ServiceError] = {}
        self.answers_lost = 0
        self.renewed = 0

    def renew(self) -> None:
        self.renewed += 1

    def _may_fail(self, call: str) -> None:
        if call in self.failing:
            raise self.failing[call]

    def create(self, body: dict[str, Any]) -> str:
        self._may_fail("create")
        self.made += 1
        name = f"job-{self.made}"
        self.jobs[name] = body["metadata"]["labels"]
        if self.answers_lost:
            self.answers_lost -= 1
            raise Unreachable("503")
        return name

    def phase(self, job: str) -> Phase:
        self._may_fail("phase")
        if job not in self.jobs:
            raise Missing("404")
        return self.state

    def find(self, labels: dict[str, str]) -> list[Found]:
        self._may_fail("find")
        return [
            Found(name, had["snakemake-attempt"], self.state, had)
            for name, had in self.jobs.items()
            if labels.items() <= had.items()
        ]

    def stop(self, job: str) -> None:
        self._may_fail("stop")
        self.state = Phase.STOPPED

    def delete(self, job: str) -> None:
        self._may_fail("delete")
        if self.jobs.pop(job, None) is None:
            raise Missing("404")

    def log(self, job: str) -> str:
        self._may_fail("log")
        return "the disk is on fire"


class Log(list[str]):
    def info(self, text: str) -> None:
        self.append(text)

    warning = error = info


@dataclass
class Start:
    """A start of Snakemake, as far as the executor sees one; nobody waits."""

    executor: Any
    said: list[str]

    def submit(self, job: Any) -> Any:
        """Returns when its creation has ended, well or not."""
        before = len(self.executor.active)
        self.executor.run_job(job)
        if len(self.executor.active) == before:
            return None
        info = self.executor.active[-1]
        assert info.aux["tracked"].made.wait(PATIENCE)
        return info

    def looked_at(self, info: Any) -> bool:
        """Whether it goes on."""
        return bool(self.executor._goes_on(info))

    def end(self) -> str:
        """What Ctrl-C, and the end of a workflow, do; what was logged."""
        self.executor._end_all()
        return "\n".join(self.executor.logger)


@pytest.fixture
def service() -> Scripted:
    return Scripted()


@pytest.fixture
def begin(
    service: Scripted, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> Iterator[Callable[[], Start]]:
    def at_once(*arguments: Any, pause: object) -> tuple[str, bool]:
        return create_once(*arguments, pause=lambda _: time.sleep(0.01), patience=0.2)

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(module, "create_once", at_once)
    monkeypatch.setattr(module, "tried", lambda call, times, _: tried(call, times, lambda _: None))
    monkeypatch.setattr(module, "STOP_PATIENCE", 0.0)
    starts: list[Start] = []

    def start() -> Start:
        executor: Any = object.__new__(Executor)
        said: list[str] = []
        executor.start, executor.registry = f"start-{len(starts)}", Registry()
        executor.stopping = threading.Event()
        executor.hooks = Hooks()
        executor._submitting = ThreadPoolExecutor(2)
        executor._service, executor._service_lock = service, threading.Lock()
        executor._group_ids, executor._earlier = {}, {}
        executor.executor_settings = ExecutorSettings(
            image="i", resource_shape="s", mounts=f"fs:/:{tmp_path}"
        )
        executor.logger, executor.active = Log(), []
        executor.workflow = SimpleNamespace(
            async_run=lambda _: None, execution_settings=SimpleNamespace(latency_wait=0)
        )
        executor.report_job_submission = executor.active.append
        executor.report_job_success = lambda _: said.append("success")
        executor.report_job_error = lambda _, msg, **__: said.append(msg)
        starts.append(Start(executor, said))
        return starts[-1]

    yield start
    for each in starts:
        each.executor.stopping.set()
        each.executor._submitting.shutdown()


def job(shellcmd: str | None = "true", **resources: Any) -> Any:
    flags = "script notebook wrapper cwl template_engine run shadow pipe service containerized"
    return SimpleNamespace(
        name="one",
        rule=SimpleNamespace(name="one"),
        shellcmd=shellcmd,
        resources=resources,
        prepare=lambda: None,
        container_img_url=None,
        group=None,
        benchmark=None,
        conda_env=None,
        **dict.fromkeys(("input", "log"), ()),
        output=["one.txt"],
        is_local=False,
        **{f"is_{flag}": False for flag in flags.split()},
    )


Begin = Callable[[], Start]


def test_a_job_that_may_have_been_made_is_looked_for_until_somebody_can_say(
    begin: Begin, service: Scripted
) -> None:
    # given an outage that began with the answer to a creation, and outlasts all patience
    start = begin()
    service.answers_lost = 1
    service.failing = {"find": Unreachable("503"), "delete": Unreachable("503")}
    info = start.submit(job())

    # when the job is reported failed, it is not forgotten
    assert not start.looked_at(info)
    assert "whether the job was made is not known" in start.said[0]
    assert len(service.jobs) == 1

    # then the end of the workflow deletes it
    service.failing = {}
    start.end()
    assert service.jobs == {}


def test_what_cannot_be_ended_is_told_with_what_to_do(begin: Begin, service: Scripted) -> None:
    start = begin()
    info = start.submit(job())
    service.failing = dict.fromkeys(("phase", "find", "stop", "delete"), Unreachable("503"))
    assert start.looked_at(info)
    assert "it may still run, and cost; `lep job remove --id job-1`" in start.end()

    # and one whose id nobody knows
    start = begin()
    service.failing = {"find": Unreachable("503")}
    service.answers_lost = 1
    start.submit(job())
    assert "and cost; `lep job list`" in start.end()


def test_a_refused_creation_leaves_nothing_to_look_for(begin: Begin, service: Scripted) -> None:
    start = begin()
    service.failing = {"create": Rejected("400"), "find": Denied("403")}
    info = start.submit(job())
    assert not start.looked_at(info)
    assert start.said == ["could not be created: 400. "]
    assert start.end() == "one: Lepton job " + info.external_jobid + " could not be created: 400"


def test_a_further_attempt_does_not_run_beside_the_one_before(
    begin: Begin, service: Scripted
) -> None:
    # given an attempt that has failed, and could not be deleted
    start = begin()
    info = start.submit(job())
    service.state = Phase.FAILED
    service.failing = {"delete": Unreachable("503")}
    assert not start.looked_at(info)
    assert list(service.jobs) == ["job-1"]

    # then the next one is not created while that is so
    again = start.submit(job())
    assert not start.looked_at(again)
    assert "an earlier attempt, job-1, may still run" in start.said[1]
    assert list(service.jobs) == ["job-1"]

    # and afterwards it takes its place
    service.failing = {}
    start.submit(job())
    assert list(service.jobs) == ["job-2"]


def test_jobs_of_an_earlier_start_are_taken_over_or_ended_before_another_one(
    begin: Begin, service: Scripted
) -> None:
    begin().submit(job())  # killed
    same = begin()
    assert same.executor._look_for_earlier([job()]) == []
    info = same.submit(job())
    assert info.aux["tracked"].id == "job-1" and service.made == 1

    other = begin()
    other.executor._look_for_earlier([job("false")])
    service.failing = {"delete": Unreachable("503")}
    refused = other.submit(job("false"))
    assert not other.looked_at(refused)
    assert "job-1, may still run" in other.said[0] and service.made == 1
    service.failing = {}
    other.submit(job("false"))
    assert list(service.jobs) == ["job-2"]


@pytest.mark.parametrize("error", [Unauthorized("401: expired"), Denied("403: no quota for you")])
def test_a_refusal_is_no_end_of_healthy_work_and_a_further_attempt_waits_for_it(
    begin: Begin, service: Scripted, monkeypatch: pytest.MonkeyPatch, error: Denied
) -> None:
    start = begin()
    start.executor.stopping.wait = lambda _: False
    info = start.submit(job())
    # given a service that does not say how the job is: it goes on, with the token known by then
    service.failing = dict.fromkeys(("phase", "stop", "delete", "log"), error)
    assert start.looked_at(info) and start.looked_at(info)
    assert service.renewed == 2
    (told,) = [line for line in start.executor.logger if "goes on" in line]
    assert str(error) in told and ("`lep login`" in told) == isinstance(error, Unauthorized)
    # when all patience is used up, it is left as it is, and said to be
    monkeypatch.setattr(watch, "REFUSED_PATIENCE", 0.0)
    assert not start.looked_at(info)
    assert "was left running" in start.said[0] and str(error) in start.said[0]
    assert list(service.jobs) == ["job-1"]
    # then a further attempt waits for it, and makes no second one
    service.failing = {}
    again = start.submit(job())
    assert again.aux["tracked"].id == "job-1" and service.made == 1
    (again.aux["tracked"].folder / "exit").write_text("0\n")
    assert not start.looked_at(again)
    assert start.said[1] == "success"


def test_what_became_unusable_after_the_start_fails_alone(begin: Begin, service: Scripted) -> None:
    start = begin()
    assert start.submit(job(runtime=0)) is None
    assert "write 1 or more" in start.said[0]
    assert service.made == 0


@pytest.mark.parametrize("error", [Unreachable("503"), Denied("403"), Missing("404")])
def test_the_log_call_may_fail_without_changing_the_verdict(
    begin: Begin, service: Scripted, error: ServiceError
) -> None:
    start = begin()
    info = start.submit(job())
    (info.aux["tracked"].folder / "exit").write_text("3\n")
    service.failing = {"log": error}
    start.executor.stopping.wait = lambda _: False
    assert not start.looked_at(info)
    assert start.said == ["its command ended with exit code 3. "]
    assert service.jobs == {}


def test_files_of_two_working_directories_of_the_same_path_are_not_mixed(
    begin: Begin, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # given a working directory that is not on the storage, as on two machines
    (tmp_path / "storage").mkdir()
    start = begin()
    start.executor.executor_settings.mounts = f"fs:/:{tmp_path}/storage"
    folders = set()
    for machine in ("a", "b"):
        monkeypatch.setattr(module.platform, "node", lambda machine=machine: machine)
        tracked = start.executor._tracked(job(), start.executor.wanted(job()), "name")
        folders.add((tracked.staging.folder, tracked.labels["snakemake-workdir"]))
    assert len({folder for folder, _ in folders}) == len({label for _, label in folders}) == 2


@pytest.mark.parametrize(
    ("settings", "variables", "said"),
    [
        ({}, {"LEPTON_WORKSPACE_TOKEN": ""}, ["`lep login`"]),
        (
            {},
            {"LEPTON_WORKSPACE_TOKEN": "wrong"},
            ["Lepton does not take the token (401: no such token): `lep login`"],
        ),
        (
            {"env": "KEY=secret:nowhere", "node_group": "gpus"},
            {},
            ["`lep secret create -n nowhere -v ...`", "there is no node group 'gpus'"],
        ),
        ({"storage": "/not/here"}, {}, ["is not at /not/here on this machine"]),
        ({"mounts": "", "image": "", "env": "KEY=sk-123"}, {}, ["has no image"]),
    ],
)
def test_what_is_missing_is_told_with_what_to_do(
    begin: Begin,
    monkeypatch: pytest.MonkeyPatch,
    settings: dict[str, str],
    variables: dict[str, str],
    said: list[str],
) -> None:
    # given the real SDK, and a service that has no secrets and no node groups
    executor = begin().executor
    executor._service = None
    executor.dag = SimpleNamespace(needrun_jobs=lambda: [job(), job()])
    for name, text in settings.items():
        setattr(executor.executor_settings, name, text)
    with LeptonService() as lepton:
        for name, text in {**lepton.environment, **variables}.items():
            monkeypatch.setenv(name, text)
        found = executor.problems()
    assert len(found) == len(said)
    assert all(words in text for words, text in zip(said, found, strict=True)), found


def test_the_start_says_that_the_sdk_is_not_installed(
    begin: Begin, monkeypatch: pytest.MonkeyPatch
) -> None:
    executor = begin().executor
    executor._service = None
    executor.dag = SimpleNamespace(needrun_jobs=lambda: [job()])
    monkeypatch.setitem(sys.modules, "leptonai.api.v2.client", None)
    (said,) = executor.problems()
    assert "pip install -e '.[lepton]'" in said


def test_a_login_that_cannot_be_read_is_told_as_none(tmp_path: Path) -> None:
    (tmp_path / "workspace_info.yaml").write_text("}{ broken: [")
    variables = {name: text for name, text in os.environ.items() if "LEPTON" not in name}
    ask = "from snakemake_executor_plugin_lepton.client import Denied, Lepton\ntry: Lepton()\n"
    ended = subprocess.run(
        [sys.executable, "-c", f"{ask}except Denied as error: print(error)"],
        env={**variables, "LEPTON_CACHE_DIR": str(tmp_path)},
        capture_output=True,
        text=True,
        check=True,
    )
    assert "`lep login`" in ended.stdout
