"""`export`: where results are sent, one model per destination.

The keys are those of the NeMo Evaluator Launcher; keys of our own say so. No key holds a secret:
credentials are in the environment, or in the file that a destination's own client reads.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal
from urllib.parse import urlsplit

from pydantic import AfterValidator, AliasChoices, BeforeValidator, Field

from snakeval.config.sections import (
    EnvVars,
    Free,
    HostPath,
    InsidePath,
    Instead,
    Names,
    Positive,
    Script,
    Section,
    empty_if_null,
    fixable,
)
from snakeval.errors import nearest

DESTINATIONS = ("local", "mlflow", "wandb", "gsheets")


def _check_destinations(value: list[str]) -> list[str]:
    for name in value:
        if name not in DESTINATIONS:
            raise fixable(f"there is no destination '{name}'", nearest(name, list(DESTINATIONS)))
    return value


Destinations = Annotated[Names, AfterValidator(_check_destinations)]


def _check_uri(value: str | None) -> str | None:
    try:
        urlsplit(value or "")
    except ValueError:
        raise fixable("is not a URI", "write it as https://host, or sqlite:////a/file.db") from None
    return value


LATER = ("layout", "exclude_patterns")
"""Keys that came after version 0.1.0; null or empty by default."""


class Destination(Section):
    """What all destinations share."""

    copy_logs: bool = Field(
        False,
        validation_alias=AliasChoices("copy_logs", "log_logs"),
        description="Also send the logs of the attempts.",
    )
    copy_artifacts: bool | None = Field(
        None,
        validation_alias=AliasChoices("copy_artifacts", "log_artifacts"),
        description="Also send files of the work folder; null: yes where they would not be at "
        "hand otherwise (mlflow, wandb).",
    )
    only_required: bool = Field(
        True,
        description="Of the files, only results and totals; false: everything but caches, "
        "databases, locks and secrets.",
    )
    exclude_patterns: Names = Field(
        default_factory=list,
        description="Files and folders that stay, by patterns of their names (`*.jsonl`).",
    )
    log_metrics: Names = Field(
        default_factory=list,
        description="Send only scores whose name contains one of these texts; empty: all.",
    )

    def as_sent(self) -> dict[str, Any]:
        """What receipts are about: without keys that came later and are not given, so that what an
        earlier version has sent is not sent again."""
        return self.model_dump(exclude={name for name in LATER if not getattr(self, name, None)})


class LocalExport(Destination):
    """Files on this machine."""

    output_dir: HostPath | None = Field(
        None,
        description="Folder in which each run gets one of its own; null: exports/local in the run "
        "folder.",
    )
    format: Literal["json", "csv"] | None = Field(
        None, description="Also write the summary in this format under output_filename."
    )
    output_filename: InsidePath | None = Field(
        None, description="Name of that summary; null: processed_results.json or .csv."
    )


class MlflowExport(Destination):
    """An MLflow tracking server, or a database file."""

    tracking_uri: Annotated[
        str | None,
        AfterValidator(_check_uri),
        Instead(
            "put the URI into a variable and write the variable's name, or use "
            "MLFLOW_TRACKING_USERNAME and MLFLOW_TRACKING_PASSWORD, or MLFLOW_TRACKING_TOKEN"
        ),
    ] = Field(
        None,
        description="URI, or the name of a variable that holds it; null: the variable "
        "MLFLOW_TRACKING_URI, else a database mlflow.db in the output folder.",
    )
    experiment_name: str = Field("nemo-evaluator-launcher", description="The experiment.")
    layout: Literal["model", "task"] | None = Field(
        None,
        description="model: a run per model with all its scores; task: a run per benchmark, as the "
        "launcher's (ours). null: model, but task for a run folder that was sent so before.",
    )
    run_name: str | None = Field(
        None,
        description="Name of every run; null: model and time, or eval-<run>-<task>.",
    )
    description: Script = Field(None, description="Description of every run.")
    tags: Annotated[dict[str, str], BeforeValidator(empty_if_null)] = Field(
        default_factory=dict, description="Further tags."
    )
    extra_metadata: Free = Field(default_factory=dict, description="Further parameters.")
    log_config_params: bool = Field(False, description="Send the config as parameters too.")
    log_config_params_max_depth: Positive = Field(
        10, description="How deep the config is taken apart for that."
    )
    skip_existing: bool = Field(
        False, description="Leave a run alone that is there already; false: update it."
    )
    nested: bool = Field(
        False, description="Also a run per benchmark, below the one of the run folder (ours)."
    )


class WandbExport(Destination):
    """Weights & Biases."""

    entity: str | None = Field(None, description="User or team; null: the client's own default.")
    project: str = Field("nemo-evaluator-launcher", description="The project.")
    log_mode: Literal["per_task", "multi_task"] | None = Field(
        None,
        description="A run per benchmark, or one for all benchmarks of a run folder. null: "
        "multi_task, but per_task for a run folder that was sent so before.",
    )
    name: str | None = Field(
        None, description="Name of the run; null: model and time, or eval-<run>-<task>."
    )
    group: str | None = Field(
        None,
        description="Group of the runs; null: the training of a checkpoint, else the run folder.",
    )
    job_type: str = Field("evaluation", description="W&B's job type.")
    tags: Names = Field(default_factory=list, description="Tags.")
    description: Script = Field(None, description="Notes.")
    extra_metadata: Free = Field(
        default_factory=dict, description="Further entries of the run's config."
    )
    run_id: str | None = Field(
        None, description="multi_task: the run's id; null: the run folder's name."
    )

    def as_sent(self) -> dict[str, Any]:
        return {**super().as_sent(), "log_mode": self.log_mode or "per_task"}


class GsheetsExport(Destination):
    """A Google spreadsheet."""

    service_account_file: HostPath | None = Field(
        None,
        description="Path of the service account's key file; null: where gspread looks for it.",
    )
    spreadsheet_id: str | None = Field(None, description="The id in the spreadsheet's URL.")
    spreadsheet_name: str = Field(
        "NV-Eval Results", description="Its name, where there is no id; made if there is none."
    )


class Export(Section):
    """Where results are sent; a destination that is named here is one of `export_all`."""

    local: Annotated[LocalExport, BeforeValidator(empty_if_null)] = Field(
        default_factory=LocalExport, description="Files."
    )
    mlflow: Annotated[MlflowExport, BeforeValidator(empty_if_null)] = Field(
        default_factory=MlflowExport, description="MLflow."
    )
    wandb: Annotated[WandbExport, BeforeValidator(empty_if_null)] = Field(
        default_factory=WandbExport, description="Weights & Biases."
    )
    gsheets: Annotated[GsheetsExport, BeforeValidator(empty_if_null)] = Field(
        default_factory=GsheetsExport, description="Google Sheets."
    )
    env_vars: EnvVars = Field(default_factory=dict, description="Variables of the exports.")
