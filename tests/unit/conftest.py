"""What several unit tests begin with."""

from pathlib import Path

import pytest
import yaml

from snakeval.config.load import load
from snakeval.plan.make import make_run
from snakeval.plan.run import Run

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"


@pytest.fixture
def run(tmp_path: Path) -> Run:
    """A run of two quizzes that declare their samples, and nothing done yet."""
    own = {
        "kind": "command",
        "command": "x",
        "samples": "samples.jsonl",
        "tasks": {"quiz": None, "riddle": None},
    }
    content = {
        "execution": {"output_dir": str(tmp_path / "out")},
        "target": {"api_endpoint": {"url": "http://h/v1/chat/completions", "model_id": "m"}},
        "harnesses": {"own": own},
        "evaluation": {"tasks": ["own.quiz", "own.riddle"]},
    }
    (tmp_path / "my.yaml").write_text(yaml.safe_dump(content))
    run = make_run(load([tmp_path / "my.yaml"], {}), CATALOGUE)
    run.paths.dir.mkdir(parents=True)
    return run
