"""Makes tasks of lm-eval, which downloads their data; runs where lm-eval is, also in its image.

Standard library and lm-eval only. stdin: `[{"name": ..., "command": ...}]`, or with `run_config` in
place of the command, from which the NeMo evaluator renders it. stdout: a line per task with MARK,
the name, and what went wrong if anything.
"""

import functools
import json
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

MARK = "snakeval-prefetch"


def rendered(run_config: str) -> str:
    """The command that the NeMo evaluator would run."""
    program = shutil.which("nemo-evaluator") or shutil.which("eval-factory")
    if program is None:
        raise RuntimeError("the image has neither nemo-evaluator nor eval-factory")
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "run_config.yaml"
        file.write_text(run_config, encoding="utf-8")
        url = "http://localhost/v1/chat/completions"  # nobody is asked
        words = ["run_eval", "--run_config", str(file), "--output_dir", folder]
        shown = subprocess.run(
            [program, *words, "--model_url", url, "--dry_run"],
            capture_output=True,
            text=True,
            stdin=subprocess.DEVNULL,
            check=False,
        )
    if shown.returncode:
        raise RuntimeError((shown.stderr.strip().splitlines() or ["the dry run failed"])[-1])
    return shown.stdout.rpartition("Rendered command:")[2].strip()


def value_of(words: list[str], flag: str) -> str:
    """The value of a flag, in either notation; empty without it."""
    for index, word in enumerate(words):
        if word == flag:
            return words[index + 1]
        if word.startswith(f"{flag}="):
            return word.partition("=")[2]
    return ""


@functools.cache
def manager(include_path: str, include_defaults: bool) -> Any:
    """lm-eval's index of tasks; that of its own 14,000 files takes 10 s and more."""
    sys.path = [place for place in sys.path if place]  # files of the current folder are not meant
    from lm_eval.tasks import TaskManager  # type: ignore[import-untyped]

    if include_defaults:
        return TaskManager(include_path=include_path or None)
    return TaskManager(include_path=include_path, include_defaults=False)


def load(command: str) -> None:
    words = shlex.split(command)
    names = value_of(words, "--tasks").split(",")
    include_path = value_of(words, "--include_path")
    tasks = manager(include_path, include_defaults=not include_path)
    if not set(names) <= set(tasks.all_tasks):
        tasks = manager(include_path, include_defaults=True)
    tasks.load_task_or_group(names)


def main() -> None:
    for task in json.load(sys.stdin):
        said = ""
        try:
            load(task.get("command") or rendered(task["run_config"]))
        except BaseException as error:  # whatever a task's own code raises
            said = f"{type(error).__name__}: {error}".strip().splitlines()[0]
        print(MARK, task["name"], said, flush=True)


if __name__ == "__main__":
    main()
