"""Lists the benchmarks of the catalogue and of the config's own harnesses."""

from __future__ import annotations

from snakeval.cli.entry import CATALOGUE, config_of, entry, parsed_with_config
from snakeval.plan.catalogue import with_own
from snakeval.reference.listing import listed, print_tasks


def main() -> int:
    loaded, values = config_of(parsed_with_config(__doc__))
    catalogue = with_own(CATALOGUE, loaded.config.harnesses, loaded.base)
    rows = listed(catalogue, str(values.get("harness", "")), str(values.get("match", "")))
    print_tasks(rows, values.get("as") == "json")
    return 0


if __name__ == "__main__":
    entry(main)
