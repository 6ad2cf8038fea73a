"""What is looked at before the first job of a real start; a dry run only warns about it."""

from __future__ import annotations

import os
import shutil
from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path

from snakeval.errors import InputError, Problem
from snakeval.harness import check, hints, lm_eval_index, recipe_for, refused
from snakeval.job.endpoint import CA_VARIABLES, proxy_for, proxy_of, speaks_http
from snakeval.plan.make import files_changed
from snakeval.plan.run import Endpoint, Run, Task
from snakeval.runtime import archives
from snakeval.start import servers
from snakeval.start import variables as needs
from snakeval.start.this_start import ThisStart

GB = 1_000_000_000
NO_ANSWER = "start the server, or correct target.api_endpoint.url"


def against(start: ThisStart) -> list[Problem]:
    """Everything that keeps a start's benchmarks from running, or deserves a warning. Each has
    passed `recipes`."""
    pending, provided = start.pending, start.provided
    found = [warning for run in start.runs for warning in run.warnings]
    found += [*variables(pending, provided), *space(start.runs), *paths(start.runs)]
    found += [
        *webhooks(start.runs),
        *certificates(),
        *proxies(pending),
        *needs.unmet(pending, provided),
        *servers.against(start),
    ]
    found += [*runtimes(start), *mounts(pending), *_unknown_tasks(start)]
    found += edited(pending)
    found += [hint for task in pending for hint in hints(task)]
    found += refused(pending)
    for endpoint, task in {task.endpoint: task for task in pending}.items():
        answers = list(endpoints(endpoint, task.place("target", "api_endpoint", "model_id")))
        # Jobs that see another network, or have another key, know better.
        elsewhere = task in provided or task.network not in ("", "host")
        found += [replace(each, warning=True) for each in answers] if elsewhere else answers
    return list(dict.fromkeys(found))


def _unknown_tasks(start: ThisStart) -> Iterable[Problem]:
    """Tasks that lm-eval here does not have; elsewhere there may be another one."""
    for problem in lm_eval_index.unknown(start.pending):
        yield replace(problem, warning=problem.warning or start.executor.elsewhere)


def edited(tasks: Iterable[Task]) -> Iterable[Problem]:
    """Benchmarks that are evaluated again for an edit of their files, which may not be meant."""
    for task in filter(files_changed, tasks):
        yield Problem(
            task.where,
            f"'{task.benchmark.id}' is evaluated again: its files are others than those it was "
            "evaluated with",
            "put them back to keep the result; what a command writes belongs into {results}",
            warning=True,
        )


def runtimes(start: ThisStart) -> Iterable[Problem]:
    """What the benchmarks' runtimes lack; only a warning where they run on other machines."""
    by_runtime: dict[str, list[Task]] = defaultdict(list)
    for task, name in start.pending.items():
        by_runtime[name].append(task)
    for name, tasks in by_runtime.items():
        if name not in start.runtimes:
            possible = "possible: " + ", ".join(start.runtimes)
            yield Problem("container_runtime", f"there is no runtime '{name}'", possible)
            continue
        if start.executor.elsewhere:
            tasks = [task for task in tasks if not _is_beside_the_runs(task, name)]
        lacking = start.runtimes[name].problems(tasks) if tasks else []
        yield from _told_of(name, lacking) if start.executor.elsewhere else lacking


def _is_beside_the_runs(task: Task, runtime: str) -> bool:
    """Whether `snakemake prefetch` has brought the task's image: nobody need be asked for it."""
    output_dir = task.paths.dir.parent.parent
    return bool(task.image and archives.find(output_dir, task.image, runtime))


def _told_of(runtime: str, found: Iterable[Problem]) -> Iterable[Problem]:
    """What this machine lacks the nodes may have."""
    for problem in found:
        if problem.where == runtime:
            what = f"{problem.what}; the nodes must have it"
            problem = replace(problem, what=what, warning=True)
        yield problem


def recipes(tasks: Iterable[Task]) -> Iterable[Problem]:
    """Tasks that their harness cannot be asked for. Cheap: looked at when parsing."""
    for task in tasks:
        try:
            check(task)
        except InputError as error:
            yield from error.problems


def variables(
    tasks: Iterable[Task], provided: Mapping[Task, Collection[str]] | None = None
) -> Iterable[Problem]:
    """Variables that the config names and the jobs would not have."""
    for task in tasks:
        environment = (provided or {}).get(task, os.environ)
        key = task.endpoint.api_key_name
        if key and key not in environment and not task.endpoint.of_place:
            yield Problem(
                task.place("target", "api_endpoint", "api_key_name"),
                f"the variable {key} is not set",
                f"export {key}=...",
            )
        for name, source in task.env_vars.items():
            variable = source.wanted_here
            if variable and variable not in environment:
                yield Problem(
                    task.place(*task.env_keys[name]),
                    f"the variable {variable} is not set",
                    f"export {variable}=..., or take it out of env_vars",
                )


def webhooks(runs: Sequence[Run]) -> Iterable[Problem]:
    """Variables with the address of a webhook that are not set."""
    for run in runs:
        name = run.config.execution.notify.webhook
        if name and name not in os.environ:
            yield Problem(
                run.place("execution", "notify", "webhook"),
                f"the variable {name} is not set",
                f"export {name}=..., or take it out",
            )


def certificates() -> Iterable[Problem]:
    """Variables that name certificate authorities which are not there."""
    for name in CA_VARIABLES:
        path = os.environ.get(name)
        if path and not os.access(path, os.R_OK):
            yield Problem(name, f"{path} cannot be read", "correct the variable, or `unset` it")


def proxies(tasks: Iterable[Task]) -> Iterable[Problem]:
    """Proxies by which the gateway cannot ask an endpoint."""
    urls = {task.endpoint.url: task.endpoint.shown for task in tasks if task.gateway}
    for url, shown in urls.items():
        proxy = proxy_for(url) if url else None
        if proxy and not speaks_http(proxy):
            scheme = str(url).partition(":")[0].upper()
            yield Problem(
                f"{scheme}_PROXY or ALL_PROXY",
                f"names a proxy of another kind than HTTP ({proxy.partition(':')[0]}) for {shown}; "
                "the gateway cannot ask through it",
                f"export {scheme}_PROXY=http://..., add the endpoint's host to NO_PROXY, or write "
                "execution: {gateway: false}",
            )


def mounts(tasks: Iterable[Task]) -> Iterable[Problem]:
    """Host folders that do not exist or cannot be read."""
    for task in tasks:
        own = recipe_for(task).files
        folders = [(source, "dataset_dir or execution.mounts") for source, _ in task.mounts]
        if own:
            folders.append((own, f"harnesses.{task.benchmark.harness}"))
        for folder, key in folders:
            fix = f"make it, or correct {key}"
            if not folder.exists():
                yield Problem(task.where, f"the folder {folder} does not exist", fix)
            elif not os.access(folder, os.R_OK):
                yield Problem(task.where, f"the folder {folder} cannot be read", fix)


def paths(runs: Sequence[Run]) -> Iterable[Problem]:
    """Output folders that cannot be used."""
    for run in runs:
        if ":" in str(run.paths.dir.absolute()):
            yield Problem(
                run.place("execution", "output_dir"),
                "a path with ':' cannot be mounted into a container",
                "choose another folder",
            )
        parent = _existing(run.paths.dir)
        if not parent.is_dir() or not os.access(parent, os.W_OK | os.X_OK):
            yield Problem(
                run.place("execution", "output_dir"),
                f"{parent} cannot be written",
                "choose another folder",
            )


def space(runs: Sequence[Run]) -> Iterable[Problem]:
    """Output folders with less free space than the config wants."""
    for run in runs:
        wanted = run.config.execution.min_free_gb
        free = shutil.disk_usage(_existing(run.paths.dir)).free / GB
        if free < wanted:
            yield Problem(
                run.place("execution", "output_dir"),
                f"only {free:.2f} GB are free, and {wanted:g} GB are wanted",
                "make room, choose another folder, or lower execution.min_free_gb",
            )


def _existing(path: Path) -> Path:
    """The nearest folder above that exists."""
    path = path.absolute()
    while not path.exists() and path != path.parent:
        path = path.parent
    return path


def endpoints(endpoint: Endpoint, model_key: str) -> Iterable[Problem]:
    """Whether the endpoint answers, takes the key, and serves the model.

    model_key  where the config names the model

    An endpoint that lists no models at all is left to the harness, with a warning.
    """
    if endpoint.url is None:
        return
    import urllib.error

    from snakeval.job.endpoint import served_models

    where = f"endpoint {endpoint.shown}"
    try:
        served = served_models(endpoint.url, endpoint.api_key_name)
    except urllib.error.HTTPError as error:
        key = endpoint.api_key_name
        if error.code in (401, 403) and key and key not in os.environ:
            return  # asked without it; what is missing is told of the variable
        if error.code in (401, 403) and key:
            yield Problem(
                where,
                f"refuses the key in {key} ({error.code})",
                f"put the right key into {key}, or name another variable in "
                "target.api_endpoint.api_key_name",
            )
        elif error.code in (401, 403):
            yield Problem(
                where,
                f"wants a key ({error.code})",
                "put the key into a variable and name it in target.api_endpoint.api_key_name",
            )
        else:
            yield _unlisted(where, f"/v1/models answers {error.code}")
        return
    except urllib.error.URLError as error:
        reason = getattr(error.reason, "strerror", None) or error.reason
        yield _unreachable(where, endpoint.url, reason)
        return
    except (TimeoutError, ConnectionError) as error:
        yield _unreachable(where, endpoint.url, error)
        return
    except (OSError, ValueError, KeyError, TypeError):
        yield _unlisted(where, "/v1/models answers something else")
        return
    if served and endpoint.check_model and endpoint.model_id not in served:
        yield Problem(
            model_key,
            f"{endpoint.shown} does not serve '{endpoint.model_id}'",
            "it serves " + ", ".join(served[:8]),
        )


def _unreachable(where: str, url: str, reason: object) -> Problem:
    """No answer at all: the certificate, the proxy on the way, or the server itself."""
    text = str(reason)
    if "CERTIFICATE_VERIFY_FAILED" in text:
        return Problem(
            where,
            f"has a certificate that is not trusted here: {text}",
            "name the file of your certificate authorities in SSL_CERT_FILE",
        )
    if "Tunnel connection failed" in text:
        return Problem(
            where,
            f"cannot be reached through the proxy: {text}",
            "correct HTTPS_PROXY, or add the endpoint's host to NO_PROXY",
        )
    if name := proxy_of(url):
        return Problem(
            where,
            f"does not answer through the proxy that {name} names: {text}",
            f"correct {name}, or add the endpoint's host to no_proxy",
        )
    return Problem(where, f"does not answer: {text}", NO_ANSWER)


def _unlisted(where: str, why: str) -> Problem:
    return Problem(
        where,
        f"lists no models ({why}): the model's name could not be checked",
        warning=True,
    )
