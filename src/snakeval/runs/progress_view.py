"""A block of lines, or one line, about how far benchmarks are; as wide as the terminal."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

from rich.cells import set_cell_size
from rich.text import Text

from snakeval.job.text import one_line
from snakeval.results.costs import money
from snakeval.run_folder.records import STATES
from snakeval.runs.progress import AT_REST, Line
from snakeval.terminal import clipped, middle

LONGEST_NAME, SHORTEST_BAR, LONGEST_BAR = 34, 8, 30
FIGURES = 40
"""Columns of samples, share, rate, time and failures."""

COLOURS = {"running": "cyan", "failed": "red", "cancelled": "yellow", "interrupted": "yellow"}


def block(lines: Sequence[Line], width: int, height: int, elapsed: float) -> Text:
    """The benchmarks that are at work or have failed, and a sum; never wider than `width`."""
    shown = [line for line in lines if line.state not in AT_REST]
    shown.sort(key=lambda line: (line.state != "running", line.state == "pending"))
    room = max(1, min(height - 3, 20))
    rows = [row(line, width) for line in shown[:room]]
    if len(shown) > room:
        rows.append(Text(f"and {len(shown) - room} more", style="dim"))
    rows.append(Text(clipped(summary(lines, elapsed), width), style="bold"))
    return Text("\n").join(rows)


def row(line: Line, width: int) -> Text:
    """A benchmark on one line: name, bar, figures, or what it waits for."""
    wide = min(LONGEST_NAME, max(12, width - FIGURES - SHORTEST_BAR - 2))
    text = Text(set_cell_size(middle(one_line(line.name), wide), wide) + " ")
    if line.state == "running" and not line.waits_for:
        room = min(LONGEST_BAR, width - wide - FIGURES - 2)
        if room >= SHORTEST_BAR:
            text.append(bar(line.share, room), style="cyan")
            text.append(" ")
        said = figures(line)
    else:
        said = line.waits_for or f"{line.state}: {one_line(line.cause)}".rstrip(": ")
    text.append(clipped(said, width - text.cell_len), style=COLOURS.get(line.state, "dim"))
    return text


def bar(share: float | None, width: int) -> str:
    """`███░░░`; dots where the share is not known."""
    if share is None:
        return "·" * width
    full = int(share * width)
    return "█" * full + "░" * (width - full)


def figures(line: Line) -> str:
    """`271 of 541  50%  4.1/s  1:06 left, 3 failed`."""
    if line.done is None:
        return f"for {clock(line.elapsed or 0)}; its harness tells no count"
    about = "~" if line.is_guess and line.expected else ""
    parts = [f"{line.done} of {about}{line.expected}" if line.expected else f"{line.done}"]
    if line.in_answers or not line.expected:
        parts[0] += " answers" if line.in_answers else " done"
    if line.share is not None:
        parts.append(f"{line.share:.0%}")
    if line.paused:
        return "  ".join([*parts, f"rate limit, waits {clock(line.paused)}"])
    if line.per_second:
        parts.append(speed(line.per_second))
    if line.left is not None:
        parts.append(f"{clock(line.left)} left")
    if line.failures:
        parts.append(f"{line.failures} failed")
    return "  ".join(parts)


def speed(per_second: float) -> str:
    """`4.1/s`, or `12/min` where it is slow."""
    if per_second >= 10:
        return f"{per_second:.0f}/s"
    return f"{per_second:.1f}/s" if per_second >= 0.5 else f"{per_second * 60:.1f}/min"


def clock(seconds: float) -> str:
    """`1:02:03`, `2:03`."""
    minutes, rest = divmod(int(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def summary(lines: Sequence[Line], elapsed: float) -> str:
    """`2 of 4 published, 1 running, 1 failed; 812 of 1,200 samples; 0:40 left; 3:12`."""
    counted = Counter(line.state for line in lines)
    rest = [f"{counted[name]} {name}" for name in STATES[1:] if counted[name]]
    parts = [", ".join([f"{counted['published']} of {len(lines)} published", *rest])]
    if lines and all(line.expected and not line.in_answers for line in lines):
        done = sum(line.done or 0 for line in lines)
        parts.append(f"{done:,} of {sum(line.expected or 0 for line in lines):,} samples")
    left = [line.left for line in lines if line.left is not None]
    if left and not counted["pending"]:
        parts.append(f"{clock(max(left))} left")
    if tokens := sum(line.tokens for line in lines):
        parts.append(f"{tokens:,} tokens")
    known = [line for line in lines if line.cost is not None]
    for currency in dict.fromkeys(line.currency for line in known):
        spent = sum(line.cost or 0.0 for line in known if line.currency == currency)
        parts.append(f"{money(spent)} {currency}")
    if failures := sum(line.failures for line in lines):
        parts.append(f"{failures} requests failed")
    return "; ".join([*parts, clock(elapsed)])


def plain_line(lines: Sequence[Line], elapsed: float) -> str:
    """All of it for a log: what is at work, then the sums."""
    running = [line for line in lines if line.state == "running"]
    active = [f"{line.name} {line.waits_for or figures(line)}" for line in running]
    more = f" and {len(active) - 3} more" if len(active) > 3 else ""
    shown = one_line(", ".join(active[:3]) + more)
    return f"{summary(lines, elapsed)}{f' | {shown}' if shown else ''}"
