"""Projects whose benchmarks take a blink: a `command` harness of one's own beside plain lm-eval.

The quiz asks the endpoint for real, and starts in 0.1 s where lm-eval needs 3 s.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import yaml

from rig.pipeline import HARNESSES, QUICK_LM_EVAL, ROOT, Finished, Project
from rig.warm_snakemake import SNAKEMAKE

QUIZ_FILES = Path(__file__).with_name("quiz")
COMMAND = (
    "python3 {files}/ask.py --url {url} --model {model_id} --results {results}"
    " --limit {limit_samples} --key-name {api_key_name} --seed {param.seed}"
    " --exit-code {param.exit_code} --fails-while {param.fails_while}"
)
OWN: dict[str, Any] = {
    "own": {
        "kind": "command",
        "command": COMMAND,
        "files": str(QUIZ_FILES),
        "tasks": {"quiz": {"endpoint_type": "chat", "samples": 10}, "riddle": None},
    },
}
PARAMS = {"limit_samples": 8, "parallelism": 4}


def quiz(name: str = "own.quiz", **extra: Any) -> dict[str, Any]:
    """An entry of evaluation.tasks; another `seed` asks other questions."""
    return {"name": name, "nemo_evaluator_config": {"config": {"params": {"extra": extra}}}}


def write(
    project: Project,
    tasks: list[dict[str, Any]],
    params: dict[str, Any] | None = None,
    **sections: Any,
) -> dict[str, Any]:
    """Writes the project's config with the quiz's harness beside the rig's."""
    return project.write(
        tasks,
        PARAMS if params is None else params,
        **{"harnesses": {**HARNESSES, **OWN}, **sections},
    )


def edit(project: Project, change: Callable[[dict[str, Any]], None]) -> None:
    """Changes the config in place."""
    content = yaml.safe_load(project.config.read_text())
    change(content)
    project.config.write_text(yaml.safe_dump(content, sort_keys=False))


def params_of(entry: Mapping[str, Any]) -> dict[str, Any]:
    """The parameters of an entry, to be changed in place."""
    params: dict[str, Any] = entry["nemo_evaluator_config"]["config"]["params"]
    return params


def target(project: Project, name: str, *arguments: str, config: bool = True) -> Finished:
    """A utility target, with the project's config or without any."""
    return project.run_warm(*target_command(project, name, *arguments, config=config))


def target_command(project: Project, name: str, *arguments: str, config: bool = True) -> list[str]:
    given = ["--configfile", str(project.config)] if config else []
    return [
        SNAKEMAKE,
        "-s",
        str(project.snakefile),
        name,
        *given,
        *arguments,
    ]


def contents(folder: Path, without: tuple[str, ...] = ()) -> dict[str, tuple[int, str]]:
    """Every file and link below a folder with its size and when it was written."""
    found = {}
    for path in sorted(folder.rglob("*")):
        relative = path.relative_to(folder)
        if relative.parts[0] in without or (path.is_dir() and not path.is_symlink()):
            continue
        state = path.lstat()
        text = str(path.readlink()) if path.is_symlink() else str(state.st_mtime_ns)
        found[str(relative)] = (state.st_size, text)
    return found


def clone(folder: Path) -> Path:
    """Another clone of the pipeline: its Snakefile. PYTHONPATH must name its `src` (clone_path)."""
    tracked = subprocess.run(
        [
            "git",
            "-C",
            str(ROOT),
            "ls-files",
            "-z",
            "--",
            "Snakefile",
            "rules",
            "profiles",
            "config",
            "scripts",
            "src",
        ],
        capture_output=True,
        text=True,
        check=True,
    ).stdout.split("\0")
    for name in filter(None, tracked):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(ROOT / name, folder / name)
    return folder / "Snakefile"


def clone_path(snakefile: Path) -> str:
    return os.pathsep.join([str(QUICK_LM_EVAL), str(snakefile.parent / "src")])


def row(project: Project, task: str) -> dict[str, Any]:
    """The only row of a task in results.json."""
    (found,) = [row for row in project.rows() if row["task"] == task]
    return found


def attempts(project: Project) -> dict[str, int]:
    """How often each task of the run was tried."""
    return {
        path.parent.name: len(json.loads(path.read_text())["attempts"])
        for path in sorted(project.run_folder.glob("*/status.json"))
    }
