"""The stamp of a run's automatic export: its name says what was sent where to.

Cheap to import: it is asked while the Snakefile is parsed.
"""

from __future__ import annotations

from snakeval.job.files import now, write_atomically
from snakeval.plan.identity import digest
from snakeval.plan.run import Run


def stamp(run: Run) -> str:
    """Digest of what a run's automatic export sends, and where to and how."""
    names = run.config.execution.auto_export.destinations
    options = {name: getattr(run.config.export, name).as_sent() for name in names}
    return digest({"members": run.members, "options": options})


def write_stamp(run: Run, name: str) -> None:
    """Says that all destinations have got all of it."""
    made = run.paths.exports_stamp(name)
    for other in made.parent.glob("of-*"):
        if other.name.partition(".")[0] != made.name:
            other.unlink(missing_ok=True)
    made.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(made, now() + "\n")
