"""Asks one question after the other; an error is as good as an answer, and nothing is kept."""

import json
import os
import sys
import urllib.error
import urllib.request
from pathlib import Path

url, model, results, count = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
done = results / "done"
if not done.exists():
    for number in range(count):
        text = "What is 1 + 1?" if os.environ.get("SAME_QUESTION") else f"What is {number} + 1?"
        body = {"model": model, "messages": [{"role": "user", "content": text}], "temperature": 1}
        headers = {"Content-Type": "application/json"}
        request = urllib.request.Request(url, json.dumps(body).encode(), headers)
        try:
            urllib.request.urlopen(request).read()
        except urllib.error.HTTPError as error:
            error.read()
    done.touch()  # the next attempt asks nothing
scores = {"accuracy": 0.5}
(results / "results.json").write_text(json.dumps({"scores": scores, "samples": {"scored": count}}))
