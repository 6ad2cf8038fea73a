"""Shows what of a run nobody needs any more; removes it only when told to."""

from __future__ import annotations

import sys

from snakeval.cli.entry import CATALOGUE, RUNS, entry, parsed, runs_of
from snakeval.runs.clean import Found, look, print_found, remove
from snakeval.runs.find import known_runs


def main() -> int:
    arguments = parsed(__doc__, *RUNS, "--yes", "--json")
    known = known_runs(arguments.output_dir)
    runs = known if arguments.run == "all" else runs_of(arguments)
    found: list[Found] = []
    failures: list[str] = []
    for run in runs:
        others = [other for other in known if other.dir.resolve() != run.dir.resolve()]
        if arguments.yes:
            removed, failed = remove(run, others, CATALOGUE)
            found.append(removed)
            failures += failed
        else:
            found.append(look(run, others, CATALOGUE))
    print_found(found, arguments.yes, arguments.json)
    print("\n".join(failures), file=sys.stderr, end="\n" if failures else "")
    return int(bool(failures))


if __name__ == "__main__":
    entry(main)
