"""The check before publishing, and the readers of the harnesses' result formats.

A copy of this one file lies in every run folder and is run there by `run.sh` with whatever
Python there is (3.9 or newer; PyYAML only where YAML must be read); the library imports it to
build its tables. What the harnesses leave behind was found by running lm-eval 0.4.13 and
nemo-evaluator 0.2.8 with nvidia-lm-eval 26.3 into every failure named here.

    python verify.py WORK_DIR --spec SPEC.json --exit-code N [--log LOG]

ends with 0 when the result holds; else it says why in one sentence and ends with 1.
"""

from __future__ import annotations

import argparse
import errno
import json
import math
import os
import pickle
import re
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping
from contextlib import closing
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

CHECK_FILE = Path("snakeval") / "check.json"
FORGOTTEN_FILE = Path("snakeval") / "forgotten"

RESULTS_YML = "results.yml"
METRICS_JSON = "eval_factory_metrics.json"
INTERRUPTED_MARKER = ".nemo_evaluator_interrupted"
SERVER_ERROR_MARKER = ".nemo_evaluator_server_error"

# More requests than any benchmark has: with such a limit every request is recorded.
RECORDS_ALL = 10**6


class CheckFailed(Exception):
    """The result does not hold; `cause` says what happened in one sentence."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True)
class Score:
    """One number of a result. A group's own score has no task; stderr and n where known."""

    task: str | None
    group: str | None
    metric: str
    score: str
    value: float
    stderr: float | None = None
    n: int | None = None


@dataclass(frozen=True)
class Coverage:
    """Samples asked for, scored, and scored without an answer of the model; None is unknown."""

    expected: int | None = None
    scored: int | None = None
    unanswered: int | None = None


@dataclass(frozen=True)
class Results:
    """What a finished work folder holds. `totals`: tokens and times, in the units they name."""

    scores: list[Score]
    coverage: Coverage
    totals: dict[str, float] = field(default_factory=dict)


@dataclass(frozen=True)
class Spec:
    """What was asked for; made once from the task's JSON, unknown keys are ignored."""

    format: str
    benchmark: str | None = None
    results: str | None = None
    limit_samples: int | None = None
    samples: int | None = None
    max_unanswered: float = 0.0
    repeats: int = 1
    cached: bool = False
    seeded: bool = False
    model_id: str | None = None

    @classmethod
    def of(cls, raw: Mapping[str, Any] | Spec) -> Spec:
        """Read a mapping; CheckFailed when the format is none of the known ones."""
        if isinstance(raw, Spec):
            return raw
        if raw.get("format") not in READERS:
            known = ", ".join(sorted(READERS))
            raise CheckFailed(f"the format {raw.get('format')!r} is none of {known}")
        known_keys = cls.__dataclass_fields__
        return cls(**{k: v for k, v in raw.items() if k in known_keys and v is not None})

    def asked(self, size: int | None) -> int | None:
        """How many samples of a dataset of this size were asked for."""
        sizes = [n for n in (size, self.limit_samples) if n is not None]
        return min(sizes) if size is not None else None


# ---------------------------------------------------------------- what the log says


@dataclass
class Log:
    """What an attempt's log tells that no result file does."""

    name: str | None = None
    disk_full: bool = False
    out_of_memory: bool = False
    statuses: Counter[str] = field(default_factory=Counter)
    completed: int = 0
    unparsed: int = 0
    # Failed requests that got no status: "no connection", "no answer in time".
    without_status: Counter[str] = field(default_factory=Counter)
    # The same, and answers of a wrong shape, in lines that are not one per request.
    mentioned: Counter[str] = field(default_factory=Counter)

    @property
    def failures(self) -> Counter[str]:
        """Failed requests by status, or by what happened to them instead."""
        return self.statuses + self.without_status


DISK_FULL = re.compile(
    r"No space left on device|disk is full|Errno 28\b|Disk quota exceeded|Errno 122\b"
)
STATUS = re.compile(
    r"(?:API request failed! Status code: |Request completed status_code="
    r"|HTTPError: (?=\d{3} .*/completions))(\d{3})"
)
UNREACHED, TOO_LATE, MISSHAPEN = "no connection", "no answer in time", "misshapen"
MENTIONS = {
    TOO_LATE: re.compile(r"TimeoutError|Read timed out"),
    UNREACHED: re.compile(
        r"ClientConnectorError|Connection refused|NewConnectionError|NameResolutionError"
        r"|RemoteDisconnected|Connection reset by peer|ServerDisconnectedError"
    ),
    MISSHAPEN: re.compile(r"KeyError: 'choices'"),
}


def read_log(path: Path | None) -> Log:
    """Read a log once, line by line; a log that is not there tells nothing."""
    log = Log(name=path.name if path else None)
    if path is None or not path.is_file():
        return log
    adapter: Counter[str] = Counter()
    with path.open(encoding="utf-8", errors="replace") as lines:
        for line in lines:
            for event in ("Request started", "Request completed", "Handler error:"):
                adapter[event] += event in line
            _note(log, line)
    # The NeMo adapter begins each request with one line and ends it with one of two; a request
    # that never ended was given up by the harness, which waits less long than the adapter.
    failed = adapter["Handler error:"]
    log.without_status[UNREACHED] += failed
    log.without_status[TOO_LATE] += max(
        0, adapter["Request started"] - adapter["Request completed"] - failed
    )
    return log


def _note(log: Log, line: str) -> None:
    status = STATUS.search(line)
    if status and status[1].startswith("2"):
        log.completed += 1
    elif status:
        log.statuses[status[1]] += 1
    elif "Could not parse generations" in line:
        log.unparsed += 1
    elif DISK_FULL.search(line):
        log.disk_full = True
    elif "MemoryError" in line or "Cannot allocate memory" in line:
        log.out_of_memory = True
    else:
        # lm-eval ends its line on a failed request so; all others come in any number.
        counts = log.without_status if "retrying." in line else log.mentioned
        counts.update(what for what, pattern in MENTIONS.items() if pattern.search(line))


DISK_FULL_CAUSE = "the disk is full; free some space below the work folder and start again"


def _reason(log: Log, spec: Spec) -> str | None:
    """Why a harness that failed did so, as far as its log tells.

    No line of the log is quoted: lm-eval logs the headers of failed requests, key included.
    """
    if log.out_of_memory:
        return "it ran out of memory"
    refused = sum(log.statuses.values())
    what, most = max((+log.without_status or log.mentioned).most_common(1), default=("", 0))
    if refused and refused >= log.without_status[what]:
        hint = f'; is the model "{spec.model_id}" served there?' if "404" in log.statuses else ""
        times = f"{refused} request{'' if refused == 1 else 's'}"
        return f"the endpoint refused {times} ({_counts(log.statuses)}){hint}"
    reasons = {
        TOO_LATE: "the endpoint did not answer in time",
        UNREACHED: "the endpoint could not be reached",
        MISSHAPEN: "the endpoint's answers were no completions",
    }
    return reasons.get(what) if most else None


def _counts(counts: Mapping[str, int]) -> str:
    return ", ".join(f"{what}: {n}" for what, n in sorted(counts.items()))


EXIT_CODES = {
    124: "the time limit was reached",
    130: "it was interrupted (SIGINT)",
    137: "it was killed (SIGKILL: out of memory, or from outside)",
    143: "it was told to stop (SIGTERM)",
}


def _check_exit(exit_code: int, log: Log, spec: Spec) -> None:
    if exit_code == 0:
        return
    if log.disk_full:
        raise CheckFailed(DISK_FULL_CAUSE)
    why = EXIT_CODES.get(exit_code) or _reason(log, spec) or "its log says why"
    raise CheckFailed(f"the harness ended with exit code {exit_code}: {why}{_see(log)}")


def _see(log: Log) -> str:
    return f" (see {log.name})" if log.name else ""


# ---------------------------------------------------------------- files


def _load_json(path: Path) -> Any:
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except ValueError as error:
        raise CheckFailed(f"the result file {path.name} is truncated or no JSON") from error


def _load_yaml(path: Path) -> Any:
    """Read YAML. NeMo writes with `yaml.dump`, which may leave tags of Python objects."""
    try:
        import yaml
    except ImportError as error:
        raise CheckFailed(f"{path.name} cannot be read: this Python has no PyYAML") from error

    class Loader(yaml.SafeLoader):
        pass

    Loader.add_multi_constructor(
        "tag:yaml.org,2002:python/", lambda loader, suffix, node: str(node.value)
    )
    text = path.read_text(encoding="utf-8")
    try:
        data = yaml.load(text, Loader=Loader)
    except yaml.YAMLError as error:
        raise CheckFailed(f"the result file {path.name} is truncated or no YAML") from error
    # A file cut in the middle is often still valid YAML, but its last line never ends.
    if not text.endswith("\n"):
        raise CheckFailed(f"the result file {path.name} is truncated")
    return data


def _number(value: Any, what: str) -> float:
    """A finite number, or CheckFailed."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        raise CheckFailed(f"{what} is {value!r}, not a number")
    if not math.isfinite(value):
        raise CheckFailed(f"{what} is {value}, not a finite number")
    return float(value)


def _optional_number(value: Any) -> float | None:
    """A stderr or a count; harnesses write 'N/A' or NaN where there is none (one sample)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return float(value) if math.isfinite(value) else None


def _optional_count(value: Any) -> int | None:
    number = _optional_number(value)
    return None if number is None else int(number)


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


# ---------------------------------------------------------------- lm-eval


@dataclass
class LmEval:
    """A results_*.json of lm-eval and what its samples_*.jsonl hold."""

    path: Path
    data: dict[str, Any]

    @property
    def date(self) -> str:
        return self.path.stem.partition("_")[2]

    @property
    def sizes(self) -> dict[str, dict[str, Any]]:
        return _mapping(self.data.get("n-samples"))

    def repeats(self) -> Iterator[tuple[str, int, bool]]:
        """Task, how often each sample is asked, whether the model samples (do_sample)."""
        for task, config in _mapping(self.data.get("configs")).items():
            sampling = _mapping(_mapping(config).get("generation_kwargs")).get("do_sample", False)
            yield task, int(_mapping(config).get("repeats") or 1), bool(sampling)

    @property
    def model(self) -> str | None:
        arguments = _mapping(self.data.get("config")).get("model_args")
        if isinstance(arguments, dict):
            return arguments.get("model")
        found = re.search(r"(?:^|,)model=([^,]*)", str(arguments or ""))
        return found[1] if found else None


def find_lm_eval(work_dir: Path) -> LmEval | None:
    """The newest results_*.json below a work folder, or None; ours and hidden folders aside.

    The newest by the date in its name: copying a folder changes times, not names.
    """
    found = [
        path
        for path in work_dir.rglob("results_*.json")
        if not any(
            part.startswith(".") or part == CHECK_FILE.parts[0]
            for part in path.relative_to(work_dir).parts[:-1]
        )
    ]
    for path in sorted(found, key=lambda p: p.name, reverse=True):
        data = _load_json(path)
        if isinstance(data, dict) and "results" in data and "n-samples" in data:
            return LmEval(path, data)
    return None


def _lm_eval_scores(found: LmEval) -> list[Score]:
    results = _mapping(found.data.get("results"))
    groups = set(_mapping(found.data.get("groups")))
    parents = {
        task: group
        for group, tasks in _mapping(found.data.get("group_subtasks")).items()
        for task in tasks
    }
    scores: list[Score] = []
    for name, values in results.items():
        task, group = (None, name) if name in groups else (name, parents.get(name))
        n = _optional_count(values.get("sample_len"))
        if n is None:
            n = _optional_count(_mapping(found.sizes.get(name)).get("effective"))
        for key, value in values.items():
            metric, comma, filter_name = key.partition(",")
            if not comma or metric.endswith("_stderr"):
                continue
            score = metric if filter_name == "none" else filter_name
            stderr = _optional_number(values.get(f"{metric}_stderr,{filter_name}"))
            number = _number(value, f"the score {key} of {name}")
            scores.append(Score(task, group, metric, score, number, stderr, n))
    return scores


@dataclass
class Samples:
    """One task's samples_*.jsonl: samples scored, and those of them without an answer."""

    scored: int
    unanswered: int


def _read_samples(path: Path, task: str) -> Samples:
    """Count a task's samples once each: the file has a line per sample and filter."""
    seen: Counter[tuple[Any, Any]] = Counter()
    unanswered: set[Any] = set()
    with path.open(encoding="utf-8") as lines:
        for line in lines:
            try:
                sample = json.loads(line)
            except ValueError as error:
                raise CheckFailed(f"the samples file {path.name} is truncated") from error
            seen[sample.get("filter"), sample.get("doc_id")] += 1
            if _has_no_answer(sample.get("resps")):
                unanswered.add(sample.get("doc_id"))
    twice = {doc for (_, doc), times in seen.items() if times > 1}
    if twice:
        raise CheckFailed(f"{len(twice)} samples of {task} were counted more than once")
    return Samples(len({doc for _, doc in seen}), len(unanswered))


def _has_no_answer(resps: Any) -> bool:
    """True where nothing came back; an empty text is an answer."""
    if not isinstance(resps, list) or not resps:
        return True
    return any(r is None or r == [] or (isinstance(r, list) and None in r) for r in resps)


def _lm_eval_coverage(found: LmEval, spec: Spec) -> Coverage:
    """Per task of the run: asked for min(limit, size), scored what the samples file holds."""
    expected = scored = unanswered = 0
    sizes = found.sizes
    for task, size in sizes.items():
        original = int(size["original"])
        if len(sizes) == 1:
            # A dataset that came down truncated is smaller than its benchmark is known to be.
            original = max(original, spec.samples or 0)
        expected += spec.asked(original) or 0
        samples = _samples_of(found, task)
        scored += samples.scored if samples else int(size["effective"])
        unanswered += samples.unanswered if samples else 0
    if len(sizes) > 1 and spec.limit_samples is None:
        expected = max(expected, spec.samples or 0)
    return Coverage(expected, scored, unanswered)


def _samples_of(found: LmEval, task: str) -> Samples | None:
    path = found.path.with_name(f"samples_{task}_{found.date}.jsonl")
    if path.is_file():
        return _read_samples(path, task)
    # lm-eval hashes the samples it means to write, and only warns when it cannot write them.
    if task in _mapping(found.data.get("task_hashes")):
        raise CheckFailed(f"the samples file of {task} is missing beside {found.path.name}")
    return None


def _read_lm_eval(work_dir: Path, spec: Spec, log: Log | None) -> Results:
    found = find_lm_eval(work_dir)
    if found is None:
        raise CheckFailed("the harness ended without a result file (results_*.json)")
    _check_model(found.model, spec)
    for task, repeats, sampling in found.repeats():
        # lm-eval itself does not cache what is sampled (do_sample), so those repeats are real.
        if repeats > 1 and not sampling:
            _check_repeats(repeats, spec, f"the task {task}")
    coverage = _lm_eval_coverage(found, spec)
    if log and log.unparsed:
        # Answered with status 200 and an error inside: lm-eval scores it as an empty answer.
        coverage = _with_unanswered(coverage, (coverage.unanswered or 0) + log.unparsed)
    runtime = _optional_number(_as_number(found.data.get("total_evaluation_time_seconds")))
    totals = {} if runtime is None else {"runtime_seconds": runtime}
    return Results(_lm_eval_scores(found), coverage, totals)


def _as_number(value: Any) -> Any:
    try:
        return float(value)
    except (TypeError, ValueError):
        return None


def _with_unanswered(coverage: Coverage, unanswered: int | None) -> Coverage:
    return Coverage(coverage.expected, coverage.scored, unanswered)


# ---------------------------------------------------------------- NeMo Evaluator


def _read_nemo(work_dir: Path, spec: Spec, log: Log | None) -> Results:
    path = work_dir / RESULTS_YML
    if not path.is_file():
        raise CheckFailed(f"the harness ended without a result file ({RESULTS_YML})")
    data = _load_yaml(path)
    # Keys are written in alphabetical order: `target` comes after the results.
    missing = [key for key in ("config", "results", "target") if key not in _mapping(data)]
    if missing:
        raise CheckFailed(f"the result file {RESULTS_YML} is truncated: it has no {missing[0]}")
    _check_model(_mapping(_mapping(data["target"]).get("api_endpoint")).get("model_id"), spec)
    caching = _caching(data)
    traffic = _read_traffic(work_dir, caching, log)
    if traffic and traffic.ok == 0 and not traffic.answered:
        raise CheckFailed(_none_answered(traffic))
    scores = _nemo_scores(_mapping(data["results"]))
    inner = find_lm_eval(work_dir)
    if inner:
        scores = _with_counts(scores, inner)
    if caching.get("reuse_cached_responses") and inner:
        for task, repeats, _ in inner.repeats():
            _check_repeats(repeats, spec, f"the task {task}", cached=True)
    return Results(scores, _nemo_coverage(scores, inner, traffic, spec), _nemo_totals(work_dir))


def _nemo_scores(results: Mapping[str, Any]) -> list[Score]:
    """Scores of tasks and (nested) groups; a task that is its own group stands here once."""
    tasks, groups = _mapping(results.get("tasks")), _mapping(results.get("groups"))
    scores = [s for name, body in tasks.items() for s in _metric_scores(name, None, body)]
    for name, body in groups.items():
        if tasks.get(name) != body:
            scores.extend(_group_scores(name, body))
    return scores


def _group_scores(group: str, body: Any) -> Iterator[Score]:
    yield from _metric_scores(None, group, body)
    for name, inner in _mapping(_mapping(body).get("tasks")).items():
        yield from _metric_scores(name, group, inner)
    for name, inner in _mapping(_mapping(body).get("groups")).items():
        yield from _group_scores(f"{group}/{name}", inner)


def _metric_scores(task: str | None, group: str | None, body: Any) -> Iterator[Score]:
    for metric, scores in _mapping(_mapping(body).get("metrics")).items():
        for score, entry in _mapping(_mapping(scores).get("scores")).items():
            stats = _mapping(_mapping(entry).get("stats"))
            yield Score(
                task,
                group,
                metric,
                score,
                _number(_mapping(entry).get("value"), f"the score {score} of {task or group}"),
                _optional_number(stats.get("stderr")),
                _optional_count(stats.get("count")),
            )


def _with_counts(scores: list[Score], inner: LmEval) -> list[Score]:
    """Give each score the number of samples that lm-eval's own results tell."""
    counts = {task: _optional_count(size.get("effective")) for task, size in inner.sizes.items()}
    return [
        s
        if s.n is not None
        else Score(s.task, s.group, s.metric, s.score, s.value, s.stderr, counts.get(s.task or ""))
        for s in scores
    ]


def _caching(data: Mapping[str, Any]) -> dict[str, Any]:
    """The caching interceptor's settings, from results.yml or run_config.yml; {} without one."""
    endpoint = _mapping(_mapping(data.get("target")).get("api_endpoint"))
    adapter = _mapping(endpoint.get("adapter_config"))
    for interceptor in adapter.get("interceptors") or []:
        if _mapping(interceptor).get("name") == "caching" and interceptor.get("enabled", True):
            return _mapping(interceptor.get("config"))
    return {}


@dataclass
class Traffic:
    """Requests as the adapter recorded them.

    ok, failed: responses of this attempt, failures by status. answered: different requests
    with an answer on disk, of all attempts. lost: different requests without one (None where
    not every request was recorded). broken: answers with status 200 and an error inside.
    """

    ok: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    answered: int | None = None
    lost: int | None = None
    broken: int = 0


def _read_traffic(work_dir: Path, caching: Mapping[str, Any], log: Log | None) -> Traffic | None:
    """None where the adapter kept no record (switched off, or an image without it)."""
    stats = work_dir / "response_stats_cache" / "cache.db"
    responses = work_dir / "cache" / "responses" / "cache.db"
    if not stats.is_file():
        return None
    traffic = Traffic()
    for status in _statuses_of_last_run(stats):
        if status.startswith("2"):
            traffic.ok += 1
        else:
            traffic.failed[status] += 1
    if log:
        # The log also has replayed answers, and requests that failed without a status.
        traffic.ok = max(traffic.ok, log.completed)
        traffic.failed |= log.failures
    if caching.get("reuse_cached_responses") and responses.is_file():
        keys, broken = _cached_answers(responses)
        traffic.answered, traffic.broken = len(keys), len(broken)
        if caching.get("save_requests") and _records_all(caching):
            asked = set(_keys(work_dir / "cache" / "requests" / "cache.db"))
            traffic.lost = len(asked - keys)
    return traffic


def _records_all(caching: Mapping[str, Any]) -> bool:
    most = caching.get("max_saved_requests")
    return most is None or most >= RECORDS_ALL


def _statuses_of_last_run(stats: Path) -> list[str]:
    """Status of every response of the last attempt; `response_stats` totals all attempts."""
    rows = [json.loads(value) for key, value in _rows(stats) if key != "interceptor_state"]
    state = [json.loads(value) for key, value in _rows(stats) if key == "interceptor_state"]
    runs = state[0].get("run_ids", []) if state else []
    last = max((run["run_id"] for run in runs), default=0)
    return [str(row.get("status_code")) for row in rows if row.get("run_id") == last]


def _nemo_coverage(
    scores: list[Score], inner: LmEval | None, traffic: Traffic | None, spec: Spec
) -> Coverage:
    if inner:
        # lm-eval ends with an error where a request fails for good: what it scored is answered.
        coverage = _lm_eval_coverage(inner, spec)
        return _with_unanswered(
            coverage, (coverage.unanswered or 0) + (traffic.broken if traffic else 0)
        )
    scored = _counted(scores, spec)
    expected = spec.asked(spec.samples)
    failures = sum(traffic.failed.values()) if traffic else 0
    if expected is None and spec.limit_samples and failures:
        # Size unknown: fewer than the limit is all there was, unless requests failed.
        expected = spec.limit_samples
    if expected is not None and scored is not None and scored > expected:
        scored = None  # `count` is not the number of samples in this harness
    return Coverage(expected, scored, _unanswered(traffic, expected or scored))


def _none_answered(traffic: Traffic) -> str:
    asked = sum(traffic.failed.values())
    if asked:
        return f"the endpoint answered none of {asked} requests ({_counts(traffic.failed)})"
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


def _unanswered(traffic: Traffic | None, samples: int | None) -> int | None:
    """Samples without an answer after all retries, from the requests that failed for good."""
    if traffic is None:
        return None
    failures = sum(traffic.failed.values())
    if traffic.lost is not None:
        # A request of an earlier attempt that was never repeated is no loss in this one.
        unanswered = min(traffic.lost, failures + traffic.broken)
    elif failures == 0:
        unanswered = traffic.broken
    elif samples is None:
        return None
    else:
        unanswered = max(0, samples - max(traffic.ok, traffic.answered or 0))
    return unanswered if samples is None else min(unanswered, samples)


def _nemo_totals(work_dir: Path) -> dict[str, float]:
    """Tokens and times of all attempts together (that is how NeMo counts them)."""
    try:
        metrics = _mapping(json.loads((work_dir / METRICS_JSON).read_text(encoding="utf-8")))
    except (OSError, ValueError):
        return {}
    stats, evaluation = _mapping(metrics.get("response_stats")), _mapping(metrics.get("evaluation"))
    totals: dict[str, float] = {}
    answered = _optional_number(stats.get("successful_count")) or 0
    for kind in ("prompt", "completion", "total"):
        average = _optional_number(stats.get(f"avg_{kind}_tokens"))
        if average is not None:
            totals[f"{kind}_tokens"] = round(average * answered)
    for key in ("count", "avg_latency_ms", "max_latency_ms"):
        value = _optional_number(stats.get(key))
        if value is not None:
            totals["requests" if key == "count" else key] = value
    runtime = _optional_number(evaluation.get("runtime_seconds"))
    return totals if runtime is None else {**totals, "runtime_seconds": runtime}


def _check_markers(work_dir: Path) -> None:
    """NeMo ends with exit code 0 when it was told to stop, and leaves a marker."""
    marker = work_dir / SERVER_ERROR_MARKER
    if marker.exists():
        said = " ".join(marker.read_text(encoding="utf-8", errors="replace").split())
        raise CheckFailed(f"the endpoint failed: {said or 'no details given'}")
    marker = work_dir / INTERRUPTED_MARKER
    if marker.exists():
        found = re.search(r"SIG[A-Z]+", marker.read_text(encoding="utf-8", errors="replace"))
        signal = f" ({found[0]})" if found else ""
        raise CheckFailed(f"the evaluation was interrupted{signal}; start it again to continue")


# ---------------------------------------------------------------- our own format


def _read_scores(work_dir: Path, spec: Spec, log: Log | None) -> Results:
    """`{"scores": {name: 0.5 | {value, stderr, n}}, "samples": {expected, scored, unanswered}}`."""
    if not spec.results:
        raise CheckFailed("the benchmark declares no result file (key results)")
    path = work_dir / spec.results
    if not path.is_file():
        raise CheckFailed(f"the command ended without its result file ({spec.results})")
    data = _mapping(_load_json(path))
    samples = _mapping(data.get("samples"))
    counts = {key: _optional_count(samples.get(key)) for key in Coverage.__dataclass_fields__}
    scores = [
        _declared_score(name, entry, spec.benchmark, counts["scored"])
        for name, entry in _mapping(data.get("scores")).items()
    ]
    if counts["scored"] is None:
        counts["scored"] = max((s.n for s in scores if s.n is not None), default=None)
    size_known = spec.asked(spec.samples)
    expected = counts["expected"] if size_known is None else size_known
    return Results(scores, Coverage(expected, counts["scored"], counts["unanswered"]))


def _declared_score(name: str, entry: Any, task: str | None, scored: int | None) -> Score:
    body = entry if isinstance(entry, dict) else {"value": entry}
    value = _number(body.get("value"), f"the score {name}")
    n = _optional_count(body.get("n"))
    stderr = _optional_number(body.get("stderr"))
    return Score(task, None, name, name, value, stderr, scored if n is None else n)


READERS = {"nemo": _read_nemo, "lm_eval": _read_lm_eval, "scores": _read_scores}


# ---------------------------------------------------------------- the check


def read_results(
    work_dir: Path | str, spec: Mapping[str, Any] | Spec, log: Log | None = None
) -> Results:
    """Read the scores and the coverage of a work folder.

    Raises CheckFailed where a file is missing, truncated or without a finite score, where the
    endpoint answered nothing, or where a cache has collapsed repeats.
    """
    wanted = Spec.of(spec)
    results = READERS[wanted.format](Path(work_dir), wanted, log)
    if not results.scores:
        raise CheckFailed("the harness ended with a result file that has no score in it")
    return results


def check(
    work_dir: Path | str,
    spec: Mapping[str, Any] | Spec,
    exit_code: int = 0,
    logs: Iterable[Path] = (),
) -> Results:
    """Everything that must hold before a result is published; raises CheckFailed.

    `logs`: of the attempts on this work folder, this one's last.
    """
    work_dir, wanted = Path(work_dir), Spec.of(spec)
    log = _read_logs(work_dir, list(logs))
    if wanted.format == "nemo":
        _check_markers(work_dir)
    _check_exit(exit_code, log, wanted)
    _check_repeats(wanted.repeats, wanted, "the benchmark")
    try:
        results = read_results(work_dir, wanted, log)
    except CheckFailed as failed:
        # lm-eval only warns when it cannot write its results, and ends with exit code 0.
        raise CheckFailed(DISK_FULL_CAUSE) if log.disk_full else failed from failed
    _check_coverage(results.coverage, wanted, log)
    return results


def _read_logs(work_dir: Path, paths: list[Path]) -> Log:
    """This attempt's log; from those before only the poisoned answers not yet forgotten."""
    log = read_log(paths[-1] if paths else None)
    forgotten = work_dir / FORGOTTEN_FILE
    since = forgotten.stat().st_mtime if forgotten.exists() else 0.0
    for path in paths[:-1]:
        if path.is_file() and path.stat().st_mtime > since:
            log.unparsed += read_log(path).unparsed
    return log


def _check_model(served: Any, spec: Spec) -> None:
    if served and spec.model_id and served != spec.model_id:
        raise CheckFailed(f'the result is of the model "{served}", not of "{spec.model_id}"')


def _check_repeats(repeats: int, spec: Spec, what: str, cached: bool | None = None) -> None:
    """Repeats with one and the same request body are one answer counted several times."""
    if repeats > 1 and (spec.cached if cached is None else cached) and not spec.seeded:
        raise CheckFailed(
            f"{what} asks every sample {repeats} times, but the cache gives every repeat the "
            "same answer: switch the cache off or give each repeat its own seed"
        )


def _check_coverage(coverage: Coverage, spec: Spec, log: Log) -> None:
    expected, scored, unanswered = coverage.expected, coverage.scored, coverage.unanswered
    if expected is not None and scored is not None and scored != expected:
        if scored < expected:
            raise CheckFailed(f"only {scored} of {expected} samples were scored")
        raise CheckFailed(f"{scored} samples were scored, but only {expected} were asked for")
    if scored == 0:
        raise CheckFailed("no sample was scored")
    base = expected if expected is not None else scored
    if unanswered and unanswered > spec.max_unanswered * (base or 0):
        of = f" of {base}" if base else ""
        seen = f" ({_counts(log.failures)})" if log.failures else ""
        allowed = f"at most {spec.max_unanswered:.1%}" if spec.max_unanswered else "none"
        raise CheckFailed(
            f"{unanswered}{of} samples got no answer from the endpoint{seen}; {allowed} may"
        )


# ---------------------------------------------------------------- caches (SQLite)


def _connect(path: Path) -> sqlite3.Connection:
    """Open a harness's cache to read, so that neither it nor its folder changes.

    A WAL file that nobody writes is read as immutable, or SQLite would leave -shm and -wal
    files in a published folder. Raises sqlite3.Error or OSError.
    """
    with path.open("rb") as file:
        wal_mode = file.read(20)[18:20] == b"\x02\x02"
    wal = path.with_name(path.name + "-wal")
    at_rest = wal_mode and (not wal.exists() or wal.stat().st_size == 0)
    options = "mode=ro&immutable=1" if at_rest else "mode=ro"
    return sqlite3.connect(f"{path.absolute().as_uri()}?{options}", uri=True, timeout=1.0)


def _keys(path: Path) -> list[str]:
    with closing(_connect(path)) as db:
        return [str(key) for (key,) in db.execute("SELECT key FROM Cache")]


def _rows(path: Path) -> Iterator[tuple[str, bytes | str]]:
    """Keys and values of a cache of the NeMo core (its own kind of diskcache).

    Values of more than 32 kB lie in files beside the database.
    """
    with closing(_connect(path)) as db:
        for key, value, filename in db.execute("SELECT key, value, filename FROM Cache"):
            yield str(key), (path.parent / filename).read_bytes() if filename else value


def _cached_answers(responses: Path) -> tuple[set[str], set[str]]:
    """Keys of the answers in a response cache, and of those that are errors in disguise."""
    answers: set[str] = set()
    broken: set[str] = set()
    for key, value in _rows(responses):
        (broken if _is_error(value) else answers).add(key)
    return answers, broken


def _is_error(body: bytes | str | None) -> bool:
    """True for a body with status 200 that says `error` and holds no choices."""
    text = body.decode("utf-8", errors="replace") if isinstance(body, bytes) else str(body or "")
    if '"choices"' in text or '"error"' not in text:
        return False
    try:
        return bool(_mapping(json.loads(text)).get("error"))
    except ValueError:
        return False


def forget_errors(work_dir: Path | str, spec: Mapping[str, Any] | Spec, unparsed: int) -> None:
    """Take errors that were cached as answers out of the cache, so that they are asked again.

    NeMo caches every status 200, also with an error inside. lm-eval keeps such an answer as an
    empty text, which only the log tells from an honest one: all empty texts are asked again.
    Only for a harness that has ended. A cache that cannot be written stays as it is.
    """
    work_dir, wanted = Path(work_dir), Spec.of(spec)
    try:
        if wanted.format == "nemo":
            _forget_broken(work_dir / "cache")
        elif wanted.format == "lm_eval" and unparsed:
            _forget_empty(work_dir)
    except (OSError, sqlite3.Error):
        return


def _forget_broken(cache: Path) -> None:
    responses = cache / "responses" / "cache.db"
    if not responses.is_file():
        return
    _, broken = _cached_answers(responses)
    if broken:
        with closing(sqlite3.connect(responses)) as db, db:
            db.executemany("DELETE FROM Cache WHERE key = ?", [(key,) for key in sorted(broken)])


def _forget_empty(work_dir: Path) -> None:
    empty = [pickle.dumps("", protocol) for protocol in range(pickle.HIGHEST_PROTOCOL + 1)]
    marks = ",".join("?" * len(empty))
    for path in work_dir.glob("*_rank*.db"):
        with closing(sqlite3.connect(path)) as db, db:
            db.execute(f"DELETE FROM unnamed WHERE value IN ({marks})", empty)
    (work_dir / FORGOTTEN_FILE).parent.mkdir(parents=True, exist_ok=True)
    (work_dir / FORGOTTEN_FILE).touch()


# ---------------------------------------------------------------- progress


def progress(work_dir: Path | str, spec: Mapping[str, Any] | Spec) -> int | None:
    """Samples answered so far, from what the harness leaves while it runs; None if unknown.

    Where a sample takes several requests, it is the requests, at most the samples asked for.
    """
    work_dir = Path(work_dir)
    try:
        wanted = Spec.of(spec)
        answered = _answered(work_dir, wanted)
    except (CheckFailed, OSError, ValueError, sqlite3.Error):
        return None
    most = wanted.asked(wanted.samples)
    return answered if answered is None or most is None else min(answered, most)


def _answered(work_dir: Path, spec: Spec) -> int | None:
    if spec.format == "nemo":
        responses = work_dir / "cache" / "responses" / "cache.db"
        if spec.cached and responses.is_file():
            return _count(responses, "Cache")
        counter = work_dir / "progress"
        return int(counter.read_text(encoding="utf-8")) if counter.is_file() else None
    if spec.format == "lm_eval":
        caches = [path for path in work_dir.glob("*_rank*.db") if path.is_file()]
        return sum(_count(path, "unnamed") for path in caches) if caches else None
    return None


def _count(path: Path, table: str) -> int:
    with closing(_connect(path)) as db:
        return int(db.execute(f"SELECT COUNT(*) FROM {table}").fetchone()[0])


# ---------------------------------------------------------------- command line


def _report(cause: str | None, results: Results | None) -> dict[str, Any]:
    coverage = results.coverage if results else Coverage()
    return {
        "passed": cause is None,
        "cause": cause,
        "expected": coverage.expected,
        "scored": coverage.scored,
        "unanswered": coverage.unanswered,
        "totals": results.totals if results else {},
    }


def _write(work_dir: Path, report: Mapping[str, Any]) -> None:
    """Write check.json so that it is there whole or not at all."""
    target = work_dir / CHECK_FILE
    target.parent.mkdir(parents=True, exist_ok=True)
    draft = target.with_name(f".{target.name}.{os.getpid()}")
    try:
        with draft.open("w", encoding="utf-8") as file:
            json.dump(report, file, indent=2)
            file.flush()
            os.fsync(file.fileno())
        draft.replace(target)
    finally:
        draft.unlink(missing_ok=True)


def _judge(
    work_dir: Path, spec_file: Path, exit_code: int, logs: list[Path]
) -> tuple[str | None, Results | None]:
    """The cause of a failure or None, and what was read. Nothing unexpected is ever a pass."""
    try:
        spec = Spec.of(_mapping(_load_json(spec_file)))
    except (CheckFailed, OSError, TypeError) as error:
        return f"the specification {spec_file.name} cannot be read: {error}", None
    cause = None
    try:
        return None, check(work_dir, spec, exit_code, logs)
    except CheckFailed as failed:
        cause = failed.cause
    except Exception as error:
        full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
        said = " ".join(str(error).split())
        cause = DISK_FULL_CAUSE if full else f"the check failed: {type(error).__name__}: {said}"
    forget_errors(work_dir, spec, _read_logs(work_dir, logs).unparsed)
    return cause, None


def main(arguments: list[str] | None = None) -> int:
    """Check a work folder; 0 when its result holds, else 1 and the cause on standard output."""
    parser = argparse.ArgumentParser(description="Check an evaluation before it is published.")
    parser.add_argument("work_dir", type=Path)
    parser.add_argument("--spec", type=Path, required=True, help="what was asked for (JSON)")
    parser.add_argument("--exit-code", type=int, required=True, help="of the harness")
    parser.add_argument(
        "--log",
        type=Path,
        action="append",
        default=[],
        help="log of an attempt on this folder; may be repeated, this attempt's last",
    )
    options = parser.parse_args(arguments)
    cause, results = _judge(options.work_dir, options.spec, options.exit_code, options.log)
    try:
        _write(options.work_dir, _report(cause, results))
    except OSError as error:
        full = error.errno in (errno.ENOSPC, errno.EDQUOT)
        said = error.strerror or error
        cause = cause or (DISK_FULL_CAUSE if full else f"the check cannot be written: {said}")
    if cause is None:
        return 0
    print(cause)
    return 1


if __name__ == "__main__":
    sys.exit(main())
