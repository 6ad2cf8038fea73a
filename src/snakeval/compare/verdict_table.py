"""A verdict for the person (or the CI log) that waits for it."""

from __future__ import annotations

from rich.table import Table
from rich.text import Text

from snakeval.compare.verdict import Verdict
from snakeval.terminal import Terminal

COLOURS = {"pass": "green", "fail": "red", "unclear": "yellow"}
DECISIONS = {"GO": "bold green", "NO-GO": "bold red", "INCONCLUSIVE": "bold yellow"}


def print_verdict(verdict: Verdict, policy: str, description: str) -> None:
    console = Terminal(190)
    table = Table(
        title=f"{policy}{f': {description}' if description else ''}", title_justify="left"
    )
    for heading in ("task", "score", "level", "", "why"):
        table.add_column(heading, overflow="fold")
    for finding in verdict.findings:
        table.add_row(
            finding.shown,
            finding.score or "-",
            finding.level,
            Text(finding.outcome, style=COLOURS[finding.outcome]),
            finding.reason,
        )
    if verdict.findings:
        console.print(table)
    console.print(Text(verdict.decision, style=DECISIONS[verdict.decision]))
    for reason in verdict.reasons:
        console.say(f"  {reason}")
