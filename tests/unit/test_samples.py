"""Single samples of every kind of harness end in one table; only what changed is read again."""

import json
import shutil
import sqlite3
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest

from rig.checked import marked_at, publish_checked
from snakeval.job.gateway.asked import prompt_key
from snakeval.job.gateway.ledger import LEDGER
from snakeval.plan.run import Run, Task
from snakeval.results import samples
from snakeval.results.sample_formats import Sample, read_samples
from snakeval.results.samples import members, write_samples

LEFT_BEHIND = Path(__file__).with_name("data") / "verify"


def publish(task: Task, records: list[dict[str, Any]]) -> None:
    """What a finished attempt leaves."""
    task.paths.work(task.digest).mkdir(parents=True, exist_ok=True)
    lines = "".join(json.dumps(record) + "\n" for record in records)
    (task.paths.work(task.digest) / "samples.jsonl").write_text(lines)
    publish_checked(task)


def table(run: Run) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = pq.read_table(run.paths.samples).to_pylist()
    return found


def restored(name: str, tmp_path: Path) -> Path:
    """A work folder that a real harness has left, its databases made from their text."""
    work = tmp_path / name
    shutil.copytree(LEFT_BEHIND / name / "work", work)
    for dump in work.rglob("*.db.sql"):
        with sqlite3.connect(dump.with_suffix("")) as db:
            db.executescript(dump.read_text())
        db.close()
    return work


def test_samples_of_lm_eval_have_a_row_per_metric_and_filter(tmp_path: Path) -> None:
    found = list(read_samples("lm_eval", restored("lm_eval_filters", tmp_path), None))

    assert {row.filter for row in found} == {"strict-match", "flexible-extract"}
    first = found[0]
    assert (first.sample, first.repeat, first.metric, first.score) == ("0", 0, "exact_match", 1.0)
    assert (first.prompt, first.expected, first.answer) == ("What is 1 + 4?", "5", "5")
    assert first.prompt_hash == "3445957d84bfa1bd"
    assert first.prompt_tokens is None


def test_means_of_the_samples_are_the_published_scores(tmp_path: Path) -> None:
    for name in ("lm_eval_filters", "lm_eval_limit", "nemo_lm_eval", "lm_eval_repeats_sampled"):
        work = restored(name, tmp_path)
        kind = "nemo" if name.startswith("nemo") else "lm_eval"
        found = list(read_samples(kind, work, None))
        [results] = work.rglob("results_*.json")
        [scores] = json.loads(results.read_text())["results"].values()
        for key, value in scores.items():
            metric, comma, filtered = key.partition(",")
            if not comma or metric.endswith("_stderr"):
                continue
            mine = [
                row.score
                for row in found
                if (row.metric, row.filter or "none") == (metric, filtered)
                and row.score is not None
            ]
            assert sum(mine) / len(mine) == pytest.approx(value), (name, key)


@pytest.mark.parametrize(
    ("context", "prompt"),
    [
        ('[{"role": "user", "content": "2 + 2?"}]', "2 + 2?"),
        ('[{"role": "user", "content": [{"type": "text", "text": null}]}]', ""),
        ("[{a set} of brackets", "[{a set} of brackets"),
        ('[{"n": 1}, 2] is a list. Is it long?', '[{"n": 1}, 2] is a list. Is it long?'),
        ('[{"n": 1}, 2]', '[{"n": 1}, 2]'),
    ],
)
def test_prompt_that_looks_like_messages_and_is_none_stays_as_it_is(
    tmp_path: Path, context: str, prompt: str
) -> None:
    work = restored("lm_eval_limit", tmp_path)
    [path] = work.rglob("samples_*.jsonl")
    record = json.loads(path.read_text().splitlines()[0])
    record["arguments"] = {"gen_args_0": {"arg_0": context, "arg_1": {}}}
    path.write_text(json.dumps(record) + "\n")

    [found] = read_samples("lm_eval", work, None)

    assert found.prompt == prompt


def test_repeats_have_a_row_each_and_the_score_once(tmp_path: Path) -> None:
    found = list(read_samples("lm_eval", restored("lm_eval_repeats_sampled", tmp_path), None))

    of_first = [row for row in found if row.sample == "0"]
    assert [row.repeat for row in of_first] == [0, 1, 2]
    assert [row.answer for row in of_first] == ["5", "5", "5"]
    assert [row.score for row in of_first] == [1.0, None, None]


def test_samples_of_a_group_name_their_subtask(tmp_path: Path) -> None:
    found = list(read_samples("lm_eval", restored("lm_eval_group", tmp_path), None))

    assert {row.subtask for row in found} == {"sums", "sums_dup"}


def test_tokens_come_from_the_gateways_ledger_where_it_tells_answers_apart(tmp_path: Path) -> None:
    work, ledger = restored("lm_eval_limit", tmp_path), tmp_path / LEDGER
    first, second, *_ = read_samples("lm_eval", work, None)
    row = {"endpoint": "model", "outcome": "answered", "tokens": {"prompt": 7, "completion": 3}}
    asked = [
        {**row, "prompt": prompt_key([{"role": "user", "content": text}]).hex(), "occurrence": n}
        for text, n in [(first.prompt, 0), (second.prompt, 0), (second.prompt, 1)]
    ]
    ledger.write_text("".join(json.dumps(each) + "\n" for each in asked))

    one, other, *_ = read_samples("lm_eval", work, None, ledger=ledger)

    assert (one.prompt_tokens, one.completion_tokens) == (7, 3)
    assert (other.prompt_tokens, other.completion_tokens) == (None, None)


def test_tokens_come_from_the_adapters_caches_in_a_nemo_image(tmp_path: Path) -> None:
    found = list(read_samples("nemo", restored("nemo_lm_eval", tmp_path), None))

    assert len(found) == 20
    counted = [(row.prompt_tokens, row.completion_tokens) for row in found if row.prompt_tokens]
    # This evaluation's adapter had kept only a few requests; ours keeps all of them.
    assert set(counted) == {(9, 2)}
    assert len(counted) < 20


def test_metrics_in_a_nemo_image_are_named_as_in_its_results(tmp_path: Path) -> None:
    found = list(read_samples("nemo", restored("lm_eval_filters", tmp_path), None))

    assert {(row.metric, row.filter) for row in found} == {
        ("exact_match__strict-match", "strict-match"),
        ("exact_match__flexible-extract", "flexible-extract"),
    }


def test_choices_show_the_likeliest_one_and_the_right_one(tmp_path: Path) -> None:
    arguments = {
        f"gen_args_{number}": {"arg_0": "2 + 2 =", "arg_1": f" {number}"} for number in (3, 4)
    }
    record = {
        "doc_id": 7, "target": "1", "arguments": arguments, "filter": "none",
        "resps": [[["-0.5", "True"]], [[-2.5, False]]], "filtered_resps": [["-0.5", "True"]],
        "metrics": ["acc", "inst"], "acc": 0.0, "inst": [True, False],
    }  # fmt: skip
    results = {"results": {"t": {"acc,none": 0.0}}, "n-samples": {"t": {"original": 1}}}
    (tmp_path / "results_1.json").write_text(json.dumps(results))
    (tmp_path / "samples_t_1.jsonl").write_text(json.dumps(record) + "\n")

    one, other = read_samples("lm_eval", tmp_path, None)

    assert (one.prompt, one.answer, one.expected, one.score) == ("2 + 2 =", " 3", " 4", 0.0)
    assert (other.metric, other.score) == ("inst", 0.5)


def test_per_sample_outputs_of_nemo_are_read_where_a_harness_writes_them(tmp_path: Path) -> None:
    record = {
        "id": "q1", "sub_query_id": 1, "query": {"messages": [{"role": "user", "content": "Why?"}]},
        "generation": "Because.", "answer": "b", "ground_truth": "b", "score": 1,
        "score_name": "judgement", "num_prompt_tokens": 4, "num_generated_tokens": 3,
    }  # fmt: skip
    folder = tmp_path / "nemo-evaluator-per-sample-outputs"
    folder.mkdir()
    (folder / "output.jsonl").write_text(json.dumps(record) + "\n")

    [row] = read_samples("nemo", tmp_path, None)

    assert row[1:6] == ("q1", 1, "judgement", None, 1.0)
    assert (row.prompt, row.expected, row.answer, row.extracted) == ("Why?", "b", "Because.", "b")
    assert (row.prompt_tokens, row.completion_tokens) == (4, 3)


def test_declared_samples_need_nothing_but_an_id(run: Run) -> None:
    whole = {
        "id": 1, "repeat": 2, "prompt": "2+2?", "expected": 4, "answer": "four",
        "extracted": "4", "scores": {"accuracy": True, "length": 4}, "prompt_tokens": 3,
        "completion_tokens": 1, "latency_ms": 12.5,
    }  # fmt: skip
    publish(run.tasks[0], [whole, {"id": "b"}])

    assert write_samples(run)["quiz"].rows == 3

    found = table(run)
    assert [(row["sample"], row["metric"], row["score"]) for row in found] == [
        ("1", "accuracy", 1.0),
        ("1", "length", 4.0),
        ("b", None, None),
    ]
    assert found[0]["digest"] == run.tasks[0].digest
    assert (found[0]["expected"], found[0]["latency_ms"]) == ("4", 12.5)
    assert list(found[0]) == ["task", "digest", *Sample._fields]


def test_only_changed_tasks_are_read_again(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    quiz, riddle = run.tasks
    publish(quiz, [{"id": number, "score": 1} for number in range(3)])
    publish(riddle, [{"id": "r", "score": 0}])
    write_samples(run)
    read: list[Path] = []
    plain = samples.read_samples

    def noted(kind: str, work: Path, *more: Any) -> Any:
        read.append(work)
        return plain(kind, work, *more)

    monkeypatch.setattr(samples, "read_samples", noted)

    # when nothing has changed
    before = run.paths.samples.stat()
    write_samples(run)
    assert read == []
    assert run.paths.samples.stat().st_mtime_ns == before.st_mtime_ns

    # when one task was started over
    marked_at(riddle, "later")
    (riddle.paths.work(riddle.digest) / "samples.jsonl").write_text('{"id": "r", "score": 1}\n')
    write_samples(run)
    assert read == [riddle.paths.work(riddle.digest)]
    assert [row["score"] for row in table(run)] == [1, 1, 1, 1]

    # when one is no longer published
    quiz.paths.published(quiz.digest).unlink()
    quiz.paths.complete(quiz.digest).unlink()
    write_samples(run)
    assert [row["task"] for row in table(run)] == ["riddle"]


def test_unreadable_samples_have_a_cause_and_hide_no_others(run: Run) -> None:
    quiz, riddle = run.tasks
    publish(quiz, [{"id": 1, "score": 1}])
    publish(riddle, [{"id": 1, "score": 1}])
    (quiz.paths.work(quiz.digest) / "samples.jsonl").write_text('{"id": 1}\n{"id": 2, "sc')

    found = write_samples(run)

    assert found["quiz"].cause == "line 2 of samples.jsonl is no JSON"
    assert found["riddle"].rows == 1
    assert members(run.paths.samples) == found


def test_damaged_file_is_written_anew(run: Run) -> None:
    quiz, riddle = run.tasks
    publish(quiz, [{"id": number, "prompt": f"p{number}", "score": 1} for number in range(200)])
    write_samples(run)
    content = bytearray(run.paths.samples.read_bytes())
    content[4:200] = bytes(196)
    run.paths.samples.write_bytes(content)

    publish(riddle, [{"id": 1, "score": 0}])
    write_samples(run)

    assert len(table(run)) == 201


def test_file_of_many_batches_keeps_every_row(run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(samples, "BATCH_CHARACTERS", 1_000)
    publish(run.tasks[0], [{"id": n, "prompt": "x" * 10, "score": n % 2} for n in range(950)])

    member = write_samples(run)["quiz"]

    assert member.rows == 950
    assert member.groups[1] > 5
    assert [row["sample"] for row in table(run)] == [str(n) for n in range(950)]
