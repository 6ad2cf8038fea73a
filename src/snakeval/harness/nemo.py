"""NeMo evaluation images: `nemo-evaluator run_eval --run_config` (older: `eval-factory`).

The contract (files, flags, precedence) is that of NeMo Evaluator core 0.2.8; see
docs/architecture.md. The URL and the model come last, as flags, because a deployment's address
is known only when the job runs.
"""

from __future__ import annotations

from typing import Any

import yaml

from snakeval.harness.recipe import Recipe
from snakeval.plan import Task

RUN_CONFIG = "run_config.yaml"

COMMAND = f"""\
evaluator=nemo-evaluator
command -v "$evaluator" >/dev/null 2>&1 || evaluator=eval-factory
exec "$evaluator" run_eval --run_config "$SNAKEVAL_RESULTS/snakeval/{RUN_CONFIG}" \\
    --output_dir "$SNAKEVAL_RESULTS" --model_url "$SNAKEVAL_ENDPOINT_URL"
"""

STALE = (
    "results.yml", "run_config.yml", "metadata.yaml", "report.html", "report.json",
    ".nemo_evaluator_interrupted", ".nemo_evaluator_server_error",
    "**/results_*.json", "**/samples_*.jsonl",
)
"""Not the cache, and not eval_factory_metrics.json, which counts over all attempts."""


def run_config(task: Task) -> dict[str, Any]:
    """The run config; unknown keys are refused by the image, so there are none."""
    endpoint: dict[str, Any] = {"model_id": task.endpoint.model_id, "type": task.endpoint.type}
    if task.endpoint.url:
        endpoint["url"] = task.endpoint.url
    if task.endpoint.api_key_name:
        endpoint["api_key_name"] = task.endpoint.api_key_name
    if task.stream is not None:
        endpoint["stream"] = task.stream
    if task.adapter_config:
        endpoint["adapter_config"] = task.adapter_config
    return {
        "config": {
            "type": task.benchmark.eval_type,
            "output_dir": "/results",
            "params": task.params,
        },
        "target": {"api_endpoint": endpoint},
    }


def recipe(task: Task) -> Recipe:
    """How the image is asked for this task."""
    return Recipe(
        command=COMMAND,
        format="nemo",
        programs=("nemo-evaluator", "eval-factory"),
        written={RUN_CONFIG: yaml.dump(run_config(task), Dumper=yaml.CSafeDumper,
                                       sort_keys=True)},
        stale=STALE,
        # The core sends usage data out unless told not to; env_vars may say otherwise.
        environment={"NEMO_EVALUATOR_TELEMETRY_LEVEL": "0"},
    )
