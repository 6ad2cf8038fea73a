"""The command `snakeval`: a word for what is done, then what that word takes.

    snakeval run --config my.yaml --dry-run
    snakeval status

Nothing of a verb is imported before it is asked for.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from importlib import import_module
from typing import NamedTuple

from snakeval import __version__
from snakeval.cli.front.verb import MISUSED, Parser, Verb, in_own_words
from snakeval.errors import InputError, nearest


class Entry(NamedTuple):
    """A verb in one line, and where it is: `module:name of a Verb`."""

    says: str
    at: str


VERBS = {
    "run": Entry("evaluate a config, or continue", "snakeval.cli.front.run:RUN"),
    "status": Entry("how far runs are", "snakeval.cli.front.runs:STATUS"),
    "info": Entry("where everything of runs is", "snakeval.cli.front.info:INFO"),
    "logs": Entry("follow a task's log", "snakeval.cli.front.runs:LOGS"),
    "kill": Entry("stop a run, or one of its tasks", "snakeval.cli.front.runs:KILL"),
    "fetch": Entry("bring results from a login node", "snakeval.cli.front.runs:FETCH"),
    "ls": Entry("list tasks or runs", "snakeval.cli.front.listing:LS"),
    "show": Entry("what a config comes to, with every command", "snakeval.cli.front.listing:SHOW"),
    "report": Entry("a run as one page", "snakeval.cli.front.runs:REPORT"),
    "compare": Entry("two runs on the same samples", "snakeval.cli.front.compared:COMPARE"),
    "leaderboard": Entry("models side by side", "snakeval.cli.front.compared:LEADERBOARD"),
    "gate": Entry("whether a candidate may be released", "snakeval.cli.front.compared:GATE"),
    "export": Entry("send results elsewhere", "snakeval.cli.front.runs:EXPORT"),
    "watch": Entry("evaluate checkpoints as they appear", "snakeval.cli.front.watch:WATCH"),
    "samples": Entry("write the table of single samples", "snakeval.cli.front.runs:SAMPLES"),
    "clean": Entry("what nobody needs any more", "snakeval.cli.front.runs:CLEAN"),
}
"""Every verb, in the order in which they are shown."""

HELP = ("-h", "--help", "help")


def main(arguments: Sequence[str] | None = None) -> int:
    """Returns the exit code."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    if not words or words[0] in HELP:
        print(overview())
        return 0 if words else MISUSED
    if words[0] == "--version":
        print(f"snakeval {__version__}")
        return 0
    if words[0] not in VERBS:
        fix = nearest(words[0], list(VERBS))
        what = f"there is no verb '{words[0]}'"
        print(f"snakeval: {what}; {fix or '`snakeval --help` lists them'}", file=sys.stderr)
        return MISUSED
    try:
        return _do(words[0], words[1:])
    except InputError as error:
        told = "\n".join(str(problem) for problem in error.problems)
        print(in_own_words(told), file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        return 130
    except BrokenPipeError:  # `| head`
        sys.stderr.close()
        return 0


def _do(name: str, words: Sequence[str]) -> int:
    verb = _found(VERBS[name])
    parser = Parser(prog=f"snakeval {name}", description=VERBS[name].says, allow_abbrev=False)
    verb.arguments(parser)
    return verb.main(parser.parse_args(words))


def _found(entry: Entry) -> Verb:
    module, _, name = entry.at.partition(":")
    verb = getattr(import_module(module), name)
    assert isinstance(verb, Verb)
    return verb


def overview() -> str:
    """What `snakeval --help` says."""
    wide = max(map(len, VERBS))
    lines = [f"  {name:<{wide}}  {entry.says}" for name, entry in VERBS.items()]
    return "\n".join(
        [
            "usage: snakeval VERB ...; `snakeval VERB --help` says what a verb takes",
            "",
            *lines,
            "",
            "`run` shows the snakemake command that it stands for: that is the main way.",
        ]
    )


if __name__ == "__main__":
    sys.exit(main())
