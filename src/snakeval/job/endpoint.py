"""Asking endpoints and servers over HTTP, and ports.

Standard library only. What the network needs is imported when it is asked: each call of a script is
a process of its own, and only few of them ask it.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import socket
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import urllib.request

CA_VARIABLES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
"""Name the caller's certificate authorities; `run.sh` takes the first that is set for all."""
LIST_TIMEOUT = 10.0
"""Seconds that an endpoint has to list its models."""


def models_url(url: str) -> str:
    """`.../v1/chat/completions?a=b` -> `.../v1/models?a=b`."""
    path, mark, query = url.partition("?")
    return (
        re.sub(r"/(chat/completions|completions|embeddings)/?$", "", path) + f"/models{mark}{query}"
    )


def served_models(url: str, key_name: str | None) -> list[str]:
    """The models that an endpoint lists. Raises OSError or ValueError where it does not."""
    import urllib.request
    from http.client import HTTPException

    request = urllib.request.Request(models_url(url), headers={"Accept": "application/json"})
    key = key_of(key_name)
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with opener_for(url).open(request, timeout=LIST_TIMEOUT) as answer:
            listed = json.load(answer)
    except HTTPException as error:
        if isinstance(error, OSError):
            raise
        raise ValueError(f"this is no HTTP: {error}") from None
    return [str(item["id"]) for item in listed["data"]]


def key_of(key_name: str | None) -> str | None:
    """The key that a variable holds. A script has its endpoint's key under a name of its own."""
    if key_name and key_name == os.environ.get("SNAKEVAL_KEY_NAME"):
        return os.environ.get("SNAKEVAL_KEY")
    return os.environ.get(key_name) if key_name else None


def opener_for(url: str) -> urllib.request.OpenerDirector:
    """Asks as the harness will: by the caller's proxies, but this machine directly, and with the
    caller's certificate authorities."""
    import ssl
    import urllib.request

    proxy = proxy_for(url) or ""
    by_proxy = {url.partition(":")[0]: proxy} if speaks_http(proxy) else {}
    handlers: list[urllib.request.BaseHandler] = [urllib.request.ProxyHandler(by_proxy)]
    bundle = next((path for path in map(os.environ.get, CA_VARIABLES) if path), None)
    if bundle and url.startswith("https:"):
        folder = os.path.isdir(bundle)
        context = ssl.create_default_context(
            cafile=None if folder else bundle, capath=bundle if folder else None
        )
        handlers.append(urllib.request.HTTPSHandler(context=context))
    return urllib.request.build_opener(*handlers)


def proxy_for(url: str) -> str | None:
    """The caller's proxy for an address, as a URL; none where it is to be asked without."""
    import urllib.request

    if asked_directly(url):
        return None
    proxies = urllib.request.getproxies()
    proxy = proxies.get(url.partition(":")[0]) or proxies.get("all")
    return proxy if not proxy or "://" in proxy else f"http://{proxy}"


def speaks_http(proxy: str) -> bool:
    """Whether a proxy is one that can be asked here; a SOCKS proxy is none."""
    return proxy.lower().startswith(("http://", "https://"))


def is_local(url: str) -> bool:
    """Whether a URL is at this machine's loopback address."""
    import urllib.parse

    return urllib.parse.urlsplit(url).hostname in ("localhost", "127.0.0.1", "::1")


def asked_directly(url: str) -> bool:
    """Whether the caller's proxies are not for this URL: it is on this machine, or in no_proxy, by
    its name or, as curl and requests have it, in a network (10.0.0.0/8)."""
    import urllib.parse
    import urllib.request

    host = urllib.parse.urlsplit(url).hostname or ""
    if is_local(url) or urllib.request.proxy_bypass(host):
        return True
    direct = os.environ.get("no_proxy") or os.environ.get("NO_PROXY") or ""
    networks = [each.strip() for each in direct.split(",") if "/" in each]
    return bool(networks) and _is_in(host, networks)


def proxy_of(url: str) -> str:
    """The variable whose proxy a URL is asked through; empty: none."""
    if asked_directly(url):
        return ""
    names = [f"{kind}_proxy" for kind in (url.partition(":")[0], "all")]
    either = [each for name in names for each in (name, name.upper())]
    return next((name for name in either if os.environ.get(name)), "")


def _is_in(host: str, networks: list[str]) -> bool:
    import ipaddress

    try:
        address = ipaddress.ip_address(host)
    except ValueError:
        return False  # a name: it is looked up where it is asked, not here
    for each in networks:
        with contextlib.suppress(ValueError):
            if address in ipaddress.ip_network(each, strict=False):
                return True
    return False


def answers(url: str, key_name: str | None = None) -> bool:
    """Whether a GET is answered with a status of success.

    key_name  the variable with the token that is wanted there. Where only the benchmarks have it,
              an answer that asks for it is one.
    """
    import urllib.request
    from http.client import HTTPException

    request = urllib.request.Request(url)
    key = key_of(key_name)
    if key:
        request.add_header("Authorization", f"Bearer {key}")
    try:
        with opener_for(url).open(request, timeout=5) as answer:
            return 200 <= int(answer.status) < 300
    except urllib.error.HTTPError as error:
        return bool(key_name) and not key and error.code in (401, 403)
    except (OSError, ValueError, HTTPException):
        return False


def ipv4_of(name: str) -> str:
    """The IPv4 address of a name; empty: none, or one that only the machine itself reaches."""
    try:
        address = socket.getaddrinfo(name, None, socket.AF_INET)[0][4][0]
    except (OSError, UnicodeError):
        return ""
    return "" if str(address).startswith("127.") else str(address)


def own_address_towards(address: str) -> str:
    """This machine's own IPv4 address on the way to another one; nothing is sent. Raises OSError
    where there is no way."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect((address, 9))
        return str(probe.getsockname()[0])


def free_port(host: str) -> int:
    with socket.socket() as probe:
        probe.bind((host, 0))
        return int(probe.getsockname()[1])


def is_free(port: int, host: str = "") -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((host, port))
        except OSError:
            return False
    return True
