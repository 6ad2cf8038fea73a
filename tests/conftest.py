"""The real parts that tests run against: a scripted endpoint, Docker, podman, the NeMo image,
Slurm."""

import contextlib
import ctypes
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from xdist.scheduler import LoadScopeScheduling

from rig.docker_engine import DockerEngine, RigUnavailable, engine_for_session
from rig.endpoint import ScriptedEndpoint
from rig.image import ensure_nemo_image
from rig.model_server import ensure_server_image
from rig.podman import Podman, podman_here
from rig.slurm_cluster import SlurmCluster, slurm_for_session
from rig.unavailable import unavailable
from snakeval.job.endpoint import is_free
from snakeval.job.processes import SUBREAPER

ROOT = Path(__file__).parents[1]
LONGEST_FIRST = (
    "slurm",
    "faults",
    "deploy",
    "surroundings",
    "harnesses",
    "lepton",
    "docker",
    "workflow",
)
"""Folders in the order in which they are begun; those that are not named have short files."""


class OneClusterAtATime(LoadScopeScheduling):
    """A few workers share the tests (`-n 4`), file by file; one has all that are on the cluster.

    Those wait most of the time, and there is one cluster. Four workers keep two processors busy.
    (xdist's own groups do nothing with pytest 9.)
    """

    def _split_scope(self, nodeid: str) -> str:
        file = nodeid.partition("::")[0]
        return "slurm" if "/slurm/" in file else file


def pytest_xdist_make_scheduler(config: pytest.Config, log: Any) -> OneClusterAtATime:
    config.option.loadscopereorder = False  # else the files with the most tests come first
    return OneClusterAtATime(config, log)


@pytest.fixture(autouse=True)
def no_adoption() -> Iterator[None]:
    """A test that calls a supervisor or a keeper in this process makes it adopt orphans. Those of
    later tests would stay here as zombies, which look like processes."""
    yield
    with contextlib.suppress(OSError, AttributeError):
        ctypes.CDLL(None).prctl(SUBREAPER, 0, 0, 0, 0)


def place_of(item: pytest.Item) -> int:
    folder = item.path.parent.name
    return LONGEST_FIRST.index(folder) if folder in LONGEST_FIRST else len(LONGEST_FIRST)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """What takes long, or needs a GPU, runs where it is asked for: `-m long` (`make test-long`)."""
    unasked = [name for name in ("long", "gpu") if name not in config.option.markexpr]
    left_out = [item for item in items if any(item.get_closest_marker(name) for name in unasked)]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
    if hasattr(config, "workerinput"):
        items.sort(key=place_of)


@pytest.fixture
def endpoint() -> Iterator[ScriptedEndpoint]:
    """An OpenAI-compatible endpoint on this machine's loopback address."""
    with ScriptedEndpoint() as endpoint:
        yield endpoint


@pytest.fixture(scope="session")
def docker_engine() -> Iterator[DockerEngine]:
    """A Docker engine that answers; DOCKER_HOST names it for the whole session."""
    with contextlib.ExitStack() as session:
        try:
            engine = session.enter_context(engine_for_session())
        except RigUnavailable as reason:
            unavailable(reason)
        variables = session.enter_context(pytest.MonkeyPatch.context())
        variables.setenv("DOCKER_HOST", engine.host)
        remove_images_of_dead_registries(engine)
        yield engine


def remove_images_of_dead_registries(engine: DockerEngine) -> None:
    """What a session that was killed has left; a second name of an image would mislead others."""
    names = engine.docker("images", "--format", "{{.Repository}}:{{.Tag}}").splitlines()
    for name in names:
        registry = re.match(r"127\.0\.0\.1:(\d+)/", name)
        if registry and is_free(int(registry[1])):  # else it serves another worker's tests
            engine.docker("rmi", "--force", name)


@pytest.fixture(scope="session")
def nemo_image(docker_engine: DockerEngine) -> str:
    """The tag of the real evaluation image, built where it is missing."""
    try:
        return ensure_nemo_image(docker_engine)
    except RigUnavailable as reason:
        unavailable(reason)


@pytest.fixture(scope="session")
def server_image(docker_engine: DockerEngine) -> str:
    """The tag of the image with a real model server, built where it is missing."""
    try:
        return ensure_server_image(docker_engine)
    except RigUnavailable as reason:
        unavailable(reason)


@pytest.fixture(scope="session")
def podman() -> Iterator[Podman]:
    """podman, with the variables set that the plain command needs here."""
    try:
        podman = podman_here()
    except RigUnavailable as reason:
        unavailable(reason)
    with pytest.MonkeyPatch.context() as variables:
        for name, value in podman.environment.items():
            variables.setenv(name, value)
        yield podman


@pytest.fixture(scope="session")
def slurm_cluster() -> Iterator[SlurmCluster]:
    """A Slurm with accounting, for the whole session; commands find it by SLURM_CONF."""
    yield from _cluster(accounting=True)


def _cluster(accounting: bool) -> Iterator[SlurmCluster]:
    with contextlib.ExitStack() as session:
        try:
            cluster = session.enter_context(slurm_for_session(accounting))
        except RigUnavailable as reason:
            unavailable(reason)
        variables = session.enter_context(pytest.MonkeyPatch.context())
        for name, value in cluster.environment.items():
            variables.setenv(name, value)
        yield cluster


@pytest.fixture
def slurm_without_accounting() -> Iterator[SlurmCluster]:
    """A second, smaller Slurm without accounting, for one test."""
    yield from _cluster(accounting=False)
