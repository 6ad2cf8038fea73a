"""The part of Google's Sheets, Drive and token services that gspread uses, on the loopback address.

Every request is checked as Google does: the service account's signature, the bearer token, ranges,
options and the names of fields; what is not understood is answered with status 400. A request is
carried out as a whole or not at all, one after the other.
"""

from __future__ import annotations

import contextlib
import copy
import json
import re
import threading
import uuid
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import pytest
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa

Json = dict[str, Any]
Cell = str | float
GOOGLE = ("https://sheets.googleapis.com", "https://www.googleapis.com")


class Refused(Exception):
    def __init__(self, status: int, message: str) -> None:
        super().__init__(message)
        self.status = status


@dataclass
class Sheet:
    """A spreadsheet with one sheet."""

    title: str
    cells: list[list[Cell]] = field(default_factory=list)
    ranges: set[str] = field(default_factory=set)
    columns: int = 26

    @property
    def lines(self) -> list[list[Cell]]:
        """Rows without empty cells at their ends, without empty rows at the end."""
        found = [list(row) for row in self.cells]
        for row in found:
            while row and row[-1] == "":
                row.pop()
        while found and not found[-1]:
            found.pop()
        return found

    @property
    def records(self) -> list[Json]:
        """Rows by their headings; a heading that stands twice is a failure."""
        headings, *rows = self.lines
        assert len(set(headings)) == len(headings), headings
        return [dict(zip(map(str, headings), row, strict=False)) for row in rows]

    def write(self, row: int, column: int, value: Cell) -> None:
        while len(self.cells) <= row:
            self.cells.append([])
        line = self.cells[row]
        line.extend([""] * (column + 1 - len(line)))
        line[column] = value


class GoogleSheets:
    """The services. `before` is called with method and path before a request is looked at."""

    def __init__(self) -> None:
        self.sheets: dict[str, Sheet] = {}
        self.requests: list[str] = []
        self.before: Callable[[str, str], None] = lambda method, path: None
        self.allowed = True
        self._lock = threading.Lock()
        self._key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
        self._token = uuid.uuid4().hex
        self._server = ThreadingHTTPServer(("127.0.0.1", 0), self._handler())
        self._server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}"

    def __enter__(self) -> GoogleSheets:
        threading.Thread(target=self._server.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self._server.shutdown()
        self._server.server_close()

    def add(self, title: str) -> str:
        """A new empty spreadsheet; its id."""
        name = uuid.uuid4().hex
        self.sheets[name] = Sheet(title)
        return name

    def key_file(self, folder: Path) -> Path:
        """A service account's key file whose tokens come from here."""
        pem = self._key.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ).decode()
        content = {
            "type": "service_account",
            "project_id": "rig",
            "private_key_id": "1",
            "private_key": pem,
            "client_email": "rig@rig.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": f"{self.url}/token",
        }
        path = folder / "key.json"
        path.write_text(json.dumps(content))
        return path

    def other_key(self, path: Path) -> None:
        """Makes a key file one of an account that is not known here."""
        own, self._key = self._key, rsa.generate_private_key(65537, 2048)
        try:
            self.key_file(path.parent)
        finally:
            self._key = own

    @contextlib.contextmanager
    def instead_of_google(self) -> Iterator[None]:
        """gspread asks here; nothing else of it is changed."""
        import gspread.client
        import gspread.http_client

        with pytest.MonkeyPatch.context() as patch:
            for module in (gspread.client, gspread.http_client):
                for name, value in list(vars(module).items()):
                    if isinstance(value, str) and value.startswith(GOOGLE):
                        parts = urlsplit(value)
                        patch.setattr(module, name, self.url + unquote(parts.path))
            yield

    # --- requests --------------------------------------------------------------------------------

    def answer(self, method: str, url: str, headers: Any, body: bytes) -> Json:
        parts = urlsplit(url)
        path, query = unquote(parts.path), {k: v[0] for k, v in parse_qs(parts.query).items()}
        self.before(method, path)
        with self._lock:
            self.requests.append(f"{method} {path}")
            if path == "/token":
                return self._grant(parse_qs(body.decode()))
            if headers.get("Authorization") != f"Bearer {self._token}":
                raise Refused(401, "Request had invalid authentication credentials.")
            if not self.allowed:
                raise Refused(403, "The caller does not have permission")
            content = json.loads(body) if body else {}
            if path == "/drive/v3/files":
                return self._files(method, query, content)
            found = re.fullmatch(r"/v4/spreadsheets/([0-9a-f]+)(:batchUpdate|/values/(.+))?", path)
            if not found or found[1] not in self.sheets:
                raise Refused(404, "Requested entity was not found.")
            name, rest, values = found.groups()
            sheet = self.sheets[name]
            if rest is None and method == "GET":
                return self._metadata(name, sheet)
            if rest == ":batchUpdate" and method == "POST":
                return self._batch(name, sheet, content)
            return self._values(name, sheet, method, values or "", query, content)

    def _grant(self, form: dict[str, list[str]]) -> Json:
        from google.auth import jwt

        if form.get("grant_type") != ["urn:ietf:params:oauth:grant-type:jwt-bearer"]:
            raise Refused(400, "unsupported_grant_type")
        public = self._key.public_key().public_bytes(
            serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo
        )
        try:
            claims = jwt.decode(  # type: ignore[no-untyped-call]
                form["assertion"][0], certs=public, audience="https://oauth2.googleapis.com/token"
            )
        except ValueError as error:
            raise Refused(400, f"invalid_grant: {error}") from error
        if "https://www.googleapis.com/auth/spreadsheets" not in claims["scope"]:
            raise Refused(403, "insufficient scopes")
        return {"access_token": self._token, "expires_in": 3600, "token_type": "Bearer"}

    def _files(self, method: str, query: dict[str, str], content: Json) -> Json:
        if method == "POST":
            if content.get("mimeType") != "application/vnd.google-apps.spreadsheet":
                raise Refused(400, "mimeType")
            return {"id": self.add(content["name"])}
        found = re.fullmatch(
            r'mimeType="application/vnd.google-apps.spreadsheet"(?: and name = "(.*)")?', query["q"]
        )
        if not found:
            raise Refused(400, f"Invalid query: {query['q']}")
        names = [
            {"id": name, "name": sheet.title}
            for name, sheet in self.sheets.items()
            if found[1] in (None, sheet.title)
        ]
        return {"files": names}

    def _metadata(self, name: str, sheet: Sheet) -> Json:
        grid = {"rowCount": 1000, "columnCount": sheet.columns}
        properties = {"sheetId": 0, "title": "Sheet1", "index": 0, "gridProperties": grid}
        return {
            "spreadsheetId": name,
            "properties": {"title": sheet.title},
            "spreadsheetUrl": f"{self.url}/{name}",
            "sheets": [{"properties": properties}],
        }

    def _values(
        self, name: str, sheet: Sheet, method: str, where: str, query: dict[str, str], content: Json
    ) -> Json:
        target, _, action = where.partition(":append")
        appending = where.endswith(":append")
        area = re.fullmatch(r"'?Sheet1'?(?:!(.+))?", target if appending else where)
        if not area or action:
            raise Refused(400, f"Unable to parse range: {where}")
        if method == "GET":
            return self._read(sheet, area[1])
        if query.get("valueInputOption") not in ("RAW", "USER_ENTERED"):
            raise Refused(400, "'valueInputOption' is required but not specified")
        rows: list[list[Cell]] = content["values"]
        if not all(isinstance(cell, str | int | float) for row in rows for cell in row):
            raise Refused(400, "Invalid values")
        if appending and method == "POST":
            if query.get("insertDataOption") not in ("INSERT_ROWS", "OVERWRITE"):
                raise Refused(400, "Invalid insertDataOption")
            first = len(sheet.lines)
        elif method == "PUT":
            start = re.fullmatch(r"A(\d+)(?::[A-Z]+\d+)?", area[1] or "")
            if not start:
                raise Refused(400, f"Unable to parse range: {where}")
            first = int(start[1]) - 1
        else:
            raise Refused(400, f"{method} {where}")
        for number, row in enumerate(rows):
            if len(row) > sheet.columns:
                raise Refused(400, "exceeds grid limits")
            for column, value in enumerate(row):
                sheet.write(first + number, column, value)
        updates = {"updatedRange": f"Sheet1!A{first + 1}:Z{first + len(rows)}"}
        return {"spreadsheetId": name, **({"updates": updates} if appending else updates)}

    def _read(self, sheet: Sheet, area: str | None) -> Json:
        lines = sheet.lines
        if area is not None:
            row = re.fullmatch(r"A(\d+):\1", area)
            if not row:
                raise Refused(400, f"Unable to parse range: {area}")
            lines = lines[int(row[1]) - 1 : int(row[1])]
        return {"range": area or "Sheet1", "majorDimension": "ROWS", "values": lines}

    def _batch(self, name: str, sheet: Sheet, content: Json) -> Json:
        changed = copy.deepcopy(sheet)
        for request in content["requests"]:
            [(kind, body)] = request.items()
            match kind:
                case "insertDimension":
                    _insert_columns(changed, body)
                case "updateCells":
                    _update_cells(changed, body)
                case "addNamedRange":
                    named = body["namedRange"]
                    if not re.fullmatch(r"[A-Za-z_][A-Za-z0-9_]{0,249}", named["name"]):
                        raise Refused(400, "Invalid addNamedRange: name")
                    if named["name"] in changed.ranges:
                        raise Refused(400, "A named range with that name already exists.")
                    changed.ranges.add(named["name"])
                case _:
                    raise Refused(400, f"Unknown name {kind!r}")
        self.sheets[name] = changed
        return {"spreadsheetId": name, "replies": [{}] * len(content["requests"])}

    def _handler(self) -> type[BaseHTTPRequestHandler]:
        services = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"
            disable_nagle_algorithm = True

            def _answer(self) -> None:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
                try:
                    status, said = 200, services.answer(
                        self.command, self.path, self.headers, body
                    )  # fmt: skip
                except Refused as refused:
                    error = {"code": refused.status, "message": str(refused), "status": "REFUSED"}
                    status, said = refused.status, {"error": error}
                encoded = json.dumps(said).encode()
                self.send_response(status)
                self.send_header("Content-Type", "application/json")
                self.send_header("Content-Length", str(len(encoded)))
                self.end_headers()
                self.wfile.write(encoded)

            do_GET = do_POST = do_PUT = _answer

            def log_message(self, format: str, *args: Any) -> None:
                """Quiet."""

        return Handler


def _insert_columns(sheet: Sheet, body: Json) -> None:
    span = body["range"]
    if span["dimension"] != "COLUMNS" or not 0 <= span["startIndex"] < span["endIndex"]:
        raise Refused(400, "Invalid insertDimension")
    count = span["endIndex"] - span["startIndex"]
    for row in sheet.cells:
        if len(row) > span["startIndex"]:
            row[span["startIndex"] : span["startIndex"]] = [""] * count
    sheet.columns += count


def _update_cells(sheet: Sheet, body: Json) -> None:
    if body["fields"] != "userEnteredValue":
        raise Refused(400, "Invalid field mask")
    area = body["range"]
    for number, row in enumerate(body["rows"]):
        for column, cell in enumerate(row["values"]):
            if area["startColumnIndex"] + column >= area["endColumnIndex"]:
                raise Refused(400, "Attempting to write outside of the range")
            value = cell["userEnteredValue"]["stringValue"]
            sheet.write(area["startRowIndex"] + number, area["startColumnIndex"] + column, value)
