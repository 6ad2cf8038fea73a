"""Reads the benchmarks of an evaluation image into the catalogue, and shows what has changed."""

from __future__ import annotations

from pathlib import Path

from snakeval.cli.entry import CATALOGUE, entry, parsed
from snakeval.errors import InputError, Problem
from snakeval.reference.update_catalogue import read_image, update


def main() -> int:
    values = parsed(__doc__, "--values").values
    if not values.get("image"):
        fix = "snakemake update_catalogue --config image=nvcr.io/nvidia/eval-factory/ifbench:26.03"
        raise InputError([Problem("update_catalogue", "which image?", fix)])
    output = Path(str(values["output"])) if values.get("output") else None
    print("\n".join(update(CATALOGUE, read_image(str(values["image"])), output)))
    return 0


if __name__ == "__main__":
    entry(main)
