"""Whatever cannot work is told before anything is started: exit code, key, fix, no traceback, and
no run folder. A dry run only warns about what is wrong with the machine or the endpoint."""

import json
from typing import Any

import pytest
from quiz_project import quiz, row, write

from rig.endpoint import ScriptedEndpoint
from rig.pipeline import MODEL, Finished, Project
from snakemake_logger_plugin_snakeval import faulty_values


def told(ended: Finished) -> str:
    """The output without the line in which Snakemake repeats the command."""
    return "\n".join(
        line for line in ended.output.splitlines() if not line.lstrip().startswith("Command: ")
    )


def nothing_was_made(project: Project) -> bool:
    return (
        not (project.folder / "out").exists()
        and not (project.folder / "home" / ".nv-eval").exists()
    )


@pytest.mark.parametrize("start", [[], ["-n"]], ids=["real start", "dry run"])
def test_keys_benchmarks_and_overrides_are_told_together(
    project: Project, start: list[str]
) -> None:
    write(project, [{"name": "own.quizz", "containr": "x"}, quiz("ifeval")])

    message = told(project.snakemake(*start, "--config", "limit_samples=-1").refused())
    project.config.write_text(project.config.read_text() + "executon: {}\n")
    later = told(project.snakemake(*start, "--config", "tasks=quiz,ifevl").refused())

    assert "--config limit_samples: '-1' is not a whole number greater than 0" in message
    for expected in (
        "unknown key 'executon'",
        "unknown key 'containr'",
        "task 'quizz'",
        "'ifeval'",
        "--config tasks: the config has no task 'quiz'",
        "--config tasks: the config has no task 'ifevl'",
    ):
        assert expected in later
    assert "6 problems; nothing was started" in later
    assert nothing_was_made(project)


def test_a_job_that_no_executor_can_give_the_run_to_is_refused(project: Project) -> None:
    write(project, [quiz("quiz")])

    message = told(project.snakemake("--config", "controller=job").refused())

    assert "--config controller: with this executor no job can drive a run" in message
    assert nothing_was_made(project)


def test_repeats_that_no_cache_can_answer_are_told(project: Project) -> None:
    write(project, [quiz("gsm8k", n_samples=4)], gateway=False)

    message = project.snakemake("-n").check().output

    assert "evaluation.tasks.0: 'lm-evaluation-harness.gsm8k' asks each sample 4 times" in message
    assert "the adapter's cache gives no old answers" in message
    assert nothing_was_made(project)


@pytest.mark.parametrize("start", [[], ["-n"]], ids=["real start", "dry run"])
def test_wrong_keys_are_told_all_at_once(project: Project, start: list[str]) -> None:
    write(
        project,
        [{"name": "own.quiz", "containr": "x"}],
        target={"api_endpoint": {"modelid": MODEL, "api_key_name": "sk-canary-123456"}},
        execution={"output_dir": ["a", "list"]},
    )

    message = told(project.snakemake(*start).refused())

    for expected in (
        "target.api_endpoint.url: is missing",
        "target.api_endpoint.model_id: is missing",
        "unknown key 'modelid'",
        "did you mean 'model_id'",
        "execution.output_dir: must be text (found a list)",
        "unknown key 'containr'",
        "did you mean 'container'",
        "api_key_name: is not the name of an environment variable",
        "6 problems; nothing was started",
    ):
        assert expected in message
    assert "canary" not in message
    assert nothing_was_made(project)


def test_wrong_benchmarks_are_told_all_at_once(project: Project) -> None:
    write(
        project,
        [
            quiz("own.quizz"),
            quiz("quizz"),
            quiz("a.b.c"),
            quiz("ifeval"),
            quiz("own.quiz"),
            quiz("lm_eval.results"),
        ],
        target={
            "api_endpoint": {"url": project.url, "model_id": MODEL, "type": "embedding"},
        },
    )

    message = told(project.snakemake().refused())

    for expected in (
        "harness 'own' has no task 'quizz'\n    -> did you mean 'quiz'",
        "there is no benchmark 'quizz'\n    -> did you mean 'quiz'",
        "'a.b.c' has more than one dot\n    -> write `task` or `harness.task`",
        "'ifeval' is a task of several harnesses\n    -> write one of codec.ifeval, ",
        "'own.quiz' needs an endpoint of type chat, and target.api_endpoint.type is embedding",
        "'results' cannot be the name of a folder",
        "evaluation.tasks.0.name",
    ):
        assert expected in message
    assert nothing_was_made(project)


@pytest.mark.parametrize(
    ("values", "expected"),
    [
        ("limit_sample=3", "unknown key 'limit_sample'\n    -> did you mean 'limit_samples'"),
        ("fresh=quizz", "--config fresh: the config has no task 'quizz'\n    -> did you mean"),
        ("set=[target.api_endpoint.api_key_name=hf_canaryCANARY123]", "api_key_name: is not the"),
    ],
)
def test_wrong_override_is_refused(project: Project, values: str, expected: str) -> None:
    write(project, [quiz()])

    message = told(project.snakemake("--config", values).refused())

    assert expected in message
    assert "canary" not in message
    assert nothing_was_made(project)


def test_placeholder_that_nobody_fills_in_is_refused_in_a_dry_run_too(project: Project) -> None:
    own = {"kind": "command", "command": "ask {urll} ${shell_variable}", "tasks": {"quiz": None}}
    write(project, [quiz()], harnesses={"own": own})

    message = told(project.snakemake("-n").refused())

    assert "harnesses.own.command: unknown placeholder '{urll}'" in message
    assert "did you mean 'url'" in message
    assert "shell_variable" not in message


def test_machine_that_lacks_something_is_told_and_a_dry_run_only_warns(
    project: Project, endpoint: ScriptedEndpoint
) -> None:
    # given a variable that is not set, a dataset that is not there, a disk too small, and an
    # endpoint that has gone
    task = {**quiz(), "dataset_dir": "no/such/folder", "env_vars": {"HF_TOKEN": "host:NO_TOKEN"}}
    write(project, [task], execution={"output_dir": "out", "min_free_gb": 10**9})
    endpoint.stop_listening()
    expected = (
        "the variable NO_TOKEN is not set",
        "export NO_TOKEN=...",
        "no/such/folder does not exist",
        "dataset_dir",
        "execution.output_dir: only",
        "execution.min_free_gb",
        f"endpoint {endpoint.chat_url}: does not answer",
        "start the server, or correct target.api_endpoint.url",
    )

    looked = project.snakemake("-n").check()
    refused = project.snakemake().refused()

    assert looked.planned == 1
    for text in expected:
        assert text in looked.output
        assert text in refused.output
    assert "Traceback" not in looked.output
    assert nothing_was_made(project)


ENDPOINTS: dict[str, tuple[dict[str, Any], str]] = {
    "wants a key": ({"required_key": "secret"}, "wants a key (401)"),
    "serves another model": (
        {"models": ["llama-a", "llama-b"]},
        "does not serve 'test-model'\n    -> it serves llama-a, llama-b",
    ),
}


@pytest.mark.parametrize("what", ENDPOINTS)
def test_endpoint_that_cannot_answer_is_refused(
    project: Project, endpoint: ScriptedEndpoint, what: str
) -> None:
    settings, expected = ENDPOINTS[what]
    endpoint.configure(settings)
    write(project, [quiz()])

    assert expected in project.snakemake().refused().output
    assert endpoint.requests.total() == 0
    assert nothing_was_made(project)


def test_endpoint_without_a_model_list_is_a_recorded_warning(
    project: Project, endpoint: ScriptedEndpoint
) -> None:
    endpoint.models = None
    write(project, [quiz()])

    looked, ended = project.snakemake("-n").check(), project.snakemake().check()

    record = json.loads((project.run_folder / "run.json").read_text())
    (warning,) = record["warnings"]
    assert "lists no models (/v1/models answers 404)" in warning
    assert warning in ended.output
    assert warning in looked.output
    assert "would be refused" not in looked.output
    assert row(project, "quiz")["state"] == "published"


def test_mistakes_that_snakemake_meets_first_are_told_in_our_words(project: Project) -> None:
    project.write([{"name": "lm_eval.gsm8kk"}])
    project.config.with_name("tab.yaml").write_text("target:\n\tx: 1\n")

    gone = project.run_warm(*_with(project, "nothere.yaml")).refused()
    tab = project.run_warm(*_with(project, "tab.yaml")).refused()
    target = project.snakemake("--config", "run=zzz", "--", "statu").refused()
    task = project.snakemake("-n").check()
    value = project.run_warm(*project.command("-n", "--config", "limit_samples")).refused()

    assert "'limit_samples' is not key=value" in value.output
    assert "nothere.yaml: cannot be read: No such file or directory" in gone.output
    assert "tab.yaml, line 2, column 1: is a tab" in tab.output
    assert "there is no target 'statu': did you mean 'status'?" in target.output
    assert "lm-eval has no task 'gsm8kk'" in task.output
    assert "did you mean 'gsm8k'" in task.output


def test_mistake_in_a_target_is_told_without_snakemakes_exceptions(project: Project) -> None:
    project.write()

    told = project.snakemake("--config", "run=zzz", "--", "status").refused()

    assert "there is no run 'zzz'" in told.output or "there is no run yet" in told.output
    assert "RuleException" not in told.output
    assert "CalledProcessError" not in told.output


@pytest.mark.parametrize(
    ("word", "told"),
    [
        ("limit_samples", "'limit_samples' is not key=value"),
        ("my.yaml", "write --configfile my.yaml"),
        ("target.api_endpoint.model_id=m", "'set=[target.api_endpoint.model_id=m]'"),
        ("x=1", "there is no key 'x'"),
    ],
)
def test_words_at_which_snakemake_would_end_in_a_traceback_are_told(word: str, told: str) -> None:
    assert told in "".join(faulty_values(["snakemake", "-n", "--config", "a1=b", word, "--cores"]))


def _with(project: Project, config: str) -> list[str]:
    """The command with another config file."""
    own = str(project.config)
    return [config if word == own else word for word in project.command("-n")]
