"""Brings what nodes without internet need: images as files, datasets into the shared cache."""

from __future__ import annotations

from snakeval.cli.entry import CATALOGUE, entry, parsed_with_config
from snakeval.errors import InputError, Problem
from snakeval.plan.make import plan
from snakeval.plan.pending import pending_tasks
from snakeval.prefetch import datasets, images


def main() -> int:
    arguments = parsed_with_config(__doc__, "--runtime")
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
