"""Results of NeMo Evaluator 0.2.8: `results.yml`, and the requests as its adapter recorded them."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from .. import answer_cache, hostile
from ..harness_log import Log, listed
from .files import has, load_yaml, mapping, number_or_nan, optional_count, optional_number
from .held import check_model, check_repeats
from .lm_eval import LmEval, find_lm_eval, lm_eval_coverage
from .model import EVERY_ANSWER_EMPTY, CheckFailed, Coverage, Results, Score, Spec
from .own_samples import counted_in_samples
from .own_scores import own_scores

RESULTS_YML = "results.yml"
METRICS_JSON = "eval_factory_metrics.json"

RECORDS_ALL = 10**6
"""More requests than any benchmark has: with such a limit every request is recorded."""


def read(work_dir: Path, spec: Spec, log: Log | None) -> Results:
    if not has(work_dir, RESULTS_YML):
        raise CheckFailed(f"the harness ended without a result file ({RESULTS_YML})")
    data = load_yaml(work_dir, RESULTS_YML)
    # Keys are written in alphabetical order: `target` comes after the results.
    missing = [key for key in ("config", "results", "target") if key not in mapping(data)]
    if missing:
        raise CheckFailed(f"the result file {RESULTS_YML} is truncated: it has no {missing[0]}")
    check_model(mapping(mapping(data["target"]).get("api_endpoint")).get("model_id"), spec)
    caching = _caching(data)
    traffic = _read_traffic(work_dir, caching, log)
    if traffic and traffic.none_answered:
        raise CheckFailed(_none_answered(traffic))
    if traffic and traffic.all_empty:
        raise CheckFailed(EVERY_ANSWER_EMPTY)
    own, told = own_scores(work_dir, spec.facts.reader)
    scores = own or _nemo_scores(mapping(data["results"]))
    inner = find_lm_eval(work_dir)
    if inner:
        inner.check_groups()
        scores = _with_counts(scores, inner)
    if caching.get("reuse_cached_responses") and inner:
        for task, repeats, _ in inner.repeats():
            check_repeats(repeats, spec, f"the task {task}", cached=True)
    coverage = _nemo_coverage(scores, inner, traffic, spec)
    notes: tuple[str, ...] = ()
    if not inner:
        coverage, notes = counted_in_samples(work_dir, spec, coverage)
    return Results(scores, coverage, _nemo_totals(work_dir), (*told, *notes))


def _nemo_scores(results: Mapping[str, Any]) -> list[Score]:
    """Scores of tasks and (nested) groups; a task that is its own group stands here once."""
    tasks, groups = mapping(results.get("tasks")), mapping(results.get("groups"))
    scores = [s for name, body in tasks.items() for s in _metric_scores(name, None, body)]
    for name, body in groups.items():
        if tasks.get(name) != body:
            scores.extend(_group_scores(name, body))
    return scores


def _group_scores(group: str, body: Any) -> Iterator[Score]:
    for name, inner in mapping(mapping(body).get("tasks")).items():
        if not any(math.isfinite(score.value) for score in _metric_scores(name, group, inner)):
            raise CheckFailed(f"the group {group} is not whole: {name} has no score")
    yield from _metric_scores(None, group, body)
    for name, inner in mapping(mapping(body).get("tasks")).items():
        yield from _metric_scores(name, group, inner)
    for name, inner in mapping(mapping(body).get("groups")).items():
        yield from _group_scores(f"{group}/{name}", inner)


def _metric_scores(task: str | None, group: str | None, body: Any) -> Iterator[Score]:
    for metric, scores in mapping(mapping(body).get("metrics")).items():
        for score, entry in mapping(mapping(scores).get("scores")).items():
            stats = mapping(mapping(entry).get("stats"))
            yield Score(
                task,
                group,
                metric,
                score,
                number_or_nan(mapping(entry).get("value")),
                optional_number(stats.get("stderr")),
                optional_count(stats.get("count")),
            )


def _with_counts(scores: list[Score], inner: LmEval) -> list[Score]:
    """Give each score what lm-eval's own results tell: the number of samples, which way is better.

    The image joins a metric and its filter: `exact_match__flexible-extract`.
    """
    counts = {task: optional_count(size.get("effective")) for task, size in inner.sizes.items()}
    return [
        replace(
            s,
            n=counts.get(s.task or "") if s.n is None else s.n,
            better=inner.better(s.task or s.group or "", s.metric.partition("__")[0]),
        )
        for s in scores
    ]


def _caching(data: Mapping[str, Any]) -> dict[str, Any]:
    """The caching interceptor's settings, from results.yml or run_config.yml; {} without one."""
    endpoint = mapping(mapping(data.get("target")).get("api_endpoint"))
    adapter = mapping(endpoint.get("adapter_config"))
    for interceptor in adapter.get("interceptors") or []:
        if mapping(interceptor).get("name") == "caching" and interceptor.get("enabled", True):
            return mapping(interceptor.get("config"))
    return {}


@dataclass
class Traffic:
    """Requests as the adapter recorded them.

    ok, failed   answers of this attempt, and its failures by status
    earlier      answers of the attempts before
    answered     different requests with an answer on disk, of all attempts
    lost         different requests without one; None where not every request was recorded
    broken       answers with status 200 and an error inside
    all_empty    there are answers, and none of them says anything
    """

    ok: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    earlier: int = 0
    answered: int | None = None
    lost: int | None = None
    broken: int = 0
    all_empty: bool = False

    @property
    def none_answered(self) -> bool:
        """Nothing came back now, and this attempt is not one that only scores what it has.

        A harness may keep answers itself (lm-eval does), also where the adapter's cache is off.
        """
        asked_now = bool(self.failed)
        return self.ok == 0 and not self.answered and (asked_now or not self.earlier)


def _read_traffic(work_dir: Path, caching: Mapping[str, Any], log: Log | None) -> Traffic | None:
    """None where the adapter kept no record (switched off, or an image without it)."""
    if not answer_cache.is_there(work_dir, answer_cache.STATISTICS):
        return None
    traffic = Traffic()
    for status, is_last in _statuses(work_dir):
        if not is_last:
            traffic.earlier += status.startswith("2")
        elif status.startswith("2"):
            traffic.ok += 1
        else:
            traffic.failed[status] += 1
    if log:
        # The log also has replayed answers, and requests that failed without a status.
        traffic.ok = max(traffic.ok, log.completed)
        traffic.failed |= log.failures
    if caching.get("reuse_cached_responses") and answer_cache.is_there(
        work_dir, answer_cache.RESPONSES
    ):
        answers, errors = answer_cache.answers_and_errors(work_dir)
        traffic.answered, traffic.broken = len(answers), len(errors)
        traffic.all_empty = answer_cache.all_bodies_empty(work_dir)
        if caching.get("save_requests") and _records_all(caching):
            asked = answer_cache.keys(work_dir, answer_cache.REQUESTS)
            traffic.lost = len(asked - answers)
    return traffic


def _records_all(caching: Mapping[str, Any]) -> bool:
    most = caching.get("max_saved_requests")
    return most is None or most >= RECORDS_ALL


def _statuses(work_dir: Path) -> list[tuple[str, bool]]:
    """Status of every response of all attempts, and whether it is of the last one."""
    rows = {
        key: hostile.parse_json(value)
        for key, value in answer_cache.rows(work_dir, answer_cache.STATISTICS)
    }
    runs = rows.pop("interceptor_state", {}).get("run_ids", [])
    last = max((run["run_id"] for run in runs), default=0)
    return [(str(row.get("status_code")), row.get("run_id") == last) for row in rows.values()]


def _nemo_coverage(
    scores: list[Score], inner: LmEval | None, traffic: Traffic | None, spec: Spec
) -> Coverage:
    if inner:
        # lm-eval ends with an error where a request fails for good: what it scored is answered.
        coverage = lm_eval_coverage(inner, spec)
        broken = traffic.broken if traffic else 0
        return replace(coverage, unanswered=(coverage.unanswered or 0) + broken)
    scored = _counted(scores, spec)
    expected = spec.asked(spec.samples or spec.facts.size)
    failures = sum(traffic.failed.values()) if traffic else 0
    if expected is None and spec.limit_samples and spec.limit_samples >= 1 and failures:
        # Size unknown: fewer than the limit is all there was, unless requests failed.
        expected = int(spec.limit_samples)
    if expected is not None and scored is not None and scored > expected:
        scored = None  # `count` is not the number of samples in this harness
    return Coverage(expected, scored, _unanswered(traffic, expected or scored, spec.repeats))


def _none_answered(traffic: Traffic) -> str:
    asked = sum(traffic.failed.values())
    if asked:
        return f"the endpoint answered none of {asked} requests ({listed(traffic.failed)})"
    return (
        "no request of this evaluation went through its own adapter; another evaluation on "
        "this host may hold the same port (ADAPTER_PORT), or the endpoint was never asked"
    )


def _counted(scores: list[Score], spec: Spec) -> int | None:
    """Samples scored, from `stats.count`: per task the largest, each repeat not once more."""
    counts: dict[str, int] = {}
    for score in scores:
        if score.task is not None and score.n is not None:
            counts[score.task] = max(counts.get(score.task, 0), score.n)
    total = sum(counts.values())
    if spec.repeats > 1 and total % spec.repeats == 0:
        total //= spec.repeats
    return total or None


def _unanswered(traffic: Traffic | None, samples: int | None, repeats: int) -> int | None:
    """Samples without an answer after all retries, from the requests that failed for good. One of
    several requests for a sample is enough."""
    if traffic is None:
        return None
    failures = sum(traffic.failed.values())
    if traffic.lost is not None:
        # A request of an earlier attempt that was never repeated is no loss in this one.
        unanswered = min(traffic.lost, failures + traffic.broken)
    elif failures == 0:
        unanswered = traffic.broken
    elif samples is None:
        return failures  # which samples they were of nobody knows: one each, if not told otherwise
    else:
        unanswered = max(0, samples * repeats - max(traffic.ok, traffic.answered or 0))
    return unanswered if samples is None else min(unanswered, samples)


def _nemo_totals(work_dir: Path) -> dict[str, float]:
    """Tokens and times of all attempts together (that is how NeMo counts them)."""
    try:
        metrics = mapping(hostile.load_json(work_dir, METRICS_JSON))
    except (OSError, ValueError):
        return {}
    stats, evaluation = mapping(metrics.get("response_stats")), mapping(metrics.get("evaluation"))
    totals: dict[str, float] = {}
    answered = optional_number(stats.get("successful_count")) or 0
    for kind in ("prompt", "completion", "total"):
        average = optional_number(stats.get(f"avg_{kind}_tokens"))
        if average is not None:
            totals[f"{kind}_tokens"] = round(average * answered)
    for key in ("count", "avg_latency_ms", "max_latency_ms"):
        value = optional_number(stats.get(key))
        if value is not None:
            totals["requests" if key == "count" else key] = value
    runtime = optional_number(evaluation.get("runtime_seconds"))
    return totals if runtime is None else {**totals, "runtime_seconds": runtime}
