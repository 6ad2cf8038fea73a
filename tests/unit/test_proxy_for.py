"""Which addresses are asked without the caller's proxies."""

import pytest

from snakeval.job.endpoint import asked_directly, proxy_of


@pytest.mark.parametrize(
    ("no_proxy", "host", "is_direct"),
    [
        ("", "localhost", True),
        ("", "[::1]:8000", True),
        ("", "10.1.2.3", False),
        ("*", "10.1.2.3", True),
        ("a.test,10.1.2.3", "10.1.2.3:8000", True),
        (".test", "b.a.test", True),
        ("10.0.0.0/8", "10.1.2.3:8000", True),
        ("a.test, 10.0.0.0/8", "11.1.2.3", False),
        ("10.0.0.0/8", "ten.test", False),
        ("fd00::/8", "[fd00::5]:8000", True),
        ("10.0.0.0/eight, 10.0.0.1/8", "10.1.2.3", True),
    ],
)
def test_a_host_or_its_network_in_no_proxy_is_asked_directly(
    monkeypatch: pytest.MonkeyPatch, no_proxy: str, host: str, is_direct: bool
) -> None:
    for name in ("NO_PROXY", "no_proxy", "HTTP_PROXY", "ALL_PROXY", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("no_proxy", no_proxy)
    monkeypatch.setenv("http_proxy", "http://proxy.test:3128")
    assert asked_directly(f"http://{host}/v1") is is_direct
    assert proxy_of(f"http://{host}/v1") == ("" if is_direct else "http_proxy")
