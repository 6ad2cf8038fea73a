"""Runs commands in turns and prints how they compare."""

from __future__ import annotations

import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
SNAKEMAKE = str(Path(sys.executable).with_name("snakemake"))
PROFILE = str(ROOT / "profiles" / "local")


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, and seconds of CPU of the process and its children."""

    wall: float
    cpu: float


def cost(command: Sequence[str], cwd: Path, environment: Mapping[str, str] | None = None) -> Cost:
    """Runs a command to its end. Raises RuntimeError with its output when it fails."""
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    ended = subprocess.run(
        command,
        cwd=cwd,
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if ended.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{ended.stdout}")
    return Cost(wall, after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime)


def in_turns(measures: Mapping[str, Callable[[], Cost]], times: int) -> dict[str, Cost]:
    """The median of each, measured in turns: what disturbs the machine disturbs all alike."""
    seen: dict[str, list[Cost]] = {name: [] for name in measures}
    for _ in range(times):
        for name, measure in measures.items():
            seen[name].append(measure())
    return {
        name: Cost(median(c.wall for c in costs), median(c.cpu for c in costs))
        for name, costs in seen.items()
    }


def compare(
    title: str, wanted: str, costs: Mapping[str, Cost], yardstick: str, *, cpu: bool = True
) -> None:
    """Prints one measurement: the yardstick first, the others with their ratio to it.

    cpu: whether the CPU counts; not where the work is done by processes of somebody else's
    """
    base = costs[yardstick]
    heads = ["wall", "ratio", *(["cpu", "ratio", "cpu over"] if cpu else [])]
    print(f"\n{title}   (wanted: {wanted})")
    print(f"  {'':24}" + "".join(f"{head:>10}" for head in heads))
    for name, one in costs.items():
        cells = [f"{one.wall:.2f} s", f"{one.wall / base.wall:.2f}"]
        if cpu:
            over = one.cpu - base.cpu
            cells += [f"{one.cpu:.2f} s", f"{one.cpu / base.cpu:.2f}", f"{over:.2f} s"]
        print(f"  {name:24}" + "".join(f"{cell:>10}" for cell in cells))
    sys.stdout.flush()
