"""Shows the resolved config, and each task's image, command and run config."""

from __future__ import annotations

from snakeval.command_line import CATALOGUE, config_parser, entry
from snakeval.listing import print_config
from snakeval.plan import plan


def main() -> int:
    parser = config_parser(__doc__)
    arguments = parser.parse_args()
    values = arguments.values
    for run in plan(arguments.configfile, values, CATALOGUE):
        print_config(run, values.get("as") == "json")
    return 0


if __name__ == "__main__":
    entry(main)
