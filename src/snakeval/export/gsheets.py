"""Google Sheets: a row per benchmark, in the spreadsheet's first sheet.

Rows are only ever appended, in one request. A column that is missing is inserted in one request
together with its heading and a named range; a name can be given once, so of two exports that
insert the same column the second one is refused, and reads the headings again. So two exports at
once take nothing from each other. After appending, the headings are read again, and where a column
has come in between, the new rows are written once more under the headings as they are now.

A job whose row is there with the same scores is not appended again; a result that has changed is a
further row of the same job, with its own timestamp.
"""

from __future__ import annotations

import hashlib
import math
import re
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakeval.config.export import GsheetsExport
from snakeval.export.items import Item
from snakeval.export.shipment import ExportFailed, Shipment, missing_package
from snakeval.plan.run import Run

if TYPE_CHECKING:
    import gspread

BASE = ("Model Name", "Task Name", "Invocation ID", "Job ID", "Executor")
TIMESTAMP = "Timestamp"
TRIES = 5
PATIENCE = 60.0
"""Seconds until a server that does not answer is told."""

Row = dict[str, str | float]
"""Values by the headings of their columns."""


def target(run: Run, options: GsheetsExport) -> str:
    return f"spreadsheet {options.spreadsheet_id or options.spreadsheet_name}"


def send(shipment: Shipment, options: GsheetsExport, target: str) -> None:
    """Appends the rows of the changed items. Raises ExportFailed."""
    try:
        import gspread
        from google.auth.exceptions import GoogleAuthError, TransportError
    except ImportError as error:
        raise missing_package("gspread", extra="gsheets") from error
    shipment.leave_gone("its row")
    try:
        client = _client(options)
        client.set_timeout(PATIENCE)
        sheet = _open(client, shipment, options).sheet1
        _append(sheet, [_row(item, options) for item in shipment.changed])
    except gspread.exceptions.APIError as error:
        raise ExportFailed(_refused(error, target)) from error
    except (TransportError, OSError) as error:
        raise ExportFailed(
            f"{target}: Google does not answer; start the same command again when it does"
        ) from error
    except GoogleAuthError as error:
        raise ExportFailed(
            f"{target}: Google refuses the service account; check its key file"
        ) from error
    for item in shipment.changed:
        shipment.sent(item, None)


def _client(options: GsheetsExport) -> gspread.Client:
    import gspread

    given = options.service_account_file
    path = Path(given).expanduser() if given else None
    try:
        return gspread.service_account(path) if path else gspread.service_account()
    except FileNotFoundError as error:
        raise ExportFailed(
            f"there is no key file {path or gspread.auth.DEFAULT_SERVICE_ACCOUNT_FILENAME}; "
            "export.gsheets.service_account_file is its path"
        ) from error
    except (ValueError, KeyError) as error:
        raise ExportFailed(f"{path or 'the key file'} is no service account's key file") from error


def _open(
    client: gspread.Client, shipment: Shipment, options: GsheetsExport
) -> gspread.Spreadsheet:
    import gspread

    if options.spreadsheet_id:
        try:
            return client.open_by_key(options.spreadsheet_id)
        except (gspread.SpreadsheetNotFound, PermissionError) as error:
            raise ExportFailed(
                f"there is no spreadsheet {options.spreadsheet_id}, or it is not shared with the "
                "service account; share it with the account's address as an editor"
            ) from error
    try:
        return client.open(options.spreadsheet_name)
    except gspread.SpreadsheetNotFound:
        made = client.create(options.spreadsheet_name)
        shipment.notes.append(
            f"made the spreadsheet {options.spreadsheet_name}; only the service account sees it "
            "until you share it: " + made.url
        )
        return made


def _refused(error: gspread.exceptions.APIError, target: str) -> str:
    if error.code in (401, 403):
        return f"{target} refuses the service account; share it with the account as an editor"
    if error.code == 429:
        return f"{target}: Google's limit of requests is reached; try again in a minute"
    return f"{target}: Google says {error.code}: {str(error.error.get('message', ''))[:200]}"


def _row(item: Item, options: GsheetsExport) -> Row:
    values = (item.model, item.label, item.invocation_id, item.job_id, item.executor)
    # The task has a column of its own; without it in their names, scores share columns.
    scores = {
        name.removeprefix(f"{item.label}_"): value for name, value in item.metrics(options).items()
    }
    return {**dict(zip(BASE, values, strict=True)), TIMESTAMP: item.finished, **scores}


def _append(sheet: gspread.Worksheet, rows: list[Row]) -> None:
    from gspread.utils import ValueInputOption, ValueRenderOption

    values = sheet.get_values(value_render_option=ValueRenderOption.unformatted)
    headings = [str(cell) for cell in values[0]] if values else []
    there = [dict(zip(headings, line, strict=False)) for line in values[1:]]
    new = [row for row in rows if not any(_says(line, row) for line in there)]
    if not new:
        return
    wanted = list(dict.fromkeys(name for row in new for name in row))
    headings = _with_columns(sheet, headings, wanted)
    answer = sheet.append_rows(
        [_line(row, headings) for row in new],
        value_input_option=ValueInputOption.raw,
        insert_data_option="INSERT_ROWS",  # type: ignore[arg-type]
        table_range="A1",
    )
    first = _first_row(answer["updates"]["updatedRange"])
    for _ in range(TRIES):
        seen = _headings(sheet)
        if seen == headings:
            return
        headings = seen
        _write_again(sheet, first, new, headings)
    raise ExportFailed("the spreadsheet's columns keep changing; look at its last rows")


def _says(line: dict[str, Any], row: Row) -> bool:
    """Whether a line of the sheet holds this row."""
    return all(_same(line.get(name, ""), value) for name, value in row.items())


def _same(cell: Any, value: str | float) -> bool:
    """Sheets gives 0 back for 0.0, and the last digits of a number may differ."""
    if isinstance(value, str):
        return str(cell) == value
    try:
        return math.isclose(float(cell), value, rel_tol=1e-9)
    except (TypeError, ValueError):
        return False


def _headings(sheet: gspread.Worksheet) -> list[str]:
    return [str(cell) for cell in sheet.row_values(1)]


def _with_columns(sheet: gspread.Worksheet, headings: list[str], wanted: list[str]) -> list[str]:
    """The headings, after inserting the columns that are missing."""
    import gspread

    for number in range(TRIES):
        missing = [name for name in wanted if name not in headings]
        if not missing:
            break
        # A name may be left over from a column that a person has deleted: at last without names.
        named = number < TRIES - 1
        try:
            sheet.spreadsheet.batch_update(
                {"requests": _insertion(sheet.id, len(headings), missing, named)}
            )
        except gspread.exceptions.APIError as error:
            if error.code != 400 or not named:
                raise
        headings = _headings(sheet)
    return headings


def _insertion(sheet_id: int, at: int, names: list[str], named: bool) -> list[dict[str, Any]]:
    """One request, done as a whole or not at all: columns, their headings, their names."""
    columns = {"sheetId": sheet_id, "startColumnIndex": at, "endColumnIndex": at + len(names)}
    span = {
        "sheetId": sheet_id,
        "dimension": "COLUMNS",
        "startIndex": at,
        "endIndex": at + len(names),
    }
    cells = [{"userEnteredValue": {"stringValue": name}} for name in names]
    requests: list[dict[str, Any]] = [
        {"insertDimension": {"range": span, "inheritFromBefore": False}},
        {
            "updateCells": {
                "range": {**columns, "startRowIndex": 0, "endRowIndex": 1},
                "rows": [{"values": cells}],
                "fields": "userEnteredValue",
            }
        },
    ]
    for number, name in enumerate(names if named else []):
        column = {"startColumnIndex": at + number, "endColumnIndex": at + number + 1}
        named_range = {"name": _range_name(name), "range": {**columns, **column}}
        requests.append({"addNamedRange": {"namedRange": named_range}})
    return requests


def _range_name(heading: str) -> str:
    """Letters, digits and underscores are all that a range's name may have."""
    plain = re.sub(r"[^A-Za-z0-9]", "_", heading)[:150]
    mark = hashlib.sha256(heading.encode()).hexdigest()[:8]
    return f"snakeval_{plain}_{mark}"


def _line(row: Row, headings: list[str]) -> list[str | float]:
    """Values in the order of the headings; of columns with the same heading, the first."""
    seen: set[str] = set()
    line: list[str | float] = []
    for name in headings:
        line.append("" if name in seen else row.get(name, ""))
        seen.add(name)
    return line


def _first_row(updated: str) -> int:
    found = re.search(r"![A-Z]+(\d+)", updated)
    if not found:
        raise ExportFailed(f"Google's answer names no row: {updated}")
    return int(found.group(1))


def _write_again(
    sheet: gspread.Worksheet, first: int, rows: list[Row], headings: list[str]
) -> None:
    """Rows just appended, under headings that have changed meanwhile."""
    from gspread.utils import ValueInputOption

    sheet.update(
        [_line(row, headings) for row in rows],
        f"A{first}",
        value_input_option=ValueInputOption.raw,
    )
