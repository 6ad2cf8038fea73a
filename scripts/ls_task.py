"""Shows one benchmark: image, endpoint type, defaults, what it needs, how to name it."""

from __future__ import annotations

from snakeval.cli.entry import CATALOGUE, config_of, entry, parsed_with_config
from snakeval.errors import InputError, Problem
from snakeval.plan.catalogue import with_own
from snakeval.reference.listing import print_task


def main() -> int:
    loaded, values = config_of(parsed_with_config(__doc__))
    if "task" not in values:
        raise InputError(
            [Problem("ls_task", "which task?", "snakemake ls_task --config task=NAME")]
        )
    catalogue = with_own(CATALOGUE, loaded.config.harnesses, loaded.base)
    print_task(catalogue, CATALOGUE, str(values["task"]), values.get("as") == "json")
    return 0


if __name__ == "__main__":
    entry(main)
