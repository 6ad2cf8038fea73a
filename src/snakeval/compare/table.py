"""A comparison for the person who waits: the table, what was refused, what else differs."""

from __future__ import annotations

from collections.abc import Iterator

from rich.table import Table
from rich.text import Text

from snakeval.compare.model import Changed, Compared, Comparison
from snakeval.compare.statistics import CONFIDENCE
from snakeval.errors import count
from snakeval.terminal import Terminal

COLOURS = {"worse": "red", "better": "green"}
TESTS = {
    "mcnemar": "McNemar",
    "bootstrap": "bootstrap",
    "unpaired": "from stderr",
    "clusters": "bootstrap of questions",
    "cautious": "cautious error",
    "suite": "from its benchmarks",
}


NARROW = ("base", "candidate", "difference", "p (Holm)", "")
"""What a terminal is given that is too narrow for all columns."""

UNBOUNDED = 10_000
"""Columns in which any table is as wide as it wants to be."""

LEFT = ("task", "metric", "test", "")


def print_comparison(comparison: Comparison) -> None:
    console = Terminal(190)
    rows = [_row(score) for score in (*comparison.scores, *comparison.suites)]
    if comparison.scores:
        table = _table(comparison, rows, list(rows[0]))
        wanted = console.measure(table, options=console.options.update_width(UNBOUNDED)).maximum
        if is_narrow := wanted > console.width:
            joined = [{**row, "score": f"{row['task']} {row['metric']}"} for row in rows]
            table = _table(comparison, joined, ["score", *NARROW])
        console.print(table)
        if is_narrow:
            console.say(
                "n, interval, flipped and test: in the JSON file, the report, a wider window"
            )
    for line in _beside(comparison):
        console.say(line)


def _row(score: Compared) -> dict[str, str]:
    """What is shown of a score, by the headings of its columns."""
    return {
        "task": score.shown,
        "metric": score.name,
        "n": str(score.n or "?"),
        "base": f"{score.base:.4f}",
        "candidate": f"{score.candidate:.4f}",
        "difference": f"{score.difference.value:+.4f}",
        "95% interval": interval(score),
        "p (Holm)": p_value(score.p_holm),
        "flipped": flipped(score),
        "test": TESTS[score.difference.kind],
        "": score.meaning,
    }


def _table(comparison: Comparison, rows: list[dict[str, str]], headings: list[str]) -> Table:
    """The two runs, and the columns with these headings."""
    table = Table(
        title=f"base {comparison.base} ({comparison.base_model})\n"
        f"candidate {comparison.candidate} ({comparison.candidate_model})",
        title_justify="left",
    )
    for heading in headings:
        left = heading in (*LEFT, "score")
        table.add_column(
            heading, justify="left" if left else "right", overflow="fold", no_wrap=not left
        )
    for row in rows:
        style = COLOURS.get(row[""], "")
        *before, meaning = (row[heading] for heading in headings)
        table.add_row(*before, Text(meaning, style=style))
    return table


def _beside(comparison: Comparison) -> Iterator[str]:
    """What stands below the table."""
    if comparison.scores:
        yield comparison.headline
    yield from comparison.notes
    for refused in comparison.refused:
        yield f"{refused.shown}: not compared: {refused.reason}"
    if comparison.changed:
        yield "What else differs (base -> candidate):"
    for changed in comparison.changed:
        yield f"  {told(changed)}"
    for score in comparison.scores:
        if score.parts:
            yield (
                f"{score.shown} {score.name}: {count(len(score.parts), 'part')}, "
                f"{_moved(score)}; each of them is in the JSON file and in the report"
            )
    compared = len({score.task for score in comparison.scores})
    yield f"{count(compared, 'benchmark')} compared, {len(comparison.refused)} not."


def _moved(score: Compared) -> str:
    """`2 lower (mmlu_law, mmlu_physics), 0 higher`: parts that differ by more than chance."""
    parts: dict[str, list[str]] = {"lower": [], "higher": []}
    for part in score.parts:
        if part.p_holm is not None and part.p_holm < 1 - CONFIDENCE:
            parts["higher" if part.difference.value > 0 else "lower"].append(part.subtask)
    told = []
    for way, names in parts.items():
        told.append(f"{len(names)} {way}" + (f" ({', '.join(names)})" if names else ""))
    return ", ".join(told)


def interval(score: Compared) -> str:
    """`-0.0312 to +0.0101`."""
    found = score.difference.interval
    return f"{found[0]:+.4f} to {found[1]:+.4f}" if found else "unknown"


def p_value(p: float | None) -> str:
    """`0.031`, `<0.001`."""
    if p is None:
        return "-"
    return "<0.001" if p < 0.001 else f"{p:.3f}"


def flipped(score: Compared) -> str:
    """`+12 -3`: won and lost."""
    return "-" if score.won is None else f"+{score.won} -{score.lost}"


def told(changed: Changed) -> str:
    """`temperature: 0.0 -> 0.7`."""
    before, after = (
        "(not set)" if value is None else str(value) for value in (changed.base, changed.candidate)
    )
    return f"{changed.key}: {before} -> {after}"
