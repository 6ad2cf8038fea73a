"""Every executor behind one interface: what is special to one stands in its folder alone."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterator
from importlib import import_module
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from snakeval.executors import registry
from snakeval.export.items import Item
from snakeval.run_folder.layout import ServerPaths, TaskPaths

ROOT = Path(__file__).parents[2]
PACKAGE = ROOT / "src" / "snakeval"
NAMES = re.compile("slurm|lepton|kubernetes", re.IGNORECASE)

IN_JOBS = "runs inside jobs, where an executor is known by the variables that it sets"
ON_DISK = "names that stand in existing run folders"
WORDS = "the launcher's words, and ours beside them, are the user's; a section says what they mean"
MAY_NAME_THEM = {
    "executors/*": "each in its folder",
    "config/execution/*": "a section for each executor",
    "config/lepton.py": "what several sections of the config have in common",
    "config/deployment.py": f"`lepton_config`: {WORDS}",
    "config/model.py": f"a task's resources: {WORDS}",
    "config/overrides.py": f"`controller=job` is described: {WORDS}",
    "config/contradictions.py": "SLURM_* is not the user's to set in a container",
    "deploy/lepton_endpoint.py": ON_DISK,
    "render/lib.py": f"slurm_*.py in lib/: {ON_DISK}",
    "runtime/on_nodes.py": "pyxis is a plugin of Slurm, and says so where it is missing",
    "job/attempt.py": IN_JOBS,
    "job/need.py": IN_JOBS,
    "job/server.py": IN_JOBS,
    "job/slurm_calls.py": IN_JOBS,
    "job/slurm_job.py": IN_JOBS,
    "job/supervise.py": IN_JOBS,
    "job/keeper/batch.py": IN_JOBS,
    "job/keeper/hold.py": IN_JOBS,
    "job/keeper/main.py": IN_JOBS,
    "job/keeper/pyxis.py": IN_JOBS,
    "job/server_container.sh": IN_JOBS,
    "job/server_nodes.sh": IN_JOBS,
    "job/server_process.sh": IN_JOBS,
}
"""Files that may name an executor in code, each with the reason. The shorter the better."""


def sources() -> list[Path]:
    """What is code: the package, the scripts, the rules."""
    found = [
        *PACKAGE.rglob("*.py"),
        *PACKAGE.rglob("*.sh"),
        *(ROOT / "scripts").iterdir(),
        *(ROOT / "rules").glob("*.smk"),
        ROOT / "Snakefile",
    ]
    return [path for path in found if path.is_file()]


def words_of(path: Path) -> Iterator[str]:
    """Names, imports and texts of a Python file, without docstrings and comments; of another file
    the lines that are no comments."""
    text = path.read_text(encoding="utf-8")
    if path.suffix != ".py":
        yield from (line for line in text.splitlines() if not line.lstrip().startswith("#"))
        return
    tree = ast.parse(text)
    said = {id(node.value) for node in ast.walk(tree) if isinstance(node, ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in said:
            yield node.value
        for _, value in ast.iter_fields(node):
            if isinstance(value, str) and not isinstance(node, ast.Constant):
                yield value


def test_no_file_outside_an_executors_folder_names_one() -> None:
    allowed = {path for name in MAY_NAME_THEM for path in _matching(name)}
    naming = {path for path in sources() if any(map(NAMES.search, words_of(path)))}
    assert {str(path.relative_to(ROOT)) for path in naming - allowed} == set()


def test_every_exception_is_one() -> None:
    for name in MAY_NAME_THEM:
        assert any(NAMES.search(word) for path in _matching(name) for word in words_of(path)), (
            f"{name} names no executor any more: take it out of the list"
        )


def _matching(name: str) -> list[Path]:
    if name.endswith("*"):
        return [path for path in (PACKAGE / name).parent.rglob("*") if path.is_file()]
    return [PACKAGE / name]


@pytest.mark.parametrize("name", registry.BUILT_IN)
def test_every_executor_has_the_same_files(name: str) -> None:
    said = (PACKAGE / "executors" / "__init__.py").read_text(encoding="utf-8")
    common = re.findall(r"^(\w+)  +\S", said, re.MULTILINE)
    folder = PACKAGE / "executors" / name
    own = {path.stem for path in folder.glob("*.py")} - set(common)
    introduced = (
        (folder / "__init__.py").read_text(encoding="utf-8").partition("from __future__")[0]
    )
    assert all(f"`{each}`" in introduced for each in own), own
    made = import_module(f"snakeval.executors.{name}").Executor().name
    assert made.startswith(name)
    assert registry.executor(made).name == made


@pytest.mark.parametrize(
    ("plugin", "elsewhere"), [("local", False), ("cluster-generic", True), ("slurm", True)]
)
def test_any_executor_plugin_says_itself_where_its_jobs_run(plugin: str, elsewhere: bool) -> None:
    assert registry.executor(plugin).elsewhere is elsewhere


def test_a_server_of_an_executor_that_is_not_installed_is_nobodys_knowledge(
    tmp_path: Path,
) -> None:
    paths = ServerPaths(tmp_path)
    registry.note_host(paths, "somecloud")
    assert "'somecloud' is not installed" in registry.servers_at(paths).where(paths)
    assert not registry.servers_at(paths).take_down(paths)


@pytest.mark.parametrize(
    ("attempt", "job", "said"),
    [
        ({"job": "x-1", "executor": "lepton"}, {}, "lepton"),
        ({"job": None, "executor": "local"}, {"job": "7"}, "local"),  # by hand, later
        # of version 0.1, which did not say it
        ({"job": "x-1"}, {"job": "x-1", "on": "lepton"}, "lepton"),
        ({"job": "7"}, {"job": "7"}, "slurm"),
        ({"job": None}, {}, "local"),
        ({}, {"job": "x-1", "on": "lepton"}, "local"),
    ],
)
def test_an_export_says_which_executor_has_made_the_result(
    attempt: dict[str, Any], job: dict[str, Any], said: str, tmp_path: Path
) -> None:
    task: Any = SimpleNamespace(paths=TaskPaths(tmp_path))
    task.paths.job.write_text(json.dumps(job))
    assert Item(Any, task, (), attempt, Any).executor == said  # type: ignore[arg-type]
