"""Variables for a harness are never variables of our scripts; no text breaks out of a script."""

import json
import os
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from rig.keeper import a_job
from rig.waiting import PATIENCE
from snakeval.config.load import load
from snakeval.config.source import host, written
from snakeval.errors import InputError
from snakeval.executors.slurm.scripts import batch_script
from snakeval.job import launch
from snakeval.plan.make import make_run
from snakeval.plan.run import Run, Task
from snakeval.render import bash
from snakeval.render.lib import write_library
from snakeval.render.server import render as render_server
from snakeval.render.task import RUNTIMES, render
from snakeval.start.begin import spec_text

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
ENVIRONMENT = """env -0 > {results}/env; printf '{"scores": {"a": 1}}' > {results}/results.json"""


def planned(folder: Path, **deployment: Any) -> Run:
    own = {
        "kind": "command",
        "command": ENVIRONMENT,
        "tasks": {"quiz": {"endpoint_type": "chat"}},
    }
    endpoint = {"url": "http://nobody.invalid/v1/chat/completions", "model_id": "m"}
    content = {
        "execution": {"output_dir": str(folder / "out")},
        "harnesses": {"own": own},
        "evaluation": {"tasks": ["own.quiz"]},
        **(deployment or {"target": {"api_endpoint": endpoint}}),
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(content))
    return make_run(load([folder / "my.yaml"], {}), CATALOGUE)


def started(task: Task, environment: Mapping[str, str]) -> subprocess.CompletedProcess[str]:
    """The task's run.sh, by hand, without a container."""
    task.paths.dir.mkdir(parents=True, exist_ok=True)
    write_library(task.paths.dir.parent / "lib")
    task.paths.spec.write_text(spec_text(task))
    task.paths.script.write_text(render(task, "process", None), encoding="utf-8")
    return subprocess.run(
        ["bash", str(task.paths.script)],
        cwd=task.paths.dir,
        env={**os.environ, "HTTP_PROXY": "", **environment},
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        check=False,
    )


def seen(task: Task) -> dict[str, str]:
    """The harness's variables."""
    text = (task.paths.work(task.digest) / "env").read_bytes().decode(errors="surrogateescape")
    return dict(entry.split("=", 1) for entry in text.split("\0") if entry)


NAMES = [
    "scratch", "code", "task", "digest", "work", "record", "lease", "lib", "run", "run_dir",
    "here", "python", "name", "number", "log", "mine", "image", "runtime", "files", "cache",
    "stale", "passed", "passed_names", "secret_names", "held", "entry", "words", "is_last",
    "SNAKEVAL_PYTHON", "SNAKEVAL_SILENCE", "SNAKEVAL_TAKEN", "SNAKEVAL_LEAD", "RANDOM",
    "SECONDS", "CDPATH", "GLOBIGNORE", "BASH_ENV", "ENV", "PS4", "HOME", "TMPDIR",
    "PROMPT_COMMAND", "PYTHONSAFEPATH", "PYTHONSTARTUP", "PYTHONPATH", "http_proxy",
]  # fmt: skip


def test_a_harness_may_have_a_variable_of_any_name_and_the_script_has_none_of_them(
    tmp_path: Path,
) -> None:
    victim = tmp_path / "victim"
    victim.mkdir()
    (victim / "file").write_text("mine")
    (victim / "sourced").write_text(f"touch {tmp_path}/called\n")
    run = planned(tmp_path)
    values = {name: str(victim) for name in NAMES}
    values |= {"BASH_ENV": str(victim / "sourced"), "ENV": str(victim / "sourced")}
    sources = {name: written(value) for name, value in values.items()}
    task = replace(run.tasks[0], env_vars={**sources, "FROM_HERE": host("task")})

    ended = started(task, {"task": "the caller's", "code": "7"})

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert (victim / "file").read_text() == "mine"
    assert not (tmp_path / "called").exists()
    found = seen(task)
    # what a shell makes of its own variables is the shell's
    made_by_the_shell = {"RANDOM", "SECONDS", "PS4"}
    assert {name: found.get(name) for name in values if name not in made_by_the_shell} == {
        name: value for name, value in values.items() if name not in made_by_the_shell
    }
    assert found["FROM_HERE"] == "the caller's"
    assert not [name for name in found if name.startswith(("SNAKEVAL_VALUE", "SNAKEVAL_KEY"))]


def test_a_harness_gets_the_callers_variables_as_they_are(tmp_path: Path) -> None:
    task = planned(tmp_path).tasks[0]

    assert started(task, {"image": "mine", "lib": "of mine", "code": "7"}).returncode == 0

    found = seen(task)
    assert (found["image"], found["lib"], found["code"]) == ("mine", "of mine", "7")


def test_a_script_that_a_script_starts_hands_on_no_value_of_the_other() -> None:
    other = {b"SNAKEVAL_VALUE_0": b"sk-1", b"SNAKEVAL_KEY": b"sk-2", b"MODE": b"fast"}
    assert launch.environment(other, {}, [], []) == {b"MODE": b"fast"}


@pytest.mark.parametrize("name", ["A B", "A\nB", "1A", "A=B", "", "A-B", "$(touch x)"])
def test_what_cannot_be_a_variables_name_is_refused(tmp_path: Path, name: str) -> None:
    task = replace(planned(tmp_path).tasks[0], env_vars={name: written("x")})

    with pytest.raises(InputError, match="cannot be a variable's name"):
        render(task, "process", None)


def test_a_lone_name_with_a_newline_is_no_end_of_a_comment_or_of_an_sbatch_line() -> None:
    assert bash.comment("m\ntouch x\r\x1b[2J") == "# m?touch x??[2J"
    with pytest.raises(InputError, match="control character"):
        bash.sbatch(["--comment", "m\ntouch x"])
    with pytest.raises(InputError, match="NUL"):
        bash.word("a\0b")


# --- every script, from hostile strings ----------------------------------------------------------

BREAKERS = [
    "$(touch called)", "`touch called`", "'; touch called; '", '"; touch called; "',
    "\ntouch called\n", "\rtouch called\r", "\nEND\ntouch called\n", "END", "EOF", "\\", "'", "\\'",
    "#", "!", "$IFS", "${x:=y}", "*", "~", "-rf", "\x1b]0;x\x07", "\u2028", "@URL@", "|", "&", "%s",
]  # fmt: skip
TEXT = st.lists(
    st.one_of(st.sampled_from(BREAKERS), st.text(st.characters(blacklist_categories=["Cs"]))),
    min_size=1,
    max_size=4,
).map("".join)
SLOWLY = {"deadline": None, "suppress_health_check": list(HealthCheck), "database": None}


def hostile_task(task: Task, text: str) -> Task:
    """A task that has the text wherever a text can be."""
    return replace(
        task,
        endpoint=replace(task.endpoint, model_id=text),
        params={"limit_samples": 3, "extra": {"word": text}},
        env_vars={"TOLD": written(text)},
        pre_cmd=f": {shlex.quote(text)}",
        hf_home="no",
    )


def is_bash(script: str, folder: Path) -> None:
    path = folder / "script.sh"
    path.write_text(script, encoding="utf-8")
    subprocess.run(["bash", "-n", path], check=True, capture_output=True)


@settings(max_examples=25, **SLOWLY)
@example(text="\nEND\ntouch called\n")
@example(text="END")
@given(text=TEXT)
def test_every_script_is_bash_whatever_text_is_in_it(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("rendered")
    run = planned(
        folder, deployment={"type": "vllm", "served_model_name": "m", "hf_model_handle": "o/m"}
    )
    task, server = hostile_task(run.tasks[0], text), run.servers["model"]
    server = replace(server, model=text, command=f": {shlex.quote(text)}", env_vars=task.env_vars)
    if "\0" in text:
        with pytest.raises(InputError, match="NUL"):
            render(task, "docker", text)
        return

    for runtime in RUNTIMES:
        is_bash(render(task, runtime, text), folder)
    for runtime in ("docker", "process", "apptainer", "pyxis"):
        is_bash(render_server(server, runtime, text), folder)
    is_bash(batch_script(run, task, [["--job-name", "quiz"]], text), folder)
    # its settings are what was given, and bash passes over them
    job = a_job(folder, render(task, "docker", text))
    assert (job.settings.endpoint_model, job.image) == (text, text)
    assert job.variables.own["TOLD"] == text
    before = render(task, "docker", text).partition("# From here on the script is the same")[0]
    subprocess.run(["bash", "-c", before], cwd=folder, capture_output=True, check=True)
    assert not (folder / "called").exists()


@settings(max_examples=6, **SLOWLY)
@example(text="\nEND\ntouch called\n$(touch called)`touch called`'; touch called; '")
@given(text=TEXT.filter(lambda text: "\0" not in text))
def test_a_run_of_hostile_strings_runs_the_harness_and_nothing_else(
    text: str, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("run")
    task = hostile_task(planned(folder).tasks[0], text)

    ended = started(task, {})

    assert ended.returncode == 0, ended.stdout + ended.stderr
    assert not list(folder.rglob("called"))
    found = seen(task)
    assert (found["TOLD"], found["SNAKEVAL_MODEL_ID"]) == (text, text)


def test_a_reference_is_replaced_exactly_whatever_the_url_holds(tmp_path: Path) -> None:
    write_library(tmp_path / "lib")
    url = r"http://h/a|b&c\1\\n?x='\"$(touch called)`"
    reference = "auxiliary_deployments.judge.chat_url"
    (tmp_path / "command.sh").write_text(f"ask {reference} twice: {reference}")

    subprocess.run(
        [sys.executable, tmp_path / "lib" / "attempt.py", "fill", tmp_path, reference],
        input=url, text=True, check=True,
    )  # fmt: skip

    assert (tmp_path / "command.sh").read_text() == f"ask {url} twice: {url}"


def test_the_check_of_a_run_reads_what_was_asked_for_from_the_record(tmp_path: Path) -> None:
    task = planned(tmp_path).tasks[0]

    assert started(task, {}).returncode == 0

    ours = task.paths.record(task.digest)
    assert json.loads((ours / "complete").read_text())["files"].keys() == {"results.json"}
    assert not (task.paths.work(task.digest) / "snakeval").exists()
