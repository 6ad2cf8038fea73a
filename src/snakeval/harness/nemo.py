"""NeMo evaluation images: `nemo-evaluator run_eval --run_config` (older: `eval-factory`).

The contract (files, flags, precedence) is that of NeMo Evaluator core 0.2.8; see
docs/architecture.md. The URL and the model come last, as flags, because a deployment's address
is known only when the job runs.
"""

from __future__ import annotations

from typing import Any

import yaml

from snakeval.errors import InputError, Problem
from snakeval.harness.recipe import Recipe, argument_words
from snakeval.plan.run import Task

RUN_CONFIG = "run_config.yaml"

COMMAND = f"""\
evaluator=nemo-evaluator
command -v "$evaluator" >/dev/null 2>&1 || evaluator=eval-factory
exec "$evaluator" run_eval --run_config "$SNAKEVAL_RECORD/{RUN_CONFIG}" \\
    --output_dir "$SNAKEVAL_RESULTS" --model_url "$SNAKEVAL_ENDPOINT_URL"
"""

STALE = (
    "results.yml",
    "run_config.yml",
    "metadata.yaml",
    "report.html",
    "report.json",
    ".nemo_evaluator_interrupted",
    ".nemo_evaluator_server_error",
    "**/results_*.json",
    "**/samples_*.jsonl",
)
"""Result files."""

CACHES = (
    "cache",
    "*_stats_cache",
    "eval_factory_metrics.json",
    "*_rank*.db",
)
"""Caches of the adapter and of lm-eval; `eval_factory_metrics.json` counts over all attempts.

All else is memory of a harness's own: predictions, judged items, files per problem. It takes an
empty or a failed answer for done, so that what one attempt refuses the next would publish. Seen in
eleven of sixteen harnesses of version 26.3.
"""


EVERY_REQUEST = 1_000_000_000
"""The adapter keeps a record of each request, so that one without an answer can be told."""

REPEATS = ("n_samples", "num_repeats", "repeats")
"""Parameters by which harnesses in the images ask each sample more than once."""


def run_config(task: Task) -> dict[str, Any]:
    """The run config; unknown keys are refused by the image, so there are none."""
    endpoint: dict[str, Any] = {"model_id": task.endpoint.model_id, "type": task.endpoint.type}
    if task.endpoint.url:
        endpoint["url"] = task.endpoint.url
    if task.endpoint.api_key_name:
        endpoint["api_key_name"] = task.endpoint.api_key_name
    if task.stream is not None:
        endpoint["stream"] = task.stream
    endpoint["adapter_config"] = {"max_saved_requests": EVERY_REQUEST, **task.adapter_config}
    return {
        "config": {
            "type": task.benchmark.eval_type,
            "output_dir": "/results",
            "params": task.params,
        },
        "target": {"api_endpoint": endpoint},
    }


def repeats(task: Task) -> int:
    """How often each sample is asked, as far as the config says."""
    extra = task.params.get("extra", {})
    return max(
        (int(extra[name]) for name in REPEATS if isinstance(extra.get(name), int)), default=1
    )


def caching(task: Task) -> bool:
    """Whether the adapter's response cache is on; it is unless the config says otherwise."""
    return bool(task.adapter_config.get("use_caching", True))


def check(task: Task) -> None:
    """Raises InputError for repeats that the response cache would all answer alike, and for
    arguments that no shell could read."""
    argument_words(task)
    if repeats(task) > 1 and caching(task) and task.params.get("extra", {}).get("seed") is None:
        raise InputError(
            [
                Problem(
                    task.where,
                    f"'{task.benchmark.id}' asks each sample {repeats(task)} times, and the "
                    "response cache would give the same answer each time, which is a false score",
                    "set target.api_endpoint.adapter_config.use_caching to false in its "
                    "nemo_evaluator_config (an interrupted evaluation then starts over)",
                )
            ]
        )


def _caching_dir(task: Task) -> list[str]:
    """The folder of the work folder in which the config lets the adapter keep its caches."""
    given = str(task.adapter_config.get("caching_dir") or "").split("/")
    return given[2:3] if given[:2] == ["", "results"] else []


def recipe(task: Task) -> Recipe:
    """How the image is asked for this task. Raises InputError as `check` does."""
    check(task)
    return Recipe(
        command=COMMAND,
        format="nemo",
        programs=("nemo-evaluator", "eval-factory"),
        written={RUN_CONFIG: yaml.dump(run_config(task), Dumper=yaml.CSafeDumper, sort_keys=True)},
        stale=(*STALE, *(f"!{name}" for name in (*CACHES, *_caching_dir(task)))),
        # The core sends usage data out unless told not to; env_vars may say otherwise.
        repeats=repeats(task),
        cached=caching(task),
        environment={"NEMO_EVALUATOR_TELEMETRY_LEVEL": "0"},
    )
