"""What the gateway imports costs little, and keeps nobody else from anything."""

from __future__ import annotations

import subprocess
import sys

import pytest

from snakeval.job.gateway.libraries import byte_code_is_kept
from snakeval.job.gateway.upstream import Upstream


def said(*lines: str, **environment: str) -> list[str]:
    """What a fresh Python prints that has imported nothing yet."""
    first = "from snakeval.job.gateway import libraries"
    ended = subprocess.run(
        [sys.executable, "-c", "\n".join([first, *lines])],
        capture_output=True,
        text=True,
        check=True,
        env={**environment},
    )
    return ended.stdout.split()


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A file with one certificate authority."""
    file, key = (tmp_path_factory.mktemp("authority") / name for name in ("ca.pem", "key.pem"))
    words = ["openssl", "req", "-x509", "-nodes", "-newkey", "rsa:2048", "-subj", "/CN=test"]
    subprocess.run([*words, "-keyout", key, "-out", file], check=True, capture_output=True)
    return str(file)


def test_certificate_authorities_are_not_read_for_contexts_that_nobody_uses(bundle: str) -> None:
    """Reading them twice is a third of what the import of aiohttp costs; who asks has them."""
    found = said(
        "libraries.imported()",
        "import ssl, aiohttp.connector",
        "print(aiohttp.connector._SSL_CONTEXT_VERIFIED.cert_store_stats()['x509_ca'])",
        "print(ssl.create_default_context().cert_store_stats()['x509_ca'])",
        SSL_CERT_FILE=bundle,
    )
    assert found == ["0", "1"]


def test_another_thread_has_its_authorities_meanwhile(bundle: str) -> None:
    found = said(
        "import ssl, threading",
        "def ask():",
        "    print(ssl.create_default_context().cert_store_stats()['x509_ca'])",
        "with libraries.without_authorities():",
        "    ask()",
        "    other = threading.Thread(target=ask)",
        "    other.start()",
        "    other.join()",
        SSL_CERT_FILE=bundle,
    )
    assert found == ["0", "1"]


def test_what_was_begun_beside_is_waited_for() -> None:
    found = said(
        "libraries.begin()",
        "libraries.imported()",
        "import sys",
        "print('aiohttp.web_server' in sys.modules)",
    )
    assert found == ["True"]


def test_a_proxy_that_is_asked_by_tls_has_the_callers_authorities(
    monkeypatch: pytest.MonkeyPatch, bundle: str
) -> None:
    """Also where the endpoint behind it is not: there is no other context than the gateway's."""
    monkeypatch.setenv("SSL_CERT_FILE", bundle)
    for name in ("no_proxy", "NO_PROXY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("http_proxy", "https://proxy.invalid:3128")
    context = Upstream("model", "http://model.invalid/v1")._ssl
    assert context is not None and context.cert_store_stats()["x509_ca"] == 1
    monkeypatch.setenv("http_proxy", "http://proxy.invalid:3128")
    assert Upstream("model", "http://model.invalid/v1")._ssl is None


@pytest.mark.parametrize(("users", "is_kept"), [(None, True), ("1", False)])
def test_byte_code_of_libraries_is_kept_though_none_comes_into_the_run_folder(
    monkeypatch: pytest.MonkeyPatch, users: str | None, is_kept: bool
) -> None:
    """`run.sh` starts Python with -B; else each task of a new environment compiles aiohttp."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)
    monkeypatch.delenv("PYTHONDONTWRITEBYTECODE", raising=False)
    if users:
        monkeypatch.setenv("PYTHONDONTWRITEBYTECODE", users)
    with byte_code_is_kept():
        assert sys.dont_write_bytecode is not is_kept
    assert sys.dont_write_bytecode
