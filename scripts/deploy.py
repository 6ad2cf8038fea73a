"""Brings a deployment's server up for this start, and returns when it is healthy."""

from __future__ import annotations

import argparse
from pathlib import Path

from snakeval.command_line import entry
from snakeval.deploy.place import place_at
from snakeval.layout import RunPaths


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("run", type=Path, help="the run folder")
    parser.add_argument("deployment", help="its name")
    parser.add_argument("start", help="the start's id")
    arguments = parser.parse_args()
    paths = RunPaths(arguments.run).server(arguments.deployment)
    place_at(paths).bring_up(paths)
    paths.up(arguments.start).touch()
    return 0


if __name__ == "__main__":
    entry(main)
