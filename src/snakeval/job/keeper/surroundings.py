"""What the caller's machine has around it: proxies, certificate authorities, a Hugging Face cache;
and what of it a container of the harness gets, whatever runs it."""

from __future__ import annotations

import contextlib
import os
import platform
from typing import TYPE_CHECKING, Protocol

from ..endpoint import CA_VARIABLES

if TYPE_CHECKING:
    from .job import Job

PROXIES = ("HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY", "http_proxy", "https_proxy", "all_proxy")
DIRECT = ("NO_PROXY", "no_proxy")
TOKENS = ("token", "stored_tokens")
"""Files in which `hf auth login` leaves the token of the hub."""
CACHE = "/snakeval/huggingface"


def take(job: Job) -> None:
    """For this process's own questions to the endpoint, for a process, and for a container alike.

    What of it is a secret is kept out of logs: the token of the hub, a proxy's password.
    """
    environment = os.environ
    proxies = [environment[name] for name in PROXIES if environment.get(name)]
    job.variables.secrets += [environment.get("HF_TOKEN", "")]
    job.variables.secrets += [proxy for proxy in proxies if "@" in proxy]
    if proxies:
        # No proxy knows this machine's own servers. Harnesses with an adapter ask one, too.
        direct = "localhost,127.0.0.1"
        if "://[::1]" in job.endpoint_url:
            direct += ",::1"
        if platform.system() == "Darwin":
            direct += ",host.docker.internal"
        ask_directly(direct)
    # Each library reads another of these; one that is set is meant for all of them.
    bundles = [environment[name] for name in CA_VARIABLES if os.path.isfile(_ca(name))]
    for name in CA_VARIABLES:
        if bundles and not environment.get(name):
            environment[name] = bundles[0]


def ask_directly(hosts: str) -> None:
    """These are asked through no proxy, where there is one."""
    environment = os.environ
    if not any(environment.get(name) for name in PROXIES):
        return
    upper = without_proxy(environment.get("NO_PROXY") or environment.get("no_proxy", ""), hosts)
    lower = without_proxy(environment.get("no_proxy") or upper, hosts)
    environment["NO_PROXY"], environment["no_proxy"] = upper, lower


def _ca(name: str) -> str:
    return os.environ.get(name, "")


def without_proxy(hosts: str, more: str) -> str:
    """A list of hosts with further ones added; '*' stands for all hosts only when it stands
    alone."""
    if hosts == "*" or f",{more}," in f",{hosts},":
        return hosts
    return f"{hosts},{more}" if hosts else more


def value_of(job: Job, name: str) -> str:
    """The value that a variable has for what is started: its own, else this machine's."""
    return job.variables.own.get(name, os.environ.get(name, ""))


def hf_cache(job: Job) -> str:
    """The Hugging Face cache to use: as configured, else the caller's if there is one; else empty.

    A folder that was named is made. (`/folder:ro` is only read, `per-run` is this run's own.)
    """
    setting = job.settings.hf_home
    if setting == "no" or "HF_HOME" in job.variables.own:
        return ""
    folder = setting[:-3] if setting.endswith(":ro") else setting
    if folder == "per-run":
        folder = str(job.run_dir / "huggingface")
    folder = folder or os.environ.get("HF_HOME", "")
    if folder:
        folder = os.path.join(os.getcwd(), folder)
        with contextlib.suppress(OSError):
            os.makedirs(folder, exist_ok=True)
    else:
        folder = f"{os.environ.get('HOME') or '/nonexistent'}/.cache/huggingface"
    return folder if os.path.isdir(folder) else ""


class Furniture(Protocol):
    """What a runtime is told of a container: how is its to say."""

    environment: dict[str, str]
    """Of the client that makes the container."""

    def add_mount(self, source: str, target: str, read_only: bool = False) -> None: ...

    def add_name(self, name: str) -> None:
        """A variable of the client; its value is on no command line."""

    def add_value(self, name: str, value: str) -> None:
        """A variable of the container alone, with nothing secret in it."""


def furnish(job: Job, container: Furniture) -> str:
    """Mounts and variables of the harness's container. Returns the cache that is mounted."""
    settings, own = job.settings, job.variables.own
    container.add_mount(str(job.work), "/results")
    container.add_mount(str(job.record), "/snakeval/record", read_only=True)
    for mount in settings.mounts:
        source, _, target = mount.partition(":")
        container.add_mount(source, target)
    if settings.files:
        container.add_mount(settings.files, "/snakeval/files", read_only=True)
        container.add_value("SNAKEVAL_FILES", "/snakeval/files")
    container.add_value("SNAKEVAL_RESULTS", "/results")
    container.add_value("SNAKEVAL_RECORD", "/snakeval/record")
    # On no command line: an address may carry a key in its query.
    container.environment["SNAKEVAL_MODEL_ID"] = settings.endpoint_model
    container.environment["SNAKEVAL_ENDPOINT_URL"] = job.endpoint_url
    container.add_name("SNAKEVAL_MODEL_ID")
    container.add_name("SNAKEVAL_ENDPOINT_URL")
    for _, held, value in job.variables.held():
        container.environment[held] = value
        container.add_name(held)
    # The caller's proxies, certificate authorities and Hugging Face cache, if there are any.
    for name in (*PROXIES, *DIRECT):
        if os.environ.get(name) and name not in own:
            container.add_name(name)
    for name in CA_VARIABLES:
        if name not in own and os.path.exists(_ca(name)):
            container.add_mount(os.path.join(os.getcwd(), _ca(name)), f"/snakeval/ca/{name}", True)
            container.add_value(name, f"/snakeval/ca/{name}")
    cache = hf_cache(job)
    if cache:
        _mount_cache(job, container, cache)
    return cache


def _mount_cache(job: Job, container: Furniture, cache: str) -> None:
    """The cache without the hub's token that lies in it, unless the task names HF_TOKEN."""
    read_only = job.settings.hf_home.endswith(":ro")
    folder = f"{CACHE}-read-only" if read_only else CACHE
    container.add_mount(cache, folder, read_only)
    container.add_value("HF_HOME", folder)
    for file in TOKENS:
        if not job.settings.hf_token and os.path.exists(os.path.join(cache, file)):
            container.add_mount("/dev/null", f"{folder}/{file}", read_only=True)
