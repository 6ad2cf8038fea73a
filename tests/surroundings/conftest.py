"""Fixtures of the tests of surroundings."""

import pytest
from in_container import CERTIFICATES

PROXIES = ("http_proxy", "https_proxy", "no_proxy", "all_proxy")


@pytest.fixture(autouse=True)
def plain_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """No proxy, certificate authority or token of the machine that runs the tests."""
    for name in (*CERTIFICATES, *PROXIES, "HF_HOME", "HF_TOKEN", "HF_TOKEN_PATH"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@pytest.fixture(params=["process", pytest.param("docker", marks=pytest.mark.docker)])
def image(request: pytest.FixtureRequest) -> str | None:
    """The image to run the benchmark in; None: without a container."""
    return None if request.param == "process" else str(request.getfixturevalue("nemo_image"))
