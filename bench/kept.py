"""The ratios of the last release beside those of now: what has become slower is seen.

`make bench` notes its ratios in a file. Ratios, not seconds: another machine has other seconds.

    python -m bench.kept FIGURES           a table; exit code 1 where one is worse by more than 15%
    python -m bench.kept FIGURES --keep    these are kept from now on (bench/kept.yaml)
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from statistics import median

import yaml

from snakeval import __version__

KEPT = Path(__file__).with_name("kept.yaml")
MOST = 1.15
"""How much worse a ratio may be."""

NOTE = """\
# Ratios of `make bench` at the last release; more is worse. `python -m bench.kept FIGURES --keep`
# writes them, docs/performance.md says what they are and on which machine they were measured.
"""


@dataclass(frozen=True)
class Compared:
    """One ratio. before, now: None where there is none."""

    name: str
    before: float | None
    now: float | None

    @property
    def is_worse(self) -> bool:
        """Whether it is worse than it may be; what was not measured, or is new, is not."""
        if self.before is None or self.now is None:
            return False
        return self.now > self.before * MOST

    @property
    def told(self) -> str:
        if self.before is None:
            return "new"
        if self.now is None:
            return "not measured"
        change = f"{self.now / self.before - 1:+.0%}"
        return f"{change}, worse than it may be" if self.is_worse else change


def compared(before: Mapping[str, float], now: Mapping[str, float]) -> list[Compared]:
    """All that are kept, in their order, then the new ones."""
    names = dict.fromkeys([*before, *now])
    return [Compared(name, before.get(name), now.get(name)) for name in names]


def read_figures(path: Path) -> dict[str, float]:
    """What was noted; the median of what was noted more than once."""
    found: dict[str, list[float]] = {}
    for line in path.read_text().splitlines():
        one = json.loads(line)
        found.setdefault(one["name"], []).append(float(one["ratio"]))
    return {name: median(ratios) for name, ratios in found.items()}


def read_kept(path: Path = KEPT) -> dict[str, float]:
    content = yaml.safe_load(path.read_text()) if path.exists() else {}
    return {name: float(ratio) for name, ratio in content.get("ratios", {}).items()}


def keep(now: Mapping[str, float], path: Path = KEPT) -> None:
    """What was not measured this time stays as it was."""
    content = {"release": __version__, "ratios": {**read_kept(path), **now}}
    path.write_text(NOTE + yaml.safe_dump(content, sort_keys=False))


def table(found: list[Compared]) -> str:
    width = max([len(each.name) for each in found] or [0])
    lines = [f"{'':{width}}  kept   now"]
    for each in found:
        cells = ["   -" if ratio is None else f"{ratio:4.2f}" for ratio in (each.before, each.now)]
        lines.append(f"{each.name:{width}}  {'  '.join(cells)}  {each.told}")
    return "\n".join(lines)


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("figures", type=Path)
    parser.add_argument("--keep", action="store_true")
    given = parser.parse_args()
    now = read_figures(given.figures)
    found = compared(read_kept(), now)
    print(table(found))
    if given.keep:
        keep(now)
        return 0
    return int(any(each.is_worse for each in found))


if __name__ == "__main__":
    sys.exit(main())
