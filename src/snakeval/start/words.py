"""What Snakemake says of failures, in words for the person who waits.

A job of ours has told its cause itself; the exception that Snakemake makes of it adds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from logging import WARNING, LogRecord

from snakeval.errors import nearest

OF_JOBS = (
    "At least one job did not complete successfully",
    "Exiting because a job execution failed",
)
AGAIN = re.compile(r"Trying to restart job (\d+)\.")
NO_RULE = re.compile(r"No rule to produce (?P<target>\S+)|Missing input files? for rule")


class OfJobs:
    """A filter of what the screen shows. Snakemake's lines about a job (that it has finished, how
    many have, that it is tried again) name it by a number. A benchmark here has told its end
    itself; of one whose job writes elsewhere, and of one that is tried again, there is one line
    with its name. The file of Snakemake's log has all of it.

    called        what the benchmark of a job is called; empty: it is none
    writes_here   whether jobs write to this screen
    say           adds a line to the log
    """

    def __init__(
        self,
        called: Callable[[int], str],
        writes_here: Callable[[], bool],
        say: Callable[[str], None],
    ) -> None:
        self._called, self._writes_here, self._say = called, writes_here, say

    def filter(self, record: LogRecord) -> bool:
        event = getattr(getattr(record, "event", None), "name", "")
        again = AGAIN.match(str(record.msg or ""))
        if event == "JOB_FINISHED" and not self._writes_here():
            self._tell(getattr(record, "job_id", None), "published")
        elif again and not self._tell(int(again[1]), "is tried again"):
            return True
        return not (again or event in ("JOB_FINISHED", "PROGRESS"))

    def _tell(self, job: int | None, what: str) -> bool:
        called = self._called(job) if job is not None else ""
        if called:
            self._say(f"{called}: {what}")
        return bool(called)


class Shorter:
    """A filter of Snakemake's log: drops what a failed command of ours has said already, and all
    that stands around an answer; tells a target that there is none of.

    targets        gives the names of rules: there are none yet when the Snakefile begins
    nothing_to_do  called when Snakemake says so: it calls no hook then
    only_answers   whether nothing is asked for but targets that answer (`status`): Snakemake's own
                   count of its one job says nothing
    """

    def __init__(
        self,
        targets: Callable[[], Sequence[str]],
        nothing_to_do: Callable[[], None],
        only_answers: Callable[[], bool],
    ) -> None:
        self._targets, self._nothing_to_do = targets, nothing_to_do
        self._only_answers = only_answers

    def filter(self, record: LogRecord) -> bool:
        said, kind = str(record.msg or ""), getattr(record, "exception", "")
        if said.startswith("Nothing to be done"):
            self._nothing_to_do()
        if kind == "RuleException" and "CalledProcessError" in said:
            return False
        if any(words in said for words in OF_JOBS):
            return False
        if record.levelno < WARNING and self._only_answers():
            return False
        unknown = NO_RULE.search(said) if kind == "MissingRuleException" else None
        if unknown and unknown["target"]:
            record.msg = self._no_target(unknown["target"])
        return True

    def _no_target(self, target: str) -> str:
        near = nearest(target, list(self._targets()))
        if target.endswith((".yaml", ".yml")):
            near = f"a config is given with --configfile {target}"
        return f"there is no target '{target}': {near or '`snakemake --list` shows them'}"
