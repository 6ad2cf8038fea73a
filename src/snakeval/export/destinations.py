"""Which destinations there are, what each of them has not got yet, and the round over them.

A destination that fails is told in one sentence and keeps no other from getting its results.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from snakeval.config.export import DESTINATIONS
from snakeval.config.model import Config
from snakeval.errors import InputError, Problem, count
from snakeval.export import gsheets, local, mlflow, wandb
from snakeval.export.items import Item, items
from snakeval.export.receipts import Receipts
from snakeval.export.shipment import ExportFailed, Shipment
from snakeval.plan.run import Run
from snakeval.results.tables import bring_up_to_date


@dataclass(frozen=True)
class Outcome:
    """What has become of one run at one destination; `failed` is the reason."""

    destination: str
    target: str
    sent: int
    published: int
    failed: str | None = None
    notes: tuple[str, ...] = ()

    def __str__(self) -> str:
        said = f"{self.destination}: {self.sent} new or changed"
        if self.failed:
            return f"{said}, then failed: {self.failed}"
        return f"{said}, {count(self.published, 'benchmark')} at {self.target}"


_SENDERS: dict[str, tuple[Callable[[Run, Any], str], Callable[[Shipment, Any, str], None]]] = {
    "local": (local.target, local.send),
    "mlflow": (mlflow.target, mlflow.send),
    "wandb": (wandb.target, wandb.send),
    "gsheets": (gsheets.target, gsheets.send),
}
"""Where a run goes to there (part of the receipts; raises ExportFailed), and the sending."""


def destinations_of(config: Config) -> list[str]:
    """The destinations that a config names, in any of the two places; else the local one."""
    named = {*config.execution.auto_export.destinations, *config.export.model_fields_set}
    return [name for name in DESTINATIONS if name in named] or ["local"]


def environment(config: Config) -> dict[str, str]:
    """Variables that `export.env_vars` give the destinations' clients. Raises InputError for one
    that this machine does not have."""
    found, problems = {}, []
    for name, source in config.export.env_vars.items():
        value = os.environ.get(source.variable) if source.variable else source.text
        if value is None:
            problems.append(
                Problem(
                    f"export.env_vars.{name}",
                    f"the variable {source.variable} is not set",
                    f"export {source.variable}=..., or take it out of export.env_vars",
                )
            )
        else:
            found[name] = value
    if problems:
        raise InputError(problems)
    return found


def export_run(run: Run, config: Config, names: Sequence[str]) -> list[Outcome]:
    """Sends what is published of a run; one outcome per destination."""
    os.environ.update(environment(config))
    bring_up_to_date(run)
    found = items(run)
    return [_export(run, found, name, getattr(config.export, name)) for name in names]


def _export(run: Run, found: list[Item], name: str, options: Any) -> Outcome:
    target_of, send = _SENDERS[name]
    target, failed = "", None
    sent: list[str] = []
    notes: list[str] = []
    try:
        target = target_of(run, options)
        receipts = Receipts(run.paths, name)
        with receipts.alone():
            shipment = _shipment(run, found, receipts, options, target, sent, notes)
            if shipment.changed or shipment.gone:
                send(shipment, options, target)
    except ExportFailed as error:
        failed = str(error)
    except Exception as error:  # a client's own surprise must not hide the other destinations
        failed = f"{type(error).__name__}: {_first_line(error)}"
    return Outcome(name, target, len(sent), len(found), failed, tuple(notes))


def _shipment(
    run: Run,
    found: list[Item],
    receipts: Receipts,
    options: Any,
    target: str,
    sent: list[str],
    notes: list[str],
) -> Shipment:
    """What is to be sent; whatever has arrived gets its receipt, and its name into `sent`."""
    digests = {item.name: item.digest(options, target) for item in found}

    def record(item: Item, reference: str | None) -> None:
        receipts.write(item.name, digests[item.name], target, reference)
        sent.append(item.name)

    changed = [item for item in found if receipts.digest(item.name) != digests[item.name]]
    return Shipment(run, found, changed, receipts.drop_others(digests), record, notes)


def _first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return lines[0][:300] if lines else "no reason given"
