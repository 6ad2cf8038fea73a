"""Values of secrets are kept out of logs, in every form in which they may stand there."""

from __future__ import annotations

import base64
import io
import json
import os
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest

from snakeval.job import redact

TOKEN = "tok/en+with=CANARY&7"
PEM = "-----BEGIN KEY-----\nCANARYline1CANARY\nCANARYline2CANARY\n-----END KEY-----\n"
PROXY = "http://me:p%40ss-CANARY@proxy:3128"


def logged(data: bytes, *values: str, tmp_path: Path) -> bytes:
    target = tmp_path / "log"
    with target.open("wb") as file:
        redact.copy(io.BytesIO(data), file.fileno(), values)
    return target.read_bytes()


@pytest.mark.parametrize(
    ("text", "value"),
    [
        (TOKEN, TOKEN),
        (quote(TOKEN, safe=""), TOKEN),
        ("tok%2fen%2bwith%3dCANARY%267", TOKEN),
        (quote_plus("two words CANARY"), "two words CANARY"),
        (base64.b64encode(TOKEN.encode()).decode(), TOKEN),
        (base64.urlsafe_b64encode(f"user:{TOKEN}".encode()).decode(), TOKEN),
        (base64.b64encode(f"longer-user:{TOKEN}:more".encode()).decode(), TOKEN),
        (json.dumps('quo"ted-CANARY'), 'quo"ted-CANARY'),
        (json.dumps(PEM), PEM),
        (repr(PEM), PEM),
        (PEM, PEM),
        ("only CANARYline2CANARY of it", PEM),
        ("password p@ss-CANARY", PROXY),
        ("password p%40ss-CANARY", PROXY),
        (base64.b64encode(b"me:p@ss-CANARY").decode(), PROXY),
        ("key CANARY-of-the-query", "https://h/x?api-key=CANARY-of-the-query&a=b"),
    ],
)
def test_no_form_of_a_secret_reaches_the_log(text: str, value: str, tmp_path: Path) -> None:
    written = logged(f"before {text} after\n".encode(), value, tmp_path=tmp_path)
    assert b"CANARY" not in written and redact.MASK in written
    assert written.startswith(b"before ") or b"password" in written or b"key" in written
    for form in (base64.b64encode(value.encode()), base64.b64encode(b"me:p@ss-CANARY")):
        assert form not in written


def test_what_is_no_secret_stays(tmp_path: Path) -> None:
    text = b"true 1 abc http://proxy:3128 of me\n"
    assert logged(text, "1", "abc", "true-and-more", PROXY, tmp_path=tmp_path) == text


def test_a_secret_is_found_across_the_pieces_of_a_line_without_end(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(redact, "LONGEST_LINE", 50)
    for before in range(40, 55):
        data = b"x" * before + TOKEN.encode() + b"y" * 200
        assert b"CANARY" not in logged(data, TOKEN, tmp_path=tmp_path)
        assert len(logged(data, TOKEN, tmp_path=tmp_path)) == before + 203


def test_a_full_disk_loses_lines_and_ends_nothing() -> None:
    full = os.open("/dev/full", os.O_WRONLY)
    redact.copy(io.BytesIO(b"line\n" * 3), full, [TOKEN])
    os.close(full)
