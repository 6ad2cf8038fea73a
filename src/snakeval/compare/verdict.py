"""GO, NO-GO or INCONCLUSIVE: a policy applied to a comparison, with a reason for every score.

pass     the whole 95% interval of the drop lies within the limit
fail     the drop is above the limit, and is no chance (p < 0.05 by Holm over the policy's scores)
unclear  neither: too few samples to tell, or nothing to compare

NO-GO    a critical score fails
GO       every critical score passes; chance alone rarely lets a bad candidate through, since each
         of them has to pass
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator
from dataclasses import asdict, dataclass, replace
from typing import Any, Literal

from snakeval.compare import statistics
from snakeval.compare.model import Compared, Comparison
from snakeval.compare.policy import Policy, Rule
from snakeval.compare.statistics import CONFIDENCE
from snakeval.compare.suited import row_name
from snakeval.errors import count
from snakeval.job.files import now, write_atomically
from snakeval.plan.run import Run

Outcome = Literal["pass", "fail", "unclear"]
Decision = Literal["GO", "NO-GO", "INCONCLUSIVE"]

EXIT_CODES: dict[Decision, int] = {"GO": 0, "NO-GO": 1, "INCONCLUSIVE": 2}


@dataclass(frozen=True)
class Finding:
    """What a rule says about one score; drop and limit in the score's units."""

    task: str
    score: str | None
    level: str
    outcome: Outcome
    reason: str
    drop: float | None = None
    limit: float | None = None
    label: str = ""
    """What the benchmark is called where people read."""

    @property
    def shown(self) -> str:
        return self.label or self.task


@dataclass(frozen=True)
class Verdict:
    decision: Decision
    reasons: tuple[str, ...]
    findings: tuple[Finding, ...]

    @property
    def exit_code(self) -> int:
        return EXIT_CODES[self.decision]


def decide(policy: Policy, comparison: Comparison) -> Verdict:
    """The verdict over a comparison."""
    ruled = list(_ruled(policy, comparison))
    corrected = iter(
        statistics.holm(
            [score.difference.p for _, score in ruled if score.difference.p is not None]
        )
    )
    findings = [
        _finding(rule, score, None if score.difference.p is None else next(corrected))
        for rule, score in ruled
    ]
    findings += _not_compared(policy, comparison, {finding.task for finding in findings})
    labels = {score.task: score.label for score in comparison.scores}
    labels |= {refused.task: refused.label for refused in comparison.refused}
    findings = [replace(finding, label=labels.get(finding.task, "")) for finding in findings]
    critical = [finding for finding in findings if finding.level == "critical"]
    failed = [finding for finding in critical if finding.outcome == "fail"]
    unclear = [finding for finding in critical if finding.outcome == "unclear"]
    if failed or unclear:
        reasons = [_told(finding) for finding in failed or unclear]
        return Verdict("NO-GO" if failed else "INCONCLUSIVE", tuple(reasons), tuple(findings))
    if not critical:
        reason = "no critical rule is about a benchmark of these runs"
        return Verdict("INCONCLUSIVE", (reason,), tuple(findings))
    reason = f"{count(len(critical), 'critical score')} within the limits"
    return Verdict("GO", (reason,), tuple(findings))


def _told(finding: Finding) -> str:
    return f"{finding.shown}{f' {finding.score}' if finding.score else ''}: {finding.reason}"


def _ruled(policy: Policy, comparison: Comparison) -> Iterator[tuple[Rule, Compared]]:
    for score in comparison.scores:
        rule = policy.benchmarks.get(score.task, policy.others)
        if rule and rule.metric in (None, score.metric) and rule.filter in (None, score.filter):
            yield rule, score
    for score in comparison.suites:
        named = [rule for name, rule in policy.suites.items() if row_name(name) == score.task]
        yield from ((rule, score) for rule in named)


def _finding(rule: Rule, score: Compared, p: float | None) -> Finding:
    better, unsure = _better(rule, score)
    if unsure:
        return Finding(score.task, score.name, rule.level, "unclear", unsure)
    sign = -1 if better == "higher" else 1
    drop = sign * score.difference.value + 0.0  # no minus before a drop of nothing
    limit = (
        rule.max_drop
        if rule.max_drop is not None
        else (rule.max_relative_drop or 0) * abs(score.base)
    )
    outcome, reason = _outcome(drop, limit, score, sign, p)
    return Finding(score.task, score.name, rule.level, outcome, reason, drop, limit)


def _better(rule: Rule, score: Compared) -> tuple[str, str]:
    """Which way the score is better, or why that is not known."""
    if rule.better is None and score.better == "unknown":
        return "", (
            f"nobody says whether a higher {score.metric} is better; write better: higher or "
            f"better: lower under benchmarks.{score.task} in the policy"
        )
    if rule.better and score.better not in ("unknown", rule.better):
        return "", (
            f"the policy says that {rule.better} is better, and the results say {score.better}; "
            "leave `better` out of the policy, or mend the benchmark's definition"
        )
    return rule.better or score.better, ""


def _outcome(
    drop: float, limit: float, score: Compared, sign: int, p: float | None
) -> tuple[Outcome, str]:
    said = f"drop {drop:+.4f}, allowed {limit:.4f}"
    if score.difference.interval is None or p is None:
        return "unclear", f"{said}; neither samples nor a standard error are known"
    low, high = sorted(sign * end for end in score.difference.interval)
    said += f", 95% interval {low:+.4f} to {high:+.4f}"
    if drop > limit and p < 1 - CONFIDENCE:
        return "fail", f"{said}, p {p:.2g}"
    if high <= limit and score.difference.kind == "cautious":
        return "unclear", f"{said}; no standard error is known, and a guessed one releases nothing"
    if high <= limit:
        return "pass", said
    if drop > limit:
        return "unclear", f"{said}; it may be chance (p {p:.2g})"
    return (
        "unclear",
        f"{said}; too few samples to rule out a larger drop{_needed(score, drop, limit, high)}",
    )


def _needed(score: Compared, drop: float, limit: float, high: float) -> str:
    """How many samples would do, were the drop the same: the interval narrows with their root."""
    if not score.n or limit - drop <= 0:
        return ""
    samples = score.n * ((high - drop) / (limit - drop)) ** 2
    if samples > 1e7:
        return ""
    digits = max(1, 10 ** (int(math.log10(samples)) - 1))
    return f" (some {math.ceil(samples / digits) * digits:,} would do, {score.n:,} are there)"


def _not_compared(policy: Policy, comparison: Comparison, found: set[str]) -> Iterator[Finding]:
    """Benchmarks with a rule and nothing to apply it to."""
    for name, asked in policy.suites.items():
        if row_name(name) not in found:
            said = [note for note in comparison.notes if note.startswith(f"{row_name(name)}: ")]
            reason = said[0].partition(": ")[2] if said else "was not compared"
            yield Finding(row_name(name), None, asked.level, "unclear", reason)
    refused = {each.task: each.reason for each in comparison.refused}
    names = [*policy.benchmarks, *(refused if policy.others else ())]
    compared = {score.task for score in comparison.scores}
    for name in dict.fromkeys(names):
        rule = policy.benchmarks.get(name, policy.others)
        if name in found or rule is None:
            continue
        if name in refused:
            reason = f"not compared: {refused[name]}"
        elif name in compared:
            reason = f"has no score {rule.metric or ''} {rule.filter or ''}".rstrip()
        else:
            reason = "is in neither run"
        yield Finding(name, None, rule.level, "unclear", reason)


def write(verdict: Verdict, policy: str, comparison: Comparison, run: Run) -> None:
    """Puts the verdict into the candidate's run folder."""
    content: dict[str, Any] = {
        "written": now(),
        "policy": policy,
        "base": comparison.base,
        "candidate": comparison.candidate,
        **asdict(verdict),
    }
    path = run.paths.verdict(comparison.base)
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, json.dumps(content, indent=1) + "\n")
