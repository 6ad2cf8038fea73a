"""Images as files in `<output_dir>/images`, where every node sees them.

    <name>-<hash>.tar        what `docker save` writes; a node's docker or podman loads it
    <name>-<hash>.sif        for apptainer
    <name>-<hash>.sqsh       for pyxis (enroot)
    <file>.json              beside each: which image it is

Written by `snakemake prefetch`. A file without its `.json` is not finished, and counts for nothing.
"""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import asdict, dataclass
from pathlib import Path

FOLDER = "images"

KINDS = {"docker": "tar", "podman": "tar", "apptainer": "sif", "pyxis": "sqsh"}
"""The kind of file that each runtime can take."""


@dataclass(frozen=True)
class Prefetched:
    """An image as a file.

    image   as the config writes it
    pinned  the reference that means this very image
    id      the image's own id in docker and podman, by which a loaded image is known
    file    relative to the output folder
    """

    image: str
    pinned: str
    id: str
    file: str


def place(output_dir: Path, image: str, runtime: str) -> Path:
    """Where the file of an image belongs."""
    name = re.sub(r"[^A-Za-z0-9.]+", "_", image.rpartition("/")[2])
    digits = hashlib.sha256(image.encode()).hexdigest()[:8]
    return output_dir / FOLDER / f"{name}-{digits}.{KINDS[runtime]}"


def record(file: Path) -> Path:
    return file.with_name(f"{file.name}.json")


def find(output_dir: Path, image: str, runtime: str) -> Prefetched | None:
    """The file of an image for a runtime; None where nothing was prefetched."""
    if runtime not in KINDS:
        return None
    file = place(output_dir, image, runtime)
    try:
        found = Prefetched(**json.loads(record(file).read_text(encoding="utf-8")))
    except (OSError, ValueError, TypeError):
        return None
    return found if file.exists() and found.image == image else None


def note(output_dir: Path, prefetched: Prefetched) -> None:
    """Writes which image a file holds, when the file is whole."""
    from snakeval.job.files import write_atomically

    content = json.dumps(asdict(prefetched), indent=1) + "\n"
    write_atomically(record(output_dir / prefetched.file), content)
