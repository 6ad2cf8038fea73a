"""The result formats: what a finished work folder holds, as scores and coverage.

A reader per format (`READERS`); each raises CheckFailed where its files are missing, truncated,
without a finite number, of another model, or of repeats that a cache has collapsed. What the
harnesses leave was found by running lm-eval 0.4.13 and nemo-evaluator 0.2.8 with nvidia-lm-eval
26.3 into every failure named here.

A copy lies in every run folder's `lib/`, beside `verify.py`; it needs Python 3.9, and PyYAML only
where YAML must be read.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from . import answer_cache, hostile
from .harness_log import Log, listed

RESULTS_YML = "results.yml"
METRICS_JSON = "eval_factory_metrics.json"
LM_EVAL_RESULTS = "results_*.json"

RECORDS_ALL = 10**6
"""More requests than any benchmark has: with such a limit every request is recorded."""

EVERY_ANSWER_EMPTY = "every answer of the model was empty"


class CheckFailed(Exception):
    """The result does not hold; `cause` says what happened in one sentence."""

    def __init__(self, cause: str) -> None:
        super().__init__(cause)
        self.cause = cause


@dataclass(frozen=True)
class Score:
    """One number of a result. A group's own score has no task; stderr and n where known.

    better         higher, lower, or unknown: what a better model's score is
    lowest,highest the ends of its range, where known
    """

    task: str | None
    group: str | None
    metric: str
    score: str
    value: float
    stderr: float | None = None
    n: int | None = None
    better: str = "unknown"
    lowest: float | None = None
    highest: float | None = None


@dataclass(frozen=True)
class Coverage:
    """Samples asked for, scored, and scored without an answer of the model; None is unknown."""

    expected: int | None = None
    scored: int | None = None
    unanswered: int | None = None


@dataclass(frozen=True)
class Results:
    """What a finished work folder holds.

    totals  tokens and times, in the units they name
    notes   what a reader of the scores must be told, a sentence each
    """

    scores: list[Score]
    coverage: Coverage
    totals: dict[str, float] = field(default_factory=dict)
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class Spec:
    """What was asked for; made once from the task's JSON, unknown keys are ignored.

    higher_is_better  by patterns of metrics; what fits none is unknown
    score_range       lowest and highest score, by patterns of metrics
    samples_file      the file with single samples that the harness declares
    """

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
    higher_is_better: Mapping[str, bool] | None = None
    score_range: Mapping[str, Any] | None = None
    samples_file: str | None = None

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

    @classmethod
    def load(cls, path: Path) -> Spec:
        """Read a JSON file. Raises CheckFailed, OSError, or TypeError for one that is no spec."""
        return cls.of(_mapping(_load_json(path.parent, path.name)))

    def asked(self, size: int | None) -> int | None:
        """How many samples of a dataset of this size were asked for."""
        sizes = [n for n in (size, self.limit_samples) if n is not None]
        return min(sizes) if size is not None else None


def check_model(served: Any, spec: Spec) -> None:
    if served and spec.model_id and served != spec.model_id:
        raise CheckFailed(f'the result is of the model "{served}", not of "{spec.model_id}"')


def check_repeats(repeats: int, spec: Spec, what: str, cached: bool | None = None) -> None:
    """Repeats with one and the same request body are one answer counted several times."""
    if repeats > 1 and (spec.cached if cached is None else cached) and not spec.seeded:
        raise CheckFailed(
            f"{what} asks every sample {repeats} times, but the cache gives every repeat the "
            "same answer: switch the cache off or give each repeat its own seed"
        )


def _check_not_all_empty(scored: int, empty: int) -> None:
    """A model that never says anything is not one that is always wrong."""
    if scored and empty == scored:
        raise CheckFailed(EVERY_ANSWER_EMPTY)


# ---------------------------------------------------------------- files and numbers


def _load_json(work_dir: Path, name: Path | str) -> Any:
    try:
        return hostile.load_json(work_dir, name)
    except hostile.Refused as error:
        raise CheckFailed(f"the result file {shown(name)} is not read: {error}") from error
    except ValueError as error:
        raise CheckFailed(f"the result file {shown(name)} is truncated or no JSON") from error


def _load_yaml(work_dir: Path, name: str) -> Any:
    try:
        text = hostile.text(work_dir, name)
        data = hostile.parse_yaml(text)
    except ImportError as error:
        raise CheckFailed(f"{name} cannot be read: this Python has no PyYAML") from error
    except hostile.Refused as error:
        raise CheckFailed(f"the result file {name} is not read: {error}") from error
    except ValueError as error:
        raise CheckFailed(f"the result file {name} is truncated or no YAML") from error
    # A file cut in the middle is often still valid YAML, but its last line never ends.
    if not text.endswith("\n"):
        raise CheckFailed(f"the result file {name} is truncated")
    return data


def shown(name: Path | str) -> str:
    """The last part of a name that a harness has chosen, on one line."""
    last = Path(name).name
    return last if last.isprintable() else ascii(last)


def has(work_dir: Path, name: Path | str) -> bool:
    """Whether the harness has left a file. A link, pipe or device in its place is a CheckFailed."""
    try:
        return hostile.is_file(work_dir, name)
    except hostile.Refused as error:
        raise CheckFailed(f"the result file {shown(name)} is not read: {error}") from error


def _number(value: Any) -> float:
    """A score; NaN for what is no finite number, which `scores.py` leaves out and tells."""
    number = _optional_number(value)
    return math.nan if number is None else number


def _optional_number(value: Any) -> float | None:
    """A stderr or a count; harnesses write 'N/A' or NaN where there is none (one sample)."""
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond every float
        return None


def _optional_count(value: Any) -> int | None:
    number = _optional_number(value)
    return None if number is None else int(number)


def _claimed(value: Any, what: str) -> int | None:
    """A count that a harness states; CheckFailed for one that is none."""
    number = _optional_number(value)
    if value is None or (number is not None and number >= 0 and number == int(number)):
        return None if number is None else int(number)
    raise CheckFailed(f"the result file says {what}: {value!r}, which is no number of samples")


HIGHER, LOWER, UNKNOWN = "higher", "lower", "unknown"


def direction(higher_is_better: Any) -> str:
    """Which way a score is better, in the words of `Score.better`."""
    if not isinstance(higher_is_better, bool):
        return UNKNOWN
    return HIGHER if higher_is_better else LOWER


def _mapping(value: Any) -> dict[str, Any]:
    return value if isinstance(value, dict) else {}


# ---------------------------------------------------------------- lm-eval


@dataclass
class LmEval:
    """A results_*.json of lm-eval and what its samples_*.jsonl hold; `name`: in the work folder."""

    work: Path
    name: Path
    data: dict[str, Any]

    @property
    def path(self) -> Path:
        return self.work / self.name

    @property
    def date(self) -> str:
        return self.name.stem.partition("_")[2]

    @property
    def sizes(self) -> dict[str, dict[str, Any]]:
        return _mapping(self.data.get("n-samples"))

    def better(self, task: str, metric: str) -> str:
        """Which way a metric of a task or group is better; that of its parts where all agree."""
        of_tasks = _mapping(self.data.get("higher_is_better"))
        names = [task, *(_mapping(self.data.get("group_subtasks")).get(task) or [])]
        said = {_mapping(of_tasks.get(name)).get(metric) for name in names} - {None}
        return direction(said.pop()) if len(said) == 1 else UNKNOWN

    def check_groups(self) -> None:
        """Raises CheckFailed for a group of which a named part has no score."""
        named = _mapping(self.data.get("group_subtasks"))
        results = _mapping(self.data.get("results"))
        for group, parts in named.items():
            for part in parts if isinstance(parts, list) else []:
                if not named.get(part) and not _has_score(results.get(part)):
                    raise CheckFailed(f"the group {group} is not whole: {part} has no score")

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


def _has_score(values: Any) -> bool:
    return any(
        "," in key and "_stderr," not in key and _optional_number(value) is not None
        for key, value in _mapping(values).items()
    )


def find_lm_eval(work_dir: Path) -> LmEval | None:
    """The newest results_*.json below a work folder, or None; hidden folders aside.

    The newest by the date in its name: copying a folder changes times, not names. What is no
    regular file is a CheckFailed: it stands where a result is looked for.
    """
    for name in _lm_eval_results(work_dir):
        data = _load_json(work_dir, name)
        if isinstance(data, dict) and "results" in data and "n-samples" in data:
            return LmEval(work_dir, name, data)
    return None


def _lm_eval_results(work_dir: Path) -> list[Path]:
    """Names of lm-eval's result files, the newest first; whatever stands under such a name."""
    try:
        found = [
            name
            for name, _ in hostile.entries(work_dir)
            if fnmatchcase(name.name, LM_EVAL_RESULTS)
            and not any(part.startswith(".") for part in name.parts[:-1])
        ]
    except hostile.Refused as error:
        raise CheckFailed(f"the result is not read: {error}") from error
    return sorted(found, key=lambda name: name.name, reverse=True)


def _check_old_lm_eval(work_dir: Path) -> None:
    """Raises CheckFailed for results that do not say how many samples were scored."""
    for name in _lm_eval_results(work_dir):
        if "results" in _mapping(_load_json(work_dir, name)):
            raise CheckFailed(
                f"{shown(name)} is of an older lm-eval, which does not say how many samples it has "
                "scored (n-samples); evaluate with 0.4.3 or newer"
            )


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
            better = found.better(name, metric)
            scores.append(Score(task, group, metric, score, _number(value), stderr, n, better))
    return scores


@dataclass
class Samples:
    """One task's samples_*.jsonl: samples scored, of them without an answer, with an empty one."""

    scored: int
    unanswered: int
    empty: int


def _read_samples(work_dir: Path, name: Path, task: str) -> Samples:
    """Count a task's samples once each: the file has a line per sample and filter."""
    seen: Counter[tuple[Any, Any]] = Counter()
    unanswered: set[Any] = set()
    empty: set[Any] = set()
    for sample in _sample_lines(work_dir, name):
        seen[sample.get("filter"), sample.get("doc_id")] += 1
        if _has_no_answer(sample.get("resps")):
            unanswered.add(sample.get("doc_id"))
        elif all(r in ("", [""]) for r in sample["resps"]):
            empty.add(sample.get("doc_id"))
    twice = {doc for (_, doc), times in seen.items() if times > 1}
    if twice:
        raise CheckFailed(f"{len(twice)} samples of {task} were counted more than once")
    return Samples(len({doc for _, doc in seen}), len(unanswered), len(empty))


def _sample_lines(work_dir: Path, name: Path) -> Iterator[dict[str, Any]]:
    """The samples of a samples_*.jsonl, one a line."""
    try:
        for line in hostile.lines(work_dir, name):
            yield _mapping(hostile.parse_json(line))
    except hostile.Refused as error:
        raise CheckFailed(f"the samples file {shown(name)} is not read: {error}") from error
    except ValueError as error:
        raise CheckFailed(f"the samples file {shown(name)} is truncated") from error


def _has_no_answer(resps: Any) -> bool:
    """True where nothing came back; an empty text is an answer."""
    if not isinstance(resps, list) or not resps:
        return True
    return any(r is None or r == [] or (isinstance(r, list) and None in r) for r in resps)


def _lm_eval_coverage(found: LmEval, spec: Spec) -> Coverage:
    """Per task of the run: asked for min(limit, size), scored what the samples file holds."""
    expected = scored = unanswered = empty = 0
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
        empty += samples.empty if samples else 0
    _check_not_all_empty(scored, empty)
    if len(sizes) > 1 and spec.limit_samples is None:
        expected = max(expected, spec.samples or 0)
    return Coverage(expected, scored, unanswered)


def _samples_of(found: LmEval, task: str) -> Samples | None:
    name = found.name.parent / f"samples_{task}_{found.date}.jsonl"
    if has(found.work, name):
        return _read_samples(found.work, name, task)
    # lm-eval hashes the samples it means to write, and only warns when it cannot write them.
    if task in _mapping(found.data.get("task_hashes")):
        raise CheckFailed(f"the samples file of {task} is missing beside {shown(found.name)}")
    return None


def _read_lm_eval(work_dir: Path, spec: Spec, log: Log | None) -> Results:
    found = find_lm_eval(work_dir)
    if found is None:
        _check_old_lm_eval(work_dir)
        raise CheckFailed("the harness ended without a result file (results_*.json)")
    check_model(found.model, spec)
    found.check_groups()
    for task, repeats, sampling in found.repeats():
        # lm-eval itself does not cache what is sampled (do_sample), so those repeats are real.
        if repeats > 1 and not sampling:
            check_repeats(repeats, spec, f"the task {task}")
    coverage = _lm_eval_coverage(found, spec)
    if log and log.unparsed:
        # Answered with status 200 and an error inside: lm-eval scores it as an empty answer.
        coverage = replace(coverage, unanswered=(coverage.unanswered or 0) + log.unparsed)
    runtime = _seconds(found.data.get("total_evaluation_time_seconds"))
    totals = {} if runtime is None else {"runtime_seconds": runtime}
    return Results(_lm_eval_scores(found), coverage, totals)


def _seconds(text: Any) -> float | None:
    """lm-eval writes its run time as text."""
    try:
        return _optional_number(float(text))
    except (TypeError, ValueError):
        return None


# ---------------------------------------------------------------- NeMo Evaluator


def _read_nemo(work_dir: Path, spec: Spec, log: Log | None) -> Results:
    if not has(work_dir, RESULTS_YML):
        raise CheckFailed(f"the harness ended without a result file ({RESULTS_YML})")
    data = _load_yaml(work_dir, RESULTS_YML)
    # Keys are written in alphabetical order: `target` comes after the results.
    missing = [key for key in ("config", "results", "target") if key not in _mapping(data)]
    if missing:
        raise CheckFailed(f"the result file {RESULTS_YML} is truncated: it has no {missing[0]}")
    check_model(_mapping(_mapping(data["target"]).get("api_endpoint")).get("model_id"), spec)
    caching = _caching(data)
    traffic = _read_traffic(work_dir, caching, log)
    if traffic and traffic.none_answered:
        raise CheckFailed(_none_answered(traffic))
    if traffic and traffic.all_empty:
        raise CheckFailed(EVERY_ANSWER_EMPTY)
    scores = _nemo_scores(_mapping(data["results"]))
    inner = find_lm_eval(work_dir)
    if inner:
        inner.check_groups()
        scores = _with_counts(scores, inner)
    if caching.get("reuse_cached_responses") and inner:
        for task, repeats, _ in inner.repeats():
            check_repeats(repeats, spec, f"the task {task}", cached=True)
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
    for name, inner in _mapping(_mapping(body).get("tasks")).items():
        if not _mapping(_mapping(inner).get("metrics")):
            raise CheckFailed(f"the group {group} is not whole: {name} has no score")
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
                _number(_mapping(entry).get("value")),
                _optional_number(stats.get("stderr")),
                _optional_count(stats.get("count")),
            )


def _with_counts(scores: list[Score], inner: LmEval) -> list[Score]:
    """Give each score what lm-eval's own results tell: the number of samples, which way is better.

    The image joins a metric and its filter: `exact_match__flexible-extract`.
    """
    counts = {task: _optional_count(size.get("effective")) for task, size in inner.sizes.items()}
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
    endpoint = _mapping(_mapping(data.get("target")).get("api_endpoint"))
    adapter = _mapping(endpoint.get("adapter_config"))
    for interceptor in adapter.get("interceptors") or []:
        if _mapping(interceptor).get("name") == "caching" and interceptor.get("enabled", True):
            return _mapping(interceptor.get("config"))
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
        coverage = _lm_eval_coverage(inner, spec)
        broken = traffic.broken if traffic else 0
        return replace(coverage, unanswered=(coverage.unanswered or 0) + broken)
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
        return failures  # which samples they were of nobody knows: one each, if not told otherwise
    else:
        unanswered = max(0, samples - max(traffic.ok, traffic.answered or 0))
    return unanswered if samples is None else min(unanswered, samples)


def _nemo_totals(work_dir: Path) -> dict[str, float]:
    """Tokens and times of all attempts together (that is how NeMo counts them)."""
    try:
        metrics = _mapping(hostile.load_json(work_dir, METRICS_JSON))
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


# ---------------------------------------------------------------- our own format


def _read_scores(work_dir: Path, spec: Spec, log: Log | None) -> Results:
    """`{"scores": {name: 0.5 | {value, stderr, n}}, "samples": {expected, scored, unanswered}}`."""
    if not spec.results:
        raise CheckFailed("the benchmark declares no result file (key results)")
    if not has(work_dir, spec.results):
        raise CheckFailed(f"the command ended without its result file ({spec.results})")
    data = _mapping(_load_json(work_dir, spec.results))
    samples = _mapping(data.get("samples"))
    counts = {key: _claimed(samples.get(key), key) for key in Coverage.__dataclass_fields__}
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
    n = _optional_count(body.get("n"))
    given = body.get("range")
    ends = given if isinstance(given, list) and len(given) == 2 else [None, None]
    return Score(
        task,
        None,
        name,
        name,
        _number(body.get("value")),
        _optional_number(body.get("stderr")),
        scored if n is None else n,
        direction(body.get("higher_is_better")),
        _optional_number(ends[0]),
        _optional_number(ends[1]),
    )


READERS = {"nemo": _read_nemo, "lm_eval": _read_lm_eval, "scores": _read_scores}
