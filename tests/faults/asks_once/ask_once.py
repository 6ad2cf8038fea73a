"""A benchmark of one question: finished long before the others, and seen when it is asked again.

python ask_once.py URL MODEL FOLDER
"""

import json
import sys
import urllib.request
from pathlib import Path

url, model, folder = sys.argv[1:]
body = {"model": model, "messages": [{"role": "user", "content": "Are you there?"}]}
headers = {"Content-Type": "application/json"}
urllib.request.urlopen(urllib.request.Request(url, json.dumps(body).encode(), headers)).read()
Path(folder, "results.json").write_text(
    json.dumps({"scores": {"there": 1.0}, "samples": {"scored": 1}})
)
