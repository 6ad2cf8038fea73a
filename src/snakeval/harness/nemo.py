"""NeMo evaluation images: `nemo-evaluator run_eval --run_config` (older: `eval-factory`).

The contract (files, flags, precedence) is that of NeMo Evaluator core 0.2.8; see
docs/architecture.md. The URL and the model come last, as flags, because a deployment's address
is known only when the job runs.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping
from dataclasses import replace
from fnmatch import fnmatchcase
from typing import Any

import yaml

from snakeval.errors import Problem
from snakeval.harness import lm_eval_arguments
from snakeval.harness.recipe import Recipe, argument_words
from snakeval.plan.run import Task

RUN_CONFIG = "run_config.yaml"

LM_EVAL = "lm-evaluation-harness"
"""The harness whose image hands `params.extra.args` to lm-eval."""

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

ADAPTERS_CACHES = ("requests", "responses", "headers")
"""Folders in which the adapter keeps what it has seen, in `cache/` or where the config says. Beside
them, hle and LiveCodeBench keep a memory of their own."""

CACHES = (
    *(f"cache/{name}" for name in ADAPTERS_CACHES),
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

OWN_SEEDS = {
    "AA-LCR": "base seed + number of the repeat (aa_lcr/main.py)",
    "bigcode-evaluation-harness": "random seed in each request (bigcode_eval/server/schemas.py)",
    "livecodebench": "seed of question and repeat (livecodebench/utils/seed_generator.py)",
    "mmath": "one request with n answers",
    "nemo_skills": "random_seed of its own for each repeat",
    "scicode": "seed + number of the repeat (scicode/gen/gencode_json.py)",
    "simple_evals": "seed of question and repeat (simple_evals/common.py)",
    "tau2_bench": "seed of the trial, drawn from a fixed one (tau2/run.py)",
}
"""Harnesses whose repeats differ in what they send, and in what (their packages 26.3)."""


def run_config(task: Task) -> dict[str, Any]:
    """The run config; unknown keys are refused by the image, so there are none."""
    endpoint: dict[str, Any] = {"model_id": task.endpoint.model_id, "type": task.endpoint.type}
    if task.endpoint.url:
        endpoint["url"] = task.endpoint.url
    if task.endpoint.api_key_name:
        endpoint["api_key_name"] = task.endpoint.api_key_name
    if task.stream is not None:
        endpoint["stream"] = task.stream
    endpoint["adapter_config"] = adapter_config(task)
    return {
        **task.as_written,
        "config": {
            **task.as_written.get("config", {}),
            "type": task.benchmark.eval_type,
            "output_dir": "/results",
            "params": task.params,
        },
        "target": {"api_endpoint": endpoint},
    }


def adapter_config(task: Task) -> dict[str, Any]:
    """What the adapter is told. A list of interceptors is the user's whole chain: the core takes
    none of the older keys beside it."""
    given = task.adapter_config
    if not given.get("interceptors"):
        reuse = {} if caching(task) == _wants_caching(given) else {"use_caching": False}
        return {"max_saved_requests": EVERY_REQUEST, **given, **reuse}
    if caching(task) == _wants_caching(given):
        return given
    return {**given, "interceptors": [_asking_again(each) for each in given["interceptors"]]}


def _asking_again(interceptor: Any) -> Any:
    """An interceptor of the user's chain; the cache among them no longer gives old answers."""
    if not _is_cache(interceptor):
        return interceptor
    named: Mapping[str, Any] = (
        {"name": interceptor} if isinstance(interceptor, str) else interceptor
    )
    config = {**(named.get("config") or {}), "reuse_cached_responses": False}
    return {**named, "config": config}


def _is_cache(interceptor: Any) -> bool:
    if isinstance(interceptor, Mapping):
        return interceptor.get("name") == "caching" and interceptor.get("enabled", True) is True
    return bool(interceptor == "caching")


def _wants_caching(given: Mapping[str, Any]) -> bool:
    """Whether the config has the adapter give old answers to requests that it knows."""
    chain = given.get("interceptors")
    if not chain:
        return bool(given.get("use_caching", True))
    caches = [each for each in chain if _is_cache(each)] if isinstance(chain, list) else []
    return any(
        isinstance(each, Mapping)
        and bool((each.get("config") or {}).get("reuse_cached_responses", False))
        for each in caches
    )


def repeats(task: Task) -> int:
    """How often each sample is asked, as far as the config says or the harness is known to."""
    extra = task.params.get("extra", {})
    said = (int(extra[name]) for name in REPEATS if isinstance(extra.get(name), int))
    return max(said, default=int(task.benchmark.facts.get("repeats", 1)))


def caching(task: Task) -> bool:
    """Whether the adapter gives old answers to requests that it knows.

    As the config has it, but never to repeats that look alike: what a harness sends decides, not
    the name of a parameter. The gateway knows repeats apart, and keeps answers as well.
    """
    if task.benchmark.facts.get("cache") is False:  # it measures how fast answers come
        return False
    if not _wants_caching(task.adapter_config) or task.benchmark.harness in OWN_SEEDS:
        return _wants_caching(task.adapter_config)
    return not task.gateway and repeats(task) == 1


def _own_cache(task: Task) -> tuple[str, str] | None:
    """Where the adapter gives no old answers since the gateway does: what says so in its run
    config, and what is to stand there without a gateway."""
    if caching(task) or not caching(replace(task, gateway=False)):
        return None
    is_chain = task.adapter_config.get("interceptors")
    name = "reuse_cached_responses" if is_chain else "use_caching"
    return f"{name}: false", f"{name}: true"


def check(task: Task) -> None:
    """Raises InputError for arguments that no shell could read."""
    if task.benchmark.harness == LM_EVAL:
        lm_eval_arguments.check(task)
    else:
        argument_words(task)


def parameter(task: Task, name: str) -> Any:
    """A parameter that the config sets, by its name with dots; None where it does not."""
    found: Any = task.params
    for key in name.split("."):
        found = found.get(key) if isinstance(found, Mapping) else None
    return found


def _caching_dir(task: Task) -> list[str]:
    """The folders of the work folder in which the config lets the adapter keep its caches."""
    chain = task.adapter_config.get("interceptors") or []
    named = [_cache_dir_of(each) for each in chain if isinstance(each, Mapping)]
    paths = [
        str(each or "").split("/") for each in (task.adapter_config.get("caching_dir"), *named)
    ]
    return [
        "/".join([*parts[2:], name])
        for parts in paths
        if parts[:2] == ["", "results"] and parts[2:3] > [""]
        for name in (*ADAPTERS_CACHES, "*_stats_cache")
    ]


def _cache_dir_of(interceptor: Mapping[str, Any]) -> Any:
    return (interceptor.get("config") or {}).get("cache_dir") if _is_cache(interceptor) else None


def hints(task: Task) -> Iterator[Problem]:
    """What a person should know before the task starts."""
    for name, what in task.benchmark.facts.get("required", {}).items():
        if not parameter(task, name):
            yield Problem(
                f"{task.where}: params.{name}",
                f"'{task.benchmark.id}' is known to end at once without it",
                f"write {what}",
                warning=True,
            )
    for name, only in task.benchmark.facts.get("must_be", {}).items():
        if parameter(task, name) not in (None, only):
            yield Problem(
                f"{task.where}: params.{name}",
                f"'{task.benchmark.id}' ends without a result where it is not '{only}', when all "
                "is paid for",
                f"serve it under the name '{only}' as well",
                warning=_may_be_mended(task),
            )
    if fetched := _fetched(task):
        yield Problem(
            f"{task.where}: params.{task.benchmark.facts['fetches']['parameter']}",
            f"'{task.benchmark.id}' fetches while it runs: {'; '.join(fetched)}",
            "where it cannot, choose others",
            warning=True,
        )
    data = task.benchmark.facts.get("data")
    if data and data["variable"] not in task.env_vars:
        yield Problem(
            task.where,
            f"'{task.benchmark.id}' fetches {data['what']} while it runs",
            f"where it cannot, {_put_there(data)}",
            warning=True,
        )
    measured = task.benchmark.facts.get("cache") is False
    if task.benchmark.unlisted:
        yield Problem(
            task.where,
            f"no list has '{task.benchmark.id}': the image {task.image} is asked for it by that "
            "name",
            "correct the name if its image does not know it",
            warning=True,
        )
    switched_off = _wants_caching(task.adapter_config) and not caching(task) and not measured
    if switched_off and not task.gateway:
        yield Problem(
            task.where,
            f"'{task.benchmark.id}' asks each sample {repeats(task)} times; so that the repeats do "
            "not get one answer, the adapter's cache gives no old answers, and an interrupted "
            "evaluation starts over",
            "leave out `gateway: false`: the gateway keeps the answers of each repeat",
            warning=True,
        )


def _may_be_mended(task: Task) -> bool:
    """Whether another version of the harness is run than the facts are of, or a changed one."""
    return bool(task.pre_cmd) or task.image != task.benchmark.definition.image


def _fetched(task: Task) -> list[str]:
    """What is brought from elsewhere for the parts that a parameter chooses; without it, for all of
    them. A part is chosen by its own name or that of its family: `family.part`."""
    fetches = task.benchmark.facts.get("fetches")
    if not fetches:
        return []
    chosen = str(parameter(task, fetches["parameter"]) or "all").replace(" ", "").split(",")
    return [
        f"{what} ({pattern.rstrip('*')})"
        for pattern, what in fetches["what"].items()
        if any(
            part in ("all", "auto") or fnmatchcase(part, pattern) or pattern.startswith(f"{part}.")
            for part in chosen
        )
    ]


def _data_first(task: Task) -> str:
    """Data that the harness would miss only when every answer is paid for, looked for before."""
    data: Mapping[str, str] | None = task.benchmark.facts.get("data")
    if not data:
        return ""
    told = f"error: data missing: {data['what']}: {_put_there(data)}"
    return f"{data['check']} || {{ echo {shlex.quote(told)} >&2; exit 1; }}\n"


def _put_there(data: Mapping[str, str]) -> str:
    return (
        "put it into a folder, and name that: dataset_dir: <folder>, dataset_mount_path: /data, "
        f"env_vars: {{{data['variable']}: lit:/data}}"
    )


def _without_key(task: Task) -> dict[str, str]:
    """What stands in a variable that the harness must have, where the endpoint has no key."""
    known: dict[str, str] = task.benchmark.facts.get("environment", {})
    return {} if task.endpoint.api_key_name else known


def recipe(task: Task) -> Recipe:
    """How the image is asked for this task. Raises InputError as `check` does."""
    check(task)
    return Recipe(
        command=_data_first(task) + COMMAND,
        format="nemo",
        programs=("nemo-evaluator", "eval-factory"),
        written={RUN_CONFIG: yaml.dump(run_config(task), Dumper=yaml.CSafeDumper, sort_keys=True)},
        stale=(*STALE, *(f"!{name}" for name in (*CACHES, *_caching_dir(task)))),
        # The core sends usage data out unless told not to; env_vars may say otherwise.
        repeats=repeats(task),
        cached=caching(task),
        seeded=task.benchmark.harness in OWN_SEEDS,
        own_folder=True,
        own_cache=_own_cache(task),
        environment={"NEMO_EVALUATOR_TELEMETRY_LEVEL": "0", **_without_key(task)},
    )
