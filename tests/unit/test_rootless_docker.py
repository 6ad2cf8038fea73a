"""A rootless Docker is not to be had on the test machines: only what is asked of it is tested."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from snakeval.plan.run import Task
from snakeval.runtime.docker import Docker


@pytest.mark.parametrize(
    ("security", "url", "warned"),
    [
        ("name=rootless", "http://localhost:8000/v1/chat/completions", True),
        ("name=rootless", "http://10.0.0.5:8000/v1/chat/completions", False),
        ("name=cgroupns", "http://127.0.0.1:8000/v1/chat/completions", False),
    ],
)
def test_localhost_is_not_reached_from_a_rootless_docker(
    monkeypatch: pytest.MonkeyPatch, security: str, url: str, warned: bool
) -> None:
    class Engine:
        images: Any = SimpleNamespace(get=lambda name: name)

        def info(self) -> dict[str, list[str]]:
            return {"SecurityOptions": ["name=seccomp,profile=builtin", security]}

    docker = Docker()
    monkeypatch.setattr(docker, "unusable", lambda images: None)
    monkeypatch.setattr(docker, "_engine", Engine)
    task = SimpleNamespace(image="x", image_mirror=None, endpoint=SimpleNamespace(url=url))

    told = docker.problems([cast(Task, task)])

    assert [problem.warning for problem in told] == [True] * warned
    assert all("is rootless" in problem.what for problem in told)
