"""Asked on the login node, by the start that came from elsewhere.

    python -m snakeval.remote.there about                 which pipeline is here
    python -m snakeval.remote.there runs FILE [VALUES]    the runs of a config that was brought

One line of JSON behind a mark: a login shell may say other things.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from snakeval import __version__
from snakeval.plan.code import ROOT, code_digest

MARK = "snakeval-there: "


def main(words: Sequence[str]) -> None:
    answer: Any = {"version": __version__, "code": code_digest()}
    if words[:1] == ["runs"]:
        from snakeval.plan.make import plan

        values = json.loads(words[2]) if len(words) > 2 else {}
        runs = plan([Path(words[1])], values, ROOT / "config" / "catalogue")
        answer = [str(run.paths.dir.absolute()) for run in runs if run.paths.record.exists()]
    print(MARK + json.dumps(answer), flush=True)


def answer_in(lines: Iterable[str]) -> Any:
    """What it has said, among other lines; None: nothing."""
    said = [line for line in lines if line.startswith(MARK)]
    try:
        return json.loads(said[-1].removeprefix(MARK)) if said else None
    except ValueError:
        return None


if __name__ == "__main__":
    main(sys.argv[1:])
