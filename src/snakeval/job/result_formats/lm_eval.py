"""Results of lm-eval: `results_*.json`, and what its `samples_*.jsonl` hold (0.4.13)."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any

from .. import hostile
from ..harness_log import Log
from .files import (
    direction,
    has,
    load_json,
    mapping,
    number_or_nan,
    optional_count,
    optional_number,
    shown,
)
from .held import check_model, check_not_all_empty, check_repeats
from .model import UNKNOWN, CheckFailed, Coverage, Results, Score, Spec

LM_EVAL_RESULTS = "results_*.json"


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
        return mapping(self.data.get("n-samples"))

    def better(self, task: str, metric: str) -> str:
        """Which way a metric of a task or group is better; that of its parts where all agree."""
        of_tasks = mapping(self.data.get("higher_is_better"))
        names = [task, *(mapping(self.data.get("group_subtasks")).get(task) or [])]
        said = {mapping(of_tasks.get(name)).get(metric) for name in names} - {None}
        return direction(said.pop()) if len(said) == 1 else UNKNOWN

    def check_groups(self) -> None:
        """Raises CheckFailed for a group of which a named part has no score."""
        named = mapping(self.data.get("group_subtasks"))
        results = mapping(self.data.get("results"))
        for group, parts in named.items():
            for part in parts if isinstance(parts, list) else []:
                if not named.get(part) and not _has_score(results.get(part)):
                    raise CheckFailed(f"the group {group} is not whole: {part} has no score")

    def repeats(self) -> Iterator[tuple[str, int, bool]]:
        """Task, how often each sample is asked, whether the model samples (do_sample)."""
        for task, config in mapping(self.data.get("configs")).items():
            sampling = mapping(mapping(config).get("generation_kwargs")).get("do_sample", False)
            yield task, int(mapping(config).get("repeats") or 1), bool(sampling)

    @property
    def model(self) -> str | None:
        arguments = mapping(self.data.get("config")).get("model_args")
        if isinstance(arguments, dict):
            return arguments.get("model")
        found = re.search(r"(?:^|,)model=([^,]*)", str(arguments or ""))
        return found[1] if found else None


def _has_score(values: Any) -> bool:
    return any(
        "," in key and "_stderr," not in key and optional_number(value) is not None
        for key, value in mapping(values).items()
    )


def find_lm_eval(work_dir: Path) -> LmEval | None:
    """The newest results_*.json below a work folder, or None; hidden folders aside.

    The newest by the date in its name: copying a folder changes times, not names. What is no
    regular file is a CheckFailed: it stands where a result is looked for.
    """
    for name in _lm_eval_results(work_dir):
        data = load_json(work_dir, name)
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
        if "results" in mapping(load_json(work_dir, name)):
            raise CheckFailed(
                f"{shown(name)} is of an older lm-eval, which does not say how many samples it has "
                "scored (n-samples); evaluate with 0.4.3 or newer"
            )


def _lm_eval_scores(found: LmEval) -> list[Score]:
    results = mapping(found.data.get("results"))
    groups = set(mapping(found.data.get("groups")))
    parents = {
        task: group
        for group, tasks in mapping(found.data.get("group_subtasks")).items()
        for task in tasks
    }
    scores: list[Score] = []
    for name, values in results.items():
        task, group = (None, name) if name in groups else (name, parents.get(name))
        n = optional_count(values.get("sample_len"))
        if n is None:
            n = optional_count(mapping(found.sizes.get(name)).get("effective"))
        for key, value in values.items():
            metric, comma, filter_name = key.partition(",")
            if not comma or metric.endswith("_stderr"):
                continue
            score = metric if filter_name == "none" else filter_name
            stderr = optional_number(values.get(f"{metric}_stderr,{filter_name}"))
            better = found.better(name, metric)
            scores.append(
                Score(task, group, metric, score, number_or_nan(value), stderr, n, better)
            )
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
            yield mapping(hostile.parse_json(line))
    except hostile.Refused as error:
        raise CheckFailed(f"the samples file {shown(name)} is not read: {error}") from error
    except ValueError as error:
        raise CheckFailed(f"the samples file {shown(name)} is truncated") from error


def _has_no_answer(resps: Any) -> bool:
    """True where nothing came back; an empty text is an answer."""
    if not isinstance(resps, list) or not resps:
        return True
    return any(r is None or r == [] or (isinstance(r, list) and None in r) for r in resps)


def lm_eval_coverage(found: LmEval, spec: Spec) -> Coverage:
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
    check_not_all_empty(scored, empty)
    if len(sizes) > 1 and spec.limit_samples is None:
        expected = max(expected, spec.samples or 0)
    return Coverage(expected, scored, unanswered)


def _samples_of(found: LmEval, task: str) -> Samples | None:
    name = found.name.parent / f"samples_{task}_{found.date}.jsonl"
    if has(found.work, name):
        return _read_samples(found.work, name, task)
    # lm-eval hashes the samples it means to write, and only warns when it cannot write them.
    if task in mapping(found.data.get("task_hashes")):
        raise CheckFailed(f"the samples file of {task} is missing beside {shown(found.name)}")
    return None


def read(work_dir: Path, spec: Spec, log: Log | None) -> Results:
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
    coverage = lm_eval_coverage(found, spec)
    if log and log.unparsed:
        # Answered with status 200 and an error inside: lm-eval scores it as an empty answer.
        coverage = replace(coverage, unanswered=(coverage.unanswered or 0) + log.unparsed)
    runtime = _seconds(found.data.get("total_evaluation_time_seconds"))
    totals = {} if runtime is None else {"runtime_seconds": runtime}
    return Results(_lm_eval_scores(found), coverage, totals)


def _seconds(text: Any) -> float | None:
    """lm-eval writes its run time as text."""
    try:
        return optional_number(float(text))
    except (TypeError, ValueError):
        return None
