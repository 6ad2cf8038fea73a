"""Keeps the values of secrets out of logs: in every form in which they may stand there.

Called by `attempt.py redact`; standard library only, Python 3.9 or newer.
"""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
from collections.abc import Iterable
from typing import BinaryIO
from urllib.parse import parse_qsl, quote, quote_plus, unquote, urlsplit

SHORTEST = 4
"""Shorter values are no secrets; they would stand in every line."""

SHORTEST_PART = 8
"""Shorter lines of a value, or parts of a URL, are words."""

LONGEST_LINE = 1 << 20
"""Bytes that are held back until a line ends."""

MASK = b"***"

_SECRET_KEYS = re.compile("key|token|secret|pass|pwd|sig|auth|credential", re.IGNORECASE)

_KEY = r"(?<![A-Za-z0-9_-])"
FORMS = {
    "a password in a URL": re.compile(
        r"[A-Za-z][A-Za-z0-9+.-]*://[^\s/@:]*:(?P<secret>[^\s/@$]+)@"
        r"|https?://(?P<user>[^\s/@:$]+)@"
    ),
    "a key in a URL": re.compile(
        r"[?&;#](?:[A-Za-z0-9._-]*(?:api[-_]?key|token|secret|passw(?:or)?d|signature|credential"
        r"|subscription[-_]key)|key|sig|auth|authorization|pwd)=(?P<secret>[^\s&;#$\"'<>{}]+)",
        re.IGNORECASE,
    ),
    "a token after the word Bearer": re.compile(
        r"\bBearer[\s:]+(?P<secret>(?![a-z]+\b)[A-Za-z0-9._~+/=-]{6,})", re.IGNORECASE
    ),
    "a private key": re.compile(
        r"(?P<secret>-----BEGIN [A-Z ]*PRIVATE KEY-----[\s\S]*?(?:-----END|\Z))"
    ),
    "a key": re.compile(
        _KEY + r"(?P<secret>sk-(?=[A-Za-z0-9_-]*[A-Z0-9])[A-Za-z0-9_-]{8,}"
        r"|(?:nvapi|glpat|pypi|xox[abeoprs]|xai|pplx)-(?=[A-Za-z0-9_-]*[A-Z0-9])[A-Za-z0-9_-]{8,}"
        r"|(?:hf|gsk|gh[oprsu]|npm|r8|fw|dop_v1|sk_live|sk_test|rk_live)_[A-Za-z0-9]{12,}"
        r"|github_pat_[A-Za-z0-9_]{12,}"
        r"|AIza[A-Za-z0-9_-]{16,}|A[KS]IA[A-Z0-9]{12,}"
        r"|eyJ[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]{6,}\.[A-Za-z0-9_-]*)"
    ),
}
"""What a secret looks like, wherever it stands."""

BASIC = re.compile(r"\bBasic\s+(?P<secret>[A-Za-z0-9+/_-]{6,}={0,2})")

_NAMED = re.compile(
    r"(?i)((?:api[-_ ]?key|access[-_ ]?key|token|secret|passw(?:or)?d|authorization|bearer"
    r"|credential|cookie)s?['\"]?\s*[:=]\s*['\"]?(?:bearer |basic )?|\bbearer |\bbasic )"
    r"[^\s'\",;)}]+"
)
"""A value that stands behind the name of a secret."""

_RANDOM = re.compile(r"(?<![\w/.-])(?=[\w+=-]*\d)(?=[\w+=-]*[A-Za-z])[\w+=-]{32,}(?![\w/.-])")
"""What nobody has thought up, and is no part of a path."""


def without_secrets(text: str) -> str:
    """A line of somebody else's, as it may be shown: without what looks like a secret. The log that
    it stands in has lost the values of the variables that are known as such already."""
    for form in FORMS.values():
        text = form.sub(_masked, text)
    return _RANDOM.sub(MASK.decode(), _NAMED.sub(rf"\1{MASK.decode()}", text))


def _masked(found: re.Match[str]) -> str:
    secret = next(filter(None, found.groupdict().values()))
    return found[0].replace(secret, MASK.decode())


def forms_of(value: str) -> list[bytes]:
    """Every form of a value, the longest first: as it is, each of its lines, the password of a
    URL, and all of these URL-encoded, in JSON, and in base64 wherever they begin."""
    found = {value, value.strip(), unquote(value)}
    parts = {line.strip() for line in value.splitlines()} | _parts_of_url(value)
    found |= {part for part in parts if len(part) >= SHORTEST_PART}
    plain = [text for text in found if len(text) >= SHORTEST]
    encoded = {
        form for text in plain for form in (text.encode(errors="surrogateescape"), *_of(text))
    }
    return sorted(encoded, key=len, reverse=True)


def _parts_of_url(value: str) -> set[str]:
    """What is secret of a URL: its password, or its user where there is none; keys of its query."""
    with contextlib.suppress(ValueError):
        parts = urlsplit(value)
        if "://" not in value:
            return set()
        named = {part for key, part in parse_qsl(parts.query) if _SECRET_KEYS.search(key)}
        secret = parts.password or parts.username or ""
        both = f"{parts.username}:{parts.password}" if parts.password else ""
        return named | {secret, unquote(secret), both, unquote(both)}
    return set()


def _of(text: str) -> Iterable[bytes]:
    """Encoded forms of a text."""
    raw = text.encode(errors="surrogateescape")
    for url in (quote(raw, safe=""), quote(raw), quote_plus(raw)):
        yield url.encode()
        yield re.sub("%..", lambda found: found[0].lower(), url).encode()
    for in_json in (json.dumps(text, ensure_ascii=True), json.dumps(text, ensure_ascii=False)):
        yield in_json[1:-1].encode(errors="surrogateescape")
    yield repr(text)[1:-1].encode(errors="surrogateescape")
    for offset in range(3):
        yield from _in_base64(raw, offset)


def _in_base64(raw: bytes, offset: int) -> Iterable[bytes]:
    """What base64 writes for some bytes behind `offset` others, whatever follows: `Basic` headers
    hold a user before the password."""
    begin = (offset * 8 + 5) // 6
    end = (offset + len(raw)) * 8 // 6
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        form = encode(b"\0" * offset + raw)[begin:end]
        if len(form) >= SHORTEST_PART:
            yield form


def values_of(names: Iterable[str]) -> list[str]:
    """The values of variables, as far as they are set."""
    return [os.environ[name] for name in names if os.environ.get(name)]


def hide(data: bytes, forms: Iterable[bytes]) -> bytes:
    """The bytes with every form replaced."""
    for form in forms:
        data = data.replace(form, MASK)
    return data


def copy(source: BinaryIO, target: int, values: Iterable[str]) -> None:
    """Copies a stream to a file descriptor, line by line, without these values.

    lm-eval writes the Authorization header of every failed request into its output. On a full disk
    lines are lost: a harness whose output nobody took would end, or wait for ever.
    """
    forms = sorted({form for value in values for form in forms_of(value)}, key=len, reverse=True)
    held = len(forms[0]) - 1 if forms else 0
    rest = b""
    while line := source.readline(LONGEST_LINE):
        rest = hide(rest + line, forms)
        whole = rest.endswith(b"\n") or not held
        ready, rest = (rest, b"") if whole else (rest[:-held], rest[-held:])
        _write(target, ready)
    _write(target, rest)


def _write(target: int, data: bytes) -> None:
    while data:
        try:
            data = data[os.write(target, data) :]
        except OSError:
            return
