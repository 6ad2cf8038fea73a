"""What the scripted endpoint says to each harness: as the model, as a judge, as a simulated user.

The same request always gets the same answer, so that a score is the same in every run.
"""

import hashlib
import json
from typing import Any

Json = dict[str, Any]

JUDGE, USER = "judge", "user"
"""Names of the models beside the one under evaluation."""

NUMBERS = {"integer": 10, "number": 10, "float": 10.0, "array": [], "object": {}, "boolean": True}


def share_of(text: str) -> float:
    """A number from 0 to 1 that depends on the text alone."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 16**8


def reply(body: Json, choice: int = 0) -> str | Json:
    said = text_of(body["messages"][-1]) if "messages" in body else str(body.get("prompt"))
    if body.get("model") == JUDGE:
        return verdict(said)
    if body.get("model") == USER:
        return "###STOP###" if len(body["messages"]) > 6 else "I need help with my account."
    if body.get("tools") and body["messages"][-1]["role"] == "user" and share_of(said) < 0.5:
        return called(body["tools"][0]["function"], said)
    return f"Step by step.\nIn the end the answer is \\boxed{{{204 + choice}}}."


def verdict(said: str) -> str:
    """Of a judge: two of three are right."""
    right = share_of(said) < 0.67
    if "CORRECT or INCORRECT" in said:
        return "CORRECT" if right else "INCORRECT"
    if "rating" in said.lower() and "[[" in said:
        return f"Rating: [[{1 + int(share_of(said) * 9)}]]"
    return "Yes" if right else "No"


def called(function: Json, said: str) -> Json:
    """A message that calls a function with some value for each argument that it must have."""
    wanted = function.get("parameters") or {}
    kinds = {name: each.get("type") for name, each in wanted.get("properties", {}).items()}
    arguments = {name: NUMBERS.get(kinds.get(name), "x") for name in wanted.get("required") or []}
    call = {"name": function["name"], "arguments": json.dumps(arguments)}
    number = hashlib.sha256(said.encode()).hexdigest()[:12]
    return {
        "content": None,
        "tool_calls": [{"id": f"call_{number}", "type": "function", "function": call}],
    }


def text_of(message: Json) -> str:
    content = message.get("content")
    if isinstance(content, list):
        return " ".join(part.get("text", "") for part in content)
    return content or ""
