"""An endpoint with a certificate of a company's own authority, named in any of three variables."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from in_container import CERTIFICATES, QUIZ, RETRIES, cause, write

from rig.endpoint import ScriptedEndpoint
from rig.pipeline import Project
from rig.tls import TlsFront


@pytest.fixture
def front(endpoint: ScriptedEndpoint, tmp_path: Path) -> Iterator[TlsFront]:
    with TlsFront(endpoint.port, tmp_path / "tls") as front:
        yield front


def url(front: TlsFront) -> str:
    return f"https://127.0.0.1:{front.port}/v1/chat/completions"


def test_a_certificate_authority_of_the_caller_is_trusted(
    tmp_path: Path, endpoint: ScriptedEndpoint, front: TlsFront, image: str | None
) -> None:
    """Python's own TLS, which the quiz uses, reads SSL_CERT_FILE: the others are meant too."""
    variable = "CURL_CA_BUNDLE" if image else "REQUESTS_CA_BUNDLE"
    project = Project(tmp_path, url(front), {variable: str(front.authority)})
    write(project, 'cat "$REQUESTS_CA_BUNDLE" >/dev/null && ' + QUIZ, image)

    project.snakemake(*RETRIES).check()

    assert endpoint.answers.total() == 3


def test_each_variable_keeps_its_own_file(
    tmp_path: Path, endpoint: ScriptedEndpoint, nemo_image: str
) -> None:
    files = {name: tmp_path / f"{name}.pem" for name in CERTIFICATES}
    for name, file in files.items():
        file.write_text(name)
    project = Project(tmp_path, endpoint.chat_url, {k: str(v) for k, v in files.items()})
    write(project, 'cat "$SSL_CERT_FILE" "$REQUESTS_CA_BUNDLE" "$CURL_CA_BUNDLE"; ' + QUIZ,
          nemo_image)  # fmt: skip

    project.snakemake(*RETRIES).check()

    log = (project.task("quiz") / "logs" / "evaluate.log").read_text()
    assert "".join(CERTIFICATES) in log


def test_a_certificate_that_is_not_trusted_is_told_with_what_to_do(
    tmp_path: Path, endpoint: ScriptedEndpoint, front: TlsFront
) -> None:
    project = Project(tmp_path, url(front))
    write(project)

    refused = project.snakemake().refused()

    assert "has a certificate that is not trusted here" in refused.output
    assert "SSL_CERT_FILE" in refused.output
    assert not project.runs


def test_a_certificate_that_the_harness_does_not_trust_is_the_cause(
    tmp_path: Path, endpoint: ScriptedEndpoint, front: TlsFront
) -> None:
    project = Project(tmp_path, url(front), {"SSL_CERT_FILE": str(front.authority)})
    write(project, "SSL_CERT_FILE=/dev/null " + QUIZ, gateway=False)

    project.snakemake(*RETRIES).refused()

    assert "a server's certificate is not trusted" in cause(project)


def test_a_bundle_that_is_not_there_is_told_before_anything_starts(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    project = Project(tmp_path, endpoint.chat_url, {"CURL_CA_BUNDLE": "/nowhere/ca.pem"})
    write(project)

    refused = project.snakemake().refused()

    assert "CURL_CA_BUNDLE: /nowhere/ca.pem cannot be read" in refused.output
    assert not project.runs
