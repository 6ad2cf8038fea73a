"""Looks at the config files of a start before Snakemake does, which would end in a traceback of its
own, and leaves Snakemake's banner to its log file. `profiles/default` names it.

A logger plugin is what Snakemake makes first: before it reads a config file or a Snakefile.
"""

from __future__ import annotations

import logging
import sys
from collections.abc import Iterator, Sequence
from logging import LogRecord
from pathlib import Path

from snakemake_interface_logger_plugins.base import LogHandlerBase
from snakemake_interface_logger_plugins.common import LogEvent

NOISE = (
    "Assuming unrestricted shared filesystem usage",
    "Using shell: ",
    "Provided cores: ",
    "Provided remote nodes: ",
    "Rules claiming more threads",
    "Select jobs to execute",
    "Execute ",
)
"""How lines begin that tell who waits nothing."""

FLAGS = ("--configfile", "--configfiles")


def config_files(words: Sequence[str]) -> Iterator[Path]:
    """The config files on a command line of Snakemake."""
    takes = False
    for word in words:
        flag, equals, value = word.partition("=")
        if word.startswith("-"):
            takes = flag in FLAGS and not equals
            if flag in FLAGS and equals:
                yield Path(value)
        elif takes:
            yield Path(word)


def mistakes(words: Sequence[str]) -> Iterator[str]:
    """What keeps the config files from being read, in a sentence each."""
    from snakeval.config.read import read_mapping
    from snakeval.errors import InputError

    for file in config_files(words):
        try:
            read_mapping(file)
        except InputError as error:
            yield from map(str, error.problems)
            if "/" not in str(file) and not file.suffix:
                yield "    -> a target is written before --configfile, which takes all behind it"


def is_told(record: LogRecord) -> bool:
    """Whether a line of Snakemake's log is worth a person's while; none of the others says anything
    that a table, a job or `show_config` does not."""
    banner = getattr(record, "event", None) == LogEvent.WORKFLOW_STARTED
    return not (banner or str(record.msg or "").startswith(NOISE))


class LogHandler(LogHandlerBase):
    """Says nothing while all is well."""

    def __post_init__(self) -> None:
        if told := list(mistakes(sys.argv)):
            print("\n".join(told), file=sys.stderr)
            raise SystemExit(1)
        logger = logging.getLogger("snakemake.logging")
        logger.addFilter(is_told)

    def emit(self, record: LogRecord) -> None:
        pass

    @property
    def writes_to_stream(self) -> bool:
        return False

    @property
    def writes_to_file(self) -> bool:
        return False

    @property
    def has_filter(self) -> bool:
        return True

    @property
    def has_formatter(self) -> bool:
        return True

    @property
    def needs_rulegraph(self) -> bool:
        return False
