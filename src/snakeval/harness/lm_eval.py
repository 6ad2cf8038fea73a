"""EleutherAI's lm-evaluation-harness, as its own command (`lm_eval`, 0.4.13)."""

from __future__ import annotations

import json
import shlex
from typing import Any

from snakeval.errors import InputError, Problem
from snakeval.harness import lm_eval_arguments
from snakeval.harness.recipe import Recipe, argument_words, words
from snakeval.plan.run import Task

MODELS = {"chat": "local-chat-completions", "completions": "local-completions"}
DEFAULT_CONCURRENCY = 8
DEFAULT_RETRIES = 3
FLAGS = (
    "num_fewshot",
    "batch_size",
    "seed",
    "system_instruction",
    "fewshot_as_multiturn",
    "apply_chat_template",
    "metadata",
)
"""Keys of `extra` that are flags of the command; `args` is taken word by word."""

STALE = ("**/results_*.json", "**/samples_*.jsonl")


URL = "\ue000URL\ue000"
"""Stands for the endpoint's address, which only the job knows: no text of a config is this."""


def recipe(task: Task) -> Recipe:
    """How lm-eval is asked for this task. Raises InputError for an endpoint it cannot use, and for
    arguments that make a score meaningless."""
    lm_eval_arguments.check(task)
    _check_model(task)
    if task.endpoint.type not in MODELS:
        raise InputError(
            [
                Problem(
                    f"{task.where}.endpoint_type",
                    f"lm-eval cannot ask an endpoint of type {task.endpoint.type}",
                    "write chat or completions, or leave the benchmark out",
                )
            ]
        )
    files = task.benchmark.folder(task.benchmark.definition.include_path)
    command = [
        "exec lm_eval",
        f"--model {MODELS[task.endpoint.type]}",
        f"--tasks {shlex.quote(task.benchmark.eval_type)}",
        f"--model_args {model_args(task)}",
        # Relative to the work folder: lm-eval writes its arguments into its results.
        "--output_path . --log_samples --use_cache ./lm_cache",
        *(['--include_path "$SNAKEVAL_FILES"'] if files else []),
        *_flags(task),
    ]
    return Recipe(
        command=" \\\n    ".join(command) + "\n",
        format="lm_eval",
        programs=("lm_eval",),
        stale=STALE,
        files=files,
        environment={"TOKENIZERS_PARALLELISM": "false"},
        key_variable="OPENAI_API_KEY",
    )


def _check_model(task: Task) -> None:
    """Raises InputError for arguments that ask another model than the one that is evaluated."""
    named = (task.params.get("extra", {}).get("model_args") or {}).get("model")
    if named not in (None, task.endpoint.model_id):
        raise InputError(
            [
                Problem(
                    f"{task.where}: params.extra.model_args.model",
                    f"'{named}' is not the model under evaluation ('{task.endpoint.model_id}')",
                    "name it in target.api_endpoint.model_id",
                )
            ]
        )


def model_args(task: Task) -> str:
    """The model's arguments as a shell word: JSON, so that no name can break it."""
    params = task.params
    arguments: dict[str, Any] = {
        "model": task.endpoint.model_id,
        "base_url": URL,
        "num_concurrent": params.get("parallelism", DEFAULT_CONCURRENCY),
        "max_retries": params.get("max_retries", DEFAULT_RETRIES),
        "tokenizer_backend": "none",
    }
    if task.endpoint.type == "chat":
        arguments["tokenized_requests"] = False
    if "request_timeout" in params:
        arguments["timeout"] = params["request_timeout"]
    arguments.update(params.get("extra", {}).get("model_args") or {})
    given = json.dumps(arguments, sort_keys=True)
    before, there, after = given.partition(json.dumps(URL)[1:-1])
    if not there:  # the config has an address of its own
        return shlex.quote(given)
    return f'{shlex.quote(before)}"$SNAKEVAL_ENDPOINT_URL"{shlex.quote(after)}'


def _flags(task: Task) -> list[str]:
    params, extra = task.params, task.params.get("extra", {})
    flags = []
    if "limit_samples" in params:
        flags.append(f"--limit {params['limit_samples']}")
    generation = {
        name: params[key]
        for key, name in (
            ("temperature", "temperature"),
            ("top_p", "top_p"),
            ("max_new_tokens", "max_gen_toks"),
        )
        if key in params
    }
    if generation:
        pairs = ",".join(f"{key}={value}" for key, value in generation.items())
        flags.append(f"--gen_kwargs {shlex.quote(pairs)}")
    if task.endpoint.type == "chat" and "apply_chat_template" not in extra:
        flags.append("--apply_chat_template")
    for key in FLAGS:
        value = extra.get(key)
        if value is True:
            flags.append(f"--{key}")
        elif value is not None and value is not False:
            flags.append(f"--{key} {shlex.quote(words(value))}")
    # Quoted word by word: the text is the user's own command line, not ours to expand.
    flags += [shlex.quote(word) for word in argument_words(task)]
    return flags
