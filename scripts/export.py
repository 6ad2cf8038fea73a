"""Exports what is published of a run: to every destination of its config, or to one."""

from __future__ import annotations

from pathlib import Path

from snakeval.command_line import entry, run_parser, runs_of
from snakeval.config.load import load_resolved
from snakeval.errors import InputError, Problem
from snakeval.export import local
from snakeval.plan import read_run

CATALOGUE = Path(__file__).resolve().parents[1] / "config" / "catalogue"


def main() -> int:
    parser = run_parser(__doc__)
    parser.add_argument("--to", default="local", choices=["local"], help="the destination")
    arguments = parser.parse_args()
    for paths in runs_of(arguments):
        run = read_run(paths.dir, load_resolved(paths.config), CATALOGUE)
        published = sum(task.published for task in run.tasks)
        if not published:
            raise InputError(
                [
                    Problem(
                        paths.id,
                        "no benchmark is published yet",
                        "evaluate first; `snakemake status` shows how far it is",
                    )
                ]
            )
        changed, folder = local.export(run)
        print(
            f"{paths.id}: {changed} new or changed, {published} of {len(run.tasks)} benchmarks "
            f"are in {folder}"
        )
    return 0


if __name__ == "__main__":
    entry(main)
