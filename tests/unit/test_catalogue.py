"""Which benchmark a name means, and what is said where it means none or several."""

import csv
import re
from pathlib import Path

import pytest

from snakeval.config.model import HarnessDefinition, TaskEntry
from snakeval.errors import InputError
from snakeval.plan.catalogue import shipped, with_own

FOLDER = Path(__file__).parents[2] / "config" / "catalogue"


def find(name: str, own: dict[str, HarnessDefinition] | None = None, **entry: str) -> str:
    task = TaskEntry.model_validate({"name": name, **entry})
    return with_own(FOLDER, own or {}, Path("/base")).find(task, "evaluation.tasks.0.name").id


def refused(name: str) -> str:
    with pytest.raises(InputError) as error:
        find(name)
    return str(error.value)


OWN = HarnessDefinition.model_validate(
    {"kind": "command", "command": "ask", "files": "files", "tasks": {"quiz": None, "gsm8k": None}}
)


def test_rows_of_the_catalogue_are_valid() -> None:
    # given rows that are not validated at a start, because they are ours
    with (FOLDER / "nemo_tasks.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    with (FOLDER / "nemo_harnesses.csv").open(newline="", encoding="utf-8") as file:
        harnesses = {row["harness"]: row for row in csv.DictReader(file)}

    assert len(rows) > 400
    assert {row["harness"] for row in rows} <= set(harnesses)
    assert {row["endpoint_types"] for row in rows} <= {"chat", "completions", "vlm", "embedding"}
    assert len({(row["harness"], row["task"]) for row in rows}) == len(rows)
    for row in rows:
        assert re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9_+-]*", row["task"]), row
    for name, harness in harnesses.items():
        assert "." not in name
        assert harness["image"]


def test_rows_of_what_is_needed_are_about_benchmarks_that_exist() -> None:
    with (FOLDER / "nemo_needs.csv").open(newline="", encoding="utf-8") as file:
        rows = list(csv.DictReader(file))

    sources = (FOLDER / "README.md").read_text()
    assert rows == sorted(rows, key=lambda row: (row["harness"], row["task"]))
    for row in rows:
        assert find(f"{row['harness']}.{row['task']}")
        assert all(re.fullmatch(r"none|[A-Z][A-Z_]+", name) for name in row["variables"].split())
        assert not row["gated_dataset"] or "HF_TOKEN" in row["variables"]
        assert f"`{row['source']}`" in sources


def test_every_benchmark_is_found_under_its_own_name() -> None:
    for benchmark in shipped(FOLDER).benchmarks:
        assert find(benchmark.id) == benchmark.id


def test_task_alone_is_enough_where_one_harness_has_it() -> None:
    assert find("demo_letters") == "demo.demo_letters"
    assert find("quiz", {"own": OWN}) == "own.quiz"


def test_plain_lm_eval_takes_any_task() -> None:
    assert find("lm_eval.anything_it_knows") == "lm_eval.anything_it_knows"


def test_task_that_is_not_listed_runs_in_the_container_it_names() -> None:
    assert find("harness.new_task", container="image:1") == "harness.new_task"
    assert find("new_task", container="image:1") == "custom.new_task"
    assert find("bfcl.new_task", container="image:1") == "bfcl.new_task"


def test_own_harness_takes_the_place_of_one_of_ours() -> None:
    demo = HarnessDefinition.model_validate({"kind": "command", "command": "x", "tasks": {"t": {}}})
    catalogue = with_own(FOLDER, {"demo": demo}, Path("/base"))

    assert catalogue.find(TaskEntry(name="demo.t"), "").own
    with pytest.raises(InputError, match="harness 'demo' has no task 'demo_letters'"):
        catalogue.find(TaskEntry(name="demo.demo_letters"), "")
    assert find("demo_letters") == "demo.demo_letters"


def test_relative_folders_start_at_the_config_file() -> None:
    catalogue = with_own(FOLDER, {"own": OWN}, Path("/base"))

    found = catalogue.find(TaskEntry(name="own.quiz"), "")

    assert found.folder("files") == Path("/base/files")
    assert found.folder(None) is None


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("ifeva", "there is no benchmark 'ifeva'\n    -> did you mean 'ifeval'"),
        ("xyzzy_99", "`snakemake ls_tasks` lists them"),
        ("a.b.c", "'a.b.c' has more than one dot\n    -> write `task` or `harness.task`"),
        ("ifeval", "several harnesses\n    -> write one of codec.ifeval, lm-evaluation-harness."),
        ("demo.demo_leters", "harness 'demo' has no task 'demo_leters'\n    -> did you mean 'demo"),
        ("dema.demo_letters", "no benchmark 'dema.demo_letters'\n    -> harness: did you mean"),
        ("lm_eval.results", "'results' cannot be the name of a folder"),
        ("lm_eval.../../etc", "more than one dot"),
        ("lm_eval./etc", "cannot be the name of a folder"),
        ("lm_eval.two words", "cannot be the name of a folder"),
        ("lm_eval.$(id)", "cannot be the name of a folder"),
        ("lm_eval.", "cannot be the name of a folder"),
    ],
)
def test_error_says_what_to_write_instead(name: str, expected: str) -> None:
    message = refused(name)

    assert expected in message
    assert "evaluation.tasks.0.name" in message
