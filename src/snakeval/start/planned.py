"""The runs of a start: planned from the config, or those that this process continues."""

from __future__ import annotations

import os
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from snakeval.errors import InputError
from snakeval.plan.make import DRIVES, continued, plan
from snakeval.plan.run import Run
from snakeval.run_folder.layout import from_here
from snakeval.start import checks, met_again
from snakeval.start import snakemake_internals as snakemake


def planned(files: Sequence[Path], values: Mapping[str, Any], catalogue: Path) -> tuple[Run, ...]:
    """Raises InputError with everything that is wrong.

    values  of `--config`
    """
    driven = os.environ.pop(DRIVES, "")  # what this process starts is no controller
    folders = [from_here(Path(folder)) for folder in driven.split(":") if folder]
    runs = continued(folders, values, catalogue) if folders else plan(files, values, catalogue)
    if problems := [each for run in runs for each in checks.recipes(run.tasks)]:
        raise InputError(list(dict.fromkeys(problems)))
    for sentence in met_again.take_over(runs):
        snakemake.log().warning(sentence)
    return runs
