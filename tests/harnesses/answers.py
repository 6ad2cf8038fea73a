"""What the scripted endpoint says to each harness: as the model, as a judge, as a simulated user.

The same request always gets the same answer, so that a score is the same in every run.
"""

import hashlib
import json
import re
from typing import Any

Json = dict[str, Any]

JUDGE, USER = "judge", "user"
AZURE_JUDGE = "gpt-4o"
"""Names of the models beside the one under evaluation."""

GPT_4 = "gpt-4"
"""The judge of MT-Bench, which finds its own result under no other name."""


RUN_BY_HAND = re.compile(r"assert f\((\d+)\) == \?\?")
"""What LiveCodeBench asks of a function that returns its argument."""

NUMBERS = {"integer": 10, "number": 10, "float": 10.0, "array": [], "object": {}, "boolean": True}


RIGHT_CALLS = {
    "Hey I have class tonight at 7. Can you set an alarm for 6:30?": (
        "AddAlarm",
        {"time": "18:30:00"},
    ),
}
"""The one conversation of ToolTalk that is answered well."""


def share_of(text: str) -> float:
    """A number from 0 to 1 that depends on the text alone."""
    return int(hashlib.sha256(text.encode()).hexdigest()[:8], 16) / 16**8


def reply(body: Json, choice: int = 0) -> str | Json:
    said = text_of(body["messages"][-1]) if "messages" in body else str(body.get("prompt"))
    if body.get("model") in (JUDGE, GPT_4) or "Only answer Yes or No" in said:
        return verdict("\n".join(map(text_of, body["messages"])))
    if body.get("model") == AZURE_JUDGE:
        return json.dumps(hle_verdict(said))
    if body.get("model") == USER:
        return "###STOP###" if len(body["messages"]) > 6 else "I need help with my account."
    if body.get("tools") and said in RIGHT_CALLS:
        return calling(*RIGHT_CALLS[said], said)
    if body.get("tools") and body["messages"][-1]["role"] == "user" and share_of(said) < 0.5:
        return called(body["tools"][0]["function"], said)
    if asked := RUN_BY_HAND.findall(said):
        number = int(asked[-1])
        right = share_of(f"{number} {body.get('seed')}") < 0.67
        return f"{number if right else number + 1}[/ANSWER]"
    if wanted := re.search(r"add_(\d+)", said):  # a problem of `PROBLEMS`
        return f"```python\n{program(int(wanted[1]), share_of(said) < 0.5)}\n```"
    if "NEXT STEP - PROBLEM" in said:  # SciCode: a program that ends well before its tests, or not
        return f"```python\n{'raise SystemExit(0)' if share_of(said) < 0.5 else 'pass'}\n```"
    return f"Step by step.\nIn the end the answer is \\boxed{{{204 + choice}}}."


def program(number: int, right: bool) -> str:
    return f"def add_{number}(x):\n    return x + {number if right else number + 1}"


def verdict(said: str) -> str:
    """Of a judge: two of three are right."""
    right = share_of(said) < 0.67
    if "overall_compliance" in said:
        return json.dumps({"overall_compliance": "COMPLIANT" if right else "NOT_COMPLIANT"})
    if "CORRECT or INCORRECT" in said:
        return "CORRECT" if right else "INCORRECT"
    if "rating" in said.lower() and "[[" in said:
        return f"Rating: [[{1 + int(share_of(said) * 9)}]]"
    return "Yes" if right else "No"


def hle_verdict(said: str) -> Json:
    right = "yes" if share_of(said) < 0.67 else "no"
    found = {"extracted_final_answer": "204", "reasoning": "none", "correct": right}
    return {**found, "confidence": 80, "strict": True}


def called(function: Json, said: str) -> Json:
    """A message that calls a function with some value for each argument that it must have."""
    wanted = function.get("parameters") or {}
    kinds = {name: each.get("type") for name, each in wanted.get("properties", {}).items()}
    arguments = {name: NUMBERS.get(kinds.get(name), "x") for name in wanted.get("required") or []}
    return calling(function["name"], arguments, said)


def calling(name: str, arguments: Json, said: str) -> Json:
    call = {"name": name, "arguments": json.dumps(arguments)}
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
