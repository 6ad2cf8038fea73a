"""Run configs under the core's own code: run by an interpreter that has `nemo-evaluator` 0.2.8 and
the launcher.

Reads a JSON object from its standard input: for each name a harness and a run config. Prints, for
each that is refused by an image with that harness, why. The harnesses' definitions are those of the
launcher's packaged list of tasks.
"""

from __future__ import annotations

import copy
import functools
import json
import sys
import tempfile
from importlib.resources import files
from pathlib import Path
from typing import Any
from unittest import mock

import yaml


def main() -> None:
    with tempfile.TemporaryDirectory() as folder:
        write_definitions(Path(folder) / "core_evals")
        sys.path.insert(0, folder)
        from nemo_evaluator.core import input as core

        # Read once, and by the quick loader: it would read all of them for each run config.
        read = functools.partial(yaml.load, Loader=yaml.CSafeLoader)
        with mock.patch("yaml.safe_load", read):
            known = core.get_available_evaluations()
        refused = {}
        for name, (harness, run_config) in json.load(sys.stdin).items():
            of_image = ({harness: known[0][harness]}, {harness: known[1][harness]})
            core.get_available_evaluations = functools.partial(
                copy.deepcopy, (*of_image, known[0][harness])
            )
            try:
                core.validate_configuration(run_config)
            except Exception as error:  # whatever it is, the image would end with it
                refused[name] = f"{type(error).__name__}: {error}"
    json.dump(refused, sys.stdout)


def write_definitions(folder: Path) -> None:
    """A package with a `framework.yml` for each harness, as images have them."""
    resources = files("nemo_evaluator_launcher") / "resources"
    listed = yaml.load(
        (resources / "all_tasks_irs.yaml").read_text(encoding="utf-8"), Loader=yaml.CSafeLoader
    )
    harnesses: dict[str, list[dict[str, Any]]] = {}
    for task in listed["tasks"]:
        harnesses.setdefault(task["harness"], []).append(task)
    for number, (name, tasks) in enumerate(harnesses.items()):
        package = folder / f"harness_{number}"
        package.mkdir(parents=True)
        (package / "__init__.py").touch()
        defaults = {
            "command": tasks[0]["defaults"]["command"],
            "config": {"params": {"extra": {}}},
            "target": {},
        }
        content = {
            "framework": {"name": name, "pkg_name": f"harness_{number}"},
            "defaults": {**defaults, "target": {"api_endpoint": {}}},
            "evaluations": [
                {"name": task["name"], "description": "", "defaults": task["defaults"]}
                for task in tasks
            ],
        }
        (package / "framework.yml").write_text(json.dumps(content, default=str))


if __name__ == "__main__":
    main()
