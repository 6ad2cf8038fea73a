"""Runs commands in turns, prints how they compare, and notes the ratios for `bench.kept`."""

from __future__ import annotations

import contextlib
import ctypes
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import astuple, dataclass
from pathlib import Path
from statistics import median

ROOT = Path(__file__).parents[1]
SNAKEMAKE = str(Path(sys.executable).with_name("snakemake"))
PROFILE = str(ROOT / "profiles" / "local")

FIGURES = "SNAKEVAL_BENCH_FIGURES"
"""Names the file that ratios are noted in, a JSON object a line; unset: nothing is noted."""

PR_SET_CHILD_SUBREAPER = 36  # linux/prctl.h


@dataclass(frozen=True)
class Cost:
    """Seconds on the clock, seconds of CPU of the process and its children, and the most memory
    that one of them has had, in MB."""

    wall: float
    cpu: float
    memory: float = 0.0


def cost(
    command: Sequence[str],
    cwd: Path,
    environment: Mapping[str, str] | None = None,
    *,
    leaves_others: bool = False,
) -> Cost:
    """Runs a command to its end. Raises RuntimeError with its output when it fails.

    leaves_others  it starts processes that outlive it; they belong to what is measured
    """
    if leaves_others:  # else they would be the init process's
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    before, began = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
    with tempfile.TemporaryFile("w+") as said:  # a pipe would wait for who outlives the command
        process = subprocess.Popen(
            command,
            cwd=cwd,
            env={**os.environ, **(environment or {})},
            stdin=subprocess.DEVNULL,
            stdout=said,
            stderr=subprocess.STDOUT,
        )
        _, status, usage = os.wait4(process.pid, 0)  # the memory of this command alone
        process.returncode = os.waitstatus_to_exitcode(status)
        if leaves_others:
            with contextlib.suppress(ChildProcessError):
                while True:
                    os.wait()
        said.seek(0)
        output = said.read()
    wall, after = time.monotonic() - began, resource.getrusage(resource.RUSAGE_CHILDREN)
    if process.returncode:
        raise RuntimeError(f"{' '.join(command)} failed:\n{output}")
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return Cost(wall, cpu, usage.ru_maxrss / 1024)


def in_turns(measures: Mapping[str, Callable[[], Cost]], times: int) -> dict[str, Cost]:
    """The median of each, measured in turns: what disturbs the machine disturbs all alike."""
    seen: dict[str, list[Cost]] = {name: [] for name in measures}
    for _ in range(times):
        for name, measure in measures.items():
            seen[name].append(measure())
    return {
        name: Cost(*(median(values) for values in zip(*map(astuple, costs), strict=True)))
        for name, costs in seen.items()
    }


def compare(
    title: str,
    wanted: str,
    costs: Mapping[str, Cost],
    yardstick: str,
    *,
    cpu: bool = True,
    kept: str = "",
) -> None:
    """Prints one measurement: the yardstick first, the others with their ratio to it.

    cpu   whether the CPU is compared; it is printed, but says little, where the work is done by
          processes of somebody else's (containers)
    kept  the name under which our ratio is kept; empty: it is not
    """
    base = costs[yardstick]
    heads = ["wall", "ratio", "cpu", *(["ratio", "cpu over"] if cpu else [])]
    print(f"\n{title}   (wanted: {wanted})")
    print(f"  {'':24}" + "".join(f"{head:>10}" for head in heads))
    for name, one in costs.items():
        cells = [f"{one.wall:.2f} s", f"{one.wall / base.wall:.2f}", f"{one.cpu:.2f} s"]
        if cpu:
            cells += [f"{one.cpu / base.cpu:.2f}", f"{one.cpu - base.cpu:.2f} s"]
        print(f"  {name:24}" + "".join(f"{cell:>10}" for cell in cells))
    sys.stdout.flush()
    if kept and "snakeval" in costs:
        ours = costs["snakeval"]
        note(kept, ours.cpu / base.cpu if cpu else ours.wall / base.wall)


def note(name: str, ratio: float) -> None:
    """A ratio for the table of `bench.kept`; more is worse."""
    if path := os.environ.get(FIGURES):
        with Path(path).open("a") as file:
            file.write(json.dumps({"name": name, "ratio": round(ratio, 3)}) + "\n")
