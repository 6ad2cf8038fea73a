"""Writes `<run>/results/report.html`: the page first, then the samples, block by block.

Everything is in the one file: it opens without a network. Jinja escapes every value; what models
said reaches the page as text only.
"""

from __future__ import annotations

import base64
import hashlib
import os
from importlib.resources import files
from pathlib import Path
from typing import Any

from snakeval import __version__
from snakeval.compare.table import p_value
from snakeval.job.files import now
from snakeval.job.text import plain
from snakeval.plan.run import Run
from snakeval.report.figures import figures, provenance
from snakeval.report.samples import blocks
from snakeval.results.costs import money
from snakeval.results.samples import members, write_samples
from snakeval.results.tables import bring_up_to_date, write_tables
from snakeval.runs.status_table import duration

ROWS_AT_FIRST = 8
"""Scores of one benchmark that stand open; the parts of a large group are folded away."""


POLICY = (
    "default-src 'none'; script-src 'sha256-{js}'; style-src 'sha256-{css}'; img-src data:; "
    "base-uri 'none'; form-action 'none'"
)
"""The page's own script and style run and nothing else, even if something else came in."""


def written(run: Run) -> dict[str, Path]:
    """The page and the table of a run, written now, over what is published: for Snakemake's report.

    The tables' stamp stays what it is: they show the same, or what is there so far.
    """
    write_tables(run, run.members)
    return {"report": write_report(run), "table": run.paths.results_csv}


def write_report(run: Run) -> Path:
    """Writes the page of a run, with what is published now; returns its path."""
    from jinja2 import Environment, StrictUndefined

    bring_up_to_date(run)
    notes = {name: member.note for name, member in write_samples(run).items() if member.note}
    found = figures(run)
    environment = Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_as_text,
    )
    environment.filters.update(
        number=number, signed=signed, whole=whole, duration=duration, p_value=p_value, money=money
    )
    page = environment.from_string(_asset("page.html")).render(
        found=found,
        provenance=list(provenance(found)),
        sampled=[name for name, member in members(run.paths.samples).items() if member.rows],
        sample_notes=notes,
        rows_at_first=ROWS_AT_FIRST,
        css=_asset("page.css"),
        js=_asset("page.js"),
        policy=POLICY.format(css=_hash(_asset("page.css")), js=_hash(_asset("page.js"))),
        written=now(),
        version=__version__,
    )
    before, after = page.split("<!-- samples -->")
    path = run.paths.report
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    element = environment.from_string(
        '<script type="text/plain" class="samples" data-task="{{ task }}" data-count="{{ count }}"'
        ' data-left-out="{{ left_out }}">'
    )
    try:
        with unfinished.open("w", encoding="utf-8") as file:
            file.write(before)
            for block in blocks(run):
                file.write(element.render(vars(block)))
                file.write(block.text)
                file.write("</script>\n")
            file.write(after)
        unfinished.replace(path)
    finally:
        unfinished.unlink(missing_ok=True)
    return path


def _as_text(value: Any) -> Any:
    """Without control characters and halves of characters, which a page cannot hold."""
    return plain(value) if type(value) is str else value


def _hash(text: str) -> str:
    return base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()


def _asset(name: str) -> str:
    return files("snakeval.report").joinpath(name).read_text(encoding="utf-8")


def number(value: float) -> str:
    """Three decimals for shares, fewer for larger numbers."""
    size = abs(value)
    return f"{value:.3f}" if size < 10 else f"{value:.1f}" if size < 1000 else f"{value:,.0f}"


def signed(value: float) -> str:
    return ("+" if value > 0 else "\u2212" if value < 0 else "") + number(abs(value))


def whole(value: Any) -> str:
    return "\u2013" if value is None else f"{value:,.0f}"
