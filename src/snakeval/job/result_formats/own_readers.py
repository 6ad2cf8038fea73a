"""Single samples of harnesses that write them in a way that facts cannot say: a reader each."""

from __future__ import annotations

import html
import re
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path

from .. import answer_cache, hostile
from .model import CheckFailed
from .sample_files import (
    OwnSample,
    Record,
    at,
    at_or_none,
    json_lines,
    number_of,
    sample_files,
    whole_json,
)

GARAKS_THRESHOLD = 0.5
"""Of a detector's word, from which on an answer is a hit: garak's default."""


def _bfcl(work: Path) -> Iterator[OwnSample]:
    """BFCL writes the wrong ones into its score files; what is only in its results is right."""
    wrong = {
        (name.stem.replace("_score", ""), str(record.get("id"))): record
        for name in sample_files(work, "score/*/*_score.json")
        for record in json_lines(work, name)
        if "id" in record
    }
    for name in sample_files(work, "result/*/*_result.json"):
        part = name.stem.replace("_result", "")
        for record in json_lines(work, name):
            sample = str(record.get("id"))
            judged = wrong.get((part, sample), {})
            prompt = judged.get("prompt")
            yield OwnSample(
                part.replace("BFCL_v3_", ""),
                sample,
                0,
                prompt.get("question") if isinstance(prompt, dict) else None,
                judged.get("possible_answer"),
                record.get("result"),
                judged.get("decoded_result") or judged.get("model_result_decoded"),
                {"accuracy": 0.0 if judged else 1.0},
            )


def _ruler(work: Path) -> Iterator[OwnSample]:
    """RULER writes predictions a file per part, and all scores, in percent, into another file."""
    for scores_file in sample_files(work, "**/pred/per_sample_scores.json"):
        scores = whole_json(work, scores_file)
        for name in sample_files(work, f"{scores_file.parent}/*.jsonl"):
            of_part = scores.get(name.stem) if isinstance(scores, dict) else None
            for number, record in enumerate(json_lines(work, name)):
                in_percent = number_of(at(of_part, [str(number)]))
                yield OwnSample(
                    name.stem,
                    str(record.get("index", number)),
                    0,
                    record.get("input"),
                    record.get("outputs"),
                    record.get("pred"),
                    None,
                    {} if in_percent is None else {"accuracy": in_percent / 100},
                )


def _scicode(work: Path) -> Iterator[OwnSample]:
    """SciCode writes a log for each step of a problem (`13.6_0.txt`), with its verdict alone."""
    for name in sample_files(work, "logs/**/*.txt"):
        found = re.fullmatch(r"((\d+)\.\d+)_(\d+)", name.stem)
        if found:
            verdict = hostile.text(work, name).strip()
            passed = 1.0 if verdict == "pass" else 0.0
            yield OwnSample(
                found[2],
                found[1],
                int(found[3]),
                None,
                None,
                None,
                verdict,
                {"steps_pass@1": passed},
            )


def _bigcode(work: Path) -> Iterator[OwnSample]:
    """The BigCode harness writes a list of programs for each problem, and no single scores."""
    for name in sample_files(work, "predictions.json"):
        problems = whole_json(work, name)
        for number, programs in enumerate(problems if isinstance(problems, list) else []):
            for repeat, program in enumerate(programs if isinstance(programs, list) else []):
                yield OwnSample(None, str(number), repeat, None, None, program, None, {})


def _simple_evals(work: Path) -> Iterator[OwnSample]:
    """simple-evals keeps its samples in a cache of its own, repeat after repeat, by their number;
    what is right and what was extracted stand only in their page. Beyond 1 GB it drops some."""
    for name in sample_files(work, "*/cache/cache.sqlite/cache.db"):
        try:
            yield from _in_cache(work, name)
        except hostile.Refused as refused:
            raise CheckFailed(f"the samples file {name} is not read: {refused}") from None
        except (ValueError, OSError, sqlite3.Error):
            raise CheckFailed(f"the samples file {name} is damaged") from None


def _in_cache(work: Path, name: Path) -> Iterator[OwnSample]:
    summary = _summary(work, name.parents[2])
    task, repeats = str(summary.get("task_name")), int(number_of(summary.get("n_repeats")) or 1)
    places = {int(key) for key in answer_cache.keys(work, name) if key.isdecimal()}
    number = min(max(places, default=-1) + 1, hostile.MOST_NODES)
    once = max(1, number // max(1, repeats))
    for key, value in answer_cache.rows(work, name):
        record = hostile.parse_json(value)
        if key.isdecimal() and isinstance(record, dict):
            yield _simple_evals_sample(int(key), once, record, task)
    for sample in set(range(once if number else 0)) - {place % once for place in places}:
        yield OwnSample(None, str(sample), 0, *(None,) * 4, scores={})


def _simple_evals_sample(place: int, once: int, record: Record, task: str) -> OwnSample:
    """`once`: samples without their repeats."""
    spoken = record.get("convo")
    listed = spoken if isinstance(spoken, list) else []
    messages = [each for each in listed if isinstance(each, dict)]
    answers = [each.get("content") for each in messages if each.get("role") == "assistant"]
    page = str(record.get("html") or "")
    return OwnSample(
        _category(record, task),
        str(place % once),
        place // once,
        [each for each in messages if each.get("role") != "assistant"],
        _on_page(page, "Correct Answer"),
        answers[0] if answers else None,
        _on_page(page, "Extracted Answer"),
        {"score": number_of(record.get("score"))},
    )


def _summary(work: Path, folder: Path) -> Record:
    """simple-evals' own results, beside its cache."""
    for name in sample_files(work, f"{folder}/*.json"):
        content = hostile.load_json(work, name)
        return content if isinstance(content, dict) else {}
    return {}


def _category(record: Record, task: str) -> str | None:
    """The subject or language of a sample; other benchmarks have no parts."""
    metrics = record.get("metrics")
    if not isinstance(metrics, dict) or not task.startswith(("mmlu", "mgsm")):
        return None
    return next((str(name) for name in metrics), None)


def _on_page(page: str, what: str) -> str | None:
    found = re.search(rf"<p>{what}: (.*?)</p>", page, re.DOTALL)
    return html.unescape(found[1]) if found else None


GARAKS_REPORT = "garak/garak_runs/results.report.jsonl"


def _garak(work: Path) -> Iterator[OwnSample]:
    """Garak writes an attempt (one prompt, several answers) when it is asked and again when its
    detectors have looked at it; a detector says how surely an answer was a hit, 0 to 1."""
    attempts: dict[str, Record] = {}
    threshold = GARAKS_THRESHOLD
    for name in sample_files(work, GARAKS_REPORT):
        for record in json_lines(work, name):
            if record.get("entry_type") == "attempt":
                attempts[str(record.get("uuid"))] = record
            elif record.get("entry_type") == "start_run setup":
                threshold = number_of(record.get("run.eval_threshold")) or threshold
    for sample, attempt in attempts.items():
        detected = attempt.get("detector_results")
        found = detected if isinstance(detected, dict) and detected else {"detected": []}
        outputs = attempt.get("outputs")
        for place, output in enumerate(outputs if isinstance(outputs, list) else [None]):
            hits = {each: number_of(at(scores, [str(place)])) for each, scores in found.items()}
            yield OwnSample(
                str(attempt.get("probe_classname")),
                sample,
                place,
                at_or_none(attempt, "prompt.turns.0.content.text"),
                None,
                at_or_none(output, "text"),
                None,
                {
                    each: None if hit is None else float(hit < threshold)
                    for each, hit in hits.items()
                },
            )


OWN_READERS: dict[str, Callable[[Path], Iterator[OwnSample]]] = {
    "bfcl": _bfcl,
    "bigcode": _bigcode,
    "garak": _garak,
    "ruler": _ruler,
    "scicode": _scicode,
    "simple_evals": _simple_evals,
}

LIMITED_BY_PART = ("bfcl", "ruler")
"""Those whose limit of samples holds for each part, not for all together."""
