"""What makes two runs, or two tasks, the same: digests over a canonical form.

A task's digest is over what decides its result; it is part of the path of what the task publishes,
so that "skip what exists" is the whole truth about what must run. A run's id ends in a digest of
the run's identity. Both digests have a version in their canonical form: a changed form gets a new
version, and `tests/unit/test_plan.py` holds the known digests of version 1. What a benchmark's own
files add has a version of its own (`definition.py`), so that other tasks keep their digests.
"""

from __future__ import annotations

import hashlib
import json
import re
from pathlib import Path
from typing import Any

from snakeval.config.deployment import ServerDeployment
from snakeval.config.model import Config

CANONICAL_VERSION = 1


HOW_NOT_WHAT = ("parallelism", "max_retries", "request_timeout")
"""Parameters that decide how an evaluation is run, not what comes out of it."""


SERVER_IDENTITY = ("type", "checkpoint_path", "hf_model_handle", "extra_args", "command")
"""Fields of a deployment that change the model's answers."""


DEMO_MODEL = "snakeval-demo"


def digest(content: Any, length: int = 12) -> str:
    """The first hex digits of the SHA-256 of a canonical JSON form."""
    text = json.dumps(content, sort_keys=True, separators=(",", ":"), ensure_ascii=True)
    return hashlib.sha256(text.encode()).hexdigest()[:length]


def without_files(identity: dict[str, Any]) -> dict[str, Any]:
    """An identity without what is read from the benchmark's own files."""
    definition = {k: v for k, v in (identity["definition"] or {}).items() if k != "files"}
    return {**identity, "definition": definition}


def run_identity(config: Config) -> dict[str, Any]:
    """What makes two starts the same run."""
    endpoint = config.target.api_endpoint
    run_wide = config.evaluation.nemo_evaluator_config
    said = run_wide.target.api_endpoint
    identity = {
        "version": CANONICAL_VERSION,
        "name": config.name or said.url or endpoint.url or config.deployment.type,
        "model_id": said.model_id or endpoint.model_id or DEMO_MODEL,
        "endpoint_type": endpoint.type,
        "params": params_that_decide(run_wide.config.params.model_dump(exclude_none=True)),
    }
    if isinstance(config.deployment, ServerDeployment):
        identity["model_id"] = said.model_id or config.deployment.served_model_name
        identity["deployment"] = {
            key: value
            for key in SERVER_IDENTITY
            if (value := getattr(config.deployment, key)) is not None
        }
    return identity


def params_that_decide(params: dict[str, Any]) -> dict[str, Any]:
    """The parameters that decide the result; an empty `extra` is none."""
    return {
        key: value
        for key, value in params.items()
        if key not in HOW_NOT_WHAT and not (key == "extra" and not value)
    }


def dataset_revision(folder: Path) -> str | None:
    """The revision of a dataset folder where it is known without reading the data.

    A Hugging Face snapshot (`.../snapshots/<commit>`) or a git checkout; None otherwise.
    """
    match = re.search(r"/snapshots/([0-9a-f]{40})(/|$)", folder.as_posix())
    if match:
        return match.group(1)
    try:
        head = (folder / ".git" / "HEAD").read_text().strip()
        if head.startswith("ref: "):
            return (folder / ".git" / head.removeprefix("ref: ")).read_text().strip()
    except OSError:
        return None
    return head
