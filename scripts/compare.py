"""Compares two runs on the same samples; writes `<candidate>/results/compare/<base>.json`."""

from __future__ import annotations

from snakeval.cli.entry import compare_parser, compared_runs, entry
from snakeval.compare.comparison import compare, write
from snakeval.compare.table import print_comparison


def main() -> int:
    base, candidate = compared_runs(compare_parser(__doc__).parse_args())
    comparison = compare(base, candidate)
    print_comparison(comparison)
    write(comparison, candidate)
    print(f"Comparison: {candidate.paths.comparison(base.paths.id)}")
    return 0 if comparison.scores else 1


if __name__ == "__main__":
    entry(main)
