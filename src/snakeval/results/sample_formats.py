"""Single samples as the harnesses leave them: prompt, expected, answer, score, one reader per kind.

lm_eval  samples_*.jsonl, a line per sample and filter (lm-eval 0.4.13; nvidia-lm-eval 26.3 in the
         NeMo image). Tokens are known there only where somebody has kept requests: the messages
         are looked up in the gateway's ledger, or in the caches of the NeMo adapter.
nemo     nemo-evaluator-per-sample-outputs/, records of the shape `SampleRecord` in NeMo Evaluator
         core 0.2.8; else the harness's own files, as its facts say; else lm-eval's files of the
         same work folder.
scores   the file that the harness declares under `samples`, in the shape of docs/own-benchmark.md.

All of them are generators: a file of any size takes the memory of one line.
"""

from __future__ import annotations

import hashlib
import json
import math
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

from snakeval.job import answer_cache, hostile
from snakeval.job.gateway.accounts import ANSWERED
from snakeval.job.gateway.asked import prompt_key
from snakeval.job.gateway.ledger import MODEL, rows
from snakeval.job.result_formats import CheckFailed, LmEval, find_lm_eval, has, shown
from snakeval.job.result_formats.facts import Facts
from snakeval.job.result_formats.model import NO_FACTS
from snakeval.job.result_formats.own_samples import own_samples
from snakeval.job.text import whole

NEMO_FOLDER = Path("nemo-evaluator-per-sample-outputs")
HASH_DIGITS = 16

Tokens = tuple[int | None, int | None]
"""Of the prompt, and of the answer."""

NO_TOKENS: Tokens = (None, None)


class Sample(NamedTuple):
    """One sample under one metric. The fields are the columns of `samples.parquet`.

    A sample that was asked several times and scored once has its score in repeat 0 only.
    """

    subtask: str | None
    sample: str
    repeat: int
    metric: str | None
    filter: str | None
    score: float | None
    prompt_hash: str | None
    prompt: str | None
    expected: str | None
    answer: str | None
    extracted: str | None
    prompt_tokens: int | None = None
    completion_tokens: int | None = None
    latency_ms: float | None = None


def read_samples(
    kind: str,
    work: Path,
    declared: str | None,
    facts: Facts = NO_FACTS,
    ledger: Path | None = None,
) -> Iterator[Sample]:
    """The samples of a work folder; none where the harness has written none.

    kind      format of the results: lm_eval, nemo or scores
    declared  file in the work folder that the harness declares (`samples`)
    facts     what is known of the harness: where it writes its own
    ledger    the gateway's, if there was one
    Raises CheckFailed, while it is read, for a file that does not hold what it should.
    """
    if declared:
        return _declared(work, Path(declared))
    if kind not in ("nemo", "lm_eval"):  # `scores` has no samples but those that are declared
        return iter(())
    asked = _asked_tokens(ledger) if ledger else {}
    return _nemo(work, facts, asked) if kind == "nemo" else _lm_eval(work, asked)


def _lines(work: Path, name: Path) -> Iterator[dict[str, Any]]:
    number = 0
    try:
        for line in hostile.lines(work, name):
            number += 1
            if not line.strip():
                continue
            record = hostile.parse_json(line)
            if not isinstance(record, dict):
                raise CheckFailed(f"line {number} of {shown(name)} is no record")
            yield record
    except hostile.Refused as refused:
        raise CheckFailed(f"{shown(name)} is not read: {refused}") from None
    except ValueError:
        raise CheckFailed(f"line {number} of {shown(name)} is no JSON") from None


def _text(value: Any) -> str | None:
    """A value as a person reads it: text as it is, anything else as JSON."""
    if value is None or isinstance(value, str):
        return value
    return json.dumps(value, ensure_ascii=False)


LARGEST_COUNT = 2**31 - 1
"""Of the column's type; no sample has so many tokens."""


def _number(value: Any) -> float | None:
    """A score of one sample: a number, a truth value, or the mean of a list of them."""
    if isinstance(value, list) and value:
        parts = [_number(item) for item in value]
        known = [part for part in parts if part is not None]
        return sum(known) / len(known) if len(known) == len(parts) else None
    return _finite(value) if isinstance(value, bool | int | float) else None


def _finite(value: float) -> float | None:
    try:
        return float(value) if math.isfinite(value) else None
    except OverflowError:  # a whole number beyond every float
        return None


def _count(value: Any) -> int | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    number = _finite(value)
    return int(number) if number is not None and 0 <= number <= LARGEST_COUNT else None


def _hash(text: str | None) -> str | None:
    return None if text is None else hashlib.sha256(whole(text).encode()).hexdigest()[:HASH_DIGITS]


def _messages_text(messages: Iterable[Any]) -> str:
    """The text of one message alone, or every message under its role."""
    spoken = [(str(item.get("role")), _content(item.get("content"))) for item in messages]
    if len(spoken) == 1:
        return spoken[0][1]
    return "\n\n".join(f"{role}: {text}" for role, text in spoken)


def _content(content: Any) -> str:
    if isinstance(content, list):
        content = "".join(part.get("text") or "" for part in content if isinstance(part, dict))
    return _text(content) or ""


# ---------------------------------------------------------------- lm-eval


def _lm_eval(work: Path, tokens_of: Mapping[bytes, Tokens] | None = None) -> Iterator[Sample]:
    found = find_lm_eval(work)
    if found is None:
        return
    known = tokens_of or {}
    tasks = found.sizes
    for task in tasks:
        name = found.name.parent / f"samples_{task}_{found.date}.jsonl"
        if has(work, name):
            subtask = task if len(tasks) > 1 else None
            metrics = _metrics(found, task)
            for record in _lines(work, name):
                yield from _lm_eval_sample(record, subtask, metrics, known)


def _metrics(found: LmEval, task: str) -> list[str]:
    """Names of a task's metrics, for records that do not name theirs."""
    values = found.data["results"].get(task, {})
    names = [name.partition(",") for name in values]
    return [name for name, comma, _ in names if comma and not name.endswith("_stderr")]


def _lm_eval_sample(
    record: dict[str, Any],
    subtask: str | None,
    metrics: list[str],
    tokens_of: Mapping[bytes, Tokens],
) -> Iterator[Sample]:
    requests = _requests(record.get("arguments"))
    asked = requests[0][0] if requests else None
    prompt, messages = _asked(asked)
    answers, best = _answers(record.get("resps"), requests)
    expected = record.get("target")
    if best is not None and (index := _index(expected)) is not None and index < len(requests):
        expected = requests[index][1]
    given = record.get("prompt_hash")
    prompt_hash = str(given)[:HASH_DIGITS] if given else _hash(prompt)
    filtered = record.get("filtered_resps")
    extracted = None if best is not None else _extracted(filtered)
    name = record.get("filter")
    tokens = tokens_of.get(prompt_key(messages), NO_TOKENS) if tokens_of else NO_TOKENS
    listed = record.get("metrics")
    names = [item for item in listed or metrics if item in record] or [None]
    for repeat, answer in enumerate(answers):
        for metric in names:
            yield Sample(
                subtask,
                str(record.get("doc_id")),
                repeat,
                metric,
                None if name in (None, "none") else str(name),
                _lm_eval_score(record[metric]) if metric and not repeat else None,
                prompt_hash,
                prompt,
                _text(expected),
                answer,
                extracted if not repeat else None,
                *tokens,
            )


def _lm_eval_score(value: Any) -> float | None:
    """Of one sample: a number, or the share of truth values (IFEval's instructions). Other lists
    are what the metric is made of (gold and prediction, sums and counts), and no scores."""
    if isinstance(value, list) and not all(isinstance(item, bool) for item in value):
        return None
    return _number(value)


def _requests(arguments: Any) -> list[tuple[Any, Any]]:
    """What a sample asked: pairs of context and the rest (settings, or a continuation)."""
    if isinstance(arguments, dict):
        return [(item.get("arg_0"), item.get("arg_1")) for item in arguments.values()]
    if isinstance(arguments, list):
        return [(item[0], item[1] if len(item) > 1 else None) for item in arguments if item]
    return []


def _asked(context: Any) -> tuple[str | None, Any]:
    """The prompt as text, and as the request had it: messages, or the text."""
    if isinstance(context, list) and len(context) == 1:
        context = context[0]
    if isinstance(context, str) and (messages := _messages_in(context)):
        return _messages_text(messages), messages
    return _text(context), context


def _messages_in(context: str) -> list[dict[str, Any]] | None:
    """Messages that lm-eval has written as text; None for a prompt that merely begins so."""
    if not context.startswith("[{"):
        return None
    try:
        found = json.loads(context)
    except (ValueError, RecursionError):
        return None
    return found if all(isinstance(item, dict) for item in found) else None


def _answers(resps: Any, requests: list[tuple[Any, Any]]) -> tuple[list[str | None], int | None]:
    """The model's answers, one per repeat, and the choice that it found likeliest.

    A sample of choices asks once per choice, and what comes back is how likely each one is.
    """
    if not isinstance(resps, list) or not resps:
        return [None], None
    chances = [_chance(resp) for resp in resps]
    known = [chance for chance in chances if chance is not None]
    if len(requests) == len(resps) > 1 and len(known) == len(chances):
        best = known.index(max(known))
        return [_text(requests[best][1])], best
    first = resps[0] if isinstance(resps[0], list) else [resps[0]]
    return [_text(answer) for answer in first] or [None], None


def _chance(resp: Any) -> float | None:
    """The log likelihood in `[[-1.5, false]]`; older versions wrote both as text."""
    try:
        pair = resp[0]
        return float(pair[0]) if isinstance(pair, list) and len(pair) == 2 else None
    except (IndexError, KeyError, TypeError, ValueError):
        return None


def _index(value: Any) -> int | None:
    try:
        return int(value) if not isinstance(value, bool) and int(value) >= 0 else None
    except (TypeError, ValueError):
        return None


def _extracted(filtered: Any) -> str | None:
    """What a filter made of the answer; some wrap it in lists."""
    while isinstance(filtered, list) and len(filtered) == 1:
        filtered = filtered[0]
    return _text(filtered)


# ---------------------------------------------------------------- NeMo Evaluator


def _nemo(work: Path, facts: Facts, asked: Mapping[bytes, Tokens]) -> Iterator[Sample]:
    files = _nemo_files(work)
    if not files and (facts.samples or facts.reader):
        yield from _as_the_harness_has_them(work, facts, asked)
        return
    for name in files:
        subtask = name.stem if len(files) > 1 else None
        records = _lines(work, name) if name.suffix == ".jsonl" else _listed(work, name)
        for record in records:
            yield _nemo_sample(record, subtask, name)
    if not files and find_lm_eval(work) is not None:
        for sample in _lm_eval(work, {**_nemo_tokens(work), **asked}):
            # As the image names the score in its results.yml, and so as results.csv has it.
            named = sample.metric and sample.filter
            yield sample._replace(metric=f"{sample.metric}__{sample.filter}") if named else sample


def _as_the_harness_has_them(
    work: Path, facts: Facts, by_gateway: Mapping[bytes, Tokens]
) -> Iterator[Sample]:
    """The samples of a harness's own files; tokens where somebody has kept the request."""
    known = {**_nemo_tokens(work), **by_gateway}
    for own in own_samples(work, facts):
        prompt = _spoken(own.prompt)
        asked = [{"role": "user", "content": prompt}]
        tokens = known.get(prompt_key(asked), NO_TOKENS) if known else NO_TOKENS
        for metric, score in own.scores.items() or [(None, None)]:
            yield Sample(
                own.part,
                own.id,
                own.repeat,
                metric,
                None,
                score,
                _hash(prompt),
                prompt,
                _text(own.expected),
                _spoken(own.answer),
                _text(own.extracted),
                *tokens,
            )


def _spoken(value: Any) -> str | None:
    """Messages as their text, anything else as a person reads it."""
    if isinstance(value, list) and value and all(_is_message(item) for item in value):
        return _messages_text(value)
    return _text(value)


def _is_message(item: Any) -> bool:
    return isinstance(item, dict) and "role" in item and "content" in item


def _nemo_files(work: Path) -> list[Path]:
    """Relative names of the files with samples; none where there is no folder for them."""
    if not hostile.is_there(work, NEMO_FOLDER) or (work / NEMO_FOLDER).is_symlink():
        return []
    found = hostile.files(work / NEMO_FOLDER)
    return sorted(NEMO_FOLDER / name for name in found if name.suffix in (".jsonl", ".json"))


def _listed(work: Path, name: Path) -> Iterator[dict[str, Any]]:
    try:
        content = hostile.load_json(work, name)
    except hostile.Refused as refused:
        raise CheckFailed(f"{shown(name)} is not read: {refused}") from None
    except ValueError:
        raise CheckFailed(f"{shown(name)} is no JSON") from None
    for record in content if isinstance(content, list) else [content]:
        if not isinstance(record, dict):
            raise CheckFailed(f"{shown(name)} holds something that is no record")
        yield record


def _nemo_sample(record: dict[str, Any], subtask: str | None, path: Path) -> Sample:
    if "id" not in record:
        raise CheckFailed(f"a record of {shown(path)} has no id")
    query = record.get("query")
    messages = query.get("messages") if isinstance(query, dict) else None
    prompt = _messages_text(messages) if isinstance(messages, list) else _text(query)
    return Sample(
        subtask,
        str(record["id"]),
        _count(record.get("sub_query_id")) or 0,
        record.get("score_name") or "score",
        None,
        _number(record.get("score")),
        _hash(prompt),
        prompt,
        _text(record.get("ground_truth")),
        _text(record.get("generation")),
        _text(record.get("answer")),
        _count(record.get("num_prompt_tokens")),
        _count(record.get("num_generated_tokens")),
    )


def _nemo_tokens(work: Path) -> dict[bytes, Tokens]:
    """Tokens by request, from the adapter's caches; empty where it has kept none."""
    try:
        used: dict[str, Tokens] = {}
        for key, value in answer_cache.rows(work, answer_cache.RESPONSES):
            usage = _object(value).get("usage")
            if isinstance(usage, dict):
                used[key] = (
                    _count(usage.get("prompt_tokens")),
                    _count(usage.get("completion_tokens")),
                )
        found: dict[bytes, Tokens] = {}
        for key, value in answer_cache.rows(work, answer_cache.REQUESTS):
            if key in used:
                body = _object(value)
                found[prompt_key(body.get("messages") or body.get("prompt"))] = used[key]
        return found
    except (OSError, ValueError, sqlite3.Error):
        return {}


def _asked_tokens(ledger: Path) -> dict[bytes, Tokens]:
    """Tokens by prompt, from the gateway's ledger. Which of several answers to one prompt a sample
    got is not known."""
    found: dict[bytes, Tokens] = {}
    repeated = set()
    for row in rows(ledger):
        tokens = row.get("tokens")
        if row.get("outcome") != ANSWERED or row.get("endpoint") != MODEL or "prompt" not in row:
            continue
        prompt = bytes.fromhex(row["prompt"])
        if row.get("occurrence"):
            repeated.add(prompt)
        if isinstance(tokens, dict):
            found[prompt] = _count(tokens.get("prompt")), _count(tokens.get("completion"))
    return {prompt: tokens for prompt, tokens in found.items() if prompt not in repeated}


def _object(body: bytes | str) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (TypeError, ValueError, RecursionError):
        return {}
    return content if isinstance(content, dict) else {}


# ---------------------------------------------------------------- the declared format


def _declared(work: Path, name: Path) -> Iterator[Sample]:
    """`{"id", "repeat", "prompt", "expected", "answer", "extracted", "scores": {name: number},
    "prompt_tokens", "completion_tokens", "latency_ms"}`; only `id` must be there."""
    if not has(work, name):
        raise CheckFailed(f"the declared file {shown(name)} is missing")
    for record in _lines(work, name):
        if "id" not in record:
            raise CheckFailed(f"a record of {shown(name)} has no id")
        scores = record.get("scores")
        if not isinstance(scores, dict) or not scores:
            scores = {"score": record["score"]} if "score" in record else {None: None}
        prompt = _text(record.get("prompt"))
        latency = record.get("latency_ms")
        for metric, score in scores.items():
            yield Sample(
                _text(record.get("subtask")),
                str(record["id"]),
                _count(record.get("repeat")) or 0,
                metric,
                None,
                _number(score),
                _hash(prompt),
                prompt,
                _text(record.get("expected")),
                _text(record.get("answer")),
                _text(record.get("extracted")),
                _count(record.get("prompt_tokens")),
                _count(record.get("completion_tokens")),
                _number(latency),
            )
