"""Configs in the shapes that people bring from the launcher: `configs.yaml`, each with what is to
become of it.

refused  a part of what it is refused for
expect   values at dotted keys of what would be run (`ours.rendered`)
told     parts of what is said about it; without any, nothing is
env      variables of the machine
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import yaml

from launcher.ours import planned, rendered
from snakeval.errors import InputError
from snakeval.harness import hints

CASES: list[dict[str, Any]] = yaml.safe_load(Path(__file__).with_name("configs.yaml").read_text())
ABSENT = "absent"
"""What is expected at a key that must not be there."""


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path / "home"))


@pytest.mark.parametrize("case", CASES, ids=lambda case: case["name"])
def test_a_config_in_the_launchers_shape_becomes(
    case: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in case.get("env", {}).items():
        monkeypatch.setenv(name, value)
    file = tmp_path / "my.yaml"
    file.write_text(case["file"])
    if refused := case.get("refused"):
        with pytest.raises(InputError) as told:
            planned(file)
        assert refused in str(told.value)
        return
    run = planned(file)
    shown = rendered(run)
    found = {key: at(shown, key) for key in case.get("expect", {})}
    assert found == case.get("expect", {})
    said = "\n".join(str(each) for task in run.tasks for each in hints(task))
    said += "\n".join(map(str, run.warnings))
    for part in case.get("told", []):
        assert part in said
    if not case.get("told"):
        assert said == ""


def at(shown: Any, key: str) -> Any:
    """The value at a dotted key; numbers are places in a list."""
    for part in key.split("."):
        try:
            shown = shown[int(part)] if isinstance(shown, list) else shown[part]
        except (KeyError, IndexError, TypeError):
            return ABSENT
    return shown


def test_there_are_at_least_forty() -> None:
    assert len(CASES) >= 40
    assert len({case["name"] for case in CASES}) == len(CASES)
