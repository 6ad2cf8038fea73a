"""Which request it is: the key under which it is counted and its answer is kept.

Pure functions, and the state of one attempt.
"""

from __future__ import annotations

import hashlib
import heapq
import json
from typing import Any, NamedTuple

_canonical = json.JSONEncoder(sort_keys=True, separators=(",", ":")).encode
_said = json.JSONEncoder(sort_keys=True).encode


class Asked(NamedTuple):
    """A request for an answer.

    key     16 bytes: endpoint, path, model and body; equal requests have the same
    model   the model that it asks for, '' where it names none
    stream  whether the answer is wanted piece by piece
    prompt  `prompt_key` of what is said to the model; empty: nothing that is known here
    """

    key: bytes
    model: str
    stream: bool = False
    prompt: bytes = b""


def asked(endpoint: str, path: str, body: bytes) -> Asked:
    """What a request asks. Bodies that mean the same (order of keys, spaces) are the same."""
    try:
        content = json.loads(body)
        meant = _canonical(content).encode()
    except (ValueError, RecursionError):
        content, meant = None, body
    given = content if isinstance(content, dict) else {}
    model = given.get("model")
    digest = hashlib.sha256(f"{endpoint}\n{path}\n".encode("utf-8", "surrogateescape"))
    digest.update(meant)
    is_stream = given.get("stream") is True
    said = given.get("messages") or given.get("prompt")
    prompt = prompt_key(said) if said else b""
    return Asked(digest.digest()[:16], model if isinstance(model, str) else "", is_stream, prompt)


def prompt_key(messages_or_prompt: Any) -> bytes:
    """8 bytes by which a sample finds what was asked for it."""
    return hashlib.blake2b(_said(messages_or_prompt).encode(), digest_size=8).digest()


class Occurrences:
    """Numbers equal requests of one attempt: the n-th is another sample.

    A request that was not answered gives its number back, and the next equal one gets it: a retry
    is the same sample. So two in flight at once have two numbers.
    """

    def __init__(self) -> None:
        self._given: dict[bytes, int] = {}
        self._back: dict[bytes, list[int]] = {}

    def take(self, key: bytes) -> int:
        """The lowest number that no other request of this key has or was answered under."""
        back = self._back.get(key)
        if back:
            number = heapq.heappop(back)
            if not back:
                del self._back[key]
            return number
        self._given[key] = self._given.get(key, 0) + 1
        return self._given[key] - 1

    def give_back(self, key: bytes, number: int) -> None:
        heapq.heappush(self._back.setdefault(key, []), number)
