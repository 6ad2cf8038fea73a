"""status, logs, ls_runs and kill: by prefix, with a config, bare; beside a running pipeline too."""

import shutil
import threading
from pathlib import Path

import pytest
from quiz_project import attempts, quiz, row, target, write

from rig.endpoint import ScriptedEndpoint
from rig.pipeline import SUMS, Project
from rig.waiting import PATIENCE


def test_runs_are_found_by_prefix_by_config_and_bare(finished: Project) -> None:
    name = finished.run_folder.name
    ways = {
        "config": target(finished, "status"),
        "prefix of the id": target(finished, "status", "--config", f"run={name[:12]}"),
        "hex digits, no config": target(
            finished, "status", "--config", f"run={name[-8:]}", config=False
        ),
        "bare": target(finished, "status", config=False),
    }

    for way, ended in ways.items():
        assert ended.code == 0, (way, ended.output)
        assert name in ended.output, way
        assert "3 of 3 published" in ended.output, way
        assert ended.output.count("8 of 8") == 3, way


def test_run_is_found_below_the_configs_output_folder_though_the_home_knows_nothing(
    finished: Project,
) -> None:
    # given a colleague's machine, and a config that is broken by now
    shutil.rmtree(finished.folder / "home")
    name = finished.run_folder.name
    finished.config.write_text(finished.config.read_text() + "broken: true\n")

    found = target(finished, "status", "--config", f"run={name[:10]}")
    broken = target(finished, "status")

    assert "3 of 3 published" in found.check().output
    assert "unknown key 'broken'" in broken.refused().output


def test_prefix_that_snakemake_takes_for_a_number_is_found(finished: Project) -> None:
    # given runs whose digits Snakemake reads as 12 and as 120000.0
    first = finished.run_folder
    for name in ("2026-01-02-03-04-05-00000012", "2026-01-02-03-04-06-12e4abcd"):
        shutil.copytree(first, finished.folder / "out" / name, symlinks=True)

    for prefix, name in (("000000", "05-00000012"), ("12e4", "06-12e4abcd")):
        ended = target(finished, "status", "--config", f"run={prefix}")
        assert name in ended.check().output


def test_ambiguous_and_unknown_prefixes_are_refused_with_candidates(finished: Project) -> None:
    first = finished.run_folder
    other = first.with_name("2026-01-02-03-04-05-0123abcd")
    shutil.copytree(first, other, symlinks=True)

    ambiguous = target(finished, "status", "--config", "run=2026").refused()
    unknown = target(finished, "kill", "--config", "run=1999").refused()

    assert "'2026' is the beginning of several runs" in ambiguous.output
    assert other.name in ambiguous.output
    assert first.name in ambiguous.output
    assert "there is no run '1999'" in unknown.output


def test_runs_are_listed_from_anywhere(finished: Project, tmp_path: Path) -> None:
    # given a run that the home folder knows, and another working directory
    here = target(finished, "ls_runs")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    away = Project(elsewhere, finished.url, {"HOME": str(finished.folder / "home")})
    there = target(away, "ls_runs", config=False)

    assert finished.run_folder.name in here.check().output
    assert "3 of 3 published" in here.output
    # the copied home names the folder of the run that the copy was made of
    assert finished.run_folder.name in there.check().output


def test_start_with_nothing_to_do_shows_the_table_and_the_way_to_the_report(
    finished: Project,
) -> None:
    ended = finished.run(*finished.command()).check()

    assert "Nothing to be done" in ended.output
    assert "3 of 3 benchmarks published" in ended.output
    assert f"`snakeval report {finished.run_folder.name[-8:]}`" in ended.output


def test_logs_show_a_task_and_ask_for_one_where_there_are_several(finished: Project) -> None:
    shown = target(finished, "logs", "--config", "task=quiz.1", "lines=2")
    several = target(finished, "logs").refused()
    wrong = target(finished, "logs", "--config", "task=quizz").refused()

    assert "8 of 8 answered" in shown.check().output
    assert "6 of 8 answered" not in shown.output
    assert "has several tasks" in several.output
    assert "snakeval_sums" in several.output
    assert "did you mean 'quiz" in wrong.output


def test_leaderboard_is_a_target_and_a_mistake_in_it_one_sentence(finished: Project) -> None:
    shown = target(finished, "leaderboard").check()
    wrong = target(finished, "leaderboard", "--config", "columns=quizz").refused()

    assert "quiz [seed=1]" in " ".join(shown.output.split())
    assert (finished.folder / "out" / "leaderboard.html").exists()
    assert "--config columns: no run has 'quizz'" in wrong.output
    assert "did you mean 'quiz'?" in wrong.output
    assert "RuleException" not in wrong.output
    assert "CalledProcessError" not in wrong.output


def test_looking_at_a_running_pipeline_does_not_disturb_it(
    project: Project, endpoint: ScriptedEndpoint
) -> None:
    # given a pipeline in the middle of a benchmark
    write(project, [SUMS, quiz()], {"limit_samples": 40, "parallelism": 1})
    endpoint.latency = 0.05
    halfway = threading.Event()

    def answer(prompt: str) -> str:
        if endpoint.answers.total() >= 25:
            halfway.wait(PATIENCE)
        return "4"

    endpoint.answer = answer
    with project.started() as process:
        endpoint.wait_until_answered(25)

        status = target(project, "status").check()
        bare = target(project, "status", "--config", f"run={project.run_folder.name[-8:]}",
                      config=False).check()  # fmt: skip
        logs = target(project, "logs", "--config", "task=snakeval_sums", "follow=false").check()
        listed = target(project, "ls_runs").check()
        second = project.snakemake().refused()

        # then they show what it does, a second start is refused, and it goes on to its end
        assert process.poll() is None
        halfway.set()
        assert process.wait(PATIENCE) == 0, project.log
    for look in (status, bare):
        assert "running" in look.output
        assert f"pid {process.pid} on" in look.output
        (line,) = [line for line in look.output.splitlines() if "│ snakeval_sums" in line]
        (samples,) = [cell.strip() for cell in line.split("│") if " of 40" in cell]
        assert 0 < int(samples.split()[0]) < 40
    assert "evaluate.1.log" in logs.output
    assert f"pid {process.pid} on" in listed.output
    assert "is driven by another start" in second.output
    assert attempts(project) == {"quiz": 1, "snakeval_sums": 1}
    assert endpoint.answers.most_common(1)[0][1] == 1


def test_kill_ends_a_run_and_the_next_start_continues(
    project: Project, endpoint: ScriptedEndpoint
) -> None:
    write(project, [SUMS], {"limit_samples": 40, "parallelism": 1})
    endpoint.latency = 0.1
    with project.started() as process:
        endpoint.wait_until_answered(10)

        with endpoint.holding():
            killed = target(
                project, "kill", "--config", f"run={project.run_folder.name[-8:]}", config=False
            )

        assert process.wait(PATIENCE) != 0
    assert "nothing of it runs on this machine" in killed.check().output
    assert "ended snakeval_sums: pid " in killed.output
    assert project.status()["state"] == "cancelled"
    again = target(project, "kill", "--config", f"run={project.run_folder.name}")
    assert "nothing of it runs on this machine" in again.check().output
    assert "ended" not in again.output.replace("has ended", "")

    # and what was answered is not asked again, but for what was in flight
    endpoint.latency = 0
    project.snakemake().check()
    assert row(project, "snakeval_sums")["scored"] == 40
    assert endpoint.requests.total() <= 42


def test_kill_asks_which_run(finished: Project) -> None:
    assert "which run?" in target(finished, "kill", config=False).refused().output


@pytest.mark.parametrize("name", ["logs", "status"])
def test_looking_at_nothing_is_a_clear_error(project: Project, name: str) -> None:
    write(project, [quiz()])

    assert "nothing has been evaluated" in target(project, name).refused().output
