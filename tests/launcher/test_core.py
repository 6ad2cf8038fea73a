"""Every run config that we render is one that NVIDIA's core takes: its `validate_configuration`,
in an environment of its own (`rig.launcher_environment`)."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from launcher.ours import planned, rendered
from launcher.test_our_configs import CASES
from rig.docker_engine import RigUnavailable
from rig.launcher_environment import launcher_python
from rig.unavailable import unavailable

CORE = Path(__file__).with_name("core.py")
INTERCEPTORS = CASES[0]["name"]


@pytest.fixture(scope="module")
def python() -> Path:
    try:
        return launcher_python()
    except RigUnavailable as reason:
        unavailable(reason)


def refused(python: Path, run_configs: dict[str, Any]) -> dict[str, str]:
    ended = subprocess.run(
        [python, "-B", CORE], input=json.dumps(run_configs), capture_output=True, text=True
    )
    assert ended.returncode == 0, ended.stderr
    found: dict[str, str] = json.loads(ended.stdout)
    return found


def run_configs(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """Of all the cases, but those whose benchmark is an image's of its own."""
    found = {}
    monkeypatch.chdir(folder)
    for case in CASES:
        if "refused" in case:
            continue
        for name, value in case.get("env", {}).items():
            monkeypatch.setenv(name, value)
        file = folder / "my.yaml"
        file.write_text(case["file"])
        for task in rendered(planned(file))["tasks"]:
            if not task["name"].startswith(("mine.", "custom.")):
                config = task["run_config"]
                config["target"]["api_endpoint"].setdefault("url", "http://h.example/v1/x")
                harness = task["name"].partition(".")[0]
                found[f"{case['name']}: {task['name']}"] = (harness, config)
    return found


def test_the_core_takes_every_run_config(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = run_configs(tmp_path, monkeypatch)
    assert len(given) >= 40

    assert refused(python, given) == {}


def test_the_core_refuses_an_older_key_beside_a_list_of_interceptors(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    given = run_configs(tmp_path, monkeypatch)
    [name] = [name for name in given if name.startswith(INTERCEPTORS)]
    given[name][1]["target"]["api_endpoint"]["adapter_config"]["max_saved_requests"] = 5

    assert "Cannot use legacy" in refused(python, {name: given[name]})[name]


def test_a_start_asks_the_core_where_it_is_installed(
    python: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    shape = CASES[0]["file"]
    odd = re.sub(r"( +)interceptors:", r"\1use_caching: true\n\1interceptors:", shape)
    (tmp_path / "fine.yaml").write_text(shape)
    (tmp_path / "odd.yaml").write_text(odd)
    script = (
        "from pathlib import Path; from launcher.ours import planned; "
        "from snakeval.harness import refused; "
        "tasks = [planned(Path(name)).tasks[0] for name in ('fine.yaml', 'odd.yaml')]; "
        "print(*refused(tasks))"
    )
    core = next((python.parents[1] / "lib").glob("python*")) / "site-packages"
    paths = [str(Path(__file__).parents[1]), *filter(None, sys.path), str(core)]
    ended = subprocess.run(
        [sys.executable, "-c", script],
        env={**os.environ, "PYTHONPATH": os.pathsep.join(paths)},
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 0, ended.stderr
    assert ended.stdout.count("its image would refuse it: Cannot use legacy") == 1
    assert "odd.yaml: evaluation.tasks.0: its image" in ended.stdout
