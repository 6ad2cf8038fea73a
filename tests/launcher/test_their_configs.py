"""The launcher's own configs, field by field beside what launcher 0.2.6 renders of them.

`SNAKEVAL_LAUNCHER_CONFIGS` names a folder with them, such as a clone of its public repository; none
of them is in this repository. Our own configs in their shapes are compared in the same way.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
import yaml

from launcher.compare import Found, compared
from launcher.corpus import configs_in
from launcher.test_our_configs import CASES
from rig.docker_engine import RigUnavailable
from rig.unavailable import unavailable

VARIABLE = "SNAKEVAL_LAUNCHER_CONFIGS"

REFUSED_BY_THE_CORE = ("unknown key 'extra'",)
"""What the launcher takes and the image then refuses: told before anything starts."""


def comparison(texts: dict[str, str]) -> Found:
    try:
        return compared(texts)
    except RigUnavailable as reason:
        unavailable(reason)


def test_their_configs_become_what_they_become_there() -> None:
    folder = os.environ.get(VARIABLE)
    if not folder:
        pytest.skip(f"{VARIABLE} names no folder with the launcher's configs")
    texts = {each.name: each.text for each in configs_in(Path(folder))}
    assert texts, f"{folder} has no whole config"

    found = comparison(texts)

    assert found.differences == []
    alone = found.only_theirs.values()
    assert [why for why in alone if not any(part in why for part in REFUSED_BY_THE_CORE)] == []


def as_the_launcher_takes_it(text: str) -> str:
    """The config without names alone among its tasks, which are ours."""
    content = yaml.safe_load(text)
    tasks = content["evaluation"]["tasks"]
    content["evaluation"]["tasks"] = [
        {"name": each} if isinstance(each, str) else each for each in tasks
    ]
    return yaml.safe_dump(content, sort_keys=False)


@pytest.mark.long
def test_our_configs_in_their_shapes_become_what_they_become_there(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("NEMO_EVALUATOR_TRUST_UNLISTED_TASKS", "1")
    taken = [case for case in CASES if "refused" not in case]

    found = comparison({case["name"]: as_the_launcher_takes_it(case["file"]) for case in taken})

    assert found.differences == []
    assert found.only_theirs == {}
