"""Compares two runs on the same samples; writes `<candidate>/results/compare/<base>.json`."""

from __future__ import annotations

from snakeval.cli.entry import COMPARED, SUITES, compared_runs, entry, parsed
from snakeval.compare.comparison import compare, write
from snakeval.compare.suite import read_suite
from snakeval.compare.suited import with_suites
from snakeval.compare.table import print_comparison


def main() -> int:
    arguments = parsed(__doc__, *COMPARED)
    suites = [read_suite(arguments.suite, SUITES)] if arguments.suite else []
    base, candidate = compared_runs(arguments)
    comparison = with_suites(compare(base, candidate), suites)
    print_comparison(comparison)
    write(comparison, candidate)
    print(f"Comparison: {candidate.paths.comparison(base.paths.id)}")
    return 0 if comparison.scores else 1


if __name__ == "__main__":
    entry(main)
