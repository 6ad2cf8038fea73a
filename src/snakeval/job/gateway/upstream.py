"""Asking an endpoint: its address, its key, and the way to it (proxies, certificate authorities).

Needs aiohttp. What is asked and answered passes unchanged, but for the headers that belong to one
connection only, and the key, which takes the place of the token.
"""

from __future__ import annotations

import base64
import os
import ssl
import urllib.parse
import zlib
from typing import Union

import aiohttp
from multidict import CIMultiDict, CIMultiDictProxy
from yarl import URL

from ..endpoint import CA_VARIABLES, proxy_for

Headers = Union["CIMultiDict[str]", "CIMultiDictProxy[str]"]

HOP_BY_HOP = frozenset(
    ("connection", "keep-alive", "proxy-authenticate", "proxy-authorization", "proxy-connection",
     "te", "trailer", "transfer-encoding", "upgrade")
)  # fmt: skip
KEY_HEADERS = ("Authorization", "X-Api-Key", "Api-Key")
READABLE = ("gzip", "deflate", "identity")
"""Encodings of a body that the standard library can undo; no other is asked for."""
WINDOWS = {"gzip": (47,), "x-gzip": (47,), "deflate": (15, -15)}
"""What zlib is to expect of an encoding. Many send a deflate without the head that it should have.
"""


TIMEOUT = aiohttp.ClientTimeout(total=None, sock_connect=30)
"""The harness has a time limit of its own, and hangs up when it is reached."""


class Upstream:
    """One endpoint.

    name  in the ledger; url: of the endpoint, whose scheme, host and port count; key: the real one
    """

    def __init__(self, name: str, url: str, key: str = "") -> None:
        parts = urllib.parse.urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"the address of the endpoint '{name}' is no http:// or https:// URL")
        place = parts.netloc.rpartition("@")[2]
        self.name, self.key = name, key
        self.origin = f"{parts.scheme}://{place}"
        self._user = urllib.parse.unquote(parts.netloc.rpartition("@")[0])
        self._proxy = proxy_for(self.origin)
        is_secure = "https" in (parts.scheme, (self._proxy or "").partition("://")[0].lower())
        self._ssl = authorities() if is_secure else None

    async def ask(
        self,
        session: aiohttp.ClientSession,
        method: str,
        path: str,
        headers: Headers,
        body: bytes,
    ) -> aiohttp.ClientResponse:
        """Sends a request; returns when the reply's headers have come. Raises aiohttp.ClientError
        or OSError where there is none."""
        return await session.request(
            method,
            URL(self.origin + path, encoded=True),
            headers=headers,
            data=body or None,
            allow_redirects=False,
            proxy=self._proxy,
            ssl=self._ssl if self._ssl is not None else True,
            timeout=TIMEOUT,
        )

    def headers(self, given: Headers, token: str) -> CIMultiDict[str]:
        """What the endpoint gets: the caller's headers with the key for the token."""
        passed = end_to_end(given)
        passed.popall("Host", None)
        passed.popall("Content-Length", None)
        passed.popall("Expect", None)  # the body is here
        for name in KEY_HEADERS:
            if token and token in passed.get(name, ""):
                value = passed.popall(name)[0]
                if self.key:
                    passed[name] = value.replace(token, self.key)
        if self._user and "Authorization" not in passed:
            encoded = base64.b64encode(self._user.encode()).decode()
            passed["Authorization"] = f"Basic {encoded}"
        _ask_for_readable(passed)
        return passed


def _ask_for_readable(headers: CIMultiDict[str]) -> None:
    wanted = [each.strip() for each in headers.get("Accept-Encoding", "").split(",")]
    kept = [each for each in wanted if each.partition(";")[0].strip().lower() in READABLE]
    headers["Accept-Encoding"] = ", ".join(kept) or "identity"


def end_to_end(headers: Headers) -> CIMultiDict[str]:
    """Headers without those that belong to one connection."""
    dropped = HOP_BY_HOP
    if named := ",".join(headers.getall("Connection", ())):
        dropped = HOP_BY_HOP.union(each.strip().lower() for each in named.split(","))
    return CIMultiDict([each for each in headers.items() if each[0].lower() not in dropped])


def session() -> aiohttp.ClientSession:
    """Connections without a limit of their own; bodies come as they are sent."""
    return aiohttp.ClientSession(
        connector=aiohttp.TCPConnector(limit=0, keepalive_timeout=15),
        auto_decompress=False,
        cookie_jar=aiohttp.DummyCookieJar(),
        skip_auto_headers=("User-Agent", "Accept", "Accept-Encoding", "Content-Type"),
        read_bufsize=256 * 1024,
        max_line_size=64 * 1024,
        max_field_size=256 * 1024,
    )


def authorities() -> ssl.SSLContext:
    """Trusts the caller's certificate authorities where a variable names them."""
    bundle = next((path for path in map(os.environ.get, CA_VARIABLES) if path), None)
    folder = bool(bundle) and os.path.isdir(str(bundle))
    return ssl.create_default_context(
        cafile=None if folder else bundle, capath=bundle if folder else None
    )


def decoded(body: bytes, encoding: str) -> bytes:
    """A body as it was before its Content-Encoding. Raises ValueError where it cannot be read."""
    for name in reversed([each.strip().lower() for each in encoding.split(",") if each.strip()]):
        if name == "identity":
            continue
        if name not in WINDOWS:
            raise ValueError(f"the encoding {name} is not known")
        body = _inflated(body, name)
    return body


def _inflated(body: bytes, name: str) -> bytes:
    why: Exception = ValueError("empty")
    for bits in WINDOWS[name]:
        try:
            return zlib.decompress(body, bits)
        except zlib.error as error:
            why = error
    raise ValueError(f"the body is no {name}: {why}") from None
