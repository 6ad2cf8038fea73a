"""Compares two runs on the same samples; writes `<candidate>/results/compare/<base>.json`."""

from __future__ import annotations

from snakeval.cli.entry import COMPARED, compared_runs, entry, parsed
from snakeval.compare.comparison import compare, write
from snakeval.compare.table import print_comparison


def main() -> int:
    base, candidate = compared_runs(parsed(__doc__, *COMPARED))
    comparison = compare(base, candidate)
    print_comparison(comparison)
    write(comparison, candidate)
    print(f"Comparison: {candidate.paths.comparison(base.paths.id)}")
    return 0 if comparison.scores else 1


if __name__ == "__main__":
    entry(main)
