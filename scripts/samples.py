"""Writes `results/samples.parquet` of a run: one row per sample and metric."""

from __future__ import annotations

from snakeval.cli.entry import RUNS, entry, parsed, run_at, runs_of
from snakeval.job.text import plain
from snakeval.results.samples import write_samples


def main() -> int:
    for paths in runs_of(parsed(__doc__, *RUNS)):
        run = run_at(paths)
        for name, member in write_samples(run).items():
            said = member.note or (f"{member.rows} rows" if member.rows else "no samples kept")
            print(plain(f"{name}: {said}"))
        print(f"Samples: {run.paths.samples}")
    return 0


if __name__ == "__main__":
    entry(main)
