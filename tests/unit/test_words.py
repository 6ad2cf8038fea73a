"""What a person reads of Snakemake: no traceback of its own, no banner, the near word."""

import logging
from pathlib import Path
from typing import Any

import pytest
import yaml
import yte
from snakemake_interface_logger_plugins.common import LogEvent

from snakemake_logger_plugin_snakeval import config_files, is_told, mistakes, read_faster
from snakeval.harness import lm_eval_index
from snakeval.start.words import OfJobs, Shorter


def record(said: str, **extra: Any) -> logging.LogRecord:
    made = logging.LogRecord("snakemake.logging", logging.ERROR, "", 0, said, (), None)
    made.__dict__.update(extra)
    return made


@pytest.fixture
def shorter() -> Shorter:
    return Shorter(lambda: ["status", "logs", "kill"], lambda: None, lambda: False)


def test_end_without_anything_to_do_is_told() -> None:
    told: list[str] = []
    shorter = Shorter(list, lambda: told.append("nothing"), lambda: False)

    assert shorter.filter(record("Nothing to be done (all requested files are present)."))
    assert told == ["nothing"]


@pytest.mark.parametrize(
    ("said", "exception"),
    [
        ("RuleException:\nCalledProcessError in file x, line 29:\nCommand 'bash'", "RuleException"),
        ("WorkflowError:\nAt least one job did not complete successfully.", "WorkflowError"),
        ("Exiting because a job execution failed. Look above for error messages", ""),
    ],
)
def test_failed_job_that_has_told_its_cause_is_not_told_again(
    shorter: Shorter, said: str, exception: str
) -> None:
    assert not shorter.filter(record(said, exception=exception))


def test_other_failures_are_told(shorter: Shorter) -> None:
    said = "WorkflowError:\nFailed to submit the job"

    assert shorter.filter(record(said, exception="WorkflowError"))


def test_misspelt_target_is_told_with_the_near_one(shorter: Shorter) -> None:
    for target, words in (
        ("statu", "there is no target 'statu': did you mean 'status'?"),
        ("my.yaml", "a config is given with --configfile my.yaml"),
    ):
        said = f"MissingRuleException:\nNo rule to produce {target} (if you use input functions"
        unknown = record(said, exception="MissingRuleException")
        assert shorter.filter(unknown)
        assert words in unknown.getMessage()


def test_banner_is_left_to_the_log_file() -> None:
    assert not is_told(record("", event=LogEvent.WORKFLOW_STARTED))
    assert not is_told(record("Provided cores: 4"))
    assert is_told(record("to be evaluated: ifeval"))


def test_answer_stands_alone_and_failures_are_told_beside_it() -> None:
    shorter = Shorter(list, lambda: None, lambda: True)
    said = record("Job stats:")
    said.levelno = logging.INFO

    assert not shorter.filter(said)
    assert shorter.filter(record("Error in rule status"))


def test_config_files_are_found_on_the_command_line() -> None:
    words = ["-n", "--configfile", "a.yaml", "b.yaml", "--config", "x=y", "--configfiles=c.yaml"]

    assert [str(file) for file in config_files(words)] == ["a.yaml", "b.yaml", "c.yaml"]


def test_config_file_that_cannot_be_read_is_told_before_snakemake_meets_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    Path("my.yaml").write_text("target:\n\tapi_endpoint: {}\n")

    told = "\n".join(mistakes(["--configfile", "my.yaml", "nothere.yaml", "status"]))

    assert "my.yaml, line 2, column 1: is a tab" in told
    assert "nothere.yaml: cannot be read: No such file or directory" in told
    assert "a target is written before --configfile" in told


def test_snakemake_reads_a_config_file_by_the_parser_in_c_and_finds_the_same(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(yte, "yaml", yaml)
    text = (
        "a: &a {n: 010, m: 0o10, f: 1e3, g: 1.5e+3, yes: no, none: ~, day: 2026-11-21, t: 1:30}\n"
        "b: {<<: *a, n: .inf, text: \"\\u00e9\", quoted: '0012', big: 1_000}\n"
        "c: [x, -0.0, 0x1F, two\n  lines]\n"
    )
    slowly = yte.process_yaml(text, require_use_yte=True)

    read_faster()

    assert yte.yaml.FullLoader is yaml.CFullLoader
    assert repr(yte.process_yaml(text, require_use_yte=True)) == repr(slowly)
    assert yte.process_yaml("__use_yte__: true\na: ?1 + 1", require_use_yte=True) == {"a": 2}
    with pytest.raises(yaml.YAMLError):
        yte.process_yaml("a: b: c", require_use_yte=True)


def test_names_of_lm_evals_tasks_are_read_from_its_files_once(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))

    names = lm_eval_index.names()

    assert {"gsm8k", "gsm8k_cot", "ifeval", "mmlu", "math_word_problems"} <= names
    (kept,) = (tmp_path / "snakeval").iterdir()
    kept.write_text('["only"]')
    assert lm_eval_index.names() == {"only"}


def finished(**extra: Any) -> logging.LogRecord:
    return record("Finished jobid: 3 (Rule: evaluate)", event=LogEvent.JOB_FINISHED, **extra)


def test_a_job_that_has_told_its_end_here_is_not_told_by_number() -> None:
    said: list[str] = []
    here = OfJobs(lambda job: "ifeval of m", lambda: True, said.append)

    assert not here.filter(finished(job_id=3))
    assert not here.filter(record("", event=LogEvent.PROGRESS, done=1, total=4))
    assert here.filter(record("to be evaluated: ifeval"))
    assert said == []


def test_a_job_that_writes_elsewhere_is_told_by_the_name_of_its_benchmark() -> None:
    said: list[str] = []
    elsewhere = OfJobs(lambda job: {3: "ifeval of m"}.get(job, ""), lambda: False, said.append)

    assert not elsewhere.filter(finished(job_id=3))
    assert not elsewhere.filter(finished(job_id=4))  # tables and the like
    assert not elsewhere.filter(record("Trying to restart job 3."))
    assert elsewhere.filter(record("Trying to restart job 4.")), "nobody knows its name"
    assert said == ["ifeval of m: published", "ifeval of m: is tried again"]
