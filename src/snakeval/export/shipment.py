"""What a destination is handed, and how it says what has become of it."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

from snakeval.config.export import Destination
from snakeval.export import files
from snakeval.export.items import Item
from snakeval.plan.run import Run


class ExportFailed(Exception):
    """A destination cannot take what is sent: what is wrong, and what to do, in one sentence."""


def missing_package(name: str, extra: str | None = None) -> ExportFailed:
    """A destination's own client is not here; the extra (of the same name) brings it."""
    extra = extra or name
    return ExportFailed(f"the package {name} is not installed: pip install -e '.[{extra}]'")


@dataclass
class Shipment:
    """What one destination has to be told of one run.

    items    every published task
    changed  those of them that it has not got, or not as they are now
    gone     names of tasks that it got and that are no longer published
    sent     called as soon as it has an item for good, with what it calls it: the receipt
    notes    sentences for the person who waits
    """

    run: Run
    items: list[Item]
    changed: list[Item]
    gone: list[str]
    sent: Callable[[Item, str | None], None]
    notes: list[str] = field(default_factory=list)

    def leave_gone(self, what: str) -> None:
        """Says that nothing is taken away for a benchmark that is no longer published."""
        self.notes.extend(f"{name}: no longer published; {what} stays" for name in self.gone)

    def files(self, item: Item, options: Destination, by_default: bool) -> list[tuple[Path, str]]:
        """Artifacts and logs of an item that may go, below `artifacts/` and `logs/`."""
        found = [
            *(
                (path, f"artifacts/{name}")
                for path, name in files.artifacts(item, options, by_default)
            ),
            *((path, f"logs/{name}") for path, name in files.logs(item, options)),
        ]
        clean, held_back = files.without_secrets(item, found)
        if held_back:
            self.notes.append(
                f"{item.label}: not exported, because the value of a variable is in it: "
                + ", ".join(held_back)
            )
        return clean
