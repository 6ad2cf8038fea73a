"""What is generated from the config model is what lies in the repository."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
import yaml

from snakeval.config import reference

ROOT = Path(__file__).resolve().parents[2]
CONFIGS = [ROOT / "config" / "config.yaml", *sorted((ROOT / "config" / "examples").rglob("*.yaml"))]
HINT = "run `make reference` and commit what it writes"


def test_schema_is_current() -> None:
    assert (ROOT / reference.SCHEMA).read_text() == reference.schema(), HINT


def test_configuration_page_is_current() -> None:
    text = (ROOT / reference.PAGE).read_text()
    assert reference.BEGIN in text
    assert text == reference.page(text), HINT


@pytest.mark.parametrize(
    "path",
    [path for path in CONFIGS if "evaluation" in path.read_text()],
    ids=lambda path: path.name,
)
def test_every_config_that_comes_along_fits_the_schema_and_names_it(path: Path) -> None:
    schema = json.loads(reference.schema())
    jsonschema.validate(yaml.safe_load(path.read_text()), schema)
    first = path.read_text().splitlines()[0]
    assert first.startswith("# yaml-language-server: $schema=")
    assert (path.parent / first.partition("$schema=")[2]).resolve() == ROOT / reference.SCHEMA


def test_schema_lets_interpolations_stand_for_numbers_and_refuses_misspelt_keys() -> None:
    schema = json.loads(reference.schema())
    good = {
        "execution": {"type": "slurm", "num_nodes": "${n}", "account": "???"},
        "evaluation": {"tasks": ["ifeval"]},
    }
    jsonschema.validate(good, schema)
    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({"evaluation": {"tasks": ["ifeval"], "taks": 1}}, schema)
