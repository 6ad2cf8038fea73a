"""What a config becomes: run ids, task digests, folders; and that no upgrade ever changes them."""

import copy
import subprocess
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from rig.checked import publish_checked
from snakeval.config.load import load
from snakeval.errors import InputError
from snakeval.plan.endpoint import endpoint_url
from snakeval.plan.identity import dataset_revision, digest
from snakeval.plan.make import make_run
from snakeval.plan.run import Run, Task

Config = dict[str, Any]
Plan = Callable[..., Run]
CATALOGUE = Path(__file__).parents[2] / "config" / "catalogue"
NOON = datetime(2026, 11, 21, 12, 0, 0, tzinfo=UTC)

IFEVAL = "lm-evaluation-harness.ifeval"
BASE: Config = {
    "target": {
        "api_endpoint": {"url": "http://localhost:8000/v1/chat/completions", "model_id": "m"}
    },
    "evaluation": {
        "nemo_evaluator_config": {"config": {"params": {"limit_samples": 10}}},
        "tasks": [
            {
                "name": IFEVAL,
                "nemo_evaluator_config": {
                    "config": {"params": {"temperature": 0.5, "extra": {"num_fewshot": 3}}}
                },
            },
            {"name": "lm_eval.gsm8k"},
        ],
    },
}


@pytest.fixture
def plan(tmp_path: Path) -> Plan:
    """Plans a config as a start does; values are those of `--config`."""

    def make(config: Config, **values: Any) -> Run:
        file = tmp_path / "my.yaml"
        content = copy.deepcopy(config)
        content.setdefault("execution", {}).setdefault("output_dir", str(tmp_path / "out"))
        file.write_text(yaml.safe_dump(content, sort_keys=False))
        return make_run(load([file], values), CATALOGUE, NOON)

    return make


def changed(**at: Any) -> Config:
    """BASE with other values; `a__b__0` is a path."""
    config = copy.deepcopy(BASE)
    for path, value in at.items():
        *above, last = [int(key) if key.isdigit() else key for key in path.split("__")]
        here: Any = config
        for key in above:
            here = here.setdefault(key, {}) if isinstance(here, dict) else here[key]
        here[last] = value
    return config


def digests(run: Run) -> list[str]:
    return [task.digest for task in run.tasks]


def run_id(run: Run) -> str:
    return run.paths.id[-8:]


# --- pinned: an upgrade that changes one of these runs finished benchmarks again ----------------


def test_digests_of_version_1_never_change(plan: Plan) -> None:
    run = plan(BASE)

    assert run.paths.id == "2026-11-21-12-00-00-ff85e3f5"
    assert {task.benchmark.id: task.digest for task in run.tasks} == {
        "lm-evaluation-harness.ifeval": "5e3237bc5f5a",
        "lm_eval.gsm8k": "b7f788118981",
    }
    assert run.members == "9d73bb6ec99d"


def test_identity_of_version_1_never_changes(plan: Plan) -> None:
    run = plan(BASE)

    assert run.identity == {
        "version": 1,
        "name": "http://localhost:8000/v1/chat/completions",
        "model_id": "m",
        "endpoint_type": None,
        "params": {"limit_samples": 10},
    }
    assert run.tasks[0].identity == {
        "version": 1,
        "benchmark": "lm-evaluation-harness.ifeval",
        "image": None,
        "model_id": "m",
        "endpoint_type": "chat",
        "params": {"limit_samples": 10, "temperature": 0.5, "extra": {"num_fewshot": 3}},
        "adapter_config": {},
        "dataset": None,
        "definition": None,
    }


def test_digest_of_own_benchmark_never_changes(plan: Plan, tmp_path: Path) -> None:
    files = tmp_path / "files"
    files.mkdir()
    (files / "ask.py").write_text("print('hello')\n")
    own = {"kind": "command", "command": "python3 {files}/ask.py", "files": "files"}
    run = plan(
        changed(harnesses={"own": {**own, "tasks": {"quiz": None}}})
        | {"evaluation": {"tasks": ["own.quiz"]}}
    )

    assert digests(run) == ["67cb27bf580c"]


def test_digest_of_demo_is_over_its_files(plan: Plan) -> None:
    run = plan(
        {"name": "demo", "deployment": {"type": "demo"}, "evaluation": {"tasks": ["demo_letters"]}}
    )

    # Not pinned: the questions may change. Their revision is part of it, their place is not.
    (task,) = run.tasks
    assert set(task.identity["definition"]) == {"files"}
    assert str(CATALOGUE.parent) not in str(task.identity)


def test_canonical_form_does_not_depend_on_order_or_alphabet() -> None:
    assert digest({"b": 1, "a": [1, 2]}) == digest({"a": [1, 2], "b": 1})
    assert digest({"a": [1, 2]}) != digest({"a": [2, 1]})
    assert digest({"a": "ä"}) == "ba42eceab1bf"
    assert digest({"a": 1}) != digest({"a": "1"}) != digest({"a": True})


# --- what changes a task's digest, and what does not ---------------------------------------------

PARAMS = "evaluation__nemo_evaluator_config__config__params"
FIRST = "evaluation__tasks__0"
FIRST_ENDPOINT = f"{FIRST}__nemo_evaluator_config__target__api_endpoint"
FIRST_PARAMS = f"{FIRST}__nemo_evaluator_config__config__params"
ADAPTER = "nemo_evaluator_config__target__api_endpoint__adapter_config"

WHAT: dict[str, Config] = {
    "model": changed(target__api_endpoint__model_id="m2"),
    "run-wide parameter": changed(**{f"{PARAMS}__top_p": 0.9}),
    "parameter of the task": changed(**{f"{FIRST_PARAMS}__temperature": 0.6}),
    "parameter that only the harness knows": changed(**{f"{FIRST_PARAMS}__extra__num_fewshot": 4}),
    "image": changed(**{f"{FIRST}__container": "registry.example/other:1"}),
    "adapter": changed(**{f"evaluation__{ADAPTER}": {"use_system_prompt": True}}),
    "type of endpoint": changed(**{f"{FIRST}__endpoint_type": "completions"}),
    "model of the harness's config": changed(**{f"{FIRST_ENDPOINT}__model_id": "m2"}),
    "type of the harness's config": changed(**{f"{FIRST_ENDPOINT}__type": "completions"}),
    "address of its own": changed(**{f"{FIRST_ENDPOINT}__url": "http://o.example/v1/completions"}),
    "benchmark of the harness's config": changed(
        **{f"{FIRST}__nemo_evaluator_config__config__type": "mmlu"}
    ),
}


@pytest.mark.parametrize("what", WHAT)
def test_what_decides_the_result_changes_the_digest(plan: Plan, what: str) -> None:
    assert digests(plan(WHAT[what]))[0] != digests(plan(BASE))[0]


HOW: dict[str, Config] = {
    "requests at once": changed(**{f"{PARAMS}__parallelism": 64}),
    "repeated requests": changed(**{f"{FIRST_PARAMS}__max_retries": 9}),
    "time limit of a request": changed(**{f"{FIRST_PARAMS}__request_timeout": 9}),
    "empty extra": changed(
        evaluation__tasks__1={
            "name": "lm_eval.gsm8k",
            "nemo_evaluator_config": {"config": {"params": {"extra": {}}}},
        }
    ),
    "URL": changed(target__api_endpoint__url="http://elsewhere:1/v1/chat/completions"),
    "key": changed(target__api_endpoint__api_key_name="MY_KEY"),
    "name of the run": changed(name="another"),
    "user": changed(user="somebody"),
    "variables": changed(env_vars={"A": "lit:b"}),
    "cap of the endpoint": changed(execution__mode="sequential"),
    "free space": changed(execution__min_free_gb=5),
    "file mode": changed(execution__file_mode="0664"),
    "mounts": changed(execution__mounts={"evaluation": {"/tmp": "/data"}}),
    "words for docker": changed(execution__extra_docker_args="--shm-size=1g"),
    "samples that may be missing": changed(evaluation__max_unanswered=0.1),
    "metadata": changed(evaluation__nemo_evaluator_config__metadata={"ticket": 7}),
    "key of the harness's config": changed(**{f"{FIRST_ENDPOINT}__api_key_name": "MY_KEY"}),
    "its own name once more": changed(
        **{f"{FIRST}__nemo_evaluator_config__config__type": IFEVAL.rpartition(".")[2]}
    ),
    "streaming": changed(
        evaluation__nemo_evaluator_config__target={"api_endpoint": {"stream": True}}
    ),
}


@pytest.mark.parametrize("what", HOW)
def test_how_it_is_run_does_not_change_the_digest(plan: Plan, what: str) -> None:
    assert digests(plan(HOW[what])) == digests(plan(BASE))


def test_digest_of_one_task_is_not_about_the_others(plan: Plan) -> None:
    both = {task.benchmark.id: task.digest for task in plan(BASE).tasks}
    reversed_tasks = list(reversed(BASE["evaluation"]["tasks"]))
    one = changed(evaluation__tasks=BASE["evaluation"]["tasks"][1:])

    assert {
        task.benchmark.id: task.digest
        for task in plan(changed(evaluation__tasks=reversed_tasks)).tasks
    } == both
    assert digests(plan(one)) == [both["lm_eval.gsm8k"]]


def test_parameter_means_the_same_wherever_it_is_written(plan: Plan) -> None:
    everywhere = plan(changed(**{f"{PARAMS}__temperature": 0.5}))
    own = plan(changed(**{f"{PARAMS}": {}, f"{FIRST_PARAMS}__limit_samples": 10}))

    assert digests(everywhere)[0] == digests(plan(BASE))[0] == digests(own)[0]


# --- what makes another run ----------------------------------------------------------------------


OF_ALL = "evaluation__nemo_evaluator_config__target__api_endpoint"
SAID = {
    "model of all harnesses": changed(**{f"{OF_ALL}__model_id": "m2"}),
    "address of all harnesses": changed(**{f"{OF_ALL}__url": "http://o.example/v1/completions"}),
}


@pytest.mark.parametrize("what", ["model_id", "url", "name", "limit_samples", "type", *SAID])
def test_another_identity_is_another_run(plan: Plan, what: str) -> None:
    other = {
        "model_id": changed(target__api_endpoint__model_id="m2"),
        "url": changed(target__api_endpoint__url="http://elsewhere:1/v1/chat/completions"),
        "name": changed(name="mine"),
        "limit_samples": changed(**{f"{PARAMS}__limit_samples": 11}),
        "type": changed(target__api_endpoint__type="chat"),
        **SAID,
    }[what]

    assert run_id(plan(other)) != run_id(plan(BASE))


def test_limit_on_the_command_line_is_the_one_in_the_file(plan: Plan) -> None:
    other = plan(changed(**{f"{PARAMS}__limit_samples": 7}))

    assert run_id(plan(BASE, limit_samples=7)) == run_id(other)
    assert digests(plan(BASE, limit_samples=7)) == digests(other)


def test_tasks_and_hosts_are_no_part_of_the_identity(plan: Plan) -> None:
    named = changed(name="mine")
    moved = changed(name="mine", target__api_endpoint__url="http://elsewhere:1/v1/chat/completions")
    fewer = changed(evaluation__tasks=[IFEVAL])
    per_task = changed(**{f"{FIRST_PARAMS}__temperature": 0.9})
    faster = changed(**{f"{PARAMS}__parallelism": 64})

    assert run_id(plan(named)) == run_id(plan(moved))
    assert {run_id(plan(config)) for config in (BASE, fewer, per_task, faster)} == {
        run_id(plan(BASE))
    }


def test_run_folder_of_the_same_identity_is_resumed(plan: Plan, tmp_path: Path) -> None:
    name = run_id(plan(BASE))
    out = tmp_path / "out"
    for time in ("2026-01-01-00-00-00", "2026-02-01-00-00-00"):
        (out / f"{time}-{name}").mkdir(parents=True)
    (out / "2026-03-01-00-00-00-01234567").mkdir()
    (out / f"notes-{name}").mkdir()

    assert plan(BASE).paths.dir == out / f"2026-02-01-00-00-00-{name}"
    assert not plan(BASE).new
    assert plan(BASE, new_run=True).paths.id == f"2026-11-21-12-00-00-{name}"
    assert plan(BASE, new_run=True).new


def test_planning_writes_nothing(plan: Plan, tmp_path: Path) -> None:
    plan(BASE)

    assert [path.name for path in tmp_path.iterdir()] == ["my.yaml"]


# --- folders of repeated benchmarks --------------------------------------------------------------


def repeated(*temperatures: float) -> Config:
    tasks = [
        {"name": IFEVAL, "nemo_evaluator_config": {"config": {"params": {"temperature": value}}}}
        for value in temperatures
    ]
    return changed(evaluation__tasks=tasks)


def evaluate(run: Run) -> dict[float, str]:
    """As far as folders go: every task has a work folder. Its folder, by temperature."""
    for task in run.tasks:
        task.paths.work(task.digest).mkdir(parents=True, exist_ok=True)
    return folders(run)


def folders(run: Run) -> dict[float, str]:
    return {task.params["temperature"]: task.name for task in run.tasks}


def test_repeated_benchmark_gets_numbered_folders(plan: Plan) -> None:
    assert folders(plan(repeated(0.1, 0.2, 0.3))) == {
        0.1: "ifeval",
        0.2: "ifeval.1",
        0.3: "ifeval.2",
    }


@pytest.mark.parametrize(
    ("now", "expected"),
    [
        pytest.param((0.2, 0.1), {0.1: "ifeval", 0.2: "ifeval.1"}, id="reordered"),
        pytest.param(
            (0.3, 0.1, 0.2),
            {0.1: "ifeval", 0.2: "ifeval.1", 0.3: "ifeval.2"},
            id="one more before them",
        ),
        pytest.param((0.2,), {0.2: "ifeval.1"}, id="the first one taken out"),
        pytest.param((0.1,), {0.1: "ifeval"}, id="the second one taken out"),
        pytest.param((0.9, 0.2), {0.9: "ifeval", 0.2: "ifeval.1"}, id="the first one changed"),
        pytest.param((0.1, 0.9), {0.1: "ifeval", 0.9: "ifeval.1"}, id="the second one changed"),
    ],
)
def test_work_folder_stays_with_its_spec(
    plan: Plan, now: tuple[float, ...], expected: dict[float, str]
) -> None:
    assert evaluate(plan(repeated(0.1, 0.2))) == {0.1: "ifeval", 0.2: "ifeval.1"}

    assert folders(plan(repeated(*now))) == expected


def test_same_task_of_two_harnesses_has_two_folders(plan: Plan) -> None:
    run = plan(changed(evaluation__tasks=["lm_eval.ifeval", "lm-evaluation-harness.ifeval"]))

    assert [task.name for task in run.tasks] == ["ifeval", "ifeval.1"]


def test_same_benchmark_twice_with_the_same_parameters_is_an_error(plan: Plan) -> None:
    with pytest.raises(InputError, match="is listed already"):
        plan(repeated(0.1, 0.1))


# --- choosing tasks ------------------------------------------------------------------------------


def test_tasks_are_chosen_by_folder_task_or_benchmark(plan: Plan) -> None:
    run = plan(
        changed(evaluation__tasks=[IFEVAL, "lm_eval.gsm8k", "lm_eval.arc_easy"]),
        tasks="ifeval,lm_eval.gsm8k",
    )

    assert [task.name for task in run.selected] == ["ifeval", "gsm8k"]
    assert len(run.tasks) == 3


@pytest.mark.parametrize("key", ["tasks", "fresh"])
def test_unknown_chosen_task_is_an_error_with_the_nearest(plan: Plan, key: str) -> None:
    with pytest.raises(
        InputError, match=rf"--config {key}: .*'ifevl'[^-]*-> did you mean 'ifeval'"
    ):
        plan(BASE, **{key: "ifevl"})


def test_members_are_what_the_tables_will_show(plan: Plan) -> None:
    everything, one = plan(BASE), plan(BASE, tasks="ifeval")
    assert everything.members != one.members

    # given that the other one is published meanwhile, by hand
    other: Task = one.tasks[1]
    publish_checked(other)

    assert plan(BASE, tasks="ifeval").members == everything.members


# --- small parts ---------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("given", "kind", "expected"),
    [
        ("http://h/v1/chat/completions", "completions", "http://h/v1/completions"),
        ("http://h/v1/completions", "chat", "http://h/v1/chat/completions"),
        ("http://h/v1/chat/completions/", "embedding", "http://h/v1/embeddings"),
        ("http://h/v1/chat/completions", "vlm", "http://h/v1/chat/completions"),
        ("http://h/predict", "chat", "http://h/predict"),
    ],
)
def test_url_follows_what_the_benchmark_asks(given: str, kind: Any, expected: str) -> None:
    assert endpoint_url(given, kind) == expected


def test_dataset_revision_is_known_for_snapshots_and_checkouts(tmp_path: Path) -> None:
    commit = "a" * 40
    snapshot = tmp_path / "models--x" / "snapshots" / commit
    checkout = tmp_path / "checkout"
    (checkout / ".git" / "refs" / "heads").mkdir(parents=True)
    (checkout / ".git" / "HEAD").write_text("ref: refs/heads/main\n")
    (checkout / ".git" / "refs" / "heads" / "main").write_text("b" * 40 + "\n")

    assert dataset_revision(snapshot) == commit
    assert dataset_revision(checkout) == "b" * 40
    assert dataset_revision(tmp_path) is None


def test_planning_imports_nothing_heavy(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text(
        "target: {api_endpoint: {url: http://h/v1/chat/completions, model_id: m}}\n"
        "evaluation: {tasks: [gsm8k]}\n"
    )
    plan = (
        "import sys; from pathlib import Path; import snakeval.pipeline, snakeval.start.checks;"
        "from snakeval.config.load import load; from snakeval.plan.make import make_run;"
        f"make_run(load([Path('my.yaml')], {{}}), Path({str(CATALOGUE)!r}));"
        "print(*sys.modules)"
    )
    ended = subprocess.run(
        [sys.executable, "-c", plan], cwd=tmp_path, capture_output=True, text=True, check=True
    )
    heavy = {"pandas", "numpy", "pyarrow", "mlflow", "docker", "datasets", "lm_eval", "snakemake"}
    assert heavy & set(ended.stdout.split()) == set()
