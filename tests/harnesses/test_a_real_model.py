"""A real model (SmolLM2-135M-Instruct on the CPU, `make .venv-model/ready`): the pipeline's scores
are those of plain lm-eval against the same server, to the last digit.

The tests' own sums always; with SNAKEVAL_PUBLISHED_TASKS=<folder with task files of lm-eval> also
those of real benchmarks whose data the user has put there, the first SNAKEVAL_PUBLISHED_LIMIT
questions of each (docs/published-scores.md).
"""

import contextlib
import importlib.util
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml

from rig.pipeline import BENCHMARK, QUICK_LM_EVAL, ROOT, Project
from rig.remembering import Remembering
from rig.waiting import wait_until
from snakeval.job.endpoint import answers, free_port

MODEL_VENV = ROOT / ".venv-model"
SERVER = MODEL_VENV / "bin" / "serve-smollm2"
MODEL = "smollm2-135m-instruct"
GIVEN = os.environ.get("SNAKEVAL_PUBLISHED_TASKS")
LIMIT = int(os.environ.get("SNAKEVAL_PUBLISHED_LIMIT", 0)) or None

AT_ONCE = 4
"""Requests for a given benchmark, whose answers are remembered: a server that answers several at
once may say something else the second time, also at temperature 0."""

SUMS = 20
"""Of the tests' own."""

ENVIRONMENT = {
    "HF_HUB_OFFLINE": "1",
    "HF_DATASETS_OFFLINE": "1",
    "PYTHONPATH": str(QUICK_LM_EVAL),
    "NLTK_DATA": str(MODEL_VENV / "nltk_data"),
}

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not SERVER.exists(), reason="no .venv-model: make .venv-model/ready"),
]


def tasks_in(folder: Path) -> list[str]:
    texts = [path.read_text() for path in sorted(folder.glob("*.yaml"))]
    found = [yaml.safe_load(text.replace("!function", "")) for text in texts]
    return [each["task"] for each in found]


def needs_of_ifeval() -> str:
    missing = [
        name for name in ("langdetect", "immutabledict") if not importlib.util.find_spec(name)
    ]
    return f"lm-eval's ifeval needs: pip install {' '.join(missing)}" if missing else ""


def given() -> list[Any]:
    """The benchmarks of the given folder, or one that says what is missing."""
    if not GIVEN:
        why = "SNAKEVAL_PUBLISHED_TASKS names no folder with questions (docs/published-scores.md)"
        return [pytest.param("", marks=pytest.mark.skip(reason=why), id="none given")]
    lacks = pytest.mark.skipif(bool(needs_of_ifeval()), reason=needs_of_ifeval())
    return [
        pytest.param(task, marks=[lacks] if task == "ifeval" else [])
        for task in tasks_in(Path(GIVEN))
    ]


@contextlib.contextmanager
def serving(folder: Path, slots: int) -> Iterator[str]:
    """The model's address.

    slots  requests that are answered at once; with one an answer is always the same
    """
    port = free_port("127.0.0.1")
    with (folder / "server.log").open("wb") as log:
        command = [str(SERVER), "--port", str(port), "--slots", str(slots)]
        with subprocess.Popen(command, stdout=log, stderr=log) as server:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/health") or server.poll())
            try:
                yield f"http://127.0.0.1:{port}/v1/chat/completions"
            finally:
                server.terminate()


def by_plain_lm_eval(
    url: str, folder: Path, task: str, out: Path, at_once: int, limit: int | None
) -> dict[str, float]:
    arguments = {
        "model": MODEL,
        "base_url": url,
        "num_concurrent": at_once,
        "tokenizer_backend": "none",
        "tokenized_requests": False,
        "timeout": 3600,
    }
    command = [
        *(str(Path(sys.executable).with_name("lm_eval")), "--model", "local-chat-completions"),
        *("--tasks", task, "--include_path", str(folder), "--apply_chat_template"),
        *("--model_args", json.dumps(arguments), "--output_path", str(out)),
        *(["--limit", str(limit)] if limit else []),
    ]
    subprocess.run(command, env={**os.environ, **ENVIRONMENT, "OPENAI_API_KEY": "none"}, check=True)
    (results,) = out.rglob("results_*.json")
    values: dict[str, Any] = json.loads(results.read_text())["results"][task]
    return {
        name: value
        for name, value in values.items()
        if "," in name and "_stderr" not in name and isinstance(value, float)
    }


def by_the_pipeline(
    url: str, folder: Path, task: str, out: Path, at_once: int, limit: int | None
) -> list[dict[str, Any]]:
    """Its rows."""
    own = {"kind": "lm_eval", "include_path": str(folder), "tasks": {task: {}}}
    params = {"parallelism": at_once, "request_timeout": 3600, "limit_samples": limit}
    project = Project(out, url, ENVIRONMENT)
    project.write(
        tasks=[{"name": f"own.{task}"}],
        params={name: value for name, value in params.items() if value},
        harnesses={"own": own},
        target={"api_endpoint": {"url": url, "model_id": MODEL}},
    )
    project.snakemake().check()
    return project.rows()


def scores_of(rows: list[dict[str, Any]]) -> dict[str, float]:
    """By lm-eval's names: metric and filter."""
    return {
        f"{row['metric']},{'none' if row['score'] == row['metric'] else row['score']}": row["value"]
        for row in rows
    }


def test_scores_are_those_of_plain_lm_eval_to_the_last_digit(tmp_path: Path) -> None:
    """Each has its own answers of the server."""
    with serving(tmp_path, slots=1) as url:
        plain = by_plain_lm_eval(url, BENCHMARK, "snakeval_sums", tmp_path / "plain", 1, SUMS)
        rows = by_the_pipeline(url, BENCHMARK, "snakeval_sums", tmp_path / "ours", 1, SUMS)

    assert plain and scores_of(rows) == plain


@pytest.mark.parametrize("task", given())
def test_the_same_of_a_benchmark_whose_questions_are_given(task: str, tmp_path: Path) -> None:
    """The pipeline's requests are those of plain lm-eval to the last byte, so they get its answers,
    which are kept in the given folder: whoever stops this goes on with them."""
    folder = Path(GIVEN or "")
    kept = folder / f"answers_{task}.jsonl"
    with (
        serving(tmp_path, slots=AT_ONCE) as server,
        Remembering(server, kept) as before,
    ):
        plain = by_plain_lm_eval(before.url, folder, task, tmp_path / "plain", AT_ONCE, LIMIT)
        asked = before.asked
        rows = by_the_pipeline(before.url, folder, task, tmp_path / "ours", AT_ONCE, LIMIT)
        asked_by_the_pipeline = before.asked - asked

    for row in rows:
        print(task, row["metric"], row["score"], row["value"], "+-", row["stderr"], "n", row["n"])
    assert plain and scores_of(rows) == plain
    assert asked_by_the_pipeline == 0
