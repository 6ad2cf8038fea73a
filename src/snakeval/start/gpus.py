"""How many GPUs the servers of one start use at once, and which of a machine's.

The limit is Snakemake's resource `gpu`. A server lives longer than the job that brings it up, so
Snakemake alone cannot keep it: the job waits here until the servers of other runs have given back
enough. A run claims for all its servers at once: two that are each short of one would wait for
each other for ever.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

from snakeval.errors import InputError, Problem
from snakeval.errors import count as spelled
from snakeval.job.files import make_private
from snakeval.plan.pending import servers_needed
from snakeval.plan.run import Run
from snakeval.plan.server import Server
from snakeval.run_folder import controller
from snakeval.run_folder import servers as state
from snakeval.run_folder.layout import RunPaths

RESOURCE = "gpu"
"""The name of Snakemake's resource."""

LONG_AGO = 3600.0
"""Seconds after which an empty file of claims is nobody's."""

Shares = Mapping[str, str]
"""What each server of a run takes: a number, or a list as in `0,1`."""


def needed(run: Run) -> list[str]:
    """Names of the servers that pending benchmarks of this start need, the model's first."""
    return [server.name for server, _ in servers_needed(run, run.selected)]


def shares(run: Run, limit: int) -> dict[str, str]:
    """What the servers of a run that are needed take."""
    return {name: _share(run.servers[name], limit) for name in needed(run)}


def _share(server: Server, limit: int) -> str:
    if "," in server.gpus:
        return server.gpus
    return str(limit if server.gpu_count is None else server.gpu_count)


def count(share: str) -> int:
    """The number of GPUs of a share."""
    return len(share.split(",")) if "," in share else int(share)


def beyond(run: Run, limit: int) -> Iterator[Problem]:
    """Servers that could never come up: told before anything starts."""
    wanted = {name: count(share) for name, share in shares(run, limit).items()}
    raise_it = f"raise it: --resources {RESOURCE}=N, or `resources:` in the profile"
    for name, number in wanted.items():
        if number > limit:
            yield Problem(
                run.place(*run.servers[name].keys, "gpus"),
                f"the server '{name}' needs {spelled(number, 'GPU')}, and the limit is {limit} "
                f"(resource {RESOURCE})",
                f"{raise_it}; or ask for fewer",
            )
            return
    if sum(wanted.values()) > limit:
        said = " and ".join(f"'{name}' ({number})" for name, number in wanted.items())
        yield Problem(
            run.place(*run.servers[next(iter(wanted))].keys),
            f"the servers {said} are up together and need {sum(wanted.values())} GPUs; the limit "
            f"is {limit} (resource {RESOURCE})",
            f"{raise_it}; or say how many each needs: gpus: N",
        )


def unlimited(runs: Iterable[Run]) -> list[Problem]:
    """A warning where servers of several models come up on one machine, and nothing says how many
    of its GPUs each may have."""
    models = [run for run in runs if any(_may_collide(run.servers[each]) for each in needed(run))]
    if len(models) < 2:
        return []
    return [
        Problem(
            "",
            f"the servers of {len(models)} models come up on this machine at the same time, on the "
            "same GPUs",
            f"limit what is in use at once: --resources {RESOURCE}=N, where N is the number of "
            'GPUs here; or give each model its own, as in gpus: "0,1"',
            warning=True,
        )
    ]


def _may_collide(server: Server) -> bool:
    """Whether it takes GPUs of this machine that another server may take too."""
    taken = server.gpu_count != 0 and "," not in server.gpus and not server.hosted_by
    return taken and (server.image is not None or bool(server.gpus))


def claims_file(start: str) -> Path:
    """On the machine that drives the start, where all its `deploy` jobs run. Raises InputError
    where somebody else could write beside it."""
    folder = Path(tempfile.gettempdir()) / f"snakeval-{os.getuid()}-gpus"
    try:
        make_private(folder)
    except OSError:
        raise InputError(
            [
                Problem(
                    str(folder),
                    "claims of GPUs lie here, and it is not this user's alone",
                    "remove it, or set TMPDIR to a folder of your own",
                )
            ]
        ) from None
    return folder / f"{start}.json"


def forget(start: str) -> None:
    """Removes the claims of a start that ends."""
    with contextlib.suppress(InputError):  # then it has none there
        claims_file(start).unlink(missing_ok=True)


def sweep(own: Path) -> None:
    """Removes the claims of starts that were killed.

    own  claims file of this start
    """
    for file in own.parent.glob("*.json"):
        if file != own:
            with contextlib.suppress(OSError), _locked(file) as claims:
                if _is_left_over(file, claims):
                    file.unlink()


def _is_left_over(file: Path, claims: Mapping[str, Any]) -> bool:
    """Whether neither its start nor a `deploy` job of that lives. One that is empty may have been
    made just now."""
    if not claims:
        return time.time() - file.stat().st_mtime > LONG_AGO
    driven = controller.living(RunPaths(Path(run)).controller for run in claims)
    return not any(each.start == file.stem for each in driven.values()) and not any(
        map(_holds, claims.values())
    )


def found_up(file: Path, runs: Iterable[Run]) -> None:
    """Claims the GPUs of servers that an earlier start has left: in use until those end."""
    sweep(file)
    with _locked(file) as claims:
        for run in runs:
            devices = {
                paths.dir.name: found
                for paths in state.deployments_of(run.paths)
                if (found := state.devices_of(paths))
            }
            if devices:
                claims[str(run.paths.dir)] = {"devices": devices, "pids": []}


def claim(
    file: Path,
    run: str,
    asked: Shares,
    limit: int,
    is_up: Callable[[str], bool],
    say: Callable[[str], None] = print,
    pause: float = 1.0,
) -> dict[str, list[int]]:
    """Waits until the servers of a run fit, and claims GPUs for them: the numbers, by server.

    is_up  whether a server of a run is up, or on its way
    pause  seconds between two looks
    """
    told = ""
    while True:
        with _locked(file) as claims:
            for other in [each for each in claims if each != run]:
                if not _holds(claims[other]) and not is_up(other):
                    del claims[other]
            mine = claims.get(run, {"devices": {}, "pids": []})
            lacking = {name: asked[name] for name in asked if name not in mine["devices"]}
            more = _fitting(claims, lacking, limit) if lacking else {}
            if more is not None:
                found: dict[str, list[int]] = {**mine["devices"], **more}
                claims[run] = {"devices": found, "pids": [*mine["pids"], os.getpid()]}
                return found
            holders = ", ".join(sorted(Path(each).name for each in claims))
        if holders != told:
            told = holders
            say(
                f"waiting for GPUs: too few of the {limit} are free; the rest are held by {holders}"
            )
        time.sleep(pause)


def _holds(entry: Mapping[str, Any]) -> bool:
    """Whether a `deploy` job of the run is still at it."""
    return any(Path(f"/proc/{pid}").exists() for pid in entry["pids"])


def _fitting(claims: Mapping[str, Any], asked: Shares, limit: int) -> dict[str, list[int]] | None:
    """GPUs beside those that are claimed, or None where there is no room."""
    taken = {
        device
        for entry in claims.values()
        for devices in entry["devices"].values()
        for device in devices
    }
    found: dict[str, list[int]] = {}
    # Those that name their GPUs choose first.
    for name, share in sorted(asked.items(), key=lambda item: "," not in item[1]):
        if "," in share:
            devices = [int(number) for number in share.split(",")]
            if taken & set(devices):
                return None
        else:
            devices = [number for number in range(limit) if number not in taken][: int(share)]
            if len(devices) < int(share):
                return None
        taken |= set(devices)
        found[name] = devices
    return found if len(taken) <= limit else None


@contextlib.contextmanager
def _locked(file: Path) -> Iterator[dict[str, Any]]:
    """The claims of a start; what is changed is written."""
    with os.fdopen(
        os.open(file, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o600), "r+", encoding="utf-8"
    ) as claims:
        fcntl.flock(claims, fcntl.LOCK_EX)
        text = claims.read()
        try:
            content: dict[str, Any] = json.loads(text)
        except ValueError:  # a new one, or not all of one
            content = {}
        yield content
        if (changed := json.dumps(content)) != text:
            claims.seek(0)
            claims.truncate()
            claims.write(changed)


def parsed(words: Iterable[str]) -> dict[str, str]:
    """`model=2 judge=0,1`, as shares."""
    return dict(word.split("=", 1) for word in words)
