"""Files: the launcher's JSON and wide CSV, tidy CSV and Parquet, Every Eval Ever, artifacts.

The shapes of the first two are those of the NeMo Evaluator Launcher's local export, so that what
reads those files goes on working. All summaries show what is published now; a folder of artifacts
is copied anew when its result is new.
"""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from snakeval.config.export import LocalExport
from snakeval.export import every_eval_ever
from snakeval.export.items import Item, score_name
from snakeval.export.shipment import ExportFailed, Shipment
from snakeval.job.files import now, write_atomically
from snakeval.plan.run import Run
from snakeval.results.cells import as_csv
from snakeval.results.tables import COLUMNS, as_table

WIDE = ("Model Name", "Harness", "Task Name", "Executor", "Container", "Invocation ID", "Job ID")


def target(run: Run, options: LocalExport) -> str:
    """The folder; what lies in the run folder is named relative to it, as the run may move."""
    if options.output_dir is None:
        return "exports/local"
    return str(Path(options.output_dir).expanduser() / run.paths.id)


def folder_of(run: Run, target: str) -> Path:
    return run.paths.dir / target if target == "exports/local" else Path(target)


def send(shipment: Shipment, options: LocalExport, target: str) -> None:
    """Writes everything that has changed. Raises ExportFailed where the folder cannot be used."""
    folder = folder_of(shipment.run, target)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        for item in shipment.changed:
            _copy_files(shipment, item, options, folder)
        for name in shipment.gone:
            for kind in ("artifacts", "logs"):
                shutil.rmtree(folder / name / kind, ignore_errors=True)
        _write_summaries(folder, shipment.items, options)
        every_eval_ever.write(folder / "every_eval_ever", shipment.items, options)
    except OSError as error:
        raise ExportFailed(f"{folder} cannot be written: {error.strerror or error}") from error
    for item in shipment.changed:
        shipment.sent(item, None)


def _copy_files(shipment: Shipment, item: Item, options: LocalExport, folder: Path) -> None:
    for kind in ("artifacts", "logs"):
        shutil.rmtree(folder / item.name / kind, ignore_errors=True)
    for path, relative in shipment.files(item, options, by_default=False):
        copied = folder / item.name / relative
        copied.parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(path, copied)


def _write_summaries(folder: Path, items: list[Item], options: LocalExport) -> None:
    summaries = {"json": _json(items, options), "csv": _wide_csv(items, options)}
    for kind, text in summaries.items():
        write_atomically(folder / f"results.{kind}", text)
    if options.format:
        name = options.output_filename or f"processed_results.{options.format}"
        write_atomically(folder / name, summaries[options.format])
    rows = [row for item in items for row in _wanted(item, options)]
    write_atomically(folder / "results_tidy.csv", as_csv(COLUMNS, rows))
    tidy = as_table(rows)
    unfinished = folder / ".results_tidy.parquet"
    tidy.to_parquet(unfinished, index=False)
    unfinished.replace(folder / "results_tidy.parquet")


def _wanted(item: Item, options: LocalExport) -> list[dict[str, Any]]:
    names = item.metrics(options)
    return [row for row in item.rows if score_name(row) in names]


def _json(items: list[Item], options: LocalExport) -> str:
    benchmarks: dict[str, Any] = {
        item.name: {
            "models": {
                item.model: [
                    {
                        "invocation_id": item.invocation_id,
                        "job_id": item.job_id,
                        "harness": item.harness,
                        "container": item.image,
                        **({"label": item.label} if item.has_own_label else {}),
                        "scores": item.metrics(options),
                        **({"used": item.used} if item.used else {}),
                        "timestamp": item.finished,
                        "executor": item.executor,
                    }
                ]
            }
        }
        for item in items
    }
    content = {"export_timestamp": now(), "benchmarks": benchmarks}
    return json.dumps(content, indent=1) + "\n"


def _wide_csv(items: list[Item], options: LocalExport) -> str:
    scores = {item.name: item.metrics(options) for item in items}
    names = list(dict.fromkeys(name for found in scores.values() for name in found))
    return as_csv([*WIDE, *names], [{**identity(item), **scores[item.name]} for item in items])


def identity(item: Item) -> dict[str, str]:
    """The columns that say what a row of scores is about."""
    values = (
        item.model,
        item.harness,
        item.label,
        item.executor,
        item.image or "",
        item.invocation_id,
        item.job_id,
    )
    return dict(zip(WIDE, values, strict=True))
