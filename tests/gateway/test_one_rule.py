"""One rule says what an answer is."""

from __future__ import annotations

import json
from typing import Any

import pytest
from scripted_service import DONE, chunk, completion

from snakeval.job.gateway.completion import Verdict, judge, kind_of

JSON, SSE = "application/json; charset=utf-8", "text/event-stream"


def chat(content: Any, status: int = 200) -> Verdict:
    body = content if isinstance(content, bytes) else json.dumps(content).encode()
    return judge("chat", status, JSON, body)


def choice(finish: str | None = "stop", **message: Any) -> dict[str, Any]:
    return {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}


@pytest.mark.parametrize(
    "message",
    [
        {"content": "hi"},
        {"content": [{"type": "text", "text": "hi"}]},
        {"content": None, "tool_calls": [{"id": "1", "function": {"name": "f"}}]},
        {"content": None, "function_call": {"name": "f"}},
        {"content": "", "reasoning_content": "hm"},
        {"content": None, "reasoning": "hm"},
        {"content": None, "refusal": "no"},
    ],
)
def test_text_calls_and_reasoning_are_answers(message: dict[str, Any]) -> None:
    assert chat({"choices": [choice(None, **message)]}).answered


@pytest.mark.parametrize("end", ["stop", "length", "content_filter", "tool_calls", "eos"])
def test_a_declared_end_is_an_answer_also_without_text(end: str) -> None:
    verdict = chat({"choices": [choice(end, content="")]})
    assert verdict.answered and verdict.text == "" and verdict.finish == end


@pytest.mark.parametrize(
    ("body", "why"),
    [
        (b"<html><body>Bad gateway</body></html>", "no JSON"),
        (b"", "no JSON"),
        (b'{"choices": [{"message": {"content": "cut of', "no JSON"),
        (b"[" * 100_000, "no JSON"),
        (b"null", "no JSON object"),
        ({"detail": "Not authenticated"}, "no choices"),
        ({"choices": []}, "no choices"),
        ({"choices": None}, "no choices"),
        ({"choices": ["text"]}, "no choices"),
        ({"choices": [choice("error", content="half an")]}, "an error in a choice"),
        ({"choices": [choice("abort", content="half an")]}, "an error in a choice"),
        ({"choices": [{**choice(content="x"), "error": {"code": 502}}]}, "an error in a choice"),
        ({**completion("hello"), "error": {"message": "overloaded"}}, "an error"),
        ({"error": "overloaded"}, "an error"),
        ({**completion("hello"), "object": "error"}, "an error"),
        ({"choices": [choice("ERROR", content="half an")]}, "an error in a choice"),
        ({"choices": [choice("timeout", content="half an")]}, "an error in a choice"),
        ({"choices": [choice("insufficient_system_resource")]}, "an error in a choice"),
        (b'{"choices": [{"message": {"content": "\xc3"}}]}', "no JSON"),
        ([completion("hello")], "no JSON object"),
        ({"choices": [choice(None, content="")]}, "choices that say nothing"),
        ({"choices": [choice(None, content=None)]}, "choices that say nothing"),
    ],
)
def test_what_only_looks_like_an_answer_is_none(body: Any, why: str) -> None:
    verdict = chat(body)
    assert (verdict.answered, verdict.why) == (False, why)


def test_one_choice_of_several_that_says_something_is_enough() -> None:
    assert chat({"choices": [choice(None, content=""), choice("stop", content="x")]}).answered


def test_no_other_status_is_an_answer() -> None:
    assert not chat(completion("hello"), status=201).answered
    assert chat(completion("hello"), status=500).why == "status 500"


def test_completions_embeddings_and_ranking_have_the_same_rule() -> None:
    def judged(kind: str, content: Any) -> bool:
        return judge(kind, 200, JSON, json.dumps(content).encode()).answered

    assert judged("completions", {"choices": [{"text": "x", "finish_reason": None}]})
    assert judged("completions", {"choices": [{"text": "", "finish_reason": "stop"}]})
    assert not judged("completions", {"choices": [{"text": "", "finish_reason": None}]})
    assert judged("embeddings", {"data": [{"embedding": [0.5, 1]}, {"embedding": "AACAPw=="}]})
    for bad in ([], [{"embedding": []}], [{"embedding": [0.5, None]}], [{"embedding": [True]}]):
        assert not judged("embeddings", {"data": bad})
    assert not judge("embeddings", 200, JSON, b'{"data": [{"embedding": [NaN]}]}').answered
    assert judged("ranking", {"rankings": [{"index": 0, "logit": 1.5}]})
    assert judged("ranking", {"results": [{"index": 0, "relevance_score": 0.5}]})
    assert judged("ranking", [{"index": 0, "score": 0.5}])
    for bad in ({"rankings": []}, {"results": [{"index": 0}]}, {"detail": "x"}, ["x"]):
        assert not judged("ranking", bad)


def stream(*parts: bytes) -> Verdict:
    return judge("chat", 200, SSE, b"".join(parts))


def test_a_stream_is_judged_as_what_it_adds_up_to() -> None:
    usage = b'data: {"choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 2}}\n\n'
    verdict = stream(b": ping\n\n", chunk("Hel"), chunk("lo", "stop"), usage, DONE)
    assert verdict.answered and verdict.text == "Hello" and verdict.finish == "stop"
    assert verdict.model == "test-model" and verdict.tokens == {"prompt": 3, "completion": 2}
    assert stream(chunk("Hello", "stop")).answered, "some servers send no [DONE]"
    assert stream(chunk("Hello").replace(b"\n", b"\r\n"), DONE).answered
    assert stream(b"data:\n\n", chunk("Hello"), DONE).answered, "a sign of life has no data"
    parts = [{"type": "thinking", "thinking": [{"type": "text", "text": "hm"}]}]
    assert "hm" in str(stream(chunk(parts), DONE).text)  # type: ignore[arg-type]


def test_only_the_line_ends_of_a_stream_end_a_line() -> None:
    said = "one\u2028two\u0085three\u2029four"
    choices = [{"delta": {"content": said}, "finish_reason": "stop"}]
    event = b"data: " + json.dumps({"choices": choices}, ensure_ascii=False).encode()
    for end in (b"\n", b"\r\n", b"\r"):
        assert stream(b"\xef\xbb\xbf" + event, end * 2, b"data: [DONE]", end * 2).text == said


def test_a_stream_under_another_media_type_is_one() -> None:
    body = chunk("Hel") + chunk("lo", "stop") + DONE
    assert judge("chat", 200, "text/plain", body).text == "Hello"
    assert not judge("chat", 200, "text/plain", chunk("Hel")).answered


@pytest.mark.parametrize(
    "parts",
    [
        (chunk("Hel"),),
        (DONE,),
        (b"",),
        (b"<html>",),
        (b"data: <html>\n\n", DONE),
        (chunk("Hel"), b'data: {"error": {"message": "out of memory"}}\n\n', DONE),
        (chunk("Hel"), b'data: {"object": "error", "message": "no memory"}\n\n', DONE),
        (chunk("Hel"), b'event: error\ndata: "out of memory"\n\n', DONE),
        (chunk("Hel", "error"), DONE),
    ],
)
def test_a_stream_that_is_cut_or_tells_an_error_is_none(parts: tuple[bytes, ...]) -> None:
    assert not stream(*parts).answered


def test_tokens_of_all_kinds_are_read_and_nonsense_is_not() -> None:
    usage = {
        "prompt_tokens": 9,
        "completion_tokens": 5,
        "prompt_tokens_details": {"cached_tokens": 4},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert chat(completion("x", usage=usage)).tokens == {
        "prompt": 9,
        "completion": 5,
        "cached": 4,
        "reasoning": 3,
    }
    assert chat(completion("x", usage={"prompt_tokens": 9, "total_tokens": 9})).tokens == {
        "prompt": 9,
        "completion": 0,
    }
    for odd in (None, [], {"prompt_tokens": "9"}, {"prompt_tokens": -1}, {"prompt_tokens": True}):
        assert chat(completion("x", usage=odd)).tokens == {}


def test_what_is_asked_is_known_by_how_the_path_ends() -> None:
    assert kind_of("POST", "/some/where/v1/chat/completions/") == "chat"
    assert kind_of("POST", "/v1/completions") == "completions"
    assert kind_of("POST", "/v1/embeddings") == "embeddings"
    assert kind_of("POST", "/v1/ranking") == kind_of("POST", "/v2/rerank") == "ranking"
    assert kind_of("GET", "/v1/chat/completions") is None
    assert kind_of("POST", "/v1/images/generations") is None
