"""Reads the file that W&B's client writes in offline mode (`run-<id>.wandb`).

The format is LevelDB's log behind a header of seven bytes: blocks of 32 kB, in them fragments with
a checksum, a length and a type, which together are protobuf records.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2

BLOCK = 32768
IDENTITY = b":W&B"
FIRST_HEADER = 7
FRAGMENT_HEADER = 7
FULL, LAST = 1, 4


def records(path: Path) -> Iterator[Any]:
    """Every record of an offline run, in the order in which it was written."""
    content = path.read_bytes()
    assert content.startswith(IDENTITY), path
    position, gathered = FIRST_HEADER, b""
    while position + FRAGMENT_HEADER <= len(content):
        left = BLOCK - position % BLOCK
        if left < FRAGMENT_HEADER:
            position += left  # the rest of a block that no header fits into
            continue
        _, length, kind = struct.unpack_from("<IHB", content, position)
        if kind == 0:
            break
        position += FRAGMENT_HEADER
        gathered += content[position : position + length]
        position += length
        if kind in (FULL, LAST):
            record = wandb_internal_pb2.Record()
            record.ParseFromString(gathered)
            yield record
            gathered = b""
