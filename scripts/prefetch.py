"""Brings what nodes without internet need: images as files, datasets into the shared cache."""

from __future__ import annotations

from pathlib import Path

from snakeval.cli.entry import config_parser, entry
from snakeval.errors import InputError, Problem
from snakeval.plan.make import plan
from snakeval.plan.pending import pending_tasks
from snakeval.prefetch import datasets, images

CATALOGUE = Path(__file__).resolve().parents[1] / "config" / "catalogue"


def main() -> int:
    parser = config_parser(__doc__)
    parser.add_argument("--runtime", required=True, help="how the nodes run containers")
    arguments = parser.parse_args()
    problems: list[Problem] = []
    for run in plan(arguments.configfile, arguments.values, CATALOGUE):
        tasks = pending_tasks(run)
        for bring in (images.bring, datasets.bring):
            try:
                bring(run, tasks, arguments.runtime, print)
            except InputError as error:
                problems += error.problems
    if problems:
        raise InputError(dict.fromkeys(problems))
    return 0


if __name__ == "__main__":
    entry(main)
