"""Looks at the config files of a start before Snakemake does, which would end in a traceback of its
own, and leaves Snakemake's banner to its log file. `profiles/default` names it.

A logger plugin is what Snakemake makes first: before it reads a config file or a Snakefile.
"""

from __future__ import annotations

import logging
import re
import sys
from collections.abc import Iterator, Sequence
from logging import LogRecord
from pathlib import Path
from types import SimpleNamespace

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

FILES = ("--configfile", "--configfiles")
VALUES = ("--config", "-C")
KEY = re.compile(r"[A-Za-z_][\w-]*\w")
"""What Snakemake takes for a key."""


def words_after(flags: Sequence[str], words: Sequence[str]) -> Iterator[str]:
    """The words that a flag takes on a command line of Snakemake, which takes all up to the next
    flag."""
    takes = False
    for word in words:
        flag, equals, value = word.partition("=")
        if word.startswith("-"):
            takes = flag in flags and not equals
            if flag in flags and equals:
                yield value
        elif takes:
            yield word


def config_files(words: Sequence[str]) -> Iterator[Path]:
    """The config files on a command line of Snakemake."""
    yield from map(Path, words_after(FILES, words))


def faulty_values(words: Sequence[str]) -> Iterator[str]:
    """Words after `--config` that Snakemake would end at in a traceback, a sentence each."""
    for word in words_after(VALUES, words):
        key, equals, value = word.partition("=")
        if not equals:
            is_file = word.endswith((".yaml", ".yml"))
            fix = f"--configfile {word}" if is_file else f"--config {word}=..."
            yield f"--config: '{word}' is not key=value\n    -> write {fix}"
        elif "." in key:
            yield f"--config: '{key}' is no single key\n    -> write --config 'set=[{key}={value}]'"
        elif not KEY.fullmatch(key):
            fix = "`snakemake show_config` and docs/configuration.md list them"
            yield f"--config: there is no key '{key}'\n    -> {fix}"


def mistakes(words: Sequence[str]) -> Iterator[str]:
    """What keeps the config files from being read, in a sentence each."""
    from snakeval.config.read import read_mapping
    from snakeval.errors import InputError

    yield from faulty_values(words)
    for file in config_files(words):
        try:
            read_mapping(file)
        except InputError as error:
            yield from map(str, error.problems)
            if "/" not in str(file) and not file.suffix:
                yield "    -> a target is written before --configfile, which takes all behind it"


def read_faster() -> None:
    """Gives Snakemake's reader of config files the parser in C where there is one: the same values,
    ten times as fast. A file with a mistake has been refused before."""
    import yaml
    import yte

    if getattr(yte, "yaml", None) is yaml and hasattr(yaml, "CFullLoader"):
        yte.yaml = SimpleNamespace(**{**vars(yaml), "FullLoader": yaml.CFullLoader})


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
        read_faster()
        logger = logging.getLogger("snakemake.logging")
        logger.addFilter(is_told)
        self.setLevel(logging.CRITICAL + 1)  # it takes no record: nobody need make one for it

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
