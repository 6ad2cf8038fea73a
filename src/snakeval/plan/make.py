"""From a checked config to runs and tasks."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import yaml

from snakeval.config.execution.common import READY_TIMEOUT
from snakeval.config.load import InvalidConfig, Loaded, load, load_all, told
from snakeval.config.model import Config
from snakeval.config.overrides import parse_overrides
from snakeval.config.source import Source, written
from snakeval.errors import InputError, Problem
from snakeval.plan import auxiliary
from snakeval.plan.auxiliary import Auxiliary
from snakeval.plan.budget import budget_of, cap_of_nobody, prices_of_nobody, unpriced
from snakeval.plan.catalogue import Benchmark, with_own
from snakeval.plan.chosen import asked_in_vain, chosen_of, names_in, unknown_benchmarks
from snakeval.plan.definition import Looked, definition_of, definition_of_form_1, folder_of
from snakeval.plan.endpoint import endpoint_of, ends_early, own_address
from snakeval.plan.folders import in_folders, repeated
from snakeval.plan.harness_config import (
    as_written,
    benchmark_of,
    harness_config,
    in_place,
)
from snakeval.plan.identity import (
    CANONICAL_VERSION,
    SERVER_IDENTITY,
    dataset_revision,
    digest,
    params_that_decide,
    run_identity,
    without_files,
)
from snakeval.plan.labels import labelled
from snakeval.plan.run import Keys, Run, Task, name_key
from snakeval.plan.server import MODEL, Server, hf_home_of, servers_of
from snakeval.run_folder.layout import RunPaths, TaskPaths, runs_in
from snakeval.run_folder.models import names_of_models


def plan(files: Sequence[Path], values: Mapping[str, Any], catalogue_dir: Path) -> tuple[Run, ...]:
    """The runs of config files and `--config` values: one for each model.

    Raises InputError with all that is wrong.
    """
    try:
        loaded = load_all(files, values)
    except InvalidConfig as error:
        unknown = unknown_benchmarks(error, catalogue_dir)
        in_vain = asked_in_vain(parse_overrides(values, []), names_in(error.raw))
        raise InputError(dict.fromkeys([*error.problems, *unknown, *in_vain])) from None
    runs: list[Run] = []
    problems: list[Problem] = []
    now = datetime.now(UTC)
    for each, of_model in zip(loaded, _models(loaded), strict=True):
        with told(problems):
            runs.append(make_run(each, catalogue_dir, now, of_model))
    problems += _same_run(loaded)
    if problems:
        raise InputError(dict.fromkeys(problems))
    return tuple(runs)


DRIVES = "SNAKEVAL_DRIVES"
"""The variable with the run folders that a job of `controller=job` drives, with `:` between."""


def continued(
    folders: Sequence[Path], values: Mapping[str, Any], catalogue_dir: Path
) -> tuple[Run, ...]:
    """The runs of an earlier start, from the configs that it has written into their folders.

    values  of `--config`; the choice of tasks alone counts, the others stand in those configs
    Raises InputError.
    """
    chosen = {key: value for key, value in values.items() if key == "tasks"}
    found = []
    sweep = [load([folder / "config.yaml"], chosen, interpolate=False) for folder in folders]
    for folder, loaded, of_model in zip(folders, sweep, _models(sweep), strict=True):
        identity = run_identity(loaded.config)
        run = _run_at(RunPaths(folder), False, loaded, identity, catalogue_dir, of_model)
        # Also where a definition's files were edited: jobs of that spec are under way.
        tasks = {task.name: _written(task) or task for task in run.tasks}
        selected = tuple(tasks[task.name] for task in run.selected)
        found.append(replace(run, tasks=tuple(tasks.values()), selected=selected))
    return tuple(found)


def _same_run(sweep: Sequence[Loaded]) -> Iterable[Problem]:
    """Two models of a sweep with one run folder."""
    seen: dict[str, Loaded] = {}
    for each in sweep:
        first = seen.setdefault(digest(run_identity(each.config), 8), each)
        if first is not each:
            yield Problem(
                str(each.layers[0][0]),
                f"is the same run as {str(first.layers[0][0]).partition(': ')[2]}",
                "give it another model, another served_model_name, or a name",
            )


def _models(sweep: Sequence[Loaded]) -> list[str]:
    """What the models of a sweep are called beside each other; of a single one nothing."""
    if len(sweep) < 2:
        return [""] * len(sweep)
    models = [str(run_identity(each.config)["model_id"]) for each in sweep]
    spare = [str(each.config.name or number) for number, each in enumerate(sweep, 1)]
    if len(set(spare)) < len(spare):
        spare = [str(number) for number in range(1, len(sweep) + 1)]
    return names_of_models(models, spare)


def make_run(
    loaded: Loaded, catalogue_dir: Path, now: datetime | None = None, of_model: str = ""
) -> Run:
    """Plans the run of a config. Reads the output folder, writes nothing. Raises InputError.

    of_model  what its model is called beside the others of a sweep
    """
    config = loaded.config
    identity = run_identity(config)
    output_dir = Path(config.execution.output_dir).expanduser()
    paths, new = _run_folder(output_dir, digest(identity, 8), loaded.overrides.new_run, now)
    return _run_at(paths, new, loaded, identity, catalogue_dir, of_model)


def config_of_run(paths: RunPaths, files: Sequence[Path], values: Mapping[str, Any]) -> Config:
    """Of the configs of a sweep the one that the run is of; else the only or first one.

    Raises InputError.
    """
    configs = [loaded.config for loaded in load_all(files, values)]
    own = [each for each in configs if digest(run_identity(each), 8) == paths.id[-8:]]
    return (own or configs)[0]


def read_run(folder: Path, loaded: Loaded, catalogue_dir: Path) -> Run:
    """The plan of an existing run folder, from the config that was written into it."""
    run = _run_at(RunPaths(folder), False, loaded, run_identity(loaded.config), catalogue_dir)
    tasks = tuple(_as_written(task) for task in run.tasks)
    return replace(run, tasks=tasks, selected=tasks)


def _as_written(task: Task) -> Task:
    """The task that the run folder has a result of, where only the definition's files are others.

    They may have been edited since, or not be on this machine (the run was handed on). What is
    published stays visible, under the digest that stands in its task.yaml.
    """
    if task.published:
        return task
    folder = folder_of(task.benchmark, task.params)
    here = folder is None or folder.exists()
    written = _written(task)
    if written is None or (here and not written.published):
        return task
    return replace(written, definition_changed=here)


def files_changed(task: Task) -> bool:
    """Whether the task is evaluated again for its files alone: it was published with others."""
    if task.published or folder_of(task.benchmark, task.params) is None:
        return False
    written = _written(task)
    return written is not None and written.published


def _written(task: Task) -> Task | None:
    """The task with the digest in its task.yaml; None where more than its files differs."""
    try:
        written = yaml.load(task.paths.spec.read_text(encoding="utf-8"), Loader=yaml.CSafeLoader)
        same = without_files(written["identity"]) == without_files(task.identity)
        was = {"digest": str(written["digest"]), "identity": written["identity"]}
        return replace(task, **was) if same else None
    except (OSError, ValueError, yaml.YAMLError, KeyError, TypeError):
        return None


def _run_folder(
    output_dir: Path, hex8: str, fresh: bool, now: datetime | None
) -> tuple[RunPaths, bool]:
    """The newest run folder of this identity, or the name of one to be made."""
    existing = [run for run in runs_in(output_dir) if run.id.endswith(f"-{hex8}")]
    if existing and not fresh:
        return existing[-1], False
    time = (now or datetime.now(UTC)).strftime("%Y-%m-%d-%H-%M-%S")
    return RunPaths(output_dir / f"{time}-{hex8}"), True


def _run_at(
    paths: RunPaths,
    new: bool,
    loaded: Loaded,
    identity: dict[str, Any],
    catalogue_dir: Path,
    of_model: str = "",
) -> Run:
    config = loaded.config
    catalogue = with_own(catalogue_dir, config.harnesses, loaded.base)
    problems: list[Problem] = []
    drafts: list[Task] = []
    judges = auxiliary.auxiliaries_of(config, SERVER_IDENTITY)
    by_all = auxiliary.used_by_all(judges, config) if judges else frozenset()
    servers = servers_of(config)
    looked = Looked()
    for number, entry in enumerate(config.evaluation.tasks):
        at = ("evaluation", "tasks", number)
        try:
            benchmark = benchmark_of(catalogue, config, entry, partial(loaded.where, *at))
            drafts.append(_task(loaded, number, benchmark, servers, judges, by_all, looked))
        except InputError as error:
            problems += error.problems
    problems += repeated(drafts)
    problems += prices_of_nobody(loaded, drafts)
    problems += dict.fromkeys(each for task in drafts for each in unpriced(task))
    if problems:
        entries = config.evaluation.tasks
        said = [name for entry in entries for name in (entry.name, entry.label) if name]
        raise InputError([*problems, *asked_in_vain(loaded.overrides, said)])
    tasks = labelled(in_folders(drafts, paths), of_model)
    picked = {}
    for key in ("tasks", "fresh"):
        with told(problems):
            picked[key] = chosen_of(tasks, getattr(loaded.overrides, key), key)
    warnings = [*loaded.warnings, *cap_of_nobody(loaded, tasks)]
    if wanted := loaded.overrides.replay_from:
        from snakeval.plan.replay import with_sources

        with told(problems):
            names = {key: [task.name for task in chosen] for key, chosen in picked.items()}
            tasks, unknown = with_sources(tasks, paths, wanted, picked.get("fresh", ()))
            warnings += unknown
            picked = {
                key: tuple(task for task in tasks if task.name in chosen)
                for key, chosen in names.items()
            }
    if problems:
        raise InputError(problems)
    return Run(
        paths,
        identity,
        config,
        loaded.raw,
        tasks,
        selected=picked["tasks"] or tasks,
        fresh=picked["fresh"],
        new=new,
        base=loaded.base,
        place=loaded.where,
        update_images=loaded.overrides.update_images,
        warnings=tuple(warnings),
        servers=servers,
    )


def _task(
    loaded: Loaded,
    number: int,
    benchmark: Benchmark,
    servers: Mapping[str, Server],
    judges: tuple[Auxiliary, ...],
    by_all: frozenset[str],
    looked: Looked,
) -> Task:
    config = loaded.config
    entry = config.evaluation.tasks[number]
    harness = harness_config(config, entry)
    params = harness["config"]["params"]
    place = loaded.where(*name_key(number))
    said = harness["target"]["api_endpoint"]
    wanted = said.get("type") or benchmark.endpoint_type(entry)
    endpoint = in_place(
        endpoint_of(config, servers.get(MODEL), wanted, said, place, entry.name), said
    )
    if problem := ends_early(endpoint.url, benchmark, endpoint.type, loaded.layers):
        raise InputError([problem])
    dataset = Path(entry.dataset_dir).expanduser().resolve() if entry.dataset_dir else None
    mounts = [
        (Path(source).expanduser().resolve(), target)
        for source, target in config.execution.mounts.evaluation.items()
    ]
    if dataset:
        mounts.append((dataset, entry.dataset_mount_path))
    identity = {
        "version": CANONICAL_VERSION,
        "benchmark": benchmark.id,
        "image": entry.container,
        "model_id": endpoint.model_id,
        "endpoint_type": endpoint.type,
        "params": params_that_decide(params),
        "adapter_config": said.get("adapter_config") or {},
        "dataset": dataset_revision(dataset) if dataset else None,
        "definition": definition_of(benchmark, params, looked),
    }
    around = {
        "pre_cmd": entry.pre_cmd or config.evaluation.pre_cmd,
        "post_cmd": entry.post_cmd or config.evaluation.post_cmd,
    }
    identity |= {key: value for key, value in around.items() if value}
    identity |= own_address(config, endpoint, said)
    if benchmark.eval_type not in (benchmark.task, benchmark.id):
        identity["type"] = benchmark.eval_type
    levels: tuple[tuple[Keys, dict[str, Source]], ...] = (
        ((), config.env_vars),
        (("evaluation",), config.evaluation.env_vars),
        (("evaluation", "tasks", number), entry.env_vars),
    )
    env_vars = {name: source for _, level in levels for name, source in level.items()}
    if dataset:
        env_vars.setdefault("NEMO_EVALUATOR_DATASET_DIR", written(entry.dataset_mount_path))
    adapter_config = said.get("adapter_config") or {}
    given = [params, adapter_config, env_vars, list(around.values()), benchmark.definition.command]
    unknown = list(auxiliary.unknown(judges, config, given, place.removesuffix(".name")))
    if unknown:
        raise InputError(unknown)
    asked = auxiliary.used(judges, by_all, given)
    if asked:
        identity["auxiliary"] = {each.name: each.identity for each in asked}
    budget = budget_of(config, entry)
    return Task(
        name=benchmark.task,
        digest=digest(identity),
        benchmark=benchmark,
        image=entry.container or benchmark.definition.image,
        endpoint=endpoint,
        params=auxiliary.with_models(params, asked),
        adapter_config=auxiliary.with_models(adapter_config, asked),
        stream=said.get("stream"),
        as_written=as_written(harness),
        env_vars=env_vars,
        mounts=tuple(mounts),
        extra_docker_args=config.execution.extra_docker_args,
        max_unanswered=config.evaluation.max_unanswered,
        pre_cmd=around["pre_cmd"],
        post_cmd=around["post_cmd"],
        resources=entry.resources,
        paths=TaskPaths(Path()),
        number=number,
        own_label=entry.label or "",
        place=loaded.where,
        env_keys={name: (*keys, "env_vars", name) for keys, level in levels for name in level},
        identity=identity,
        earlier_digest=_earlier(identity, benchmark, looked),
        hf_home=hf_home_of(config.execution),
        umask=config.umask,
        image_mirror=config.execution.image_mirror,
        gateway=config.has_gateway or bool(budget),
        budget=budget,
        max_in_flight=config.execution.max_in_flight,
        mount_home=config.execution.mounts.mount_home is not False,
        servers=(*([MODEL] if MODEL in servers else []), *(each.name for each in asked)),
        auxiliary=asked,
        server_timeout=_server_timeout(servers.values()),
    )


def _earlier(identity: dict[str, Any], benchmark: Benchmark, looked: Looked) -> str | None:
    """The digest under which earlier versions have kept the spec, where it is another."""
    of_form_1 = definition_of_form_1(benchmark, looked)
    if of_form_1 == identity["definition"]:
        return None
    return digest({**identity, "definition": of_form_1})


def _server_timeout(servers: Iterable[Server]) -> float:
    """Seconds that a benchmark waits for its servers: as long as they may take."""
    return max((each.ready_timeout for each in servers), default=READY_TIMEOUT)
