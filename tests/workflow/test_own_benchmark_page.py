"""docs/own-benchmark.md: its files and commands, exactly as printed, do what the page says."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any, NamedTuple

import pytest
import yaml
from quiz_project import clone, clone_path

from rig.pipeline import ROOT, Finished, Project
from snakeval.plan.make import plan

PAGE = (ROOT / "docs" / "own-benchmark.md").read_text()
EXAMPLE = ROOT / "config" / "examples" / "own_benchmark" / "own_benchmark.yaml"


class Block(NamedTuple):
    """A block of code: `file` where the line before it names one."""

    file: str
    language: str
    text: str


BLOCKS = [
    Block(file or "", language, text)
    for file, language, text in re.findall(
        r"(?:^`(\S+)`:\n\n)?^```(\w*)\n(.*?)^```$", PAGE, re.MULTILINE | re.DOTALL
    )
]
COMMANDS = [b.text for b in BLOCKS if not b.language and not b.text.startswith("┏")]
TABLES = [b.text for b in BLOCKS if b.text.startswith("┏")]


@pytest.fixture
def reader(tmp_path: Path) -> Project:
    """A fresh clone, in which somebody follows the page."""
    snakefile = clone(tmp_path / "clone")
    return Project(tmp_path / "clone", "", {"PYTHONPATH": clone_path(snakefile)})


def typed(reader: Project, commands: str) -> Finished:
    return reader.run("bash", "-euo", "pipefail", "-c", commands).check()


def test_complete_example_does_what_the_page_says(reader: Project) -> None:
    # given its files
    files = [block for block in BLOCKS if block.file]
    assert len(files) == 5
    for block in files:
        path = reader.folder / block.file
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(block.text)
    first, later = COMMANDS[:2]

    # when its commands are typed, then the table is the page's
    ended = typed(reader, first)
    for line in TABLES[0].splitlines():
        assert line.rstrip() in ended.output
    again, edit, look = later.splitlines()
    assert "Nothing to be done" in typed(reader, again).output
    typed(reader, edit)
    planned = typed(reader, look)
    assert planned.planned == 1
    assert "to be evaluated: sums\n" in planned.output


def test_larger_example_writes_the_scores_that_the_page_shows(reader: Project) -> None:
    ended = typed(reader, COMMANDS[2])

    (shown,) = [json.loads(b.text) for b in BLOCKS if b.language == "json" and "expected" in b.text
                and "prompt" not in b.text]  # fmt: skip
    assert json.dumps(shown, indent=1) in ended.output
    assert "python3 " in ended.output


def test_parts_of_configs_on_the_page_are_those_of_the_examples(tmp_path: Path) -> None:
    example: dict[str, Any] = yaml.safe_load(EXAMPLE.read_text())
    parts = [yaml.safe_load(b.text) for b in BLOCKS if b.language == "yaml" and not b.file]

    harnesses = {name: body for part in parts for name, body in part.get("harnesses", {}).items()}
    assert harnesses == example["harnesses"]
    (image,) = [part for part in parts if "evaluation" in part]
    target = {"api_endpoint": {"url": "http://localhost/v1/chat/completions", "model_id": "m"}}
    (tmp_path / "my.yaml").write_text(yaml.safe_dump({**image, "target": target}))
    (run,) = plan([tmp_path / "my.yaml"], {}, ROOT / "config" / "catalogue")
    (task,) = run.tasks
    assert task.image == "my-registry/my-eval:1.0"
