"""What a config's texts may not hold: control characters, names that trip a program, secrets."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest
import yaml

from snakeval.config.load import load
from snakeval.config.overrides import assign
from snakeval.errors import InputError
from snakeval.plan.make import plan
from snakeval.plan.run import Run
from snakeval.start import checks

CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
WHOLE: dict[str, Any] = {
    "name": "run",
    "user": "me",
    "target": {
        "api_endpoint": {
            "url": "http://h/v1/chat/completions",
            "model_id": "m",
            "api_key_name": "MY_KEY",
            "adapter_config": {"interceptors": [{"name": "headers", "config": {"X-Team": "a"}}]},
        }
    },
    "execution": {
        "type": "slurm",
        "output_dir": "out",
        "account": "a",
        "partition": "p",
        "sbatch_comment": "c",
        "sbatch_extra_flags": {"nice": "5"},
        "extra_docker_args": "--cpus 2",
        "mounts": {"evaluation": {"/data": "/data"}},
        "hf_home": "/cache",
    },
    "env_vars": {"MODE": "lit:fast"},
    "export": {"mlflow": {"experiment_name": "e", "tags": {"team": "a"}}},
    "harnesses": {
        "own": {
            "kind": "command",
            "command": "ask {url}",
            "image": "registry/image:1",
            "results": "results.json",
            "tasks": {"quiz": {"eval_type": "quiz"}},
        }
    },
    "evaluation": {
        "pre_cmd": "echo begin",
        "tasks": [
            {
                "name": "own.quiz",
                "nemo_evaluator_config": {"config": {"params": {"extra": {"prompt": "Say it."}}}},
            }
        ],
    },
}
"""A config with a text in every kind of section; tests change one of them."""

ONE_LINE = [
    "name",
    "user",
    "target.api_endpoint.url",
    "target.api_endpoint.model_id",
    "target.api_endpoint.api_key_name",
    "execution.output_dir",
    "execution.account",
    "execution.partition",
    "execution.sbatch_comment",
    "execution.sbatch_extra_flags.nice",
    "execution.hf_home",
    "execution.mounts.evaluation./data",
    "export.mlflow.experiment_name",
    "export.mlflow.tags.team",
    "harnesses.own.image",
    "harnesses.own.results",
    "harnesses.own.tasks.quiz.eval_type",
    "evaluation.tasks.0.name",
]
SEVERAL_LINES = [
    "harnesses.own.command",
    "evaluation.pre_cmd",
    "evaluation.tasks.0.nemo_evaluator_config.config.params.extra.prompt",
    "execution.extra_docker_args",
]
NEVER = ["\x00", "\x07", "\x1b[2J", "\x7f", "\x85", "\x9b", "\ud83d"]


@pytest.fixture(autouse=True)
def _in_a_folder_of_its_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)


def planned(content: dict[str, Any]) -> Run:
    Path("my.yaml").write_text(json.dumps(content))
    (run,) = plan([Path("my.yaml")], {}, CATALOGUE)
    return run


def with_text(key: str, text: Any) -> dict[str, Any]:
    content = copy.deepcopy(WHOLE)
    assign(content, key, text)
    return content


def refused(content: dict[str, Any]) -> str:
    with pytest.raises(InputError) as error:
        planned(content)
    said = str(error.value)
    assert said.isascii() or said.encode()
    return said


def test_the_whole_config_is_fine() -> None:
    assert [task.name for task in planned(WHOLE).tasks] == ["quiz"]


@pytest.mark.parametrize("key", [*ONE_LINE, *SEVERAL_LINES])
@pytest.mark.parametrize("char", NEVER, ids=ascii)
def test_control_characters_are_refused_everywhere_and_never_printed(key: str, char: str) -> None:
    said = refused(with_text(key, f"a{char}b"))
    unseen = "holds characters that cannot be seen", "invalid Unicode character"
    assert any(words in said for words in unseen)
    assert not set(char) & set(said) - set("[2J")


@pytest.mark.parametrize("key", ONE_LINE)
@pytest.mark.parametrize("char", ["\n", "\u2028", "\u202e"], ids=ascii)
def test_a_text_of_one_line_has_no_line_break_and_no_turned_direction(key: str, char: str) -> None:
    assert "holds" in refused(with_text(key, f"a{char}b"))


@pytest.mark.parametrize("key", SEVERAL_LINES)
def test_commands_and_prompts_may_have_several_lines(key: str) -> None:
    assert planned(with_text(key, "a\n\tb\n\u202bc")).tasks


@pytest.mark.parametrize(
    "section", ["env_vars", "execution.mounts.evaluation", "harnesses.own.tasks"]
)
def test_keys_are_looked_at_too(section: str) -> None:
    content = copy.deepcopy(WHOLE)
    here = content
    for part in section.split("."):
        here = here[part]
    here["a\nb"] = copy.deepcopy(next(iter(here.values())))
    assert "the key holds a line break" in refused(content)


@pytest.mark.parametrize(
    "text", [".inf", ".nan", "2024-01-01", "!!binary aGk=", "!!set {a}", "&a [*a]"]
)
def test_values_that_no_json_has_end_in_a_sentence(text: str) -> None:
    Path("my.yaml").write_text(
        "target: {api_endpoint: {url: http://h/v1/chat/completions, model_id: m}}\n"
        "evaluation: {tasks: [gsm8k], nemo_evaluator_config: {config: {params: {temperature: "
        f"{text}}}}}}}}}\n"
    )
    with pytest.raises(InputError):
        plan([Path("my.yaml")], {}, CATALOGUE)


@pytest.mark.parametrize(
    "text",
    [
        "[" * 10_000,
        "a: " + "9" * 5000,
        "a: &a [x,x,x,x,x,x,x,x,x]\n"
        + "".join(
            f"{b}: &{b} [{','.join([f'*{a}'] * 9)}]\n"
            for a, b in zip("abcdefgh", "bcdefghi", strict=True)
        ),
    ],
    ids=["brackets", "digits", "laughs"],
)
def test_a_bomb_ends_in_a_sentence(text: str) -> None:
    Path("my.yaml").write_text(text)
    with pytest.raises(InputError):
        load(["my.yaml"], {})


# --- names ---------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "name",
    ["-x", ".x", "..", "deployments", "exports", "lib", "results", "record", "x" * 300, "a/b"],
)
def test_a_name_that_trips_a_file_system_is_refused(name: str) -> None:
    content = copy.deepcopy(WHOLE)
    content["harnesses"]["own"]["tasks"] = {name: None}
    content["evaluation"]["tasks"] = [f"own.{name}"]
    assert "nothing was started" in refused(content)


@pytest.mark.parametrize("key", ["harnesses", "auxiliary_deployments"])
@pytest.mark.parametrize("name", ["-x", ".x", "x" * 300, "a/b", ""])
def test_names_of_harnesses_and_servers_become_folders(key: str, name: str) -> None:
    content = copy.deepcopy(WHOLE)
    body = {
        "harnesses": WHOLE["harnesses"]["own"],
        "auxiliary_deployments": {
            "type": "vllm",
            "served_model_name": "j",
            "hf_model_handle": "a/b",
        },
    }
    content[key] = {**content.get(key, {}), name: body[key]}
    assert key in refused(content)


@pytest.mark.parametrize(
    ("key", "text"),
    [
        ("execution.output_dir", "-rf"),
        ("execution.output_dir", "x" * 300),
        ("execution.output_dir", "~nobody-of-this-name/x"),
        ("execution.output_dir", ""),
        ("execution.hf_home", "-x"),
        ("execution.extra_docker_args", "--label 'a"),
        ("harnesses.own.image", "--privileged"),
        ("harnesses.own.image", "a b"),
        ("harnesses.own.results", "../x.json"),
        ("harnesses.own.samples", "/etc/x.jsonl"),
        ("harnesses.own.files", "-x"),
        ("evaluation.tasks.0.container", "-v/:/x"),
        ("evaluation.tasks.0.dataset_dir", "x" * 300),
        ("evaluation.tasks.0.dataset_mount_path", "relative"),
        ("target.api_endpoint.model_id", "--model"),
        ("target.api_endpoint.model_id", "x" * 300),
        ("target.api_endpoint.url", "http://[::1/v1/chat/completions"),
        ("target.api_endpoint.url", "http://h:99999/v1/chat/completions"),
        ("target.api_endpoint.url", "http://h:port/v1/chat/completions"),
        ("target.api_endpoint.url", "@URL@"),
        ("export.local.output_filename", "../../x"),
        ("export.local.output_filename", "/x"),
        ("export.local.output_filename", "a/../../x"),
        ("export.mlflow.tracking_uri", "http://[x"),
        ("user", "x" * 5000),
    ],
)
def test_what_a_program_would_take_for_something_else_is_refused(key: str, text: str) -> None:
    assert f"my.yaml: {key}" in refused(with_text(key, text))


@pytest.mark.parametrize("text", ["--seed '1", 'a"b', "end\\"])
@pytest.mark.parametrize("benchmark", ["own.quiz", "lm-evaluation-harness.ifeval"])
def test_arguments_of_a_harness_with_an_open_quote_are_refused(benchmark: str, text: str) -> None:
    content = {
        "target": WHOLE["target"],
        "harnesses": {"own": {"kind": "lm_eval", "tasks": {"quiz": {"endpoint_type": "chat"}}}},
        "evaluation": {
            "nemo_evaluator_config": {"config": {"params": {"extra": {"args": text}}}},
            "tasks": [{"name": benchmark}],
        },
    }
    (problem,) = checks.recipes(planned(content).tasks)
    assert "params.extra.args" in str(problem) and "a quote is not closed" in str(problem)


def test_a_checkpoint_folder_that_breaks_out_is_refused(tmp_path: Path) -> None:
    for name in ("a\nb", "-rf", "step\x1b[2J", "${oc.env:HOME}", os.fsdecode(b"\xff\xfe")):
        folder = tmp_path / "steps" / name
        folder.mkdir(parents=True)
        content = {
            "deployment": {"type": "vllm"},
            "models": [{"checkpoints": f"{tmp_path}/steps/*"}],
            "evaluation": {"tasks": ["gsm8k"]},
        }
        assert "models.0" in refused(content), name
        folder.rmdir()


# --- secrets -------------------------------------------------------------------------------------

CANARIES = {
    "bearer": "Bearer CANARYEXTRA12345",
    "openai": "sk-proj-CANARY1234567890",
    "hub": "hf_CANARYcanary1234567890",
    "nvidia": "nvapi-CANARY_canary-123",
    "github": "ghp_CANARYcanary1234567890",
    "jwt": "eyJhbGciOiJI.eyJzdWIiOiIxMjM0NTY3ODkwIn0.CANARY",
    "aws": "AKIACANARY1234567",
    "password": "https://me:CANARY@host/x",
    "user": "https://CANARY@host/x",
    "query": "https://host/x?a=b&api-key=CANARY",
    "encoded": "https://host/x?api%2Dkey=CANARY",
    "token": "http://host/x?token=CANARY",
    "google": "https://host/x?key=CANARY",
    "signature": "https://host/x?X-Amz-Signature=CANARY",
    "database": "postgresql://me:CANARY@db/x",
    "pem": "-----BEGIN RSA PRIVATE KEY-----\nCANARY\n-----END RSA PRIVATE KEY-----",
    "basic": "Basic bWU6Q0FOQVJZ",
}
HEADERS = "target.api_endpoint.adapter_config.interceptors.0.config"
FREE = "evaluation.tasks.0.nemo_evaluator_config.config.params.extra.prompt"
ANYWHERE = [FREE, "env_vars.MODE", "evaluation.pre_cmd", "harnesses.own.command"]


@pytest.mark.parametrize("key", ANYWHERE)
@pytest.mark.parametrize("text", CANARIES.values(), ids=CANARIES)
def test_a_secret_is_refused_wherever_it_stands_and_not_repeated(key: str, text: str) -> None:
    said = refused(with_text(key, f"lit:{text}" if key == "env_vars.MODE" else text))
    assert "would be written down" in said
    assert "CANARY" not in said and "Q0FOQVJZ" not in said


@pytest.mark.parametrize("kind", ["password", "user", "query", "token", "google", "encoded"])
@pytest.mark.parametrize("key", ["target.api_endpoint.url", "export.mlflow.tracking_uri"])
def test_a_url_with_a_key_is_refused_with_what_to_write_instead(key: str, kind: str) -> None:
    said = refused(with_text(key, CANARIES[kind]))
    assert f"my.yaml: {key}: holds a " in said and "CANARY" not in said
    assert "api_key_name" in said or "MLFLOW_TRACKING_TOKEN" in said


@pytest.mark.parametrize(
    "header", ["Authorization", "x-api-key", "Api-Key", "password", "client_secret", "Cookie"]
)
def test_a_key_that_holds_secrets_has_no_value_in_the_config(header: str) -> None:
    key = f"{HEADERS}.{header}"
    assert "CANARY" not in refused(with_text(key, "CANARY-7"))
    for name in ("JUDGE_API_KEY", "${JUDGE_API_KEY}"[2:-1], None, ""):
        assert planned(with_text(key, name)).tasks


@pytest.mark.parametrize(
    ("key", "text"),
    [
        (f"{HEADERS}.Authorization", "Bearer ${oc.env:SECRET}"),
        (FREE, "${oc.env:MY_API_KEY}"),
        (FREE, "x ${oc.env:HF_TOKEN,none}"),
        (FREE, "${oc.env:DB_PASSWORD}"),
        (FREE, "${oc.env:HARMLESS_NAME}"),
        ("env_vars.MODE", "lit:${oc.env:USER}"),
        ("target.api_endpoint.api_key_name", "${oc.env:MY_API_KEY}"),
        ("target.api_endpoint.url", "https://${oc.env:HARMLESS_NAME}@h/v1/chat/completions"),
    ],
)  # fmt: skip
def test_a_secret_of_the_environment_is_not_copied(
    key: str, text: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("SECRET", "MY_API_KEY", "HF_TOKEN", "DB_PASSWORD", "HARMLESS_NAME"):
        monkeypatch.setenv(name, "sk-CANARY1234567890")
    monkeypatch.setenv("USER", "me")
    said = refused(with_text(key, text))
    assert "would be written down" in said and "CANARY" not in said


@pytest.mark.parametrize("name", ["USER", "HOME", "PWD", "ACCOUNT", "MAX_TOKENS", "TOKENIZER_PATH"])
def test_names_paths_and_accounts_are_no_secrets(
    name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(name, "/home/someone-7")
    assert planned(with_text(FREE, f"${{oc.env:{name}}}/x")).tasks


@pytest.mark.parametrize(
    "text",
    [
        "Basic arithmetic: what is 2 + 2?",
        "Bearer tokens are explained in RFC 6750",
        "a sk-learn-based task of risk-averse people",
        "https://host/x?limit=3&split=test#part",
        "see ssh://git@host/x and me@host",
        'curl -H "Authorization: Bearer $TOKEN" https://$USER:$TOKEN@host?token=$TOKEN',
        "hf_model_handle and nvapi-style keys",
        "sha256:0123456789abcdef0123456789abcdef",
    ],
)
def test_what_only_sounds_like_a_secret_is_none(text: str) -> None:
    assert planned(with_text(FREE, text)).tasks


@pytest.mark.parametrize("key", ANYWHERE)
def test_who_insists_may_write_them(key: str) -> None:
    content = with_text(key, "lit:Bearer CANARYEXTRA12345")
    content["allow_inline_secrets"] = True
    assert planned(content).tasks


def test_a_config_of_a_run_folder_is_looked_at_like_any_other() -> None:
    Path("config.yaml").write_text(yaml.safe_dump(with_text(FREE, "a\x1bb")))
    with pytest.raises(InputError):
        load(["config.yaml"], {}, interpolate=False)
