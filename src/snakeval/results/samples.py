"""`results/samples.parquet`: one row per sample and metric of every published task of a run.

Written beside the tables when a run ends, and by `snakemake samples`. Rows come and go in batches,
so that a run of any size needs little memory; each row group holds rows of one task only. A task
whose result is still the one in the file is taken over from there, and its files are not read
again: the file's metadata says which results it shows.

The mean of `score` over a task's rows with one metric and filter is the value of that metric in the
results table, where the benchmark's score is a mean.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from snakeval.errors import count
from snakeval.job.gateway.ledger import LEDGER
from snakeval.job.record import changed, completed
from snakeval.job.result_formats import CheckFailed
from snakeval.job.result_formats.facts import Facts
from snakeval.job.text import whole
from snakeval.plan.run import Run, Task
from snakeval.results.published import kept_apart
from snakeval.results.sample_formats import Sample, read_samples

if TYPE_CHECKING:
    import pyarrow as pa

VERSION = 1
"""Of the table's shape; a file of another one is written anew."""

METADATA = b"snakeval"
BATCH_ROWS = 5_000
BATCH_CHARACTERS = 8_000_000

KINDS = {"nemo": "nemo", "lm_eval": "lm_eval"}
"""Kinds of harnesses whose results have one format; of `command` it is declared."""


@dataclass(frozen=True)
class Member:
    """A task in the file: which result its rows show, and where they are.

    result    digest of the spec, and when that result was completed
    groups    first row group, and the one after the last
    cause     why its samples could not be read, else None
    replaced  samples with half a character, which is replaced
    """

    result: str
    rows: int
    groups: tuple[int, int]
    cause: str | None = None
    replaced: int = 0

    @property
    def note(self) -> str | None:
        """What a reader of the samples must be told."""
        if self.cause:
            return f"its samples cannot be read: {self.cause}"
        if self.replaced:
            return f"half a character is replaced in {count(self.replaced, 'row')} of its samples"
        return None


def schema() -> pa.Schema:
    """Columns and types of the file."""
    import pyarrow as pa

    types = {"repeat": pa.int32(), "score": pa.float64(), "latency_ms": pa.float64()}
    types |= {"prompt_tokens": pa.int32(), "completion_tokens": pa.int32()}
    columns = [(name, types.get(name, pa.string())) for name in Sample._fields]
    return pa.schema([("task", pa.string()), ("digest", pa.string()), *columns])


def write_samples(run: Run) -> dict[str, Member]:
    """Brings the file up to what is published now; does nothing where it is there already.

    A task whose samples cannot be read has a cause (and the rows before it), and hides no other.
    """
    wanted = {task.name: _result_of(task) for task in run.tasks if task.published}
    import pyarrow as pa

    there = members(run.paths.samples)
    if {name: member.result for name, member in there.items()} == wanted:
        return there
    tasks = [task for task in run.tasks if task.name in wanted]
    try:
        return _Writing(run.paths.samples, there).write(tasks, wanted)
    except (OSError, pa.ArrowException):
        if not there:
            raise
        # The file itself may be damaged: all of it once more from what the harnesses left.
        return _Writing(run.paths.samples, {}).write(tasks, wanted)


def write_if_possible(run: Run) -> str | None:
    """The same at the end of a run, whose scores hold without single samples; why it failed."""
    import pyarrow as pa

    try:
        write_samples(run)
    except (OSError, pa.ArrowException) as error:
        return f"{run.paths.samples} cannot be written: {error}"
    return None


def members(path: Path) -> dict[str, Member]:
    """The tasks in a file; none where there is no file of this version."""
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        metadata = pq.read_metadata(path).metadata or {}
        content = json.loads(metadata[METADATA])
    except (OSError, KeyError, ValueError, pa.ArrowException):
        return {}
    if content.get("version") != VERSION:
        return {}
    return {
        name: Member(
            item["result"],
            item["rows"],
            tuple(item["groups"]),
            item["cause"],
            item.get("replaced", 0),
        )
        for name, item in content["tasks"].items()
    }


def _result_of(task: Task) -> str:
    """What changes whenever the task has another result: a task may have been started over."""
    made = f"{task.digest} {completed(task.paths.record(task.digest))}".strip()
    return f"{made} {CHANGED}" if _changed(task) else made


CHANGED = "changed"
"""Ends the name of a result that is no longer what was checked."""


def _changed(task: Task) -> str | None:
    return changed(task.paths.record(task.digest), task.paths.work(task.digest))


class _Writing:
    """Writes a new file beside the old one, and puts it in its place."""

    def __init__(self, path: Path, there: dict[str, Member]) -> None:
        self._path = path
        self._there = there
        self._groups = 0

    def write(self, tasks: list[Task], wanted: dict[str, str]) -> dict[str, Member]:
        import pyarrow.parquet as pq

        self._path.parent.mkdir(parents=True, exist_ok=True)
        unfinished = self._path.with_name(f".{self._path.name}.{os.getpid()}")
        old = pq.ParquetFile(self._path) if self._there else None
        found: dict[str, Member] = {}
        try:
            with pq.ParquetWriter(unfinished, schema(), compression="zstd") as writer:
                for task in tasks:
                    member = self._there.get(task.name)
                    if old and member and member.result == wanted[task.name]:
                        found[task.name] = self._taken_over(writer, old, member)
                    else:
                        found[task.name] = self._read(writer, task, wanted[task.name])
                writer.add_key_value_metadata({METADATA: _metadata(found)})
            unfinished.replace(self._path)
        finally:
            unfinished.unlink(missing_ok=True)
        return found

    def _taken_over(self, writer: Any, old: Any, member: Member) -> Member:
        first = self._groups
        for group in range(*member.groups):
            writer.write_table(old.read_row_group(group).cast(schema()))
            self._groups += 1
        return replace(member, groups=(first, self._groups))

    def _read(self, writer: Any, task: Task, result: str) -> Member:
        first, rows, replaced = self._groups, 0, 0
        batches = _batches(_samples_of(task))
        while read := kept_apart(lambda: _next(task, batches), _BrokenOff):
            if isinstance(read, _BrokenOff):
                return Member(result, rows, (first, self._groups), read.cause, replaced)
            table, halves = read
            writer.write_table(table)
            self._groups += 1
            rows += table.num_rows
            replaced += halves
        return Member(result, rows, (first, self._groups), None, replaced)


@dataclass(frozen=True)
class _BrokenOff:
    """Why the samples of a task end here."""

    cause: str


def _batches(samples: Iterator[Sample]) -> Iterator[list[Sample]]:
    """Rows in portions of bounded count and size."""
    while batch := list(islice(samples, 100)):
        size = sum(map(_characters, batch))
        while len(batch) < BATCH_ROWS and size < BATCH_CHARACTERS:
            more = list(islice(samples, 100))
            if not more:
                break
            size += sum(map(_characters, more))
            batch += more
        yield batch


def _characters(sample: Sample) -> int:
    return len(sample.prompt or "") + len(sample.answer or "")


def _samples_of(task: Task) -> Iterator[Sample]:
    if said := _changed(task):
        raise CheckFailed(said)
    definition = task.benchmark.definition
    kind = KINDS.get(definition.kind, definition.format)
    facts = Facts.of(task.benchmark.facts)
    ledger = task.paths.record(task.digest) / LEDGER
    yield from read_samples(kind, task.paths.work(task.digest), definition.samples, facts, ledger)


def _next(task: Task, batches: Iterator[list[Sample]]) -> tuple[pa.Table, int] | None:
    """The next rows, and in how many of them a text was mended; None after the last."""
    batch = next(batches, None)
    return _table(task, batch) if batch else None


def _table(task: Task, batch: list[Sample]) -> tuple[pa.Table, int]:
    import pyarrow as pa

    mended = [_mended(sample) for sample in batch]
    columns = [[task.name] * len(batch), [task.digest] * len(batch), *zip(*mended, strict=True)]
    shape = schema()
    arrays = [pa.array(column, field.type) for column, field in zip(columns, shape, strict=True)]
    halves = sum(one is not other for one, other in zip(batch, mended, strict=True))
    return pa.table(arrays, schema=shape), halves


def _mended(sample: Sample) -> Sample:
    """A file holds no half of a character; the sample itself where there is none."""
    texts = [whole(value) if isinstance(value, str) else value for value in sample]
    return sample if tuple(texts) == sample else Sample._make(texts)


def _metadata(found: dict[str, Member]) -> str:
    tasks = {name: vars(member) for name, member in found.items()}
    return json.dumps({"version": VERSION, "tasks": tasks})
