"""Any mutation of a valid config gives a plan or an InputError, never another exception."""

from __future__ import annotations

import contextlib
import copy
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st

from snakeval.config.deployment import BROUGHT_UP
from snakeval.config.index import sections_of
from snakeval.config.model import Config
from snakeval.errors import InputError
from snakeval.plan.make import plan
from snakeval.reference.listing import task_content
from snakeval.render.task import render
from snakeval.start import checks

ROOT = Path(__file__).parents[2]
CATALOGUE = ROOT / "config" / "catalogue"
LAUNCHER = sorted((ROOT / "tests" / "unit" / "data" / "launcher").glob("*.yaml"))

VALID: list[dict[str, Any]] = [
    {
        "target": {"api_endpoint": {"url": "http://h/v1/chat/completions", "model_id": "m"}},
        "execution": {"output_dir": "out", "mounts": {"evaluation": {"/a": "/b"}}},
        "env_vars": {"A": "host:B"},
        "evaluation": {
            "nemo_evaluator_config": {"config": {"params": {"top_p": 0.5, "extra": {"a": 1}}}},
            "tasks": [{"name": "aime_2024", "pre_cmd": "echo", "resources": {"cpus": 2}}, "gsm8k"],
        },
    },
    {
        "deployment": {
            "type": "vllm", "hf_model_handle": "a/b", "served_model_name": "m", "gpus": "0,1",
            "tensor_parallel_size": 2,
            "endpoints": {"chat": "/v1/chat/completions"}, "env_vars": {"A": "lit:b"},
        },
        "auxiliary_deployments": {
            "judge": {"type": "vllm", "hf_model_handle": "a/b", "served_model_name": "j"}
        },
        "execution": {"type": "slurm", "walltime": "01:00:00", "proxy": {"type": "haproxy"}},
        "evaluation": {"tasks": [{"name": "gsm8k", "endpoint_type": "completions"}]},
        "export": {"mlflow": {"tracking_uri": "http://h"}, "local": {"format": "csv"}},
        "prices": {"server_hour": 1},
    },
    {
        "models": [{"target": {"api_endpoint": {"model_id": "a"}}, "name": "x"}],
        "target": {"api_endpoint": {"url": "http://h/v1/completions"}},
        "harnesses": {
            "own": {
                "kind": "command", "command": "ask {url} {param.a}", "samples": "s.jsonl",
                "tasks": {"quiz": {"samples": 3}},
            }
        },
        "evaluation": {"tasks": ["own.quiz"], "env_vars": {"A": "runtime:B"}},
    },
    {
        "execution": {
            "type": "lepton",
            "lepton_platform": {
                "tasks": {
                    "env_vars": {"A": {"value_from": {"secret_name_ref": "s"}}},
                    "mounts": [{"from": "a", "path": "/b", "mount_path": "/c"}],
                }
            },
        },
        "deployment": {
            "type": "nim", "image": "i", "served_model_name": "m",
            "lepton_config": {"resource_shape": "g", "api_tokens": [{"value": "host:T"}]},
        },
        "evaluation": {"tasks": ["lm-evaluation-harness.ifeval"]},
    },
]  # fmt: skip

HOSTILE = [
    "", "-", "-x", ".", "..", "../x", "/", "~", "~nobody-at-all/x", "\x00", "a\nb", "\ud83d",
    "\u202e", "x" * 300, "x" * 5000, "${", "${a}", "${oc.env:NOT_SET_AT_ALL}",
    "${deployment}", "\\${a}", "${oc.env:HOME}", "???", "'", '"', "@URL@",
    "{url}", "{", "}", "%s", "http://", "http://[",
    "http://h:x/", "host:", "lit:", "runtime:1", "none", "null",
    "auxiliary_deployments.judge.chat_url",
    "auxiliary_deployments.x.y", "own.quiz", "a.b.c", "results", "0", "1e999", "all", "12:00:00",
    "${select_not_null:a,b}", "[", "*", "**", "**/*", "/*/*", "--pid host", "a'b", "`id`", "$(id)",
]  # fmt: skip
LEAF = st.one_of(
    st.sampled_from(HOSTILE),
    st.text(max_size=20),
    st.none(),
    st.booleans(),
    st.integers(),
    st.sampled_from([0, -1, 10**400, 2**63]),
    st.floats(),
)
VALUE = st.recursive(
    LEAF,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3),
        st.dictionaries(
            st.one_of(st.text(max_size=8), st.sampled_from(HOSTILE)), inner, max_size=3
        ),
    ),
    max_leaves=5,
)


def places(node: Any, path: tuple[Any, ...] = ()) -> Iterator[tuple[Any, ...]]:
    """Every place of a config, and one new key in every mapping."""
    if path:
        yield path
    if isinstance(node, dict):
        for key, value in node.items():
            yield from places(value, (*path, key))
        yield (*path, "new key")
    elif isinstance(node, list):
        for index, value in enumerate(node):
            yield from places(value, (*path, index))


def put(content: dict[str, Any], path: tuple[Any, ...], value: Any) -> None:
    here: Any = content
    for key in path[:-1]:
        here = here[key]
    here[path[-1]] = value


@st.composite
def mutated(draw: st.DrawFn) -> dict[str, Any]:
    content = copy.deepcopy(draw(st.sampled_from(VALID)))
    for _ in range(draw(st.integers(1, 3))):
        path = draw(st.sampled_from(sorted(places(content), key=str)))
        with contextlib.suppress(KeyError, IndexError, TypeError):
            here: Any = content
            for key in path[:-1]:
                here = here[key]
            if draw(st.booleans()) and path[-1] in here and isinstance(here, dict):
                here[draw(st.one_of(st.sampled_from(HOSTILE), st.text(max_size=8)))] = here.pop(
                    path[-1]
                )
            else:
                here[path[-1]] = draw(VALUE)
    return content


def written(content: dict[str, Any]) -> str:
    try:
        return yaml.safe_dump(content, allow_unicode=False)
    except (yaml.YAMLError, UnicodeError):
        return json.dumps(content)


def looked_at(text: str, values: dict[str, Any]) -> None:
    """What a start does with a config before it asks anything of the machine."""
    Path("my.yaml").write_text(text, encoding="utf-8")
    try:
        runs = plan([Path("my.yaml")], values, CATALOGUE)
        for run in runs:
            if problems := list(checks.recipes(run.tasks)):
                raise InputError(problems)
            for task in run.tasks:
                json.dumps(task_content(task))
                render(task, "docker", task.image)
    except InputError as error:
        str(error).encode()
        assert error.problems


@pytest.fixture(autouse=True, scope="module")
def _in_a_folder_of_its_own(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    with contextlib.chdir(tmp_path_factory.mktemp("any")):
        yield


@pytest.mark.parametrize("content", VALID, ids=range(len(VALID)))
def test_the_configs_to_begin_with_are_valid(content: dict[str, Any]) -> None:
    Path("my.yaml").write_text(written(content))
    assert plan([Path("my.yaml")], {}, CATALOGUE)


@settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck))
@given(content=mutated())
@example(content={"evaluation": {"tasks": ["a"]}, "models": [{"checkpoints": "\x00"}]})
@example(content={"evaluation": {"tasks": ["a"]}, "deployment": [1], "models": [{"name": "a"}]})
@example(content={"evaluation": {"tasks": ["a"]}, "deployment": {"type": [], "gpus": "0,1"}})
@example(content={"evaluation": {"tasks": ["a"]}, "deployment": {"type": "vllm", "gpus": "²"}})
@example(
    content={"evaluation": {"tasks": ["a"]}, "deployment": {"type": "vllm", "gpus": "9" * 5000}}
)
def test_any_mutation_gives_a_plan_or_a_sentence(content: dict[str, Any]) -> None:
    looked_at(written(content), {})


def _place(heading: str, key: str) -> tuple[dict[str, Any], tuple[Any, ...]]:
    """A valid config with the section of this heading in it, and the path of one of its keys."""
    kind = re.search(r" \(type ([a-z_]+)[^)]*\)", heading)
    heading = re.sub(r" \(type [^)]*\)", "", heading).replace("[]", ".0")
    path = [int(part) if part.isdigit() else part for part in heading.split(".") if part]
    content = copy.deepcopy(VALID[2 if path[:1] in (["harnesses"], ["models"]) else 0])
    if path[:1] == ["deployment"]:
        content["target"] = {}
    if path[:1] == ["auxiliary_deployments"]:
        content["auxiliary_deployments"] = {"NAME": copy.deepcopy(VALID[1]["deployment"])}
    if path[:1] == ["harnesses"]:
        content["harnesses"] = {"NAME": content["harnesses"]["own"]}
        content["evaluation"]["tasks"] = ["NAME.quiz"]
        path = ["quiz" if index > 2 and part == "NAME" else part for index, part in enumerate(path)]
    if kind and path[0] == "deployment":
        content["deployment"] = (
            {"type": kind[1], **VALID[1]["deployment"]} if kind[1] in BROUGHT_UP else {}
        )
    elif kind:
        content[str(path[0])] = {"type": kind[1]}
    here: Any = content
    for part in path:
        if isinstance(here, dict):
            here = here.setdefault(part, {})
        else:
            if not here or not isinstance(here[0], dict):
                here[:] = [{}]
            here = here[0]
    return content, (*path, key)


KEYS = [(heading, key) for heading, model in sections_of(Config) for key in model.model_fields]


@settings(max_examples=300, deadline=None, suppress_health_check=list(HealthCheck))
@given(place=st.sampled_from(KEYS), value=VALUE)
@example(place=("execution (type local)", "output_dir"), value="~nobody-at-all/x")
@example(place=("execution (type local)", "extra_docker_args"), value="'")
@example(place=("execution (type local)", "output_dir"), value="x" * 300)
def test_anything_at_any_key_of_the_model_gives_a_plan_or_a_sentence(
    place: tuple[str, str], value: Any
) -> None:
    content, path = _place(*place)
    with contextlib.suppress(KeyError, IndexError, TypeError):
        put(content, path, value)
    looked_at(written(content), {})


@settings(max_examples=100, deadline=None, suppress_health_check=list(HealthCheck))
@given(
    key=st.sampled_from(["set", "tasks", "fresh", "limit_samples", "target", "new_run", "x"]),
    value=VALUE,
    assigned=st.sampled_from(
        ["execution.output_dir", "evaluation.tasks.0.name", "env_vars", "a.b"]
    ),
)
def test_any_override_gives_a_plan_or_a_sentence(key: str, value: Any, assigned: str) -> None:
    given = [f"{assigned}={value}"] if key == "set" else value
    looked_at(written(VALID[0]), {key: given})


@settings(max_examples=50, deadline=None, suppress_health_check=list(HealthCheck))
@given(path=st.sampled_from(LAUNCHER), at=st.integers(0, 400), text=st.text(max_size=6))
@example(path=LAUNCHER[0].with_name("generic_server.yaml"), at=13, text="?")
def test_any_slip_in_a_launchers_file_gives_a_plan_or_a_sentence(
    path: Path, at: int, text: str
) -> None:
    content = path.read_text()
    with contextlib.suppress(UnicodeEncodeError):
        looked_at(content[:at] + text + content[at:], {})
