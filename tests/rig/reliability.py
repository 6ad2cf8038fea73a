"""Figures of the long form, kept in docs/reliability.md: a row for each that has run."""

from __future__ import annotations

import datetime
import os
import platform
from pathlib import Path

from rig.docker_engine import locked

PAGE = Path(__file__).parents[2] / "docs" / "reliability.md"
BEGIN = "<!-- written by `make test-long`: begin -->"
END = "<!-- written by `make test-long`: end -->"
HEAD = "| what | seen | on |\n|---|---|---|\n"


def note(what: str, seen: str, page: Path = PAGE) -> None:
    """Prints a figure, and puts it in the place of the former one of that name on the page."""
    print(f"\n{what}: {seen}", flush=True)
    today = datetime.datetime.now(datetime.UTC).date()
    row = f"| {what} | {seen} | {today}, {os.cpu_count()} cores, {platform.system()} |"
    with locked("reliability"):
        before, _, rest = page.read_text().partition(BEGIN)
        written, _, after = rest.partition(END)
        rows = {line.split(" | ")[0]: line for line in written.splitlines()[3:] if line}
        rows[row.split(" | ")[0]] = row
        table = HEAD + "\n".join(rows[name] for name in sorted(rows))
        page.write_text(f"{before}{BEGIN}\n{table}\n{END}{after}")
