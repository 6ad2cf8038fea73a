"""Words of a harness's command line that make a score meaningless are refused when planning."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from rig.built_runs import CATALOGUE
from snakeval.config.load import load
from snakeval.plan.make import make_run
from snakeval.start.checks import recipes


def refused(tmp_path: Path, extra: dict[str, Any], name: str = "lm_eval.gsm8k") -> list[str]:
    content = {
        "execution": {"output_dir": str(tmp_path / "out")},
        "target": {"api_endpoint": {"url": "http://h/v1/chat/completions", "model_id": "m"}},
        "evaluation": {
            "nemo_evaluator_config": {"config": {"params": {"extra": extra}}},
            "tasks": [name],
        },
    }
    file = tmp_path / "my.yaml"
    file.write_text(yaml.safe_dump(content))
    return [problem.what for problem in recipes(make_run(load([file], {}), CATALOGUE).tasks)]


@pytest.mark.parametrize("name", ["lm_eval.gsm8k", "lm-evaluation-harness.ifeval"])
@pytest.mark.parametrize(
    ("args", "option"),
    [
        ("--predict_only", "predict_only"),
        ("--pred", "predict_only"),
        ("-x", "predict_only"),
        ("-sx", "predict_only"),
        ("--seed 1 --samples '{\"a\": [1]}'", "samples"),
        ("--samp=x.json", "samples"),
        ("-Ex.json", "samples"),
        ("-E x.json", "samples"),
        ("--limit=0.1", "limit"),
        ("-L5", "limit"),
        ("-t mmlu", "tasks"),
        ("--tasks mmlu gsm8k", "tasks"),
        ("-C other.yaml", "config"),
        ("--model hf", "model"),
        ("-o elsewhere", "output_path"),
        ("-c /shared/cache", "use_cache"),
    ],
)
def test_argument_under_which_a_score_means_nothing_is_refused(
    tmp_path: Path, name: str, args: str, option: str
) -> None:
    [what] = refused(tmp_path, {"args": args}, name)

    assert what.startswith(f"--{option} ")


@pytest.mark.parametrize(
    "args",
    [
        "--trust_remote_code --confirm_run_unsafe_code",
        "--add_instruction",
        "--include_path /benchmark",
        "--gen_kwargs limit=5 --metadata '{\"samples\": 3}'",
        "--seed 5 --verbosity DEBUG -w --write_out --model_args timeout=60",
        "--system_instruction 'no --predict_only please'",
    ],
)
def test_other_arguments_are_the_users_own(tmp_path: Path, args: str) -> None:
    assert refused(tmp_path, {"args": args}) == []
    assert refused(tmp_path, {"args": args}, "lm-evaluation-harness.ifeval") == []


def test_arguments_that_lm_eval_would_refuse_are_refused_before(tmp_path: Path) -> None:
    assert "lm-eval refuses it" in refused(tmp_path, {"args": "--seed"})[0]


def test_words_of_another_harness_mean_what_it_says(tmp_path: Path) -> None:
    assert refused(tmp_path, {"args": "--limit 5"}, "simple_evals.mmlu_pro") == []


def test_model_arguments_that_ask_another_model_are_refused(tmp_path: Path) -> None:
    assert refused(tmp_path, {"model_args": {"model": "m", "timeout": 5}}) == []
    assert "'other' is not the model" in refused(tmp_path, {"model_args": {"model": "other"}})[0]
