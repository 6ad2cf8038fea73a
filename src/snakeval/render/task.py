"""Renders a task's `run.sh`: settings that a person can read, then the body that all share."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterable
from typing import Any

from snakeval.config.execution import PER_RUN
from snakeval.config.model import HarnessDefinition
from snakeval.config.source import host
from snakeval.harness import Recipe, recipe_for
from snakeval.job.attempt import EMPTY
from snakeval.job.result_formats.facts import Facts
from snakeval.plan.lm_eval_files import FILES_MOUNT
from snakeval.plan.run import PATHS_OF_TYPES, Task
from snakeval.render.bash import assigned, comment, here_document
from snakeval.render.lib import job_file
from snakeval.render.variables import variables
from snakeval.runtime.archives import Prefetched
from snakeval.runtime.images import apptainer_name, enroot_name

BODIES = {
    "docker": ("container.sh", "runtime_container.sh"),
    "podman": ("container.sh", "runtime_container.sh"),
    "apptainer": ("container.sh", "process_group.sh", "runtime_apptainer.sh"),
    "pyxis": ("container.sh", "process_group.sh", "runtime_pyxis.sh"),
    "process": ("process_group.sh", "runtime_process.sh"),
    "image": ("process_group.sh", "runtime_process.sh"),
}
"""How each runtime starts, stops and sweeps a harness: files of `snakeval/job`."""

IN_WORDS_OF = {"apptainer": apptainer_name, "pyxis": enroot_name}
"""Runtimes that write an image's name in their own way."""

MOST_PATIENCE = 120.0
"""Seconds; most harnesses wait for 300 or longer."""

WITHOUT_ENGINE = ("process", "image")
"""Runtimes that start the harness as a process: here, or in the image that the job is in."""

IN_IMAGE = {"files": FILES_MOUNT, "hf_home": "/snakeval/huggingface"}
"""Where a job in its image sees folders of the config: the executor has put them there."""


def render(task: Task, runtime: str, image: str | None, archive: Prefetched | None = None) -> str:
    """The whole `run.sh` of a task.

    runtime  a key of `BODIES`
    image    the image to run, pinned where the engine could say its digest
    archive  a file beside the run folders that holds the image
    """
    recipe = recipe_for(task)
    return "\n".join(
        [
            _title(task),
            _variables(task, recipe),
            _settings(task, runtime, image or "", archive, recipe),
            _written(task, recipe),
            job_file("surroundings.sh"),
            *map(job_file, BODIES[runtime]),
            job_file("gateway.sh"),
            job_file("run.sh"),
        ]
    )


def _title(task: Task) -> str:
    return "\n".join(
        [
            "#!/usr/bin/env bash",
            comment(f"{task.name}: {task.benchmark.id} on {task.endpoint.model_id}."),
            "# By hand: `bash run.sh`. It continues where the last attempt stopped, and a second",
            "# one beside it waits. Written by snakeval; the next start writes it again.",
            "# shellcheck disable=SC2034 # some settings are for one runtime only",
            "",
        ]
    )


def _settings(
    task: Task, runtime: str, image: str, archive: Prefetched | None, recipe: Recipe
) -> str:
    settings: dict[str, str | Iterable[str]] = {
        "task": task.name,
        "digest": task.digest,
        "runtime": runtime,
        "image": IN_WORDS_OF.get(runtime, str)(image),
        "archive": archive.file if archive else "",
        "archive_id": archive.id if archive else "",
        "endpoint_url": task.endpoint.url or "",
        "endpoint_path": task.endpoint.path or PATHS_OF_TYPES[task.endpoint.type].lstrip("/"),
        "endpoint_model": task.endpoint.model_id,
        "check_model": "yes" if task.endpoint.check_model else "no",
        "demo_endpoint": "yes" if task.endpoint.demo else "no",
        "servers": task.servers,
        "auxiliary": [
            f"{each.name} {each.variable(endpoint)} {each.reference(endpoint)} {path}"
            for each in task.auxiliary
            for endpoint, path in each.paths.items()
        ],
        "server_timeout": f"{task.server_timeout:g}",
        "key_name": task.endpoint.api_key_name or "",
        "gateway": "yes" if task.gateway else "no",
        "gateway_keys": keys_for_gateway(task, recipe),
        "gateway_patience": f"{patience(task):g}",
        "max_in_flight": str(task.max_in_flight or ""),
        "files": str(recipe.files or ""),
        "umask": task.umask,
        "hf_home": task.hf_home,
        "hf_token": "yes" if _names_the_hubs_token(task) else "no",
        "stale": (*recipe.stale, *([EMPTY] if task.gateway else [])),
        "mounts": [f"{source}:{target}" for source, target in task.mounts],
        "mount_home": "yes" if task.mount_home else "no",
        "extra_args": shlex.split(task.extra_docker_args),
        "environment_python": sys.executable,
    }
    if runtime == "image":
        settings["environment_python"] = ""  # this machine's: the image has its own
        settings |= {
            name: at for name, at in IN_IMAGE.items() if settings[name] not in ("", "no", PER_RUN)
        }
    return "\n".join([*assigned(settings), ""])


def _names_the_hubs_token(task: Task) -> bool:
    """Whether a benchmark gets the token that lies in the Hugging Face cache."""
    details = task.benchmark.details
    named = {*task.env_vars, task.endpoint.api_key_name, *(details.variables or ())}
    return "HF_TOKEN" in named or bool(details.gated_dataset)


def _variables(task: Task, recipe: Recipe) -> str:
    """The part that takes the harness's variables."""
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
    script = f"task {task.name} {task.digest}"
    return variables(script, {**recipe.environment, **models}, sources, wanted, key)


def keys_for_gateway(task: Task, recipe: Recipe) -> list[str]:
    """Variables in which the harness gets the gateway's token in place of the endpoint's key.

    None where the key opens something else for it, too (a judge of the user's own): it keeps it.
    """
    key = task.endpoint.api_key_name
    if not key:
        return []
    own = list(dict.fromkeys(name for name in (key, recipe.key_variable) if name))
    differ = [name for name in own if name in task.env_vars and name != key]
    elsewhere = [name for name, each in task.env_vars.items() if each.variable == key != name]
    given = json.dumps([task.params, task.adapter_config, task.pre_cmd, task.post_cmd], default=str)
    wanted = task.benchmark.details.variables or ()
    return [] if differ or elsewhere or key in given or key in wanted else own


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
        "facts": {key: facts[key] for key in FACTS_OF_RESULTS if key in facts} or None,
    }


FACTS_OF_RESULTS = tuple(Facts.__dataclass_fields__)


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


def _written(task: Task, recipe: Recipe) -> str:
    """A function that writes into the record what the harness and the check are given."""
    contents = {
        **_commands(task, recipe),
        "check_spec.json": json.dumps(check_spec(task, recipe), indent=1) + "\n",
        "gateway_options.json": json.dumps(gateway_options(task), indent=1) + "\n",
        **recipe.written,
    }
    lines = ["write_files() {", '    cp "$here/task.yaml" "$record/task.yaml" || return 1']
    for name, text in contents.items():
        lines += here_document(f'    cat >"$record/{name}" || return 1', text)
    return "\n".join([*lines, "}", ""])
