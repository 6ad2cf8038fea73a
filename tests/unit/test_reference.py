"""What is generated from the config model is what lies in the repository."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import jsonschema
import pytest
import yaml
from referencing import Registry, Resource

from snakeval.reference import schema as reference

ROOT = Path(__file__).resolve().parents[2]
NOT_OURS = (
    "custom_executor",
    "own_executor",
    "benchmarks",
    "lm_eval_tasks",
    "defaults",
    "facts",
    "profiles",
)
"""Folders with task files of lm-eval, or with what a command writes; settings of Snakemake."""

EDITED = [
    path
    for path in sorted((ROOT / "config").rglob("*.yaml"))
    if not set(NOT_OURS) & set(path.relative_to(ROOT).parts)
]
HINT = "run `make reference` and commit what it writes"


def validator(path: Path) -> jsonschema.Draft202012Validator:
    """Validates as an editor does: references start at the schema's file."""

    def retrieve(uri: str) -> Resource[Any]:
        return Resource.from_contents(json.loads(Path(uri.removeprefix("file://")).read_text()))

    whole = Registry(retrieve=retrieve)  # type: ignore[call-arg]
    return jsonschema.Draft202012Validator({"$ref": path.as_uri()}, registry=whole)


def test_schema_is_current() -> None:
    assert (ROOT / reference.SCHEMA).read_text() == reference.schema(), HINT


def test_configuration_page_is_current() -> None:
    text = (ROOT / reference.PAGE).read_text()
    assert reference.BEGIN in text
    assert text == reference.page(text), HINT


@pytest.mark.parametrize("path", reference.PARTS, ids=str)
def test_schemas_of_parts_are_current(path: Path) -> None:
    assert (ROOT / path).read_text() == reference.part(path), HINT


@pytest.mark.parametrize("path", EDITED, ids=lambda path: str(path.relative_to(ROOT / "config")))
def test_every_yaml_that_a_person_edits_names_its_schema_and_fits_it(path: Path) -> None:
    first = path.read_text().splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    named = (path.parent / first.partition("$schema=")[2]).resolve()
    assert named.relative_to(ROOT) in (reference.SCHEMA, *reference.PARTS)

    problems = validator(named).iter_errors(yaml.safe_load(path.read_text()))

    assert [problem.message for problem in problems] == []


def test_schema_of_a_part_refuses_a_misspelt_key() -> None:
    group = {"type": "vllm", "imag": "x"}
    assert not validator(ROOT / "config/deployment/schema.json").is_valid(group)
    assert validator(ROOT / "config/deployment/schema.json").is_valid({"type": "vllm"})
    assert not validator(ROOT / "config/catalogue/schema.json").is_valid({"harness": {}})


def test_schema_lets_interpolations_stand_for_numbers_and_refuses_misspelt_keys() -> None:
    schema = json.loads(reference.schema())
    good = {
        "execution": {"type": "slurm", "num_nodes": "${n}", "account": "???"},
        "evaluation": {"tasks": ["ifeval"]},
    }
    jsonschema.validate(good, schema)
    jsonschema.validate({"deployment": "demo", "evaluation": {"tasks": ["ifeval"]}}, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"evaluation": {"tasks": ["ifeval"], "taks": 1}}, schema)
