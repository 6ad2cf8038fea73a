"""Shows the resolved config, and each task's image, command and run config."""

from __future__ import annotations

from snakeval.cli.entry import CATALOGUE, entry, parsed_with_config
from snakeval.plan.make import plan
from snakeval.reference.listing import print_config


def main() -> int:
    arguments = parsed_with_config(__doc__)
    values = arguments.values
    for run in plan(arguments.configfile, values, CATALOGUE):
        print_config(run, values.get("as") == "json")
    return 0


if __name__ == "__main__":
    entry(main)
