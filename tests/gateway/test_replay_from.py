"""Stored answers are scored anew for nothing, by another benchmark's definition or another run."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import yaml
from test_in_the_pipeline import SAMPLES, asking, through_the_gateway

from rig.endpoint import ScriptedEndpoint
from rig.pipeline import Project
from snakeval.config.load import load
from snakeval.errors import InputError
from snakeval.job.gateway.ledger import LEDGER, Answers, Ledger, Stored
from snakeval.plan.make import make_run
from snakeval.plan.run import Run
from snakeval.render.task import gateway_options

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
EARLIER = "2026-11-01-10-00-00-0badcafe"


def planned(folder: Path, **values: str) -> Run:
    endpoint = {"url": "http://h/v1/chat/completions", "model_id": "m"}
    content = {
        "execution": {"output_dir": str(folder / "out"), "gateway": False},
        "target": {"api_endpoint": endpoint},
        "evaluation": {"tasks": [{"name": "lm_eval.gsm8k"}, {"name": "lm_eval.ifeval"}]},
    }
    (folder / "my.yaml").write_text(yaml.safe_dump(content))
    return make_run(load([folder / "my.yaml"], values), CATALOGUE)


def left(folder: Path, run: str, task: str, digest: str) -> Path:
    record = folder / "out" / run / task / "record" / digest
    record.mkdir(parents=True)
    (record / LEDGER).touch()
    return record


@pytest.mark.parametrize(
    "wanted", [EARLIER, "2026-11-01", "0badc", "abcdef123456", "abcdef", f"out/{EARLIER}/"]
)
def test_answers_come_from_a_run_or_a_spec(tmp_path: Path, wanted: str) -> None:
    left(tmp_path, EARLIER, "gsm8k", "abcdef123456")
    run = planned(tmp_path, replay_from=wanted)
    gsm8k, ifeval = run.tasks
    assert gsm8k.replay_from == (f"{EARLIER}/gsm8k/record/abcdef123456",)
    assert gsm8k.gateway and gateway_options(gsm8k)["replay_from"] == list(gsm8k.replay_from)
    assert not ifeval.replay_from and not ifeval.gateway
    assert "has no stored answers of ifeval: it is asked" in str(run.warnings[-1])
    assert run.selected == run.tasks and planned(tmp_path).tasks[0].digest == gsm8k.digest


def test_a_task_that_is_started_over_has_its_own_answers(tmp_path: Path) -> None:
    first = planned(tmp_path)
    own = left(tmp_path, first.paths.id, "gsm8k", first.tasks[0].digest)
    first.paths.controller.touch()
    with pytest.raises(InputError, match="has no stored answers of these benchmarks"):
        planned(tmp_path, replay_from=first.paths.id)
    again = planned(tmp_path, replay_from=first.paths.id, fresh="gsm8k")
    name = f"{first.paths.id}/gsm8k/record/{own.name}.1"
    assert again.tasks[0].replay_from == (name,) and again.fresh == again.tasks[:1]


@pytest.mark.parametrize("wanted", ["nowhere", "gsm8k", EARLIER[:-1] + "f", "abcdef123457"])
def test_what_is_no_run_and_no_spec_is_refused(tmp_path: Path, wanted: str) -> None:
    """And never taken for all runs that there are."""
    left(tmp_path, EARLIER, "gsm8k", "abcdef123456")
    with pytest.raises(InputError, match=f"'{wanted}' is no run and no spec here"):
        planned(tmp_path, replay_from=wanted)


def test_answers_of_another_model_are_told_to_be_of_no_use(tmp_path: Path) -> None:
    record = left(tmp_path, EARLIER, "gsm8k", "abcdef123456")
    (record / "task.yaml").write_text("model_id: m\n")
    assert "another model" not in " ".join(map(str, planned(tmp_path, replay_from="0bad").warnings))
    (record / "task.yaml").write_text("model_id: an-older-one\n")
    told = " ".join(map(str, planned(tmp_path, replay_from="0bad").warnings))
    assert "has answers of another model (an-older-one): gsm8k is asked" in told


@pytest.mark.parametrize(
    "line",
    [
        '{"at": 5}',
        '{"at": [1], "key": "aa", "occurrence": 0}',
        '{"at": -1, "key": "aa", "occurrence": 0}',
        '{"at": 0, "key": 7, "occurrence": 0}',
        '{"at": 0, "key": "aa", "occurrence": "first"}',
        '{"at": 0, "key": "aa", "occurrence": -1}',
        '{"at": 0, "key": "aa", "occurrence": 0, "named": ["x"], "model": {}}',
    ],
)
def test_a_ledger_that_no_gateway_has_written_gives_no_answer_and_ends_nothing(
    tmp_path: Path, line: str
) -> None:
    (tmp_path / "ledger.jsonl").write_text(f"nonsense\n[]\n{line}\n")
    (tmp_path / "answers.bin").write_bytes(b"nonsense")
    assert Answers(tmp_path, is_read_only=True).take(b"\xaa", 0) is None


def test_an_answer_of_another_record_is_kept_in_the_own_one(tmp_path: Path) -> None:
    there, here = tmp_path / "there", tmp_path / "here"
    ledger, answers = Ledger(there), Answers(there)
    at = answers.keep(Stored("application/json", 1.5, b"the answer"))
    line = {"key": "aa", "occurrence": 0, "at": at, "outcome": "answered", "model": "m"}
    ledger.add({**line, "named": "m-1"})
    before = (there / "answers.bin").read_bytes()

    others = {"there": Answers(there, is_read_only=True)}
    found = Answers(here, others=others).take(b"\xaa", 0)
    assert found and (found.source, found.named) == ("there", "m-1")
    row = {**line, "at": found.at, "outcome": "replayed", "source": found.source}
    Ledger(here).add({**row, "named": found.named})

    again = Answers(here).take(b"\xaa", 0)
    assert again and again.stored.body == b"the answer"
    assert (again.source, again.named) == ("there", "m-1")
    assert (there / "answers.bin").read_bytes() == before


def test_rescoring_asks_nothing_and_the_result_tells_of_it(
    tmp_path: Path, endpoint: ScriptedEndpoint
) -> None:
    blind = {"name": "own.blind"}
    project = through_the_gateway(
        Project(tmp_path, endpoint.chat_url), blind, harnesses=asking(SAMPLES)
    )
    project.snakemake().check()
    first = project.run_folder.name
    newer = asking(SAMPLES)
    newer["own"]["command"] += " # a newer scorer"
    through_the_gateway(project, blind, harnesses=newer)
    project.snakemake("--config", f"replay_from={first}").check()
    assert endpoint.requests.total() == SAMPLES
    (row,) = project.rows()
    assert (row["requests"], row["replayed"]) == (0, SAMPLES)
    notes = json.loads((project.run_folder / "results" / "results.json").read_text())["notes"]
    (told,) = (note for note in notes["blind"] if "not asked for again" in note)
    assert told.startswith(f"{SAMPLES} answers were not asked for again but taken from {first}/")
    assert "0 requests were made" in told
