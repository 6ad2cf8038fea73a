"""Asks one question after the other; an error is as good as an answer, and nothing is kept.

ask.py URL MODEL RESULTS COUNT [JUDGE]

JUDGE: its url, model_id and api_key (a variable); asked after each question.
"""

import ast
import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

url, model, results, count = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
judge = ast.literal_eval(sys.argv[5]) if len(sys.argv) > 5 else None


def ask(url: str, model: str, text: str, key: str) -> None:
    body = {"model": model, "messages": [{"role": "user", "content": text}], "temperature": 1}
    headers = {"Content-Type": "application/json", "Authorization": f"Bearer {key}"}
    request = urllib.request.Request(url, json.dumps(body).encode(), headers)
    try:
        urllib.request.urlopen(request).read()
    except urllib.error.HTTPError as error:
        error.read()


done = results / "done"
if not done.exists():
    for number in range(count):
        text = "What is 1 + 1?" if os.environ.get("SAME_QUESTION") else f"What is {number} + 1?"
        ask(url, model, text, "none")
        if judge:
            ask(
                judge["url"], judge["model_id"], f"Is {number} right?", os.environ[judge["api_key"]]
            )
    done.touch()  # the next attempt asks nothing
scores = {"accuracy": 0.5}
(results / "results.json").write_text(json.dumps({"scores": scores, "samples": {"scored": count}}))
