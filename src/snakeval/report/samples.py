"""The samples of a run in the page: a compressed block per benchmark, which the browser unpacks
when somebody looks at it. One benchmark at a time is in memory."""

from __future__ import annotations

import base64
import gzip
import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from snakeval.plan.run import Run
from snakeval.results.samples import Member, members

LIMIT = 100_000
"""Rows on a page; above it every benchmark has its share, and the page says so."""

HEAD, TAIL = 1_500, 2_500
"""Characters of a text that are shown first: few-shot prompts end with the question. As in page.js.
"""

ROOM = 60_000_000
"""Characters beyond those on a page: a click shows a text in full until they are used up."""


@dataclass
class Room:
    """What is left of it."""

    left: int = ROOM

    def kept(self, text: str | None) -> str | None:
        """The whole text where there is room for it, else without its middle."""
        if text is None or len(text) <= HEAD + TAIL + 100:
            return text
        more = len(text) - HEAD - TAIL
        if more > self.left:
            return clipped(text)
        self.left -= more
        return text


@dataclass(frozen=True)
class Block:
    """A benchmark's samples: base64 of gzip of JSON; `left_out` are in samples.parquet only."""

    label: str
    count: int
    left_out: int
    text: str


def blocks(run: Run) -> Iterator[Block]:
    """One block per benchmark that has samples."""
    import pyarrow.parquet as pq

    there = {name: member for name, member in members(run.paths.samples).items() if member.rows}
    total = sum(member.rows for member in there.values())
    room = Room()
    if not there:
        return
    with pq.ParquetFile(run.paths.samples) as file:
        for name, member in there.items():
            limit = member.rows if total <= LIMIT else max(1, LIMIT * member.rows // total)
            yield _block(run.labels.get(name, name), file, member, limit, room)


def _block(label: str, file: Any, member: Member, limit: int, room: Room) -> Block:
    metrics: dict[tuple[str, str], int] = {}
    found: dict[tuple[Any, ...], list[Any]] = {}
    taken = 0
    for group in range(*member.groups):
        if taken >= limit:
            break
        for row in file.read_row_group(group).to_pylist()[: limit - taken]:
            taken += 1
            _add(row, found, metrics, room)
    width = len(metrics)
    for sample in found.values():
        for part in (8, 9):
            sample[part] += [None] * (width - len(sample[part]))
    names = [f"{metric} ({filtered})" if filtered else metric for metric, filtered in metrics]
    content = json.dumps(
        {"metrics": names, "rows": list(found.values())},
        ensure_ascii=False,
        separators=(",", ":"),
    )
    packed = gzip.compress(content.encode("utf-8", "replace"), compresslevel=5, mtime=0)
    return Block(label, len(found), member.rows - taken, base64.b64encode(packed).decode())


def _add(
    row: dict[str, Any],
    found: dict[tuple[Any, ...], list[Any]],
    metrics: dict[tuple[str, str], int],
    room: Room,
) -> None:
    """Rows of one answer under several metrics are one sample with several scores."""
    key = (row["subtask"], row["sample"], row["repeat"])
    sample = found.get(key)
    if sample is None:
        label = " ".join(
            part
            for part in (
                row["subtask"],
                row["sample"],
                f"#{row['repeat']}" if row["repeat"] else "",
            )
            if part
        )
        sample = found[key] = [
            label,
            room.kept(row["prompt"]),
            room.kept(row["expected"]),
            room.kept(row["answer"]),
            row["prompt_tokens"],
            row["completion_tokens"],
            row["latency_ms"],
            row["prompt_hash"],
            [],
            [],
        ]
    if row["metric"] is None:
        return
    at = metrics.setdefault((row["metric"], row["filter"] or ""), len(metrics))
    for part, value in ((8, row["score"]), (9, clipped(row["extracted"]))):
        sample[part] += [None] * (at + 1 - len(sample[part]))
        sample[part][at] = value


def clipped(text: str | None) -> str | None:
    """A long text without its middle."""
    if text is None or len(text) <= HEAD + TAIL + 100:
        return text
    left_out = len(text) - HEAD - TAIL
    return f"{text[:HEAD]}\n[... {left_out:,} characters left out ...]\n{text[-TAIL:]}"
