"""Single samples as a harness itself writes them, read as its facts say.

JSON lines, a JSON list or object, and CSV. What does not fit is left out or unknown: these files
count samples and show them, and the scores are elsewhere.
"""

from __future__ import annotations

import csv
import html
import io
import math
import re
import sqlite3
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, NamedTuple

from .. import answer_cache, hostile
from .facts import Facts, SampleFiles
from .model import CheckFailed, Coverage, Spec

Record = Mapping[str, Any]

_WORDS = re.compile(r"(\*\*/|\*|\?)")
_WILD = {"**/": "(?:.*/)?", "*": "[^/]*", "?": "[^/]"}

LARGEST_FIELD = 2**27
"""Bytes of one field of a CSV file (a whole document)."""

MOST_REPEATS = 1000

GARAKS_THRESHOLD = 0.5
"""Of a detector's word, from which on an answer is a hit: garak's default."""

SAME = " == "
"""Between two fields that are one score: whether they say the same."""

WORDS = {
    **dict.fromkeys(("true", "yes", "correct", "right", "pass", "passed"), 1.0),
    **dict.fromkeys(("false", "no", "incorrect", "wrong", "fail", "failed"), 0.0),
    **dict.fromkeys(("safe", "compliant"), 1.0),
    **dict.fromkeys(("unsafe", "not_compliant"), 0.0),
}


class OwnSample(NamedTuple):
    """One sample, or one of its repeats. A score is None where there is no verdict, and missing
    where the file says nothing of it."""

    part: str | None
    id: str
    repeat: int
    prompt: Any
    expected: Any
    answer: Any
    extracted: Any
    scores: dict[str, float | None]


def own_samples(work: Path, facts: Facts) -> Iterator[OwnSample]:
    """The samples of a work folder. Raises CheckFailed for a file that is not what it should be."""
    if facts.reader:
        yield from OWN_READERS[facts.reader](work)
    elif facts.samples:
        for name in sample_files(work, facts.samples.files):
            for number, record in enumerate(_records(work, name, facts.samples)):
                yield from _samples(record, number, facts.samples)


def sample_files(work: Path, pattern: str) -> list[Path]:
    """The files that a pattern names, in the order of their names; no caches."""
    fits = re.compile("".join(_WILD.get(word, re.escape(word)) for word in _WORDS.split(pattern)))
    try:
        names = [name for name, _ in hostile.entries(work)]
    except hostile.Refused as refused:
        raise CheckFailed(f"the samples are not read: {refused}") from None
    return sorted(name for name in names if name.parts[0] != "cache" and fits.fullmatch(str(name)))


def counted_in_samples(work: Path, spec: Spec, known: Coverage) -> tuple[Coverage, tuple[str, ...]]:
    """The coverage as the single samples tell it, and what must be told of them.

    A sample is scored when each of its repeats has a verdict. One that the harness has put down
    without a verdict (its judge did not answer) was asked for all the same.
    """
    facts = spec.facts
    if not facts.samples and not facts.reader:
        return known, ()
    verdicts: dict[tuple[str | None, str], bool] = {}
    for sample in own_samples(work, facts):
        place = sample.part, sample.id
        has_verdict = all(score is not None for score in sample.scores.values())
        verdicts[place] = verdicts.get(place, True) and has_verdict
    if not verdicts:
        return known, (f"its single samples are not where {facts.version} has them",)
    scored = sum(verdicts.values())
    expected = _expected(Counter(part for part, _ in verdicts), spec)
    if expected is None and scored < len(verdicts):
        expected = len(verdicts)
    notes = _left_out({part for part, _ in verdicts}, facts)
    return replace(known, expected=expected, scored=scored), notes


def _left_out(found: set[str | None], facts: Facts) -> tuple[str, ...]:
    """Metrics in which parts count as 0 because they were not run."""
    missing = {
        metric: [part for part in parts if part not in found]
        for metric, parts in facts.of_parts.items()
        if found & set(parts)
    }
    return tuple(
        f"{metric} counts {len(parts)} parts as 0 that were not run ({', '.join(parts)})"
        for metric, parts in missing.items()
        if parts
    )


def _expected(found: Counter[str | None], spec: Spec) -> int | None:
    """How many samples were asked for; None where the benchmark's size is not known."""
    facts, limit = spec.facts, spec.limit_samples
    if facts.limits_parts:
        return _of_whole_parts(set(found), spec)
    if limited_by_part(facts):
        asked = [spec.asked(facts.sizes.get(str(part))) for part in found]
        if facts.size is not None and limit is None:
            return facts.size
        return sum(filter(None, asked)) if asked and None not in asked else None
    size = spec.samples or facts.size
    if size is None and isinstance(limit, int) and sum(found.values()) >= limit:
        return limit
    return spec.asked(size)


def _of_whole_parts(found: set[str | None], spec: Spec) -> int | None:
    """Samples of the first parts, as many as the limit says; None where others were run."""
    sizes = first_parts(spec)
    return sum(sizes.values()) if found <= set(sizes) else None


def first_parts(spec: Spec) -> dict[str, int]:
    """Sizes of the first parts, as many as the limit says."""
    return dict(list(spec.facts.sizes.items())[: spec.asked(len(spec.facts.sizes))])


def limited_by_part(facts: Facts) -> bool:
    """Whether the limit of samples holds for each part, not for all together."""
    return facts.reader in LIMITED_BY_PART or bool(facts.samples and facts.samples.of_part)


def expected_before(spec: Spec) -> int | None:
    """Samples that are asked for, as far as it is known before any is there."""
    facts, limit = spec.facts, spec.limit_samples
    if facts.limits_parts:
        return sum(first_parts(spec).values())
    size = spec.samples or facts.size
    if limited_by_part(facts):  # how many parts are run is not known
        return size if limit is None else None
    if size is None:
        return int(limit) if limit is not None and limit >= 1 else None
    return spec.asked(size)


# ---------------------------------------------------------------- files


def _records(work: Path, name: Path, shape: SampleFiles) -> Iterator[Record]:
    try:
        yield from (record for record in _read(work, name, shape) if isinstance(record, dict))
    except hostile.Refused as refused:
        raise CheckFailed(f"the samples file {name.name} is not read: {refused}") from None
    except (ValueError, csv.Error):
        raise CheckFailed(f"the samples file {name.name} is truncated") from None


def _read(work: Path, name: Path, shape: SampleFiles) -> Iterator[Any]:
    if name.suffix == ".csv":
        csv.field_size_limit(LARGEST_FIELD)
        yield from csv.DictReader(io.StringIO(hostile.text(work, name)))
    elif name.suffix == ".jsonl":
        for line in filter(str.strip, hostile.lines(work, name)):
            yield hostile.parse_json(line)
    else:
        yield from _listed(hostile.load_json(work, name), shape)


def _listed(content: Any, shape: SampleFiles) -> Iterator[Any]:
    if shape.under:
        content = _at(content, shape.under.split("."))
    if isinstance(content, list):
        yield from content
    elif isinstance(content, dict) and shape.by_name:
        yield from (
            {**each, "#name": name} for name, each in content.items() if isinstance(each, dict)
        )
    else:
        yield content


# ---------------------------------------------------------------- records


def _samples(record: Record, number: int, shape: SampleFiles) -> Iterator[OwnSample]:
    if shape.only_with and _field(record, shape.only_with) is _NOTHING:
        return
    sample = str(number) if shape.id == "#" else _plain(record, shape.id)
    part = _plain(record, shape.part) if shape.part else None
    own = _number(_plain(record, shape.repeat)) if shape.repeat else None
    undecided = bool(shape.no_verdict and _plain(record, shape.no_verdict))
    for repeat in range(_repeats(record, shape)):
        yield OwnSample(
            None if part is None else str(part),
            str(sample),
            int(own) if own is not None else repeat,
            _plain(record, shape.prompt, repeat),
            _plain(record, shape.expected, repeat),
            _plain(record, shape.answer, repeat),
            _plain(record, shape.extracted, repeat),
            {
                metric: _score(record, path, repeat, shape)
                for metric, path in shape.scores.items()
                if undecided or _field(record, path.partition(SAME)[0], repeat) is not _NOTHING
            },
        )


def _score(record: Record, path: str, repeat: int, shape: SampleFiles) -> float | None:
    if shape.no_verdict and _plain(record, shape.no_verdict, repeat):
        return None
    one, same, other = path.partition(SAME)
    score = _verdict(_plain(record, one, repeat), shape)
    if same and score is not None:
        as_well = _number(_plain(record, other, repeat))
        return None if as_well is None else float(score == as_well)
    return None if score == shape.none_is else score


def _verdict(value: Any, shape: SampleFiles) -> float | None:
    if isinstance(value, str) and shape.begins:
        said = value.strip()
        return next((n for start, n in shape.begins.items() if said.startswith(start)), None)
    return _number(value)


def _repeats(record: Record, shape: SampleFiles) -> int:
    """How many repeats one record holds."""
    repeated = [
        path for path in (*shape.scores.values(), shape.answer) if path and "{repeat}" in path
    ]
    if not repeated:
        return 1
    number = 0
    while number < MOST_REPEATS and any(
        _field(record, path, number) is not _NOTHING for path in repeated
    ):
        number += 1
    return number


_NOTHING = object()


def _plain(record: Record, path: str | None, repeat: int = 0) -> Any:
    found = _field(record, path, repeat) if path else None
    return None if found is _NOTHING else found


def _field(record: Record, path: str, repeat: int = 0) -> Any:
    """What stands at a path, or `_NOTHING`."""

    def filled(match: re.Match[str]) -> str:
        return str(repeat) if match[1] == "repeat" else str(_plain(record, match[1]))

    return _at(record, re.sub(r"\{([^{}]+)\}", filled, path).split("."))


def _at(found: Any, path: list[str]) -> Any:
    for step in path:
        if isinstance(found, dict) and step in found:
            found = found[step]
        elif isinstance(found, list) and step.isdecimal() and int(step) < len(found):
            found = found[int(step)]
        else:
            return _NOTHING
    return found


def _at_or_none(found: Any, path: str) -> Any:
    value = _at(found, path.split("."))
    return None if value is _NOTHING else value


def _number(value: Any) -> float | None:
    """A score: a number, a truth value, a word for one, or the mean of a list of them."""
    if isinstance(value, list):
        parts = [_number(item) for item in value]
        known = [part for part in parts if part is not None]
        return sum(known) / len(known) if known and len(known) == len(parts) else None
    if isinstance(value, str):
        word = value.strip().lower()
        first = re.match("[a-z_]*", word)
        try:
            value = WORDS[first[0]] if first and first[0] in WORDS else float(word)
        except ValueError:
            return None
    if not isinstance(value, (bool, int, float)):
        return None
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:
        return None


# ---------------------------------------------------------------- readers of their own


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


def json_lines(work: Path, name: Path) -> Iterator[Record]:
    """JSON lines in a file that is called .json."""
    try:
        for line in filter(str.strip, hostile.lines(work, name)):
            record = hostile.parse_json(line)
            if isinstance(record, dict):
                yield record
    except hostile.Refused as refused:
        raise CheckFailed(f"the samples file {name.name} is not read: {refused}") from None
    except ValueError:
        raise CheckFailed(f"the samples file {name.name} is truncated") from None


def _whole_json(work: Path, name: Path) -> Any:
    try:
        return hostile.load_json(work, name)
    except hostile.Refused as refused:
        raise CheckFailed(f"the samples file {name.name} is not read: {refused}") from None
    except ValueError:
        raise CheckFailed(f"the samples file {name.name} is truncated") from None


def _ruler(work: Path) -> Iterator[OwnSample]:
    """RULER writes predictions a file per part, and all scores, in percent, into another file."""
    for scores_file in sample_files(work, "**/pred/per_sample_scores.json"):
        scores = _whole_json(work, scores_file)
        for name in sample_files(work, f"{scores_file.parent}/*.jsonl"):
            of_part = scores.get(name.stem) if isinstance(scores, dict) else None
            for number, record in enumerate(json_lines(work, name)):
                in_percent = _number(_at(of_part, [str(number)]))
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
        problems = _whole_json(work, name)
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
    task, repeats = str(summary.get("task_name")), int(_number(summary.get("n_repeats")) or 1)
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
        {"score": _number(record.get("score"))},
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
                threshold = _number(record.get("run.eval_threshold")) or threshold
    for sample, attempt in attempts.items():
        detected = attempt.get("detector_results")
        found = detected if isinstance(detected, dict) and detected else {"detected": []}
        outputs = attempt.get("outputs")
        for place, output in enumerate(outputs if isinstance(outputs, list) else [None]):
            hits = {each: _number(_at(scores, [str(place)])) for each, scores in found.items()}
            yield OwnSample(
                str(attempt.get("probe_classname")),
                sample,
                place,
                _at_or_none(attempt, "prompt.turns.0.content.text"),
                None,
                _at_or_none(output, "text"),
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
