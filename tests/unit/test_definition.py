"""A task's digest holds the files that its benchmark uses, and nothing else."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from rig.built_runs import CATALOGUE
from snakeval.config.load import load
from snakeval.errors import InputError
from snakeval.plan.make import make_run
from snakeval.plan.run import Task
from snakeval.start.checks import recipes
from snakeval.start.met_again import take_over

Plan = Callable[..., Task]


@pytest.fixture
def files(tmp_path: Path) -> Path:
    folder = tmp_path / "own"
    folder.mkdir()
    return folder


@pytest.fixture
def plan(tmp_path: Path, files: Path) -> Plan:
    """Plans `quiz`, a benchmark of one's own with these keys in its definition."""

    def make(**definition: Any) -> Task:
        args = definition.pop("args", None)
        kind = "lm_eval" if "include_path" in definition else "command"
        command = {"command": "sh {files}/go.sh", "files": "own"} if kind == "command" else {}
        own = {"kind": kind, **command, **definition, "tasks": {"quiz": {"endpoint_type": "chat"}}}
        content = {
            "execution": {"output_dir": str(tmp_path / "out")},
            "target": {"api_endpoint": {"url": "http://h/v1/chat/completions", "model_id": "m"}},
            "harnesses": {"mine": own},
            "evaluation": {
                "nemo_evaluator_config": {"config": {"params": {"extra": {"args": args}}}},
                "tasks": ["mine.quiz"],
            },
        }
        file = tmp_path / "my.yaml"
        file.write_text(yaml.safe_dump(content))
        run = make_run(load([file], {}), CATALOGUE)
        assert list(take_over([run])) == []
        return run.tasks[0]

    return make


def definition(folder: Path, name: str, **more: Any) -> Path:
    """A task definition for lm-eval; `function=...` stands for `!function ...`."""
    function = more.pop("function", None)
    text = yaml.safe_dump({"task": name, "doc_to_text": "{{q}}", **more})
    if function:
        text += f"process_results: !function {function}\n"
    path = folder / f"{name}.yaml"
    path.write_text(text)
    return path


# ---------------------------------------------------------------- a command


@pytest.mark.parametrize("name", ["go.sh", "model.bin", "nosuffix", "sub/deep.R", ".hidden.toml"])
def test_any_changed_file_of_a_command_is_another_spec(plan: Plan, files: Path, name: str) -> None:
    path = files / name
    path.parent.mkdir(exist_ok=True)
    path.write_text("one")
    before = plan().digest

    path.write_text("two")

    assert plan().digest != before


def test_what_no_benchmark_uses_changes_nothing(plan: Plan, files: Path) -> None:
    (files / "go.sh").write_text("true\n")
    before = plan().digest

    (files / ".#go.sh").symlink_to("somebody@host.4711:17")  # an editor's lock: leads nowhere
    (files / "go.sh~").write_text("a copy")
    (files / "questions.lock").write_text("")
    (files / "__pycache__").mkdir()
    (files / "__pycache__" / "x.pyc").write_text("byte code")
    os.mkfifo(files / "pipe")
    os.utime(files / "go.sh", (0, 0))

    assert plan().digest == before
    (files / "go.sh").write_text("false\n")
    assert plan().digest != before  # a link to nowhere hides no change


def test_linked_folders_count_and_circles_end(plan: Plan, files: Path, tmp_path: Path) -> None:
    data = tmp_path / "data"
    data.mkdir()
    (data / "q.json").write_text("[1]")
    (files / "data").symlink_to(data)
    (data / "up").symlink_to(files)
    before = plan().digest

    (data / "q.json").write_text("[2]")

    assert plan().digest != before


def test_digest_is_the_same_wherever_the_folder_lies(
    plan: Plan, files: Path, tmp_path: Path
) -> None:
    (files / "go.sh").write_text("true\n")
    before = plan().digest

    shutil.move(files, tmp_path / "moved")

    assert plan(files="moved").digest == before


def test_large_file_is_known_by_its_size_and_ends(
    plan: Plan, files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("snakeval.plan.definition.LARGE", 100)
    monkeypatch.setattr("snakeval.plan.definition.END", 10)
    seen = set()

    for content in ("a" * 200, "a" * 201, "b" + "a" * 199, "a" * 199 + "b"):
        (files / "weights").write_text(content)
        seen.add(plan().digest)

    assert len(seen) == 4


def test_command_that_says_what_it_uses_runs_again_for_nothing_else(
    plan: Plan, files: Path
) -> None:
    (files / "go.sh").write_text("true\n")
    (files / "quiz").mkdir()
    (files / "quiz" / "q.json").write_text("[1]")
    uses = ["go.sh", "{task}"]
    before = plan(uses=uses).digest

    (files / "another.py").write_text("pass\n")
    (files / "NOTES.md").write_text("to do")
    assert plan(uses=uses).digest == before

    (files / "quiz" / "q2.json").write_text("[2]")
    assert plan(uses=uses).digest != before


def test_use_of_a_file_that_is_not_there_is_refused(plan: Plan, files: Path) -> None:
    (files / "go.sh").write_text("true\n")

    found = list(recipes([plan(uses=["go.sh", "data/*.json"])]))

    assert [problem.what for problem in found] == ["'data/*.json' is no file in own"]
    assert found[0].where.endswith("harnesses.mine.uses.1")


@pytest.mark.parametrize("uses", [["../secret"], ["/etc/passwd"], []])
def test_uses_stays_in_its_folder(plan: Plan, uses: list[str]) -> None:
    with pytest.raises(InputError):
        plan(uses=uses)


# ---------------------------------------------------------------- a definition for lm-eval


def test_what_lies_beside_a_definition_changes_nothing(plan: Plan, files: Path) -> None:
    definition(files, "quiz", function="utils.score")
    (files / "utils.py").write_text("def score(doc, results): return {}\n")
    before = plan(include_path="own").digest

    definition(files, "another", function="others.score", include="_shared_yaml")
    (files / "others.py").write_text("x = 1\n")
    (files / "_shared_yaml").write_text("test_split: test\n")
    (files / "NOTES.txt").write_text("quiz is good")
    (files / "scores.yaml").write_text("- quiz")
    (files / "broken.yaml").write_text("quiz: [")
    (files / ".#quiz.yaml").symlink_to("somebody@host.4711:17")

    assert plan(include_path="own").digest == before


def test_everything_that_a_definition_reads_counts(plan: Plan, files: Path, tmp_path: Path) -> None:
    definition(files, "quiz", function="code.utils.score", include="_base_yaml")
    (files / "_base_yaml").write_text("include: deeper/_base2_yaml\n")
    (files / "deeper").mkdir()
    (files / "deeper" / "_base2_yaml").write_text("custom_dataset: !function data.load\n")
    (files / "deeper" / "data.py").write_text(
        "from pathlib import Path\ndef load(**_): Path(__file__).with_name('q.jsonl').read_text()\n"
    )
    (files / "deeper" / "q.jsonl").write_text("{}\n")
    (files / "code").mkdir()
    (files / "code" / "utils.py").write_text("import helpers\nfrom .near import x\n")
    (files / "code" / "near.py").write_text("x = 1\n")
    (files / "helpers.py").write_text("y = 1\n")
    seen = {plan(include_path="own").digest}

    changed = [
        *("quiz.yaml", "_base_yaml", "deeper/_base2_yaml", "deeper/data.py", "deeper/q.jsonl"),
        *("code/utils.py", "code/near.py", "helpers.py"),
    ]
    for number, name in enumerate(changed):
        with (files / name).open("a") as file:
            file.write("# changed\n" if number % 2 else "#\n")
        seen.add(plan(include_path="own").digest)

    assert len(seen) == len(changed) + 1


def test_local_data_counts_wherever_it_lies(plan: Plan, files: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere.jsonl"
    inside = files / "d"
    inside.mkdir()
    for path in (elsewhere, inside / "a.json", inside / "b.json"):
        path.write_text("{}")
    data = {"test": str(elsewhere), "train": "/snakeval/files/d/a.json", "more": ["d/b*.json"]}
    definition(files, "quiz", dataset_path="json", dataset_kwargs={"data_files": data})
    seen = {plan(include_path="own").digest}

    for path in (elsewhere, inside / "a.json", inside / "b.json"):
        path.write_text("{1}")
        seen.add(plan(include_path="own").digest)

    assert len(seen) == 4
    (inside / "c.json").write_text("{}")
    assert plan(include_path="own").digest in seen


def test_folder_among_the_arguments_counts(plan: Plan, files: Path, tmp_path: Path) -> None:
    other = tmp_path / "other"
    other.mkdir()
    definition(files, "quiz")
    given = {"include_path": "own", "args": f"--seed 1 --include_path {other}"}
    definition(other, "quiz")
    before = plan(**given).digest

    definition(other, "quiz", num_fewshot=1)
    changed = plan(**given).digest
    definition(files, "quiz", num_fewshot=2)

    assert changed != before
    assert plan(**given).digest == changed  # lm-eval takes the last one


def test_group_and_tag_hold_their_members_alone(plan: Plan, files: Path) -> None:
    (files / "_quiz.yaml").write_text("group: quiz\ntask: [one, {task: two}, many]\n")
    for name, tag in (("one", None), ("two", None), ("three", "many"), ("other", "few")):
        definition(files, name, **({"tag": tag} if tag else {}))
    before = plan(include_path="own").digest

    definition(files, "other", tag="few", num_fewshot=1)
    assert plan(include_path="own").digest == before
    seen = {before}
    for name, tag in (("one", None), ("two", None), ("three", "many")):
        definition(files, name, num_fewshot=1, **({"tag": tag} if tag else {}))
        seen.add(plan(include_path="own").digest)
    assert len(seen) == 4


READS = (
    "from pathlib import Path\ndef load(name, **_): return open(Path(__file__).parent / {name})\n"
)


def test_data_that_only_the_definition_names_counts_and_its_neighbours_do_not(
    plan: Plan, files: Path
) -> None:
    (files / "data.py").write_text(READS.replace("{name}", "f'{name}.jsonl'"))
    definition(files, "quiz", dataset_kwargs={"name": "letters"}, function="data.load")
    (files / "letters.jsonl").write_text("{}")
    (files / "numbers.jsonl").write_text("{}")
    before = plan(include_path="own").digest

    (files / "numbers.jsonl").write_text("{1}")
    assert plan(include_path="own").digest == before
    (files / "letters.jsonl").write_text("{1}")
    assert plan(include_path="own").digest != before


def test_data_under_a_name_that_nobody_tells_is_any_file(plan: Plan, files: Path) -> None:
    (files / "data.py").write_text(READS.replace("{name}", "chr(97) + chr(98)"))
    definition(files, "quiz", function="data.load")
    (files / "ab").write_text("{}")
    before = plan(include_path="own").digest

    (files / "ab").write_text("{1}")

    assert plan(include_path="own").digest != before


@pytest.mark.parametrize("content", ["a: [", "- a list", "task: quiz\nx: !function u.f\n"])
def test_where_it_cannot_be_told_what_is_read_every_file_counts(
    plan: Plan, files: Path, content: str
) -> None:
    (files / "quiz.yaml").write_text(content)
    (files / "u.py").write_text("def (:\n")
    (files / "anything.bin").write_text("1")
    before = plan(include_path="own").digest

    (files / "anything.bin").write_text("2")

    assert plan(include_path="own").digest != before


# ---------------------------------------------------------------- work of earlier versions


def work_of_an_earlier_version(task: Task) -> None:
    assert task.earlier_digest
    task.paths.work(task.earlier_digest).mkdir(parents=True)
    task.paths.record(task.earlier_digest).mkdir(parents=True)
    task.paths.complete(task.earlier_digest).write_text("{}")


def test_work_of_an_earlier_version_is_found_under_its_old_digest(plan: Plan, files: Path) -> None:
    (files / "go.sh").write_text("true\n")
    (files / "q.json").write_text("[1]")
    new = plan()
    work_of_an_earlier_version(new)

    found = plan()

    assert found.digest == new.earlier_digest
    assert found.published


def test_change_that_the_earlier_version_did_not_see_is_seen_once_the_work_was_met(
    plan: Plan, files: Path
) -> None:
    (files / "go.sh").write_text("true\n")
    work_of_an_earlier_version(plan())
    met = plan()

    (files / "go.sh").write_text("false\n")
    changed = plan()
    assert not changed.published

    (files / "go.sh").write_text("true\n")
    assert plan().digest == met.digest


def test_file_that_only_the_earlier_version_counted_changes_nothing_once_the_work_was_met(
    plan: Plan, files: Path
) -> None:
    definition(files, "quiz")
    definition(files, "another")
    work_of_an_earlier_version(plan(include_path="own"))
    met = plan(include_path="own")

    (files / "NOTES.txt").write_text("a note")

    assert plan(include_path="own").digest == met.digest


def test_digest_is_that_of_earlier_versions_where_they_saw_the_same_files(
    plan: Plan, files: Path
) -> None:
    definition(files, "quiz", function="utils.f")
    (files / "utils.py").write_text("def f(doc, results): return {}\n")
    alone = plan(include_path="own")

    definition(files, "another")

    assert alone.earlier_digest is None
    assert plan(include_path="own").digest == alone.digest


def test_unfinished_work_of_an_earlier_version_goes_on(plan: Plan, files: Path) -> None:
    (files / "go.sh").write_text("true\n")
    new = plan()
    assert new.earlier_digest
    new.paths.work(new.earlier_digest).mkdir(parents=True)

    assert plan().digest == new.earlier_digest
    assert not plan().published
