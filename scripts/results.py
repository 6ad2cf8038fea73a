"""Writes the tables of a run, its samples, and the stamp that says which results they show.

`--ready SOCKET` waits for that with all imports made (`snakeval.results.ready`).
"""

from __future__ import annotations

import sys
from pathlib import Path

from snakeval.results.ready import Write, handed_over, serve


def writing() -> Write:
    """What writes them; heavy imports."""
    import pyarrow.parquet  # noqa: F401 # else imported when it is asked for

    from snakeval.cli.entry import run_at
    from snakeval.results.samples import write_if_possible
    from snakeval.results.tables import write_stamp, write_tables
    from snakeval.run_folder.layout import RunPaths

    def write(folder: str, members: str) -> int:
        run = run_at(RunPaths(Path(folder)))
        failed = write_if_possible(run)
        if failed:
            print(failed, file=sys.stderr)
        write_tables(run, members)
        write_stamp(run, members)
        return 0

    return write


def main() -> int:
    from snakeval.cli.entry import parsed

    arguments = parsed(__doc__, "run", "members")
    return writing()(str(arguments.run), arguments.members)


if __name__ == "__main__":
    words = sys.argv[1:]
    if words[:1] == ["--ready"]:
        sys.exit(serve(words[1], writing))
    code = handed_over(*words) if len(words) == 2 else None
    if code is None:
        from snakeval.cli.entry import entry

        entry(main)
    sys.exit(code)
