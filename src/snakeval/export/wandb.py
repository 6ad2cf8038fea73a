"""Weights & Biases: a run per benchmark, or one for all benchmarks of a run folder.

Ids are made of the run folder's name and the task's, so that sending again continues the same run.
`WANDB_MODE=offline` writes the client's files into `exports/wandb` of the run folder, to be sent
later with `wandb sync`.
"""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from snakeval import __version__
from snakeval.config.export import WandbExport
from snakeval.config.secrets import without
from snakeval.export.items import UNCERTAINTY, Item, around, run_name
from snakeval.export.shipment import ExportFailed, Shipment, missing_package
from snakeval.job.files import read_json
from snakeval.plan.run import Run
from snakeval.results.steps import step_of

if TYPE_CHECKING:
    import wandb

ARTIFACT_TYPE = "evaluation_result"
PER_TASK, MULTI_TASK = "per_task", "multi_task"
STEP = "training_step"
NAME_LENGTH = 128
PATIENCE = 60.0
"""Seconds until a server that does not answer is told."""


def target(run: Run, options: WandbExport) -> str:
    where = f"{options.entity}/{options.project}" if options.entity else options.project
    before = f"W&B {where}, {PER_TASK}"
    receipts = sorted(run.paths.exports("wandb").glob("*.json"))
    was_sent = any(read_json(path).get("to") == before for path in receipts)
    return f"W&B {where}, {options.log_mode or (PER_TASK if was_sent else MULTI_TASK)}"


def send(shipment: Shipment, options: WandbExport, target: str) -> None:
    """Makes or continues the runs of the changed items. Raises ExportFailed."""
    try:
        import wandb
        from wandb.errors import Error
    except ImportError as error:
        raise missing_package("wandb") from error
    groups = (
        [[item] for item in shipment.changed] if target.endswith(PER_TASK) else [shipment.changed]
    )
    shipment.leave_gone("what W&B has of it")
    try:
        for group in filter(None, groups):
            run_id = _send_run(shipment, group, options, target.endswith(PER_TASK))
            for item in group:
                shipment.sent(item, run_id)
    except (Error, OSError) as error:
        raise ExportFailed(_reason(error, target)) from error
    finally:
        wandb.teardown()


def _reason(error: Exception, target: str) -> str:
    text = str(error)
    if re.search(r"api_key|API key|login|\b40[13]\b|permission", text, re.IGNORECASE):
        return f"{target} refuses the credentials; set WANDB_API_KEY (or WANDB_MODE=offline)"
    if re.search(r"timed out|timeout|connect|reach", text, re.IGNORECASE):
        return f"{target} does not answer; start the same command again when it does"
    return text.strip().splitlines()[0][:300] if text.strip() else type(error).__name__


def _send_run(shipment: Shipment, items: list[Item], options: WandbExport, per_task: bool) -> str:
    import wandb

    step, series = step_of(shipment.run)
    training = series.rpartition("-")[0] if step is not None and not per_task else None
    invocation = shipment.run.paths.id
    name = f"{invocation}-{items[0].name}" if per_task else invocation
    run_id = _id(name if per_task else options.run_id or name)
    folder = shipment.run.paths.exports("wandb")
    folder.mkdir(parents=True, exist_ok=True)
    config = {
        "invocation_id": invocation,
        "executor": ", ".join(sorted({item.executor for item in items})),
        "model": items[0].model,
        **(_of_one(items[0]) if per_task else _of_all(shipment, step, training)),
        **options.extra_metadata,
    }
    config = without(config, shipment.run.secrets)
    with wandb.init(
        entity=options.entity,
        project=options.project,
        id=run_id,
        resume="allow",
        name=options.name or (f"eval-{name}" if per_task else run_name(shipment.run)),
        group=options.group or training or invocation,
        job_type=options.job_type,
        tags=options.tags or None,
        notes=options.description,
        dir=os.environ.get("WANDB_DIR") or folder,
        reinit="finish_previous",
        # No output of ours, no look at this machine, its code or its git: only what is sent below.
        settings=wandb.Settings(
            console="off",
            silent=True,
            disable_code=True,
            disable_git=True,
            disable_job_creation=True,
            x_save_requirements=False,
            save_code=False,
            init_timeout=PATIENCE,
            x_disable_meta=True,
            x_disable_stats=True,
            x_disable_machine_info=True,
        ),
    ) as run:
        run.config.update(config, allow_val_change=True)  # type: ignore[no-untyped-call]
        if step is not None and not per_task:  # the axis on which checkpoints are compared
            run.define_metric("*", step_metric=STEP)
        run.log(
            {
                **({STEP: step} if step is not None and not per_task else {}),
                **{
                    name: value
                    for item in items
                    for name, value in _metrics(item, options, per_task)
                },
            }
        )
        for item in items:
            _log_artifact(run, shipment, item, options)
    return run_id


def _of_one(item: Item) -> dict[str, Any]:
    return {
        "job_id": item.job_id,
        "harness": item.harness,
        "benchmark": item.name,
        **({"label": item.label} if item.has_own_label else {}),
        "image": item.image,
        "spec_digest": item.task.digest,
        "timestamp": item.finished,
        "used": item.used,
    }


def _metrics(item: Item, options: WandbExport, per_task: bool) -> Iterator[tuple[str, float]]:
    """Scores; in a run per model also how sure they are."""
    wanted = item.metrics(options)
    yield from wanted.items()
    for name, row in item.rows_by_name.items() if not per_task else ():
        if name in wanted:
            for what, value in around(item, row).items():
                yield f"{UNCERTAINTY}/{name}_{what}", value


def _of_all(shipment: Shipment, step: int | None, training: str | None) -> dict[str, Any]:
    items = shipment.items
    return {
        "name": shipment.run.config.name,
        "step": step,
        "training": training,
        "endpoint_type": shipment.run.identity["endpoint_type"],
        "params": shipment.run.identity["params"],
        "deployment": shipment.run.identity.get("deployment"),
        "snakeval": __version__,
        "specs": {item.name: item.task.digest for item in items},
        "images": {item.name: item.image for item in items},
        "benchmarks": [item.label for item in items],
        "harnesses": sorted({item.harness for item in items}),
    }


def _log_artifact(run: wandb.Run, shipment: Shipment, item: Item, options: WandbExport) -> None:
    import wandb

    files = shipment.files(item, options, by_default=True)
    if options.copy_artifacts is False and not files:
        return
    artifact = wandb.Artifact(
        _id(f"{item.invocation_id}_{item.name}"),
        ARTIFACT_TYPE,
        description="Evaluation results",
        metadata={"invocation_id": item.invocation_id, **_of_one(item)},
    )
    root = f"{item.harness}.{item.name}"
    if options.copy_artifacts is not False and item.run.paths.config.exists():
        artifact.add_file(str(item.run.paths.config), f"{root}/config.yaml")
    for path, relative in files:
        artifact.add_file(str(path), f"{root}/{relative}")
    run.log_artifact(artifact)


def _id(text: str) -> str:
    """A name that W&B takes for runs and artifacts; no two texts share one that was changed for
    its script or cut."""
    name = re.sub(r"[^A-Za-z0-9_.-]", "_", text)
    if text.isascii() and len(name) <= NAME_LENGTH:
        return name
    mark = hashlib.sha256(text.encode()).hexdigest()[:8]
    return f"{name[: NAME_LENGTH - 9]}_{mark}"
