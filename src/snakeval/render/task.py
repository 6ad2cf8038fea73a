"""Renders a task's `run.sh`: texts that a person can read and the keeper does, then its start."""

from __future__ import annotations

import json
import re
import shlex
import sys
from dataclasses import replace
from typing import Any

from snakeval.config.execution.common import PER_RUN
from snakeval.config.model import HarnessDefinition
from snakeval.config.source import host, written
from snakeval.harness import Recipe, recipe_for
from snakeval.harness.nemo import parameter
from snakeval.job.attempt import EMPTY
from snakeval.job.gateway.ledger import MODEL
from snakeval.job.keeper.settings import SETTINGS, has_own_network
from snakeval.job.result_formats.facts import Facts
from snakeval.plan.beside import with_references, without_keys
from snakeval.plan.lm_eval_files import FILES_MOUNT
from snakeval.plan.run import PATHS_OF_TYPES, Task
from snakeval.render.bash import comment, here_document, word
from snakeval.render.lib import job_file
from snakeval.render.variables import check_names
from snakeval.runtime.archives import Prefetched
from snakeval.runtime.images import apptainer_name, enroot_name

RUNTIMES = ("docker", "podman", "apptainer", "pyxis", "process", "image")
"""How each starts, stops and sweeps a harness: `snakeval/job/keeper`."""

IN_WORDS_OF = {"apptainer": apptainer_name, "pyxis": enroot_name}
"""Runtimes that write an image's name in their own way."""

MOST_PATIENCE = 120.0
"""Seconds; most harnesses wait for 300 or longer."""

WITHOUT_ENGINE = ("process", "image")
"""Runtimes that start the harness as a process: here, or in the image that the job is in."""

HERE = ("", "no", PER_RUN)
"""Settings that name no folder of this machine."""

IN_IMAGE = {"files": FILES_MOUNT, "hf_home": "/snakeval/huggingface"}
"""Where a job in its image sees folders of the config: the executor has put them there."""


def render(task: Task, runtime: str, image: str | None, archive: Prefetched | None = None) -> str:
    """The whole `run.sh` of a task.

    runtime  one of `RUNTIMES`
    image    the image to run, pinned where the engine could say its digest
    archive  a file beside the run folders that holds the image
    """
    asking = _asking_by_references(task)
    recipe = recipe_for(replace(asking, gateway=is_behind_gateway(task, runtime)))
    python = "" if runtime == "image" else sys.executable  # an image has its own
    texts = {
        **_commands(task, recipe),
        **recipe.written,
        "check_spec.json": json.dumps(check_spec(task, recipe), indent=1) + "\n",
        "gateway_options.json": json.dumps(gateway_options(task), indent=1) + "\n",
    }
    return "\n".join(
        [
            *_title(task),
            "",
            comment("The settings."),
            *_text(SETTINGS, _settings(task, runtime, image or "", archive, recipe)),
            "",
            comment("What the harness and the check are given, beginning with its command."),
            *(line for name, text in texts.items() for line in [*_text(name, text), ""]),
            f"SNAKEVAL_ENVIRONMENT_PYTHON={word(python)}",
            job_file("run.sh"),
        ]
    )


def _asking_by_references(task: Task) -> Task:
    """Behind the gateway the harness gets other addresses than those that its parameters name."""
    if not (task.gateway and task.beside):
        return task
    return replace(task, params=with_references(task.params, task.beside))


def _title(task: Task) -> list[str]:
    return [
        "#!/usr/bin/env bash",
        comment(f"{task.name}: {task.benchmark.id} on {task.endpoint.model_id}."),
        "#   bash run.sh           runs it: continues where the last attempt stopped; a second one",
        "#                         beside it waits",
        "#   bash run.sh harness   runs the harness's command and nothing else, into by-hand/",
        "# Written by snakeval; the next start writes it again.",
    ]


def _text(name: str, text: str) -> list[str]:
    """A text that bash passes over, as `job/keeper/settings.py` finds it."""
    return here_document(f": {shlex.quote(name)}", text)


def _settings(
    task: Task, runtime: str, image: str, archive: Prefetched | None, recipe: Recipe
) -> str:
    """The settings as JSON, without those that say nothing."""
    sources, wanted = _variables(task, recipe)
    settings: dict[str, Any] = {
        "task": task.name,
        "called": task.called if task.called != task.name else "",
        "digest": task.digest,
        "runtime": runtime,
        "image": IN_WORDS_OF.get(runtime, str)(image),
        "archive": archive.file if archive else "",
        "archive_id": archive.id if archive else "",
        "endpoint_url": task.endpoint.url or "",
        "endpoint_path": task.endpoint.path or PATHS_OF_TYPES[task.endpoint.type].lstrip("/"),
        "endpoint_model": task.endpoint.model_id,
        "key_name": task.endpoint.api_key_name or "",
        "check_model": task.endpoint.check_model,
        "demo_endpoint": task.endpoint.demo,
        "servers": list(task.servers),
        "auxiliary": [
            {
                "server": each.name,
                "variable": each.variable(endpoint),
                "reference": each.reference(endpoint),
                "path": path,
            }
            for each in task.auxiliary
            for endpoint, path in each.paths.items()
        ],
        "server_timeout": task.server_timeout,
        "gateway": task.gateway,
        "gateway_keys": keys_for_gateway(task, recipe),
        "beside": _beside(task, recipe) if task.gateway else [],
        "gateway_patience": patience(task),
        "max_in_flight": task.max_in_flight,
        "variables": sources,
        "wanted": wanted,
        "files": str(recipe.files or ""),
        "mounts": [f"{source}:{target}" for source, target in task.mounts],
        "mount_home": task.mount_home,
        "hf_home": task.hf_home,
        "hf_token": _names_the_hubs_token(task),
        "extra_args": shlex.split(task.extra_docker_args),
        "own_cache": list(recipe.own_cache or ()),
        "stale": [*recipe.stale, *([EMPTY] if task.gateway else [])],
        "umask": task.umask,
    }
    if runtime == "image":
        settings |= {name: at for name, at in IN_IMAGE.items() if settings[name] not in HERE}
    always = ("check_model",)
    told = {name: value for name, value in settings.items() if value or name in always}
    _refuse_nul(told)
    return json.dumps(told, indent=1, ensure_ascii=False)


def _refuse_nul(value: Any) -> None:
    """Raises InputError for a text that no command line and no variable can hold."""
    if isinstance(value, str):
        word(value)
    elif isinstance(value, dict):
        _refuse_nul([*value, *value.values()])
    elif isinstance(value, list):
        for each in value:
            _refuse_nul(each)


def _names_the_hubs_token(task: Task) -> bool:
    """Whether a benchmark gets the token that lies in the Hugging Face cache."""
    details = task.benchmark.details
    named = {*task.env_vars, task.endpoint.api_key_name, *(details.variables or ())}
    return "HF_TOKEN" in named or bool(details.gated_dataset)


def _variables(task: Task, recipe: Recipe) -> tuple[dict[str, str], list[str]]:
    """The harness's variables, each with where its value comes from; and those that are passed on
    where they are set. Raises InputError for a name that no variable can have."""
    sources = dict(task.env_vars)
    key = task.endpoint.api_key_name
    if key:
        sources.setdefault(key, host(key))
        if recipe.key_variable:
            sources.setdefault(recipe.key_variable, host(key))
    # What the benchmark is known to need is passed on if it is there.
    wanted = [name for name in task.benchmark.details.variables or () if name not in sources]
    if task.benchmark.details.gated_dataset and "HF_TOKEN" not in (*wanted, *sources):
        wanted.append("HF_TOKEN")
    models = {each.model_variable: each.model for each in task.auxiliary}
    fixed = {"PYTHONUNBUFFERED": "1", **recipe.environment, **models}
    given = {name: written(text) for name, text in fixed.items() if name not in sources} | sources
    check_names([*given, *wanted])
    kind = {name: "host" if each.variable else "lit" for name, each in given.items()}
    return {name: f"{kind[name]}:{each.text}" for name, each in given.items()}, wanted


def is_behind_gateway(task: Task, runtime: str) -> bool:
    """Whether the harness surely is, so that it need not keep answers by itself: an image may have
    no aiohttp, and a container in a network of the user's own goes without."""
    own_network = has_own_network(runtime, shlex.split(task.extra_docker_args))
    return task.gateway and runtime != "image" and not own_network


def _beside(task: Task, recipe: Recipe) -> list[dict[str, object]]:
    """The endpoints beside the model's that the harness is to ask through the gateway."""
    hidden = hidden_keys(task, recipe)
    return [
        {
            "name": each.name,
            "url": each.url,
            "reference": each.reference,
            "key": each.key,
            "is_hidden": bool(hidden.get(each.name)),
        }
        for each in task.beside
    ]


def keys_for_gateway(task: Task, recipe: Recipe) -> list[str]:
    """Variables in which the harness gets the gateway's token in place of the endpoint's key.

    None where the key opens something else for it, too: it keeps it.
    """
    return hidden_keys(task, recipe).get(MODEL, [])


def hidden_keys(task: Task, recipe: Recipe) -> dict[str, list[str]]:
    """By endpoint: variables of its key that hold the gateway's token for the harness. Those of a
    key that opens something else for the harness as well are left out."""
    key = task.endpoint.api_key_name
    keys = {MODEL: [name for name in (key, recipe.key_variable) if key and name]}
    keys |= {each.name: [each.key] for each in task.beside if each.key}
    keys = {endpoint: list(dict.fromkeys(names)) for endpoint, names in keys.items()}
    known = {name for names in keys.values() for name in names}
    params = without_keys(task.params, task.beside)
    given = json.dumps([params, task.adapter_config, task.pre_cmd, task.post_cmd], default=str)
    of_others = set(task.benchmark.details.variables or ()) - {each.key for each in task.beside}

    def opens_more(endpoint: str) -> bool:
        own = keys[endpoint]
        sources = task.env_vars
        differ = endpoint == MODEL and any(name in sources and name != key for name in own)
        elsewhere = any(
            each.variable in own and name not in known for name, each in sources.items()
        )
        named = any(re.search(rf"\b{name}\b", given) for name in own)
        return differ or elsewhere or named or bool(of_others.intersection(own))

    return {endpoint: [] if opens_more(endpoint) else names for endpoint, names in keys.items()}


def patience(task: Task) -> float:
    """Seconds that the gateway may hold a request back: well below the harness's own time limit."""
    timeout = task.params.get("request_timeout")
    return min(MOST_PATIENCE, timeout / 2) if isinstance(timeout, int | float) else MOST_PATIENCE


def gateway_options(task: Task) -> dict[str, object]:
    """What the gateway is asked for beside its command line (`job/gateway`)."""
    options: dict[str, object] = {"check_model": task.endpoint.check_model}
    if task.replay_from:
        options["replay_from"] = list(task.replay_from)
    return {**options, "budget": task.budget} if task.budget else options


def check_spec(task: Task, recipe: Recipe) -> dict[str, object]:
    """What `verify.py` must know to tell a result from something that looks like one."""
    facts = task.benchmark.facts
    return {
        "format": recipe.format,
        "results": recipe.results,
        "benchmark": task.benchmark.eval_type,
        "limit_samples": task.params.get("limit_samples"),
        "samples": task.benchmark.details.samples,
        "max_unanswered": task.max_unanswered,
        "repeats": recipe.repeats,
        "cached": recipe.cached,
        "seeded": recipe.seeded,
        "model_id": task.endpoint.model_id,
        "check_model": task.endpoint.check_model,
        "higher_is_better": _known(facts, task.benchmark.definition, "higher_is_better"),
        "score_range": _known(facts, task.benchmark.definition, "score_range"),
        "samples_file": task.benchmark.definition.samples,
        "facts": _facts_of_results(task, facts) or None,
    }


FACTS_OF_RESULTS = tuple(Facts.__dataclass_fields__)
SIZES = ("size", "sizes", "of_parts")


def _facts_of_results(task: Task, facts: dict[str, Any]) -> dict[str, Any]:
    """What the check reads; no sizes where the config brings data of its own, or takes a part
    (`own_data` names the parameters)."""
    unknown = SIZES if any(parameter(task, name) for name in facts.get("own_data", ())) else ()
    return {key: facts[key] for key in FACTS_OF_RESULTS if key in facts and key not in unknown}


def _known(facts: dict[str, Any], definition: HarnessDefinition, key: str) -> object:
    """What the facts say by pattern of a metric, before what the definition says."""
    return {**facts.get(key, {}), **getattr(definition, key)} or None


def _commands(task: Task, recipe: Recipe) -> dict[str, str]:
    """`command.sh`, which the runtime starts; with a pre_cmd or post_cmd it calls the harness."""
    start = "" if recipe.own_folder else 'cd "$SNAKEVAL_RESULTS" || exit\n'
    if not task.pre_cmd and not task.post_cmd:
        return {"command.sh": start + recipe.command}
    around = [
        start.rstrip(),
        task.pre_cmd or "",
        '(. "$SNAKEVAL_RECORD/harness.sh")',
        "code=$?",
        task.post_cmd or "",
        "exit $code",
    ]
    return {"command.sh": "\n".join(filter(None, around)) + "\n", "harness.sh": recipe.command}
