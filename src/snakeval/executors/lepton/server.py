"""A server as a Lepton endpoint, whichever machines run the benchmarks.

`server.sh` and its supervisor run here, as those of a local server do; what they bring up, watch
and delete is the endpoint (`lepton_endpoint.py`). Its spec is `lepton_spec.py`'s.
"""

from __future__ import annotations

import hashlib
import importlib.util
import json
import os
import subprocess
from collections.abc import Iterable, Mapping
from importlib.resources import files
from pathlib import Path
from typing import Any

from snakeval.config.deployment import ServerDeployment
from snakeval.config.execution.lepton import LeptonExecution
from snakeval.config.lepton import OWN_TOKEN, Token, tokens_of
from snakeval.errors import Problem
from snakeval.executors import hosted
from snakeval.executors.lepton import endpoint_spec as lepton_spec
from snakeval.executors.lepton.tokens import own_token, token_secrets
from snakeval.job.files import make_executable, write_atomically
from snakeval.plan.run import Run
from snakeval.plan.server import MODEL, Server
from snakeval.render.server import render
from snakeval.run_folder.layout import ServerPaths


def body() -> str:
    """The bash of `server.sh` that is an endpoint's."""
    return (files(__package__) / "server.sh").read_text(encoding="utf-8")


def given_of(run: Run, server: Server) -> tuple[ServerDeployment, LeptonExecution]:
    """What the config says of an endpoint."""
    config = run.config
    given = config.deployment if server.name == MODEL else config.auxiliary_deployments[server.name]
    assert isinstance(given, ServerDeployment) and isinstance(config.execution, LeptonExecution)
    return given, config.execution


def mark_of(run: Run, server: Server) -> str:
    """Says whose an endpoint is. Two copies of a run folder must not delete each other's."""
    folder = hashlib.sha256(str(run.paths.dir.absolute()).encode()).hexdigest()[:8]
    return f"{run.paths.id}/{server.name}/{folder}"


def secrets_of(run: Run, server: Server) -> dict[str, Token]:
    """Name of the workspace's secret -> the token of the endpoint that it holds, or will hold."""
    given, execution = given_of(run, server)
    key_name = run.config.target.api_endpoint.api_key_name if server.name == MODEL else None
    variables = execution.lepton_platform.tasks.env_vars
    tokens = tokens_of(given.lepton_config.api_tokens, variables, key_name)
    return token_secrets(tokens, mark_of(run, server))


def job_secrets(run: Run) -> dict[str, str]:
    """For jobs on Lepton: a variable that benchmarks need for their servers -> the secret.

    Where several endpoints have the same token, it is the model's secret: it stays the longest.
    """
    found: dict[str, str] = {}
    for server in run.servers.values():
        for secret, token in secrets_of(run, server).items() if server.hosted_by else ():
            found.setdefault(token.variable, secret)
    return found


def content_of(run: Run, server: Server, image: str | None) -> dict[str, Any]:
    """What `lepton_endpoint.py` reads: the spec, and what is around it."""
    given, execution = given_of(run, server)
    mark = mark_of(run, server)
    secrets = secrets_of(run, server)
    return {
        "prefix": lepton_spec.prefix_of(given, mark),
        "mark": mark,
        "labels": {"snakeval-run": run.paths.id, "snakeval-deployment": server.name},
        "secrets": {
            name: token.variable for name, token in secrets.items() if token.secret is None
        },
        "spec": lepton_spec.spec_of(given, execution, image, secrets, mark),
    }


# --- the place ---------------------------------------------------------------------------------


class Servers(hosted.Servers):
    """Servers as Lepton endpoints."""

    called = "the Lepton endpoint"
    note = "lepton.json"
    down = 150.0

    def check(self, run: Run, server: Server, runtime: str) -> Iterable[Problem]:
        """What Lepton would refuse, and what cannot reach it."""

        def place(*keys: str) -> str:
            return run.place(*server.keys, *keys)

        if not server.hosted_by:
            yield Problem(
                place(),
                "with this profile a server is a Lepton endpoint, and the config does not say how",
                "write `execution: lepton/default` into `defaults:`, and deployment.lepton_config"
                if server.type != "process"
                else "use profiles/local, or another type with an image",
            )
            return
        if importlib.util.find_spec("leptonai") is None:
            yield Problem(
                place(),
                "the Lepton SDK is not installed",
                "python -m pip install -e '.[lepton]'",
            )
            return
        yield from _credentials(place())
        if server.several:
            yield Problem(
                place(),
                f"an endpoint's replica is one machine, and the config wants {server.several}",
                "take it out; more replicas are lepton_config.min_replicas and max_replicas",
            )
        given, execution = given_of(run, server)
        if not given.lepton_config.resource_shape:
            yield Problem(
                place("lepton_config", "resource_shape"),
                "is missing and must be given",
                "write the shape of a replica, such as gpu.1xh200",
            )
        yield from _host_folders(run, server, given)
        for variable in lepton_spec.variables_of(given, execution):
            if variable.unmapped:
                yield Problem(
                    place("env_vars", variable.name),
                    f"the value of {variable.unmapped} stays on this machine: an endpoint gets it "
                    "as a secret of the Lepton workspace",
                    f"`lep secret create -n {variable.unmapped} -v ...`, then write "
                    f"lepton_config.envs: {{{variable.name}: {{value_from: {{secret_name_ref: "
                    f"{variable.unmapped}}}}}}}",
                )
        for token in secrets_of(run, server).values():
            if token.secret is None and token.variable not in (*os.environ, OWN_TOKEN):
                yield Problem(
                    place("lepton_config", "api_tokens"),
                    f"the variable {token.variable}, the endpoint's token, is not set",
                    f"export {token.variable}=...",
                )
        yield from _refused_by_the_sdk(place(), content_of(run, server, server.image)["spec"])

    def write(
        self,
        run: Run,
        server: Server,
        runtime: str,
        image: str | None,
        defaults: Mapping[str, int | str],
    ) -> None:
        """Writes `server.sh`, and gives the benchmarks of this start their token."""
        if server.key_name == OWN_TOKEN and OWN_TOKEN not in os.environ:
            from snakeval.executors.lepton.calls import connect

            os.environ[OWN_TOKEN] = own_token(str(connect().auth_token))
        script = run.paths.server(server.name).script
        content = json.dumps(content_of(run, server, image), indent=1)
        write_atomically(
            script,
            render(server, runtime, image, command=content, body=body()),
        )
        make_executable(script)

    def sweep(self, paths: ServerPaths) -> None:
        subprocess.run(["bash", str(paths.script), "sweep"], stdin=subprocess.DEVNULL, check=False)


def _credentials(where: str) -> Iterable[Problem]:
    from snakeval.executors.lepton.calls import NO_CREDENTIALS, GivenUp, connect

    try:
        connect()
    except GivenUp:
        yield Problem(where, "there are no credentials for Lepton", NO_CREDENTIALS)


def _host_folders(run: Run, server: Server, given: ServerDeployment) -> Iterable[Problem]:
    """Folders of this machine, which no endpoint sees."""
    seen = [Path(mount.mount_path) for mount in given.lepton_config.mounts]
    for key in ("checkpoint_path", "cache_path"):
        path = getattr(given, key)
        if path and Path(path).is_absolute() and not _is_below(Path(path), seen):
            yield Problem(
                run.place(*server.keys, key),
                f"{path} is on no storage that the endpoint sees",
                "mount it with lepton_config.mounts (`from`, `path`, `mount_path`)"
                + (", or write the model's name on the hub" if key == "checkpoint_path" else ""),
            )
    custom = run.config.execution.mounts
    more = custom.deployment if server.name == MODEL else custom.auxiliary.get(server.name)
    if more:
        yield Problem(
            run.place("execution", "mounts"),
            "folders of this machine cannot be mounted into a Lepton endpoint",
            "put them on the workspace's storage, and name that in lepton_config.mounts",
        )


def _is_below(path: Path, folders: Iterable[Path]) -> bool:
    return any(path == folder or folder in path.parents for folder in folders)


def _refused_by_the_sdk(where: str, spec: Mapping[str, Any]) -> Iterable[Problem]:
    """What the SDK's own types do not take, and fields that they would drop without a word."""
    from leptonai.api.v2.types.deployment import LeptonDeploymentUserSpec
    from pydantic import ValidationError

    try:
        taken = LeptonDeploymentUserSpec(**spec).model_dump(
            mode="json", by_alias=True, exclude_unset=True
        )
    except ValidationError as error:
        for each in error.errors(include_url=False, include_input=False):
            key = ".".join(map(str, each["loc"]))
            yield Problem(where, f"Lepton would refuse {key}: {each['msg']}", "correct it")
        return
    for key in dropped(spec, taken):
        yield Problem(
            where,
            f"Lepton does not know '{key}' of an endpoint",
            "take it out of lepton_config, or of lepton_platform.deployment.platform_defaults",
        )


def dropped(given: Any, taken: Any, place: str = "") -> Iterable[str]:
    """Keys of a mapping that are not in what was made of it."""
    if isinstance(given, Mapping) and isinstance(taken, Mapping):
        for key, value in given.items():
            inside = f"{place}.{key}".lstrip(".")
            if key not in taken:
                yield inside
            else:
                yield from dropped(value, taken[key], inside)
    elif isinstance(given, list) and isinstance(taken, list):
        for number, (value, kept) in enumerate(zip(given, taken, strict=True)):
            yield from dropped(value, kept, f"{place}.{number}")
