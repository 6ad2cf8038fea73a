"""The caller's proxies are followed by the pipeline's own checks, by processes and by containers,
and never asked for a server of this machine."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from in_container import QUIZ, RETRIES, write

from rig.endpoint import ScriptedEndpoint
from rig.pipeline import Project
from rig.proxy import CountingProxy

ELSEWHERE = "http://model.test/v1/chat/completions"


@pytest.fixture
def proxy(endpoint: ScriptedEndpoint) -> Iterator[CountingProxy]:
    """A proxy behind which every host is the endpoint."""
    with CountingProxy(("127.0.0.1", endpoint.port)) as proxy:
        yield proxy


def test_an_endpoint_elsewhere_is_asked_through_the_proxy(
    tmp_path: Path, endpoint: ScriptedEndpoint, proxy: CountingProxy, image: str | None
) -> None:
    variable = "HTTP_PROXY" if image else "http_proxy"
    project = Project(tmp_path, ELSEWHERE, {variable: proxy.url})
    write(project, image=image)

    project.snakemake(*RETRIES).check()

    assert endpoint.answers.total() == 3
    # The start's check, run.sh's two, before and after the harness, three questions.
    assert proxy.asked == {"model.test": 6}


def test_an_endpoint_on_this_machine_is_never_asked_through_the_proxy(
    tmp_path: Path, endpoint: ScriptedEndpoint, proxy: CountingProxy, image: str | None
) -> None:
    everywhere = dict.fromkeys(("HTTP_PROXY", "http_proxy", "ALL_PROXY"), proxy.url)
    project = Project(tmp_path, endpoint.chat_url, {**everywhere, "NO_PROXY": "other.test"})
    # The harness sees what the caller has excluded, too.
    command = 'printf "%s %s\\n" "$NO_PROXY" "$no_proxy"; '
    write(project, command + QUIZ, image)

    project.snakemake(*RETRIES).check()

    assert endpoint.answers.total() == 3
    assert not proxy.asked
    log = (project.task("quiz") / "logs" / "evaluate.log").read_text()
    assert "other.test,localhost,127.0.0.1 other.test,localhost,127.0.0.1\n" in log


def test_a_host_of_no_proxy_is_asked_directly(
    tmp_path: Path, endpoint: ScriptedEndpoint, proxy: CountingProxy
) -> None:
    project = Project(tmp_path, ELSEWHERE, {"http_proxy": proxy.url, "no_proxy": "model.test"})
    write(project)

    refused = project.snakemake().refused()

    assert f"endpoint {ELSEWHERE}: does not answer" in refused.output
    assert not proxy.asked


def test_all_proxy_is_followed_by_checks_and_gateway_alike(
    tmp_path: Path, endpoint: ScriptedEndpoint, proxy: CountingProxy
) -> None:
    project = Project(tmp_path, ELSEWHERE, {"ALL_PROXY": proxy.url})
    write(project)

    project.snakemake(*RETRIES).check()

    assert proxy.asked == {"model.test": 6}


def test_a_proxy_that_the_gateway_cannot_ask_is_told_before_anything_is_started(
    tmp_path: Path, endpoint: ScriptedEndpoint, proxy: CountingProxy
) -> None:
    socks = proxy.url.replace("http://", "socks5h://user:canary-password@")
    project = Project(tmp_path, ELSEWHERE, {"all_proxy": socks})
    write(project)

    refused = project.snakemake().refused()

    assert "HTTP_PROXY or ALL_PROXY: names a proxy of another kind than HTTP (socks5h) for " in (
        refused.output
    )
    assert "canary-password" not in refused.output
    assert not proxy.asked and not (tmp_path / "out").exists()


def test_a_password_of_a_proxy_reaches_no_file(
    tmp_path: Path, endpoint: ScriptedEndpoint, proxy: CountingProxy
) -> None:
    secret = proxy.url.replace("://", "://user:canary-password@")
    project = Project(tmp_path, ELSEWHERE, {"HTTP_PROXY": secret})
    write(project, 'echo "by $HTTP_PROXY"; ' + QUIZ)

    output = project.snakemake(*RETRIES).check().output

    assert "by ***" in (project.task("quiz") / "logs" / "evaluate.log").read_text()
    files = [path.read_bytes() for path in project.folder.rglob("*") if path.is_file()]
    assert not any(b"canary-password" in content for content in [output.encode(), *files])
