"""What is an answer, and what only looks like one: one rule for all that is kept and counted.

An answer has status 200, a body that parses as its protocol says, something in it (text, a tool
call, reasoning or a declared stop; vectors; ranks), and no error. Pure functions.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from typing import Any

KINDS = {
    "/chat/completions": "chat",
    "/completions": "completions",
    "/embeddings": "embeddings",
    "/ranking": "ranking",
    "/rankings": "ranking",
    "/rerank": "ranking",
    "/reranking": "ranking",
}
"""How a path ends, and what is asked there; the first that fits counts."""

STREAM = "text/event-stream"
STREAM_BEGINS = (b"data:", b"event:", b"id:", b":")
"""How a stream begins that is sent under another media type."""
FAILED_ENDS = (
    *("error", "abort", "aborted", "cancelled", "canceled", "timeout", "failed"),
    "insufficient_system_resource",  # DeepSeek's
)
"""Finish reasons of a choice that the server gave up."""

_LINE_ENDS = re.compile("\r\n|\n|\r")
"""Those of an event stream, no others."""

SPOKEN = ("content", "reasoning_content", "reasoning", "refusal", "text")
CALLED = ("tool_calls", "function_call", "audio", "images")


@dataclass(frozen=True)
class Verdict:
    """What an endpoint's reply is.

    answered  whether it is an answer
    why       where it is none: the reason in a few words
    model     the model that it names
    tokens    prompt, completion, cached, reasoning; those that it tells
    finish    why it ends, `stop,length` where its choices differ
    text      what it says, '' for an empty answer; None where nothing is said in words
    parts     choices or vectors in it: a request may be of several samples, or want several answers
    """

    answered: bool
    why: str = ""
    model: str | None = None
    tokens: dict[str, int] = field(default_factory=dict)
    finish: str = ""
    text: str | None = None
    parts: int = 1


def kind_of(method: str, path: str) -> str | None:
    """What a request asks for: a key of the rule; None where no rule can judge the reply."""
    if method != "POST":
        return None
    path = path.rstrip("/")
    return next((kind for end, kind in KINDS.items() if path.endswith(end)), None)


def judge(kind: str, status: int, content_type: str, body: bytes) -> Verdict:
    """The rule. `body` is the whole body, decoded; of a stream, all of its events."""
    if status != 200:
        return Verdict(False, f"status {status}")
    is_stream = content_type.lower().startswith(STREAM) or body.startswith(STREAM_BEGINS)
    try:
        content = assembled(body) if is_stream else json.loads(body)
        return _judged(kind, content)
    except (ValueError, RecursionError):
        return Verdict(False, "no JSON")


def _judged(kind: str, content: Any) -> Verdict:
    if isinstance(content, list) and kind == "ranking":
        content = {"results": content}
    if not isinstance(content, dict):
        return Verdict(False, "no JSON object")
    is_error = content.get("error") or content.get("object") == "error"
    why = "an error" if is_error else _LACKS[kind](content)
    return _told(content, why)


def _told(content: dict[str, Any], why: str) -> Verdict:
    choices = [each for each in _items(content, "choices") if isinstance(each, dict)]
    ends = {str(each["finish_reason"]) for each in choices if each.get("finish_reason")}
    model = content.get("model")
    return Verdict(
        answered=not why,
        why=why,
        model=model if isinstance(model, str) else None,
        tokens=tokens(content.get("usage")),
        finish=",".join(sorted(ends)),
        text="\n".join(map(_spoken, choices)) if choices else None,
        parts=max(1, len(choices) or len(_items(content, "data"))),
    )


# ---------------------------------------------------------------- what a body lacks


def _lacks_choices(content: dict[str, Any]) -> str:
    choices = _items(content, "choices")
    if not choices or not all(isinstance(each, dict) for each in choices):
        return "no choices"
    if any(_failed(each) for each in choices):
        return "an error in a choice"
    return "" if any(_is_something(each) for each in choices) else "choices that say nothing"


def _failed(choice: dict[str, Any]) -> bool:
    return bool(choice.get("error")) or str(choice.get("finish_reason")).lower() in FAILED_ENDS


def _is_something(choice: dict[str, Any]) -> bool:
    end = choice.get("finish_reason")
    return bool(isinstance(end, str) and end) or bool(_spoken(choice))


def _spoken(choice: dict[str, Any]) -> str:
    """All that a choice says, calls included; '' where it says nothing."""
    message = choice.get("message")
    said = message if isinstance(message, dict) else choice
    parts = [_words(said[name]) for name in (*SPOKEN, *CALLED) if said.get(name)]
    return "\n".join(parts)


def _words(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, sort_keys=True)


def _lacks_vectors(content: dict[str, Any]) -> str:
    data = _items(content, "data")
    return "" if data and all(map(_has_vector, data)) else "no vectors"


def _has_vector(item: Any) -> bool:
    vector = item.get("embedding") if isinstance(item, dict) else None
    if isinstance(vector, str):
        return bool(vector)
    return isinstance(vector, list) and bool(vector) and all(map(_is_number, vector))


def _is_number(value: Any) -> bool:
    return type(value) in (int, float) and math.isfinite(value)


def _lacks_ranks(content: dict[str, Any]) -> str:
    ranks = _items(content, "rankings") or _items(content, "results")
    return "" if ranks and all(map(_is_rank, ranks)) else "no ranks"


def _is_rank(item: Any) -> bool:
    if not isinstance(item, dict) or not isinstance(item.get("index"), int):
        return False
    return any(_is_number(item.get(name)) for name in ("logit", "relevance_score", "score"))


_LACKS: dict[str, Callable[[dict[str, Any]], str]] = {
    "chat": _lacks_choices,
    "completions": _lacks_choices,
    "embeddings": _lacks_vectors,
    "ranking": _lacks_ranks,
}


def _items(content: dict[str, Any], name: str) -> list[Any]:
    found = content.get(name)
    return found if isinstance(found, list) else []


def tokens(usage: Any) -> dict[str, int]:
    """Token counts of a `usage` object; those that it has."""
    usage = usage if isinstance(usage, dict) else {}
    prompt, completion = usage.get("prompt_tokens"), usage.get("completion_tokens")
    if completion is None and prompt is not None and usage.get("total_tokens") == prompt:
        completion = 0  # vectors and ranks have none
    counts = {
        "prompt": prompt,
        "completion": completion,
        "cached": _detail(usage, "prompt_tokens_details", "cached_tokens"),
        "reasoning": _detail(usage, "completion_tokens_details", "reasoning_tokens"),
    }
    return {name: n for name, n in counts.items() if type(n) is int and n >= 0}


def _detail(usage: dict[str, Any], group: str, name: str) -> Any:
    details = usage.get(group)
    return details.get(name) if isinstance(details, dict) else usage.get(name)


# ---------------------------------------------------------------- streams


def assembled(body: bytes) -> dict[str, Any]:
    """The completion that the events of a stream add up to, as if it had come in one piece.

    Raises ValueError for an event that is not JSON. A stream without an end is an error.
    """
    whole: dict[str, Any] = {"choices": []}
    choices: dict[Any, dict[str, Any]] = {}
    ended = False
    for name, data in events(body):
        if data == "[DONE]":
            ended = True
            continue
        if not data.strip():  # says that the server is still there
            continue
        event = json.loads(data)
        is_event = name != "error" and isinstance(event, dict)
        if not is_event or event.get("error") or event.get("object") == "error":
            whole["error"] = event or "an error event"
            continue
        whole.update({key: event[key] for key in ("model", "usage") if event.get(key)})
        for part in _items(event, "choices"):
            if isinstance(part, dict):
                _add(choices.setdefault(part.get("index", 0), {"message": {}}), part)
    whole["choices"] = list(choices.values())
    if not ended and not (choices and all(each.get("finish_reason") for each in choices.values())):
        whole.setdefault("error", "the stream was cut")
    return whole


def _add(choice: dict[str, Any], part: dict[str, Any]) -> None:
    delta = part.get("delta")
    said = delta if isinstance(delta, dict) else part
    for name in SPOKEN:
        if said.get(name):
            choice["message"][name] = choice["message"].get(name, "") + _words(said[name])
    for name in CALLED:
        if said.get(name):
            choice["message"].setdefault(name, []).append(said[name])
    choice.update({name: part[name] for name in ("finish_reason", "error") if part.get(name)})


def events(body: bytes) -> Iterator[tuple[str, str]]:
    """Names and data of the events of a stream (server-sent events)."""
    name, data = "", []
    # Not splitlines(): U+2028 and U+0085 stand unescaped in what a model says.
    for line in [*_LINE_ENDS.split(body.decode("utf-8-sig", errors="replace")), ""]:
        key, _, value = line.partition(":")
        value = value[1:] if value.startswith(" ") else value
        if line and key == "data":
            data.append(value)
        elif line and key == "event":
            name = value
        elif not line and data:
            yield name, "\n".join(data)
        if not line:
            name, data = "", []
