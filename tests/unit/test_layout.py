"""Every path of a run folder is written once."""

from pathlib import Path

import pytest

from snakeval.run_folder.layout import RUN_ID, RunPaths, TaskPaths, run_configs_home, runs_in

TASK = TaskPaths(Path("ifeval"))
DIGEST = "0123456789ab"


def test_paths_are_those_of_the_design() -> None:
    run = RunPaths(Path("out/2026-11-21-10-30-45-abc12345"))
    task = run.task("ifeval")

    assert run.id == "2026-11-21-10-30-45-abc12345"
    assert {str(path.relative_to(run.dir)) for path in (
        run.record, run.config, run.controller, run.run_all, run.lib, run.results_csv,
        run.results_json, run.exports("local"), task.spec, task.script, task.status,
        task.artifacts, task.log, task.work(DIGEST), task.published(DIGEST),
    )} == {
        "run.json", "config.yaml", "controller.json", "run_all.sh", "lib", "results/results.csv",
        "results/results.json", "exports/local", "ifeval/task.yaml", "ifeval/run.sh",
        "ifeval/status.json", "ifeval/artifacts", "ifeval/logs/evaluate.log",
        f"ifeval/work/{DIGEST}", f"ifeval/published/{DIGEST}",
    }  # fmt: skip


def test_attempt_publishes_where_the_plan_looks(tmp_path: Path) -> None:
    from snakeval.job import attempt

    task = TaskPaths(tmp_path / "ifeval")
    task.work(DIGEST).mkdir(parents=True)
    task.record(DIGEST).mkdir(parents=True)
    task.check(DIGEST).write_text('{"passed": true, "files": {}}')
    given = attempt.parser().parse_args(["publish", str(task.dir), DIGEST])

    assert given.run(given) == 0

    assert task.complete(DIGEST).exists()
    assert str(task.published(DIGEST).readlink()) == f"../work/{DIGEST}"
    assert str(task.artifacts.readlink()) == f"work/{DIGEST}"
    assert task.published(DIGEST).resolve() == task.artifacts.resolve() == task.work(DIGEST)


@pytest.mark.parametrize("left", [True, False])
def test_poison_that_was_forgotten_stays_so_in_the_next_attempt(tmp_path: Path, left: bool) -> None:
    from snakeval.job import attempt, record

    # given a failed attempt after which cached errors were taken out of the cache
    task = TaskPaths(tmp_path / "ifeval")
    task.record(DIGEST).mkdir(parents=True)
    forgotten = task.record(DIGEST) / record.FORGOTTEN
    if left:
        task.work(DIGEST).mkdir(parents=True)
        (task.work(DIGEST) / "cache.db").touch()
        forgotten.touch()
    # when the next one begins, also where somebody has removed the work folder
    given = attempt.parser().parse_args(["begin", str(task.dir), f"--digest={DIGEST}"])
    assert given.run(given) == 0
    # then what earlier logs tell of poison does not count
    assert forgotten.exists()


def test_superseded_work_folder_gets_the_next_free_number(tmp_path: Path) -> None:
    task = TaskPaths(tmp_path)

    assert task.next_superseded(DIGEST) == f"{DIGEST}.1"
    task.work(f"{DIGEST}.1").mkdir(parents=True)
    assert task.next_superseded(DIGEST) == f"{DIGEST}.2"


def test_only_run_folders_are_runs(tmp_path: Path) -> None:
    for name in ("2026-11-21-10-30-45-abc12345", "2025-11-21-10-30-45-abc12345", "notes",
                 "2026-11-21-10-30-45-abc12345.old", "2026-11-21-10-30-45-ABC12345"):  # fmt: skip
        (tmp_path / name).mkdir()

    assert [run.id for run in runs_in(tmp_path)] == [
        "2025-11-21-10-30-45-abc12345",
        "2026-11-21-10-30-45-abc12345",
    ]
    assert runs_in(tmp_path / "nowhere") == []
    assert RUN_ID.match("2026-11-21-10-30-45-abc12345")


def test_list_of_runs_is_below_the_home_folder(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", "/somebody")

    assert run_configs_home() == Path("/somebody/.nv-eval/run_configs")
