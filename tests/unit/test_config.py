"""Config errors: all at once, each with file, key, what is wrong, and what to write instead."""

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from snakeval.config.load import Loaded, load
from snakeval.config.overrides import assign, merge, parse_overrides
from snakeval.config.source import Source
from snakeval.errors import InputError, nearest

Read = Callable[..., Loaded]
Refused = Callable[..., str]
GOOD: dict[str, Any] = {
    "target": {"api_endpoint": {"url": "http://h/v1/chat/completions", "model_id": "m"}},
    "evaluation": {"tasks": ["ifeval"]},
}
SECRET = "hf_abcDEFghiJKLmnoPQR123"


@pytest.fixture
def read(tmp_path: Path) -> Read:
    """Reads GOOD with sections on top of it; `values` are those of `--config`."""

    def reader(values: dict[str, Any] | None = None, **sections: Any) -> Loaded:
        content: dict[str, Any] = {}
        merge(content, GOOD)
        merge(content, sections)
        file = tmp_path / "my.yaml"
        file.write_text(yaml.safe_dump(content))
        return load([file], values or {})

    return reader


@pytest.fixture
def refused(read: Read) -> Refused:
    """The message of a config that cannot be used."""

    def message(values: dict[str, Any] | None = None, **sections: Any) -> str:
        with pytest.raises(InputError) as error:
            read(values, **sections)
        return str(error.value)

    return message


def endpoint(**keys: Any) -> dict[str, Any]:
    return {"target": {"api_endpoint": keys}}


def params(**keys: Any) -> dict[str, Any]:
    return {"evaluation": {"nemo_evaluator_config": {"config": {"params": keys}}}}


def test_all_problems_are_told_at_once(refused: Refused) -> None:
    message = refused(
        target={"api_endpoint": {"url": None, "modelid": "m"}},
        execution={"min_free_gb": "much"},
        evaluation={"tasks": [{"name": 3}]},
    )

    assert message.startswith("4 problems; nothing was started")
    for key in ("api_endpoint.url", "modelid", "min_free_gb", "tasks.0.name"):
        assert key in message


def test_error_names_the_file_that_holds_the_key(tmp_path: Path) -> None:
    (tmp_path / "base.yaml").write_text(yaml.safe_dump({**GOOD, "user": ["not", "text"]}))
    (tmp_path / "top.yaml").write_text("executon: {}\n")

    with pytest.raises(InputError) as error:
        load([tmp_path / "base.yaml", tmp_path / "top.yaml"], {})

    assert "base.yaml: user" in str(error.value)
    assert "top.yaml: executon" in str(error.value)


@pytest.mark.parametrize(
    ("text", "what"),
    [
        ("- a list\n", ": is not a mapping"),
        ("a: [1\n", ", line 2, .*is not YAML"),
        (None, ": cannot"),
    ],
)
def test_file_that_is_no_config(tmp_path: Path, text: str | None, what: str) -> None:
    file = tmp_path / "my.yaml"
    if text is not None:
        file.write_text(text)

    with pytest.raises(InputError, match=f"my.yaml{what}"):
        load([file], {})


# --- secrets -------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [SECRET, "sk-live-1234567890", "nvapi-abc_DEF", "Abc1" * 8])
@pytest.mark.parametrize(
    "place",
    [
        lambda key: endpoint(api_key_name=key),
        lambda key: {"env_vars": {"HF_TOKEN": key}},
        lambda key: {"env_vars": {"HF_TOKEN": f"host:{key}"}},
        lambda key: {"env_vars": {key: "host:HF_TOKEN"}},
        lambda key: {"evaluation": {"env_vars": {"HF_TOKEN": key}}},
        lambda key: {"evaluation": {"tasks": [{"name": "x", "env_vars": {"HF_TOKEN": key}}]}},
        lambda key: {"values": {"set": f"[target.api_endpoint.api_key_name={key}]"}},
        lambda key: {"values": {"set": f"[env_vars.HF_TOKEN={key}]"}},
    ],
)
def test_pasted_key_is_refused_and_not_repeated(
    refused: Refused, place: Callable[[str], dict[str, Any]], key: str
) -> None:
    message = refused(**place(key))

    assert "environment variable" in message or "host:NAME" in message
    assert key not in message


@pytest.mark.parametrize("url", ["https://me:canary@host/v1", "me:canary@host/v1/chat/completions"])
def test_key_in_a_url_is_refused_and_not_repeated(refused: Refused, url: str) -> None:
    assert "canary" not in refused(**endpoint(url=url))


def test_values_of_the_wrong_type_are_not_repeated_when_they_are_text(refused: Refused) -> None:
    assert "canary" not in refused(**params(temperature="canary"), name=["canary"])


@pytest.mark.parametrize(
    ("text", "source"),
    [
        ("host:MY_KEY", Source("host", "MY_KEY")),
        ("runtime:MY_KEY", Source("runtime", "MY_KEY")),
        ("MY_KEY", Source("host", "MY_KEY")),
        ("lit:any text: at all", Source("lit", "any text: at all")),
        ("lit:", Source("lit", "")),
        ("hf_token", Source("host", "hf_token")),
    ],
)
def test_ways_to_name_a_variable(read: Read, text: str, source: Source) -> None:
    config = read(env_vars={"A": text}).config
    assert config.env_vars == {"A": source}
    assert json.loads(config.model_dump_json())["env_vars"] == {"A": str(source)}


@pytest.mark.parametrize("name", ["A-B", "1A", "", "A\n", "A=B", "Ä", "A B", "A\x00"])
def test_names_of_variables_are_those_of_posix(refused: Refused, name: str) -> None:
    for given in ({name: "host:A"}, {"A": f"host:{name}"}, {"A": f"runtime:{name}"}):
        assert "env_vars" in refused(env_vars=given)


# --- overrides -----------------------------------------------------------------------------------


def test_set_overrides_any_key(read: Read) -> None:
    loaded = read({"set": "[target.api_endpoint.model_id=n, evaluation.nemo_evaluator_config.config"
                   ".params.parallelism=8, evaluation.tasks.0.name=gsm8k]"},
                  evaluation={"tasks": [{"name": "ifeval"}]})  # fmt: skip

    assert loaded.config.target.api_endpoint.model_id == "n"
    assert loaded.config.evaluation.nemo_evaluator_config.config.params.parallelism == 8
    assert loaded.config.evaluation.tasks[0].name == "gsm8k"


def test_set_takes_lists_and_keeps_their_commas(read: Read) -> None:
    loaded = read({"set": "[evaluation.tasks=[ifeval, gsm8k], user=me]"})

    assert [task.name for task in loaded.config.evaluation.tasks] == ["ifeval", "gsm8k"]
    assert loaded.config.user == "me"


def test_a_section_given_whole_is_laid_over_the_file(read: Read) -> None:
    # as Snakemake hands over --config 'target={api_endpoint: {model_id: n}}'
    loaded = read({"target": "{api_endpoint: {model_id: n}}", "name": "nightly"})

    assert loaded.config.target.api_endpoint.model_id == "n"
    assert loaded.config.target.api_endpoint.url, "the file's other keys stay"
    assert loaded.config.name == "nightly"


@pytest.mark.parametrize(
    ("values", "message"),
    [
        ({"target": "{api_endpoint: {"}, "--config target: the value is not YAML"),
        ({"target": "{api_endpoint: {modelid: n}}"}, "target.api_endpoint.modelid: unknown key"),
        ({"limit_sample": 3}, "--config: unknown key 'limit_sample'\n    -> did you mean 'limit_s"),
        ({"model_id": "m"}, "is overridden with --config 'set=[target.api_endpoint.model_id=...]'"),
        ({"limit_samples": "ten"}, "--config limit_samples: 'ten' is not a whole number"),
        ({"set": "[target]"}, "--config set: 'target' is not key=value"),
        ({"set": "[user={]"}, "--config set"),
        ({"set": "[user.name=x]"}, "--config set: user"),
        ({"set": "[target.api_endpoint.modelid=x]"}, "--config set: target.api_endpoint.modelid"),
        ({"set": "[evaluation.tasks.0.x.y=x]"}, "--config set: 'evaluation.tasks.0.x.y' leads"),
    ],
)
def test_wrong_override_names_the_override(
    refused: Refused, values: dict[str, Any], message: str
) -> None:
    assert message in refused(values)


def test_truth_and_words_as_snakemake_hands_them_over() -> None:
    overrides = parse_overrides({"tasks": "[a, b]", "fresh": "c", "new_run": "True"}, [])

    assert overrides.tasks == ("a", "b")
    assert overrides.fresh == ("c",)
    assert overrides.new_run
    assert not parse_overrides({"new_run": False}, []).new_run


def test_mistakes_in_a_file_and_on_the_command_line_are_told_at_once(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("execution: {output_dri: x}\nevaluation: {tasks: [mmlu]}\n")
    with pytest.raises(InputError) as refused:
        load([file], {"limit_sample": "10", "limit_samples": "x", "set": "execution.jobbs=2"})
    told = str(refused.value)
    for wrong in ("'output_dri'", "'limit_sample'", "'x' is not a whole number", "'jobbs'"):
        assert wrong in told


def test_empty_sections_are_like_missing_ones(read: Read) -> None:
    loaded = read(execution=None, env_vars=None, deployment=None, **params(extra=None))

    assert loaded.config.execution.output_dir == "results"
    assert loaded.config.env_vars == {}


def test_assign_makes_what_is_missing() -> None:
    mapping: dict[str, Any] = {"a": None, "b": [{"c": 1}]}

    assign(mapping, "a.x.y", 1)
    assign(mapping, "b.0.c", 2)

    assert mapping == {"a": {"x": {"y": 1}}, "b": [{"c": 2}]}


def test_nearest_lists_a_few_where_nothing_is_near() -> None:
    assert nearest("ifevl", ["ifeval", "gsm8k"]) == "did you mean 'ifeval'?"
    assert nearest("zzz", ["b", "a"]) == "possible: a, b"
    assert nearest("zzz", [str(number) for number in range(50)]) == ""


def test_a_type_alone_is_short_for_a_section(tmp_path: Path) -> None:
    file = tmp_path / "my.yaml"
    file.write_text("deployment: demo\nexecution: slurm\nevaluation: {tasks: [demo_letters]}\n")

    loaded = load([file], {})

    assert (loaded.config.deployment.type, loaded.config.execution.type) == ("demo", "slurm")
