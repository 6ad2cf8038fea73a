"""Re-running is resuming: what is finished is neither planned nor asked again, whatever has
changed around it; and what really is another spec is planned, in a dry run too."""

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from quiz_project import (
    attempts,
    clone,
    clone_path,
    contents,
    edit,
    params_of,
    quiz,
    row,
    target,
    write,
)

from rig.endpoint import ScriptedEndpoint
from rig.pipeline import SUMS, Project
from rig.waiting import PATIENCE

Config = dict[str, Any]


def _same(project: Project) -> list[str]:
    return []


def _comments_and_order(project: Project) -> list[str]:
    def turned(value: Any) -> Any:
        if isinstance(value, dict):
            return {key: turned(value[key]) for key in reversed(value)}
        return value

    content = turned(yaml.safe_load(project.config.read_text()))
    text = yaml.safe_dump(content, sort_keys=False)
    project.config.write_text("# a comment\n" + text.replace("\n", "  # another\n", 1))
    return []


def _tasks_reordered(project: Project) -> list[str]:
    edit(project, lambda config: config["evaluation"]["tasks"].reverse())
    return []


def _log_level(project: Project) -> list[str]:
    return ["--verbose", "-p", "--cores", "1"]


def _quiet(project: Project) -> list[str]:
    return ["--quiet", "all"]


def _bare(project: Project) -> list[str]:
    project.profile = None
    return []


def _other_profile(project: Project) -> list[str]:
    folder = project.folder / "other_profile"
    folder.mkdir()
    (folder / "config.yaml").write_text(
        "cores: 2\nretries: 0\ndefault-resources: [container_runtime='podman', mem_mb=100]\n"
    )
    project.profile = str(folder)
    return []


def _bookkeeping_deleted(project: Project) -> list[str]:
    shutil.rmtree(project.folder / ".snakemake")
    return []


def _another_clone(project: Project) -> list[str]:
    project.snakefile = clone(project.folder / "clone")
    project.profile = str(project.snakefile.parent / "profiles" / "local")
    project.environment["PYTHONPATH"] = clone_path(project.snakefile)
    return []


def _elsewhere(project: Project, *command: str) -> list[str]:
    new = project.folder.parent / "new place"
    new.mkdir()
    subprocess.run([*command, str(project.folder / "out"), str(new / "runs")], check=True)
    shutil.rmtree(project.folder / "out", ignore_errors=True)
    edit(project, lambda config: config["execution"].update(output_dir=str(new / "runs")))
    return []


def _moved(project: Project) -> list[str]:
    return _elsewhere(project, "mv")


def _archived(project: Project) -> list[str]:
    return _elsewhere(project, "cp", "-a")


def _copied(project: Project) -> list[str]:
    return _elsewhere(project, "cp", "-r")


def _how_not_what(project: Project) -> list[str]:
    def change(config: Config) -> None:
        how = {"parallelism": 1, "max_retries": 7, "request_timeout": 11}
        config["evaluation"]["nemo_evaluator_config"]["config"]["params"].update(how)
        params_of(config["evaluation"]["tasks"][0]).update(how)

    edit(project, change)
    return []


AROUND: dict[str, Callable[[Project], list[str]]] = {
    "the same command": _same,
    "comments and order of keys": _comments_and_order,
    "order of tasks": _tasks_reordered,
    "log level and number of cores": _log_level,
    "quiet": _quiet,
    "no profile": _bare,
    "another profile": _other_profile,
    ".snakemake deleted": _bookkeeping_deleted,
    "another clone": _another_clone,
    "output folder moved": _moved,
    "output folder copied with cp -a": _archived,
    "output folder copied with cp -r": _copied,
    "parallelism, retries and timeout": _how_not_what,
}


def _output_folder(project: Project) -> Path:
    given = yaml.safe_load(project.config.read_text())["execution"]["output_dir"]
    return project.folder / given


def _other_seed(config: Config) -> None:
    """Another spec for the quiz that the first run has asked with seed 2."""
    for entry in config["evaluation"]["tasks"]:
        if entry["name"] == "own.quiz" and params_of(entry)["extra"]["seed"] == 2:
            params_of(entry)["extra"]["seed"] = 9


@pytest.mark.parametrize("what", AROUND)
def test_nothing_runs_again_but_a_changed_spec_is_planned(
    finished: Project, served: ScriptedEndpoint, what: str
) -> None:
    # given a finished run, and something else that has changed around it
    arguments = AROUND[what](finished)
    asked, before = served.requests.total(), contents(_output_folder(finished))

    # when the pipeline is started again
    finished.snakemake(*arguments).check()

    # then it asks nothing and writes nothing
    assert served.requests.total() == asked
    assert contents(_output_folder(finished)) == before

    # and when one benchmark's parameters change, a dry run plans exactly that one
    edit(finished, _other_seed)
    loud = [word for word in arguments if word not in ("--quiet", "all")]
    assert finished.snakemake(*loud, "-n").check().planned == 1
    assert contents(_output_folder(finished)) == before


def test_added_benchmark_is_the_only_one_that_runs(
    finished: Project, served: ScriptedEndpoint
) -> None:
    # given a finished run, and the same benchmark once more, listed before the other two
    edit(finished, lambda config: config["evaluation"]["tasks"].insert(0, quiz(seed=3)))
    asked, tried = served.requests.total(), attempts(finished)

    assert finished.snakemake("-n").check().planned == 1
    finished.snakemake().check()

    # then it takes nobody's place, and only its 8 questions are asked
    assert attempts(finished) == {**tried, "quiz.2": 1}
    assert served.requests.total() - asked == 8
    assert {row["task"]: row["state"] for row in finished.rows()} == {
        "quiz": "published",
        "quiz.1": "published",
        "quiz.2": "published",
        "snakeval_sums": "published",
    }


def test_repeated_benchmark_that_is_left_alone_in_the_config_keeps_its_result(
    finished: Project, served: ScriptedEndpoint
) -> None:
    # given that the first of two entries of the same benchmark is taken out of the config
    edit(finished, lambda config: config["evaluation"]["tasks"].pop(0))
    asked = served.requests.total()

    assert finished.snakemake("-n").check().planned == 0
    finished.snakemake().check()

    # then the other one is what it was: in its folder, published, shown in the tables
    assert served.requests.total() == asked
    assert [row["task"] for row in finished.rows()] == ["quiz.1", "snakeval_sums"]


def test_changed_parameter_runs_one_benchmark_and_changed_back_runs_none(
    finished: Project, served: ScriptedEndpoint
) -> None:
    old, tried, asked = row(finished, "quiz.1"), attempts(finished), served.requests.total()

    # when one parameter of one benchmark is changed
    edit(finished, _other_seed)
    finished.snakemake().check()

    # then only that one runs, and the tables show its new result
    new = row(finished, "quiz.1")
    assert served.requests.total() - asked == 8
    assert attempts(finished) == {**tried, "quiz.1": 2}
    assert new["artifacts"] != old["artifacts"]

    # and changed back, nothing runs but the tables, which show the old one again
    finished.config.write_text(finished.config.read_text().replace("seed: 9", "seed: 2"))
    plan = finished.snakemake("-n").check()
    assert plan.planned == 0
    assert "results" in plan.output
    finished.snakemake().check()
    assert served.requests.total() - asked == 8
    assert attempts(finished) == {**tried, "quiz.1": 2}
    assert row(finished, "quiz.1") == old
    assert_all_of_one_spec(finished, old["artifacts"])
    assert "Nothing to be done" in finished.snakemake().check().output


def test_change_that_was_taken_back_after_its_start_was_killed_leaves_nothing_of_it(
    finished: Project, served: ScriptedEndpoint
) -> None:
    # given a finished benchmark, and one with another parameter whose start was killed
    old, before = row(finished, "quiz.1"), finished.config.read_text()
    edit(finished, _other_seed)
    asked = served.requests.total()
    with served.holding(), finished.started() as process:
        served.wait_for(lambda: served.requests.total() > asked)
        os.kill(process.pid, signal.SIGKILL)
        process.wait(PATIENCE)

    # when the old one is put back
    finished.config.write_text(before)
    asked = served.requests.total()
    finished.snakemake().check()

    # then everything is about that one, and nothing was asked
    assert served.requests.total() == asked
    assert row(finished, "quiz.1") == old
    assert_all_of_one_spec(finished, old["artifacts"])


def assert_all_of_one_spec(project: Project, artifacts: str) -> None:
    """The link, task.yaml, run.sh and what `run.sh` would do by hand are about one digest."""
    task, digest = project.task("quiz.1"), artifacts.rpartition("/")[2]
    assert str((task / "artifacts").readlink()) == f"work/{digest}"
    assert yaml.safe_load((task / "task.yaml").read_text())["digest"] == digest
    assert f'"digest": "{digest}"' in (task / "run.sh").read_text()
    by_hand = project.run("bash", str(task / "run.sh")).check()
    assert "finished before; nothing is asked again" in by_hand.output


@pytest.mark.parametrize("what", ["model_id", "limit_samples", "new_run"])
def test_another_identity_is_another_run_folder(
    finished: Project, served: ScriptedEndpoint, what: str
) -> None:
    (first,) = finished.runs
    before, asked = contents(first), served.requests.total()
    edit(finished, lambda config: config["evaluation"].update(tasks=[quiz(seed=1)]))
    arguments = {
        "model_id": ["set=[target.api_endpoint.model_id=test-model-2]"],
        "limit_samples": ["limit_samples=5"],
        "new_run": ["new_run=true"],
    }[what]
    served.models = ["test-model", "test-model-2"]

    # when a dry run looks: one benchmark, and no folder yet
    assert finished.snakemake("-n", "--config", *arguments).check().planned == 1
    assert finished.runs == [first]

    # when it runs: a second folder, and the first is as it was
    finished.snakemake("--config", *arguments).check()
    (second,) = [run for run in finished.runs if run != first]
    assert contents(first) == before
    assert served.requests.total() - asked == (5 if what == "limit_samples" else 8)
    if what == "new_run":
        assert second.name[-8:] == first.name[-8:]
        # from now on the fresh folder is the one that the same config resumes
        assert finished.snakemake("-n").check().planned == 0
    else:
        assert second.name[-8:] != first.name[-8:]
        assert finished.snakemake("-n", "--config", *arguments).check().planned == 0


def test_a_benchmark_that_starts_over_has_its_new_score_in_the_tables(project: Project) -> None:
    """Under the digest that it had: the name of the tables says nothing of it."""
    scores = project.folder / "scores.json"
    command = f"cat {scores} >{{results}}/results.json"
    own = {"kind": "command", "command": command, "tasks": {"quiz": {"endpoint_type": "chat"}}}
    write(project, [{"name": "own.quiz"}], harnesses={"own": own})
    scores.write_text('{"scores": {"accuracy": 0.25}}')
    project.snakemake().check()
    scores.write_text('{"scores": {"accuracy": 0.75}}')
    again = project.snakemake("--config", "fresh=quiz").check()
    assert [row["value"] for row in project.rows()] == [0.75]
    assert "0.75" in again.output
    # and a start with nothing to do makes no tables
    assert project.snakemake("-n").planned == 0


def test_only_the_chosen_tasks_run_and_the_tables_show_the_others(
    project: Project, endpoint: ScriptedEndpoint
) -> None:
    write(project, [quiz(seed=1), quiz("own.riddle", seed=2), quiz(seed=3)])

    project.snakemake("--config", "tasks=own.riddle,quiz.1").check()

    assert endpoint.requests.total() == 16
    assert {row["task"]: row["state"] for row in project.rows()} == {
        "quiz": "pending",
        "riddle": "published",
        "quiz.1": "published",
    }
    assert row(project, "quiz")["value"] is None

    # and the whole config afterwards runs the one that is missing
    assert project.snakemake("-n").check().planned == 1
    project.snakemake().check()
    assert endpoint.requests.total() == 24
    assert {row["state"] for row in project.rows()} == {"published"}


def test_looking_creates_nothing(project: Project) -> None:
    # given a machine without any run
    write(project, [quiz(seed=1), SUMS])
    before = contents(project.folder, without=(".snakemake",))

    looks = [
        project.snakemake("-n"),
        project.snakemake("-n", "-p", "--config", "new_run=true"),
        target(project, "status"),
        target(project, "status", config=False),
        target(project, "ls_runs"),
        target(project, "ls_runs", config=False),
    ]

    # then neither a run folder nor anything in the home folder has appeared
    assert contents(project.folder, without=(".snakemake", "home")) == before
    assert not project.runs
    assert not list((project.folder / "home").iterdir())
    assert not any("Traceback" in look.output for look in looks)
    assert [look.code for look in looks[:2]] == [0, 0]


def test_home_that_cannot_be_written_is_a_warning(project: Project) -> None:
    # given a home folder in which .nv-eval cannot be made, not even by root
    write(project, [quiz(seed=1)])
    (project.folder / "home").mkdir()
    (project.folder / "home" / ".nv-eval").write_text("a file")

    ended = project.snakemake().check()

    assert "the run is not listed in" in ended.output
    assert row(project, "quiz")["state"] == "published"


def test_run_folder_names_no_absolute_path_of_itself(finished: Project) -> None:
    inside = {path: path.read_bytes() for path in finished.run_folder.rglob("*") if path.is_file()}
    assert len(inside) > 20
    original = json.loads((finished.run_folder / "run.json").read_text())["id"]
    assert original == finished.run_folder.name

    telling = [
        path.relative_to(finished.run_folder)
        for path, text in inside.items()
        if b"/out/" + original.encode() in text
    ]
    assert telling == []
