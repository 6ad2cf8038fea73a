"""The tests' own benchmark for the harness kind `command`: a few sums, asked one after the other.

Standard library only. Writes the format `scores`.
"""

import argparse
import json
import os
import sys
import time
import urllib.request
from pathlib import Path

QUESTIONS = 10


def ask(url: str, model: str, key: str, question: str) -> str:
    body = {"model": model, "messages": [{"role": "user", "content": question}]}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    timeout = float(os.environ.get("QUIZ_TIMEOUT") or 60)
    with urllib.request.urlopen(request, timeout=timeout) as answer:
        return str(json.load(answer)["choices"][0]["message"]["content"])


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--url", required=True)
    parser.add_argument("--model", required=True)
    parser.add_argument("--results", type=Path, required=True, help="folder of results.json")
    parser.add_argument("--limit", default="", help="only the first N questions")
    parser.add_argument("--seed", default="", help="another seed, other questions")
    parser.add_argument("--key-name", default="", help="variable with the key")
    parser.add_argument("--exit-code", default="", help="end so, before anything is asked")
    parser.add_argument("--fails-while", default="", help="a file: exit 1 while it exists")
    parser.add_argument("--judge-url", default="", help="asked for its opinion, if there is one")
    parser.add_argument("--judge-model", default="")
    parser.add_argument("--pause", default="", help="seconds between two questions")
    given = parser.parse_args()

    if given.exit_code or (given.fails_while and Path(given.fails_while).exists()):
        print("the quiz fails because it was told to", file=sys.stderr)
        return int(given.exit_code or 1)
    size = min(QUESTIONS, int(given.limit or QUESTIONS))
    seed = int(given.seed or 0)
    right = 0
    for number in range(1, size + 1):
        said = ask(
            given.url,
            given.model,
            os.environ.get(given.key_name, ""),
            f"What is {number} + {seed}?",
        )
        if given.judge_url:
            said = ask(given.judge_url, given.judge_model, "", f"Is this right? {said}")
        right += f" {number + seed}." in said
        print(f"{number} of {size} answered", flush=True)
        time.sleep(float(given.pause or 0))
    content = {
        "scores": {"accuracy": {"value": right / size, "stderr": 0.1, "n": size}},
        "samples": {"expected": size, "scored": size, "unanswered": 0},
    }
    (given.results / "results.json").write_text(json.dumps(content))
    return 0


if __name__ == "__main__":
    sys.exit(main())
