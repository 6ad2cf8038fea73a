"""`run.sh` as it is rendered: readable, no text breaks out of it, no secret is in it."""

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from rig.keeper import a_job
from snakeval.config.load import load
from snakeval.errors import InputError
from snakeval.harness import recipe_for
from snakeval.job.keeper.job import Job
from snakeval.job.keeper.prepared import write_files
from snakeval.job.keeper.settings import read
from snakeval.plan.make import make_run
from snakeval.plan.pending import runtime_of
from snakeval.plan.run import Run, Task
from snakeval.render.lib import job_file
from snakeval.render.task import check_spec, render
from snakeval.start.begin import resolved_text, run_all, spec_text

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
NASTY = """it's "two" $HOME `id` $(id) \\ %s {url} END"""


def plan(folder: Path, entry: dict[str, Any], model: str = "m", **sections: Any) -> Run:
    content = {
        "execution": {"output_dir": str(folder / "out")},
        "target": {"api_endpoint": {"url": "http://h/v1/chat/completions", "model_id": model}},
        "evaluation": {"tasks": [entry]},
        **sections,
    }
    file = folder / "my.yaml"
    file.write_text(yaml.safe_dump(content))
    return make_run(load([file], {}), CATALOGUE)


def task(folder: Path, name: str, model: str = "m", **sections: Any) -> Task:
    extra = {"word": NASTY, "args": "--a 'b c'"}
    config = {"config": {"params": {"limit_samples": 3, "extra": extra}}}
    return plan(folder, {"name": name, "nemo_evaluator_config": config}, model, **sections).tasks[0]


COMMAND = {
    "kind": "command",
    "command": "printf '%s|' {model_id} {param.word} {task} {limit_samples} {param.missing}"
    " ${shell_variable}; : {results} {url}",
    "tasks": {"quiz": None},
}
NAMES = {
    "command": "own.quiz",
    "lm_eval": "lm_eval.gsm8k",
    "nemo": "lm-evaluation-harness.ifeval",
}


def bash(script: str, *arguments: str, **environment: str) -> str:
    command = ["bash", "-c", script, "bash", *arguments]
    variables = {"PATH": "/usr/bin:/bin", **environment}
    ended = subprocess.run(command, capture_output=True, text=True, check=True, env=variables)
    return ended.stdout


@pytest.mark.parametrize("kind", NAMES)
def test_script_is_valid_bash_and_its_settings_are_what_was_given(
    tmp_path: Path, kind: str
) -> None:
    planned = task(tmp_path, NAMES[kind], NASTY, harnesses={"own": COMMAND})
    script = render(planned, runtime_of(planned, "docker"), planned.image)

    (tmp_path / "run.sh").write_text(script)
    subprocess.run(["bash", "-n", str(tmp_path / "run.sh")], check=True)
    told, _ = read(tmp_path / "run.sh")

    assert (told.task, told.digest, told.endpoint_model) == (planned.name, planned.digest, NASTY)
    assert str(tmp_path / "out") not in script


def test_run_sh_without_its_settings_is_a_few_lines_of_bash(tmp_path: Path) -> None:
    """A person reads the settings, the harness's command, and one line that hands over."""
    planned = task(tmp_path, NAMES["command"], harnesses={"own": COMMAND})
    lines = render(planned, "process", None).splitlines()

    assert ": command.sh <<'END'" in lines
    assert lines[-1].startswith("exec ") and len(job_file("run.sh").splitlines()) < 25


@pytest.mark.parametrize("kind", NAMES)
def test_files_for_the_harness_are_written_as_they_are(tmp_path: Path, kind: str) -> None:
    planned = task(tmp_path, NAMES[kind], NASTY, harnesses={"own": COMMAND})
    script = render(planned, runtime_of(planned, "docker"), planned.image)
    (tmp_path / "task.yaml").write_text(spec_text(planned))

    written_by(tmp_path, script)

    spec = json.loads((tmp_path / "own" / "check_spec.json").read_text())
    assert (spec["limit_samples"], spec["model_id"]) == (3, NASTY)
    assert yaml.safe_load((tmp_path / "own" / "task.yaml").read_text())["model_id"] == NASTY
    subprocess.run(["sh", "-n", str(tmp_path / "own" / "command.sh")], check=True)
    if kind == "nemo":
        config = yaml.safe_load((tmp_path / "own" / "run_config.yaml").read_text())
        assert config["target"]["api_endpoint"]["model_id"] == NASTY
        assert config["config"]["params"]["extra"]["word"] == NASTY


def test_placeholders_are_single_words_whatever_is_in_them(tmp_path: Path) -> None:
    planned = task(tmp_path, "own.quiz", NASTY, harnesses={"own": COMMAND})
    written_by(tmp_path, render(planned, "process", None))

    said = bash(f"sh {tmp_path}/own/command.sh", SNAKEVAL_MODEL_ID=NASTY, shell_variable="mine",
                SNAKEVAL_RESULTS=str(tmp_path), SNAKEVAL_ENDPOINT_URL="u")  # fmt: skip

    assert said == f"{NASTY}|{NASTY}|quiz|3||mine|"


def written_by(folder: Path, script: str) -> None:
    """What the keeper writes for the harness, into `own`."""
    job = a_job(folder, script)
    job.record = folder / "own"
    job.record.mkdir()
    write_files(job)


def shown_in_a_container(job: Job, *names: str) -> str:
    """What a container's shell makes of the variables."""
    show = job.variables.named() + 'for name in "$@"; do printf "%s|" "${!name}"; done'
    return bash(show, *names, **{held: value for _, held, value in job.variables.held()})


def test_values_of_variables_are_in_no_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("MY_KEY", "canary-1")
    monkeypatch.setenv("MY_TOKEN", "canary-2")
    target = {"api_endpoint": {"url": "http://h/v1/chat/completions", "model_id": "m",
                               "api_key_name": "MY_KEY"}}  # fmt: skip
    run = plan(tmp_path, {"name": NAMES["lm_eval"]}, target=target,
               env_vars={"HF_TOKEN": "host:MY_TOKEN", "MODE": "lit:it's fast"})  # fmt: skip
    (planned,) = run.tasks
    script = render(planned, "process", None)

    assert "canary" not in script + spec_text(planned) + resolved_text(run)
    names = ("HF_TOKEN", "MODE", "OPENAI_API_KEY", "MY_KEY")
    monkeypatch.setenv("MY_KEY", "k")
    monkeypatch.setenv("MY_TOKEN", "t")
    job = a_job(tmp_path, script)
    assert shown_in_a_container(job, *names) == "t|it's fast|k|k|"
    assert {"t", "k"} == set(job.variables.secrets)


def test_unset_variables_are_all_named(tmp_path: Path) -> None:
    planned = task(tmp_path, NAMES["lm_eval"], env_vars={"A": "host:ONE", "B": "TWO"})

    job = a_job(tmp_path, render(planned, "process", None))

    assert job.variables.missing == ["ONE", "TWO"]


def test_unknown_placeholder_names_the_nearest(tmp_path: Path) -> None:
    own = {**COMMAND, "command": "ask {modelid}"}

    with pytest.raises(InputError, match=r"harnesses.own.command: .*'\{modelid\}'\n.*'model_id'"):
        render(task(tmp_path, "own.quiz", harnesses={"own": own}), "process", None)


def test_task_without_an_image_runs_without_a_container(tmp_path: Path) -> None:
    own = {**COMMAND, "image": "debian:12"}

    assert runtime_of(task(tmp_path, "own.quiz", harnesses={"own": COMMAND}), "docker") == "process"
    assert runtime_of(task(tmp_path, "own.quiz", harnesses={"own": own}), "podman") == "podman"


def test_resolved_config_of_a_run_names_no_folder_of_the_run(tmp_path: Path) -> None:
    run = plan(tmp_path, {"name": "own.quiz"}, harnesses={"own": {**COMMAND, "files": "files"}})
    content = yaml.safe_load(resolved_text(run))

    assert "output_dir" not in content["execution"]
    assert content["harnesses"]["own"]["files"] == str(tmp_path / "files")
    (tmp_path / "resolved.yaml").write_text(resolved_text(run))
    again = make_run(load([tmp_path / "resolved.yaml"], {}), CATALOGUE)
    assert [task.digest for task in again.tasks] == [task.digest for task in run.tasks]


def test_run_all_goes_through_every_task(tmp_path: Path) -> None:
    run = plan(tmp_path, {"name": "own.quiz"}, harnesses={"own": COMMAND})
    (tmp_path / "quiz").mkdir()
    (tmp_path / "quiz" / "run.sh").write_text("echo quiz ran; exit 1\n")
    (tmp_path / "run_all.sh").write_text(run_all(run))

    ended = subprocess.run(["bash", str(tmp_path / "run_all.sh")], capture_output=True, text=True,
                           check=False)  # fmt: skip

    assert (ended.returncode, ended.stdout) == (1, "quiz ran\nfailed: quiz\n")


@pytest.mark.parametrize("own", [None, "/data/mine"])
def test_sizes_of_a_benchmark_are_not_those_of_data_of_ones_own(
    tmp_path: Path, own: str | None
) -> None:
    extra = {"custom_dataset": {"path": own}}
    config = {"config": {"params": {"extra": extra}}}
    entry = {"name": "bfcl.bfclv3_ast", "nemo_evaluator_config": config}
    (planned,) = plan(tmp_path, entry).tasks

    facts: Any = check_spec(planned, recipe_for(planned))["facts"]

    assert facts["headline"] and ("sizes" in facts) == (own is None)
