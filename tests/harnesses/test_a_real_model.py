"""A real model (SmolLM2-135M-Instruct on the CPU, `make .venv-model/ready`): the pipeline's scores
are those of plain lm-eval against the same server, to the last digit.

The tests' own sums always; with SNAKEVAL_PUBLISHED_TASKS=<folder with task files of lm-eval> also
those of real benchmarks whose data the user has put there (docs/published-scores.md).
"""

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
from rig.waiting import wait_until
from snakeval.job.endpoint import answers, free_port

SERVER = ROOT / ".venv-model" / "bin" / "serve-smollm2"
MODEL = "smollm2-135m-instruct"
GIVEN = os.environ.get("SNAKEVAL_PUBLISHED_TASKS")

pytestmark = [
    pytest.mark.long,
    pytest.mark.skipif(not SERVER.exists(), reason="no .venv-model: make .venv-model/ready"),
]


def tasks_in(folder: Path) -> list[str]:
    texts = [path.read_text() for path in sorted(folder.glob("*.yaml"))]
    found = [yaml.safe_load(text.replace("!function", "")) for text in texts]
    return [each["task"] for each in found]


FOLDERS = [(BENCHMARK, "snakeval_sums")] + [
    (Path(GIVEN), name) for name in (tasks_in(Path(GIVEN)) if GIVEN else [])
]


@pytest.fixture(scope="module")
def url(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The model's address; one request at a time, so that an answer is always the same."""
    port = free_port("127.0.0.1")
    with (tmp_path_factory.mktemp("server") / "log").open("wb") as log:
        command = [str(SERVER), "--port", str(port), "--slots", "1"]
        with subprocess.Popen(command, stdout=log, stderr=log) as server:
            wait_until(lambda: answers(f"http://127.0.0.1:{port}/health") or server.poll())
            yield f"http://127.0.0.1:{port}/v1/chat/completions"
            server.terminate()


def by_plain_lm_eval(url: str, folder: Path, task: str, out: Path) -> dict[str, float]:
    arguments = {
        "model": MODEL,
        "base_url": url,
        "num_concurrent": 1,
        "tokenizer_backend": "none",
        "tokenized_requests": False,
    }
    command = [
        *(str(Path(sys.executable).with_name("lm_eval")), "--model", "local-chat-completions"),
        *("--tasks", task, "--include_path", str(folder), "--apply_chat_template"),
        *("--model_args", json.dumps(arguments), "--output_path", str(out)),
        *(["--limit", "20"] if folder == BENCHMARK else []),
    ]
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "PYTHONPATH": str(QUICK_LM_EVAL)}
    subprocess.run(command, env={**os.environ, **offline, "OPENAI_API_KEY": "none"}, check=True)
    (results,) = out.rglob("results_*.json")
    values: dict[str, Any] = json.loads(results.read_text())["results"][task]
    return {
        name: value
        for name, value in values.items()
        if "," in name and "_stderr" not in name and isinstance(value, float)
    }


@pytest.mark.parametrize(("folder", "task"), FOLDERS)
def test_scores_are_those_of_plain_lm_eval_to_the_last_digit(
    folder: Path, task: str, url: str, tmp_path: Path
) -> None:
    plain = by_plain_lm_eval(url, folder, task, tmp_path / "plain")
    own = {"kind": "lm_eval", "include_path": str(folder), "tasks": {task: {}}}
    params = {"parallelism": 1, **({"limit_samples": 20} if folder == BENCHMARK else {})}
    project = Project(tmp_path / "pipeline", url)
    project.write(
        tasks=[{"name": f"own.{task}"}],
        params=params,
        harnesses={"own": own},
        target={"api_endpoint": {"url": url, "model_id": MODEL}},
    )

    project.snakemake().check()

    found = {
        f"{row['metric']},{'none' if row['score'] == row['metric'] else row['score']}": row["value"]
        for row in project.rows()
    }
    assert plain and found == plain
