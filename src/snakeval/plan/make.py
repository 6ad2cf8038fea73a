"""From a checked config to runs and tasks."""

from __future__ import annotations

import contextlib
import re
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Any

import yaml
from pydantic import ValidationError

from snakeval.config.deployment import ServerDeployment
from snakeval.config.execution.common import READY_TIMEOUT
from snakeval.config.layers import Layers, dig, where
from snakeval.config.load import InvalidConfig, Loaded, load, load_all, told
from snakeval.config.model import Config, EndpointType, HarnessDefinition, TaskEntry
from snakeval.config.overrides import Overrides, parse_overrides
from snakeval.config.source import Source, written
from snakeval.errors import InputError, Problem, nearest
from snakeval.plan import auxiliary
from snakeval.plan.auxiliary import Auxiliary
from snakeval.plan.catalogue import Benchmark, with_own
from snakeval.plan.definition import Looked, definition_of, definition_of_form_1, folder_of
from snakeval.plan.harness_config import (
    as_written,
    benchmark_of,
    harness_config,
    in_place,
    path_at,
)
from snakeval.plan.identity import (
    CANONICAL_VERSION,
    DEMO_MODEL,
    SERVER_IDENTITY,
    dataset_revision,
    digest,
    params_that_decide,
    run_identity,
    without_files,
)
from snakeval.plan.labels import labelled
from snakeval.plan.run import PATHS_OF_TYPES, Endpoint, Keys, Run, Task
from snakeval.plan.server import MODEL, Server, hf_home_of, servers_of
from snakeval.run_folder import forms
from snakeval.run_folder.layout import RunPaths, TaskPaths, runs_in
from snakeval.run_folder.models import names_of_models

_KNOWN_PATH = re.compile(r"/(chat/completions|completions|embeddings)/?$")


_BASE_URL = re.compile(r"https?://[^/?#@${]+(/[^?#${]*)?$")
_BASE_PATH = re.compile(r"^/?$|/(openai|api|compatible-mode|v[0-9]+(beta[0-9]*|alpha[0-9]*)?)/?$")
"""Ends of paths below which services have their endpoints; nothing is asked at them."""


def endpoint_url(url: str, endpoint_type: EndpointType) -> str:
    """The URL with the path that a benchmark of this type asks, where the URL allows telling.
    A query (`?api-version=...`) stays."""
    path, mark, query = url.partition("?")
    return _KNOWN_PATH.sub(PATHS_OF_TYPES[endpoint_type], path) + mark + query


def plan(files: Sequence[Path], values: Mapping[str, Any], catalogue_dir: Path) -> tuple[Run, ...]:
    """The runs of config files and `--config` values: one for each model.

    Raises InputError with all that is wrong.
    """
    try:
        loaded = load_all(files, values)
    except InvalidConfig as error:
        unknown = _unknown_names(error, catalogue_dir)
        in_vain = _asked_in_vain(parse_overrides(values, []), _names_in(error.raw))
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


def _unknown_names(invalid: InvalidConfig, catalogue_dir: Path) -> Iterable[Problem]:
    """Benchmarks that nobody knows, and a URL that is none for those that are known, of a config
    that has other mistakes too."""
    own, entries = invalid.raw.get("harnesses"), dig(invalid.raw, "evaluation", "tasks")
    if own is not None and not isinstance(own, dict):
        return
    try:
        definitions = {
            str(name): HarnessDefinition.model_validate(body) for name, body in (own or {}).items()
        }
    except ValidationError:  # a name may mean one of its benchmarks
        return
    catalogue = with_own(catalogue_dir, definitions, Path())
    layers = invalid.layers
    for number, entry in enumerate(entries if isinstance(entries, list) else []):
        name = dig(entry, "name") if isinstance(entry, dict) else entry
        image = dig(entry, "container")
        if isinstance(name, str):
            named = TaskEntry.model_construct(
                name=name, container=image if isinstance(image, str) else None
            )
            try:
                benchmark = catalogue.find(named, where(_name_key(number), layers))
            except InputError as error:
                yield from error.problems
                continue
            url = dig(invalid.raw, "target", "api_endpoint", "url")
            if problem := _ends_early(url, benchmark, benchmark.details.endpoint_type, layers):
                yield problem


def _names_in(raw: Mapping[str, Any]) -> list[str]:
    """Names and labels of the benchmarks in a config that has mistakes."""
    entries = dig(raw, "evaluation", "tasks")
    found = []
    for entry in entries if isinstance(entries, list) else []:
        said = [entry.get("name"), entry.get("label")] if isinstance(entry, dict) else [entry]
        found += [name for name in said if isinstance(name, str)]
    return found


def _asked_in_vain(overrides: Overrides, names: Sequence[str]) -> Iterator[Problem]:
    """What `tasks=` and `fresh=` name and a config does not, which has other mistakes too: only
    what is nothing like a benchmark of it, as their folders and labels are not known then."""
    ends = [name.rpartition(".")[2] for name in names]
    for key in ("tasks", "fresh"):
        for name in getattr(overrides, key):
            base = re.sub(r"\.\d+$| \[.*\]$| \(.*\)$", "", name)
            if base.rpartition(".")[2] not in ends and base not in names:
                yield _no_task(name, key, sorted({*names, *ends}))


def _no_task(name: str, key: str, known: Sequence[str]) -> Problem:
    return Problem(f"--config {key}", f"the config has no task '{name}'", nearest(name, known))


def _name_key(number: int) -> Keys:
    return ("evaluation", "tasks", number, "name")


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
    problems += _repeated(drafts)
    problems += _prices_of_nobody(loaded, drafts)
    problems += dict.fromkeys(each for task in drafts for each in _unpriced(task))
    if problems:
        entries = config.evaluation.tasks
        said = [name for entry in entries for name in (entry.name, entry.label) if name]
        raise InputError([*problems, *_asked_in_vain(loaded.overrides, said)])
    tasks = labelled(_named(drafts, paths), of_model)
    picked = {}
    for key in ("tasks", "fresh"):
        with told(problems):
            picked[key] = _pick(tasks, getattr(loaded.overrides, key), key)
    warnings = [*loaded.warnings, *_cap_of_nobody(loaded, tasks)]
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
    place = loaded.where(*_name_key(number))
    said = harness["target"]["api_endpoint"]
    wanted = said.get("type") or benchmark.endpoint_type(entry)
    endpoint = in_place(
        _endpoint(config, servers.get(MODEL), wanted, said, place, entry.name), said
    )
    if ends_early := _ends_early(endpoint.url, benchmark, endpoint.type, loaded.layers):
        raise InputError([ends_early])
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
    identity |= _elsewhere(config, endpoint, said)
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
    budget = _budget(config, entry)
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


def _budget(config: Config, entry: TaskEntry) -> dict[str, Any]:
    """What the gateway must know to keep the budgets of a run and a task; empty: there is none."""
    limits = {"run": config.budget.limits, "task": entry.budget.limits}
    if not any(limits.values()):
        return {}
    prices = config.prices
    if prices is None:
        return limits
    known = {MODEL: prices.known, **{name: each.known for name, each in prices.endpoints.items()}}
    return {**limits, "prices": known, "currency": prices.currency}


def _unpriced(task: Task) -> Iterator[Problem]:
    """A budget in money cannot be kept of an endpoint whose tokens have no price."""
    for of, keys in (("run", ()), ("task", ("evaluation", "tasks", task.number))):
        if "usd" not in (task.budget.get(of) or {}):
            continue
        known = task.budget.get("prices") or {}
        for each in task.beside:
            if not known.get(each.name):
                yield Problem(
                    task.place(*keys, "budget", "usd"),
                    f"the tokens of '{each.name}', which '{task.name}' asks, have no price",
                    f"write prices.endpoints.{each.name}, or limit tokens",
                )


def _cap_of_nobody(loaded: Loaded, tasks: Iterable[Task]) -> Iterator[Problem]:
    if loaded.config.execution.max_in_flight and not any(task.gateway for task in tasks):
        yield Problem(
            loaded.where("execution", "max_in_flight"),
            "is not kept: the gateway would keep it, and it is switched off",
            "remove `gateway: false`",
            warning=True,
        )


def _prices_of_nobody(loaded: Loaded, tasks: Iterable[Task]) -> Iterator[Problem]:
    prices = loaded.config.prices
    known = [*loaded.config.auxiliary_deployments]
    known += [each.name for task in tasks for each in task.beside]
    for name in prices.endpoints if prices else ():
        if name not in known:
            near = nearest(name, known)
            yield Problem(
                loaded.where("prices", "endpoints", name),
                "no benchmark asks an endpoint of this name",
                near or "name it as the auxiliary server, or the parameter with its address",
            )


def _server_timeout(servers: Iterable[Server]) -> float:
    """Seconds that a benchmark waits for its servers: as long as they may take."""
    return max((each.ready_timeout for each in servers), default=READY_TIMEOUT)


def _elsewhere(config: Config, endpoint: Endpoint, said: Mapping[str, Any]) -> dict[str, str]:
    """The address of a task that has one of its own: the run's stands for all others."""
    by_all = config.evaluation.nemo_evaluator_config.target.api_endpoint.url
    own = said.get("url") not in (None, by_all, config.target.api_endpoint.url)
    return {"url": endpoint.shown} if own and endpoint.url and not config.name else {}


def _endpoint(
    config: Config,
    server: Server | None,
    wanted: EndpointType,
    said: Mapping[str, Any],
    where: str,
    name: str,
) -> Endpoint:
    """The endpoint of a benchmark: the model's server, where the config has one.

    said  what the harness config has for it
    """
    given = config.target.api_endpoint
    url = said.get("url")
    own = _own_path(config, url) if url and config.deployment.type != "none" else None
    if url and own is None and config.deployment.type != "none":
        what = f"'{name}' would ask another server than the one that the deployment brings up"
        fix = "remove nemo_evaluator_config.target.api_endpoint.url, or set deployment.type to none"
        raise InputError([Problem(where, what, fix)])
    if config.deployment.type == "demo":
        return Endpoint(None, DEMO_MODEL, wanted, given.api_key_name, demo=True)
    if server:
        # The address is known only when the server is up.
        path = own or server.path(wanted)
        if path is None:
            raise InputError(
                [
                    Problem(
                        where,
                        f"'{name}' needs an endpoint of type {wanted}, and "
                        "deployment.endpoints names none",
                        "name its path there, or leave the benchmark out",
                    )
                ]
            )
        key = server.key_name or given.api_key_name
        return Endpoint(
            None,
            server.model,
            wanted,
            key,
            path=path,
            of_place=server.key_is_made,
            check_model=server.check_model,
        )
    assert given.url and given.model_id, "checked by config.load"
    # A chat endpoint serves vlm benchmarks too.
    alike = given.type == wanted or {given.type, wanted} == {"chat", "vlm"}
    if given.type and not alike and not said.get("type"):
        raise InputError(
            [
                Problem(
                    where,
                    f"'{name}' needs an endpoint of type {wanted}, and "
                    f"target.api_endpoint.type is {given.type}",
                    f"leave it out, or evaluate it with a config whose endpoint serves {wanted}",
                )
            ]
        )
    return Endpoint(
        endpoint_url(url or given.url, wanted),
        given.model_id,
        wanted,
        given.api_key_name,
        check_model=given.check_model,
    )


def _own_path(config: Config, url: str) -> str | None:
    """The path of a URL that names the deployment's server; None: it names another."""
    if not isinstance(config.deployment, ServerDeployment):
        return None
    proxy = getattr(config.execution, "proxy", None)
    ports = [config.deployment.port or 8000]
    return path_at(url, [*ports, proxy.config.haproxy_port or 5009] if proxy else ports)


def _ends_early(
    url: Any, benchmark: Benchmark, endpoint_type: EndpointType, layers: Layers
) -> Problem | None:
    """A URL without the path: harnesses ask exactly it; a command of one's own may add to it."""
    if benchmark.definition.kind == "command" or not isinstance(url, str):
        return None
    path, mark, query = url.partition("?")
    base = _BASE_URL.match(path)
    if not base or not _BASE_PATH.search(base[1] or ""):
        return None
    path = path.rstrip("/")
    bare = path.count("/") == 2  # the host alone
    whole = path + ("/v1" if bare else "") + PATHS_OF_TYPES[endpoint_type] + mark
    place = where(("target", "api_endpoint", "url"), layers)
    return Problem(place, "is not the whole path", f"write {whole}{'...' if query else ''}")


def _repeated(tasks: Sequence[Task]) -> Iterable[Problem]:
    """The same benchmark twice with the same spec would be paid for twice."""
    seen: dict[tuple[str, str], Task] = {}
    for task in tasks:
        first = seen.setdefault((task.benchmark.id, task.digest), task)
        if first is not task:
            yield Problem(
                task.where,
                f"'{task.benchmark.id}' is listed already, as evaluation.tasks.{first.number}, "
                "with the same parameters",
                "remove one, or give one other parameters",
            )


def _named(drafts: Sequence[Task], run: RunPaths) -> tuple[Task, ...]:
    """Gives every task its folder: `ifeval`, and `ifeval.1` for the same name again.

    A spec that has a work folder keeps it, so that a task listed before another one of the same
    name takes nobody's place.
    """
    groups: dict[str, list[int]] = defaultdict(list)
    for index, task in enumerate(drafts):
        groups[task.name].append(index)
    numbered = _numbered(run)
    names: dict[int, str] = {}
    for base, indexes in groups.items():
        candidates = [base] + [f"{base}.{number}" for number in range(1, len(indexes))]
        candidates += sorted(numbered[base] - set(candidates))
        if len(candidates) > 1:
            for index in indexes:
                for name in candidates:
                    if forms.found(
                        run.task(name), drafts[index].digest, drafts[index].earlier_digest
                    ):
                        names[index] = name
                        candidates.remove(name)
                        break
        for index in indexes:
            if index not in names:
                names[index] = candidates.pop(0)
    return tuple(_placed(task, run.task(names[index])) for index, task in enumerate(drafts))


def _placed(task: Task, paths: TaskPaths) -> Task:
    """The task in its folder, under the digest that its work has there."""
    there = forms.found(paths, task.digest, task.earlier_digest)
    return replace(task, name=paths.dir.name, paths=paths, digest=there or task.digest)


def _numbered(run: RunPaths) -> dict[str, set[str]]:
    """The folders `ifeval.1`, `ifeval.2`, ... that the run has, by the name before the number."""
    found: dict[str, set[str]] = defaultdict(set)
    with contextlib.suppress(OSError):
        for entry in run.dir.iterdir():
            base, dot, number = entry.name.rpartition(".")
            if dot and number.isdigit():
                found[base].add(entry.name)
    return found


def _pick(tasks: Sequence[Task], names: Sequence[str], key: str) -> tuple[Task, ...]:
    """The tasks that `--config tasks=` or `fresh=` names: by folder, label, `task` or
    `harness.task`."""
    picked: list[Task] = []
    problems = []
    labels = {task.label for task in tasks}
    for name in names:
        found = [task for task in tasks if name in (task.name, task.label, task.benchmark.id)] or [
            task for task in tasks if name == task.benchmark.task
        ]
        if not found:
            known = sorted({*(task.name for task in tasks), *labels})
            problems.append(_no_task(name, key, known))
        picked += [task for task in found if task not in picked]
    if problems:
        raise InputError(problems)
    return tuple(picked)
