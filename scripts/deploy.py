"""Brings a deployment's server up for this start, and returns when it is healthy."""

from __future__ import annotations

import os
from pathlib import Path

from snakeval.cli.entry import entry, parsed
from snakeval.executors.registry import servers_at
from snakeval.run_folder import servers as state
from snakeval.run_folder.layout import RunPaths
from snakeval.start import gpus


def main() -> int:
    arguments = parsed(__doc__, "run", "deployment", "start", "--limit", "--gpus")
    paths = RunPaths(arguments.run).server(arguments.deployment)
    servers = servers_at(paths)
    if arguments.limit is not None:
        devices = gpus.claim(
            gpus.claims_file(arguments.start),
            str(arguments.run),
            gpus.parsed(arguments.gpus),
            arguments.limit,
            is_up,
            pause=1 if servers.on_this_machine else 10,  # seconds; a queue is asked
        )
        if servers.on_this_machine:  # elsewhere the queue hands GPUs out
            mine = devices.get(arguments.deployment, [])
            os.environ["SNAKEVAL_DEVICES"] = ",".join(map(str, mine))
    servers.bring_up(paths)
    paths.up(arguments.start).touch()
    return 0


def is_up(run: str) -> bool:
    """Whether a server of a run is up, or on its way."""
    return any(servers_at(each).where(each) for each in state.deployments_of(RunPaths(Path(run))))


if __name__ == "__main__":
    entry(main)
