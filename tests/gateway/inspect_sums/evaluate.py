"""Sums for inspect-ai, each asked twice; its scores in the form that a command's results have.

evaluate.py URL MODEL RESULTS COUNT
"""

import json
import os
import sys
from pathlib import Path

from inspect_ai import Task, eval
from inspect_ai.dataset import Sample
from inspect_ai.scorer import includes
from inspect_ai.solver import generate

url, model, results, count = sys.argv[1], sys.argv[2], Path(sys.argv[3]), int(sys.argv[4])
os.environ["RIG_BASE_URL"] = url.removesuffix("/chat/completions")
os.environ.setdefault("RIG_API_KEY", "none")

samples = [Sample(input=f"What is {n} + 1?", target=str(n + 1)) for n in range(count)]
(log,) = eval(
    Task(name="sums", dataset=samples, solver=generate(), scorer=includes()),
    model=f"openai-api/rig/{model}",
    log_dir=str(results / "inspect"),
    display="none",
    epochs=2,
    temperature=1.0,
    max_connections=4,
    max_retries=0,
)
if log.status != "success" or log.results is None:
    sys.exit(f"inspect-ai ended with {log.status}: {log.error.message if log.error else ''}")
score = {name: metric.value for name, metric in log.results.scores[0].metrics.items()}
told = {"value": score["accuracy"], "stderr": score["stderr"], "n": count, "range": [0, 1]}
content = {
    "scores": {"accuracy": {**told, "higher_is_better": True}},
    "samples": {"expected": count, "scored": log.results.completed_samples // 2},
}
(results / "results.json").write_text(json.dumps(content))
