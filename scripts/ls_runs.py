"""Lists the runs of an output folder, and those that `$HOME/.nv-eval/run_configs` names."""

from __future__ import annotations

from snakeval.cli.entry import RUNS, entry, parsed
from snakeval.runs.find import known_runs
from snakeval.runs.status_table import print_runs


def main() -> int:
    arguments = parsed(__doc__, *RUNS)
    print_runs(known_runs(arguments.output_dir))
    return 0


if __name__ == "__main__":
    entry(main)
