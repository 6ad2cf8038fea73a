"""Writes `<run>/results/report.html`: the page first, then the samples, block by block.

Everything is in the one file: it opens without a network. Jinja escapes every value; what models
said reaches the page as text only.
"""

from __future__ import annotations

import os
from pathlib import Path

from snakeval import __version__
from snakeval.compare.table import p_value
from snakeval.job.files import now
from snakeval.plan.run import Run
from snakeval.report.figures import figures, provenance
from snakeval.report.samples import blocks
from snakeval.report.self_contained import asset, assets, environment
from snakeval.results.costs import money
from snakeval.results.samples import members, write_samples
from snakeval.results.tables import bring_up_to_date, write_tables
from snakeval.runs.status_table import duration

ROWS_AT_FIRST = 8
"""Scores of one benchmark that stand open; the parts of a large group are folded away."""


def written(run: Run) -> dict[str, Path]:
    """The page and the table of a run, written now, over what is published: for Snakemake's report.

    The tables' stamp stays what it is: they show the same, or what is there so far.
    """
    write_tables(run, run.members)
    return {"report": write_report(run), "table": run.paths.results_csv}


def write_report(run: Run) -> Path:
    """Writes the page of a run, with what is published now; returns its path."""
    bring_up_to_date(run)
    notes = {name: member.note for name, member in write_samples(run).items() if member.note}
    found = figures(run)
    pages = environment()
    pages.filters.update(duration=duration, p_value=p_value, money=money)
    page = pages.from_string(asset(__package__, "page.html")).render(
        found=found,
        provenance=list(provenance(found)),
        sampled=[name for name, member in members(run.paths.samples).items() if member.rows],
        sample_notes=notes,
        labels=run.labels,
        rows_at_first=ROWS_AT_FIRST,
        **assets(__package__),
        written=now(),
        version=__version__,
    )
    before, after = page.split("<!-- samples -->")
    path = run.paths.report
    path.parent.mkdir(parents=True, exist_ok=True)
    unfinished = path.with_name(f".{path.name}.{os.getpid()}")
    element = pages.from_string(
        '<script type="text/plain" class="samples" data-task="{{ label }}" data-count="{{ count }}"'
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
