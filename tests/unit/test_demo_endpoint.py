"""The demo endpoint keeps its promises, and the demo benchmarks work from any folder."""

import errno
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rig.waiting import wait_until
from snakeval import demo_endpoint

BENCHMARKS = Path(__file__).parents[2] / "config" / "benchmarks" / "demo"
SHARES_RIGHT = {"demo_arithmetic": 0.85, "demo_letters": 0.75, "demo_capitals": 0.65}
PATIENCE_SECONDS = 20


class Endpoint:
    """A running demo endpoint whose standard input this process holds open."""

    def __init__(self, port_file: Path) -> None:
        self.port_file = port_file
        command = [sys.executable, "-m", "snakeval.demo_endpoint", "--port-file", str(port_file)]
        self.process = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )

    @property
    def port(self) -> int:
        wait_until(self.port_file.exists)
        return int(self.port_file.read_text())

    def request(self, method: str, path: str, body: object = None) -> tuple[int, dict[str, Any]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=PATIENCE_SECONDS)
        text = body if isinstance(body, str) or body is None else json.dumps(body)
        connection.request(method, path, text)
        response = connection.getresponse()
        content = json.loads(response.read())
        connection.close()
        return response.status, content

    def chat(self, question: str, **extra: object) -> tuple[int, dict[str, Any]]:
        messages = [{"role": "user", "content": question}]
        body = {"model": demo_endpoint.MODEL, "messages": messages} | extra
        return self.request("POST", "/v1/chat/completions", body)


def start(port_file: Path) -> Iterator[Endpoint]:
    endpoint = Endpoint(port_file)
    yield endpoint
    endpoint.process.kill()
    endpoint.process.communicate()


@pytest.fixture(scope="module")
def endpoint(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Endpoint]:
    """One for the tests that only ask it."""
    yield from start(tmp_path_factory.mktemp("endpoint") / "port")


@pytest.fixture
def own_endpoint(tmp_path: Path) -> Iterator[Endpoint]:
    """One for a test that ends it."""
    yield from start(tmp_path / "port")


def questions(benchmark: str) -> list[dict[str, str]]:
    lines = (BENCHMARKS / f"{benchmark}.jsonl").read_text().splitlines()
    return [json.loads(line) for line in lines]


# What it answers


def test_same_question_same_answer(endpoint: Endpoint) -> None:
    _, first = endpoint.chat("What is 17 + 25?")
    _, with_other_words = endpoint.chat("Question: What is 17 + 25?\nEnd with the number.")
    _, as_completion = endpoint.request(
        "POST", "/v1/completions", {"model": demo_endpoint.MODEL, "prompt": "What is 17 + 25?"}
    )

    answer = first["choices"][0]["message"]["content"]
    assert with_other_words["choices"][0]["message"]["content"] == answer
    assert as_completion["choices"][0]["text"] == answer


def test_the_last_question_is_answered() -> None:
    examples = "What is the capital of France?\nAnswer: Paris\n\nWhat is 17 + 25?"
    assert demo_endpoint.answer(examples) == demo_endpoint.answer("What is 17 + 25?")


@pytest.mark.parametrize("benchmark", SHARES_RIGHT)
def test_most_answers_are_right_and_some_are_wrong(benchmark: str) -> None:
    asked = questions(benchmark)
    right = [demo_endpoint.answer(q["question"]) == f"Answer: {q['answer']}" for q in asked]
    assert sum(right) / len(right) == pytest.approx(SHARES_RIGHT[benchmark], abs=0.03)


@pytest.mark.parametrize("benchmark", SHARES_RIGHT)
def test_rules_agree_with_the_answers_of_the_benchmarks(benchmark: str) -> None:
    for question in questions(benchmark):
        replies = [
            skill.reply(match)
            for skill in demo_endpoint.SKILLS
            if (match := skill.question.fullmatch(question["question"]))
        ]
        assert [reply.right for reply in replies] == [question["answer"]]
        assert replies[0].wrong != question["answer"]


def test_it_says_that_it_is_no_model(endpoint: Endpoint) -> None:
    _, response = endpoint.chat("Who wrote Faust?")
    assert "demo, not a model" in response["choices"][0]["message"]["content"]


# How it speaks


def test_responses_have_the_form_of_the_openai_api(endpoint: Endpoint) -> None:
    status, response = endpoint.chat("What is 17 + 25?")
    assert status == 200
    assert response["object"] == "chat.completion"
    assert response["model"] == demo_endpoint.MODEL
    assert response["choices"][0]["finish_reason"] == "stop"
    usage = response["usage"]
    assert usage["total_tokens"] == usage["prompt_tokens"] + usage["completion_tokens"] == 7


def test_stop_and_max_tokens_are_obeyed(endpoint: Endpoint) -> None:
    _, stopped = endpoint.chat("What is 17 + 25?", stop=[":"])
    _, cut = endpoint.chat("What is 17 + 25?", max_tokens=1)
    assert stopped["choices"][0]["message"]["content"] == "Answer"
    assert cut["choices"][0]["message"]["content"] == "Answer:"
    assert cut["choices"][0]["finish_reason"] == "length"


def test_one_model_is_listed(endpoint: Endpoint) -> None:
    assert endpoint.request("GET", "/health")[0] == 200
    _, listed = endpoint.request("GET", "/v1/models")
    assert [model["id"] for model in listed["data"]] == ["snakeval-demo"]


def test_unknown_model_is_refused(endpoint: Endpoint) -> None:
    status, response = endpoint.chat("What is 17 + 25?", model="gpt-5")
    assert status == 404
    assert response["error"]["code"] == "model_not_found"
    assert "snakeval-demo" in response["error"]["message"]


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/chat/completions", "{not json", 400),
        ("POST", "/v1/chat/completions", {"messages": []}, 400),
        ("POST", "/v1/chat/completions", {"model": "snakeval-demo", "messages": []}, 400),
        ("POST", "/v1/completions", {"model": "snakeval-demo", "prompt": [1, 2]}, 400),
        ("POST", "/v1/completions", {"model": "snakeval-demo", "prompt": "", "stream": True}, 400),
        ("POST", "/v1/embeddings", {}, 404),
        ("GET", "/v1/chat/completions", None, 405),
        ("PUT", "/health", None, 501),
    ],
)
def test_bad_requests_get_an_openai_error(
    endpoint: Endpoint, method: str, path: str, body: object, status: int
) -> None:
    answered, response = endpoint.request(method, path, body)
    assert answered == status
    assert set(response["error"]) == {"message", "type", "param", "code"}
    assert response["error"]["message"]


# How it lives and dies


def test_port_file_is_there_only_while_it_listens(own_endpoint: Endpoint) -> None:
    port = own_endpoint.port
    socket.create_connection(("127.0.0.1", port)).close()

    own_endpoint.process.communicate()

    assert not own_endpoint.port_file.exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port))


def test_port_file_of_a_killed_endpoint_is_replaced(own_endpoint: Endpoint) -> None:
    old = own_endpoint.port
    own_endpoint.process.kill()
    own_endpoint.process.wait()
    own_endpoint.port_file.write_text(f"{old} stale")

    for successor in start(own_endpoint.port_file):
        wait_until(lambda: "stale" not in read_or_empty(own_endpoint.port_file))
        assert successor.request("GET", "/health")[0] == 200


def read_or_empty(path: Path) -> str:
    try:
        return path.read_text()
    except FileNotFoundError:
        return ""


def test_ends_when_stdin_closes(own_endpoint: Endpoint) -> None:
    assert own_endpoint.request("GET", "/health")[0] == 200
    output, _ = own_endpoint.process.communicate(timeout=PATIENCE_SECONDS)
    assert own_endpoint.process.returncode == 0
    assert output == b""


def test_ends_when_the_script_that_holds_its_stdin_is_killed(tmp_path: Path) -> None:
    port_file = tmp_path / "port"
    endpoint = f"exec {sys.executable} -m snakeval.demo_endpoint --port-file {port_file}"
    script = subprocess.Popen(["bash", "-c", f"exec 9> >({endpoint}); read -r"], stdin=-1)
    wait_until(port_file.exists)
    port = int(port_file.read_text())

    script.send_signal(signal.SIGKILL)
    script.communicate()

    wait_until(lambda: not port_file.exists())
    wait_until(lambda: refuses(port))


def refuses(port: int) -> bool:
    """Whether nobody listens any more."""
    with socket.socket() as client:
        return client.connect_ex(("127.0.0.1", port)) == errno.ECONNREFUSED


def test_a_taken_port_is_an_error_in_one_line() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "snakeval.demo_endpoint", "--port", port]
        ended = subprocess.run(command, stdin=subprocess.DEVNULL, capture_output=True, text=True)
    assert ended.returncode == 1
    assert len(ended.stderr.splitlines()) == 1
    assert port in ended.stderr


# The benchmarks themselves

LOAD_BY_LM_EVAL = """
import json, sys
from lm_eval.tasks import TaskManager
loaded = TaskManager(include_path=sys.argv[1], include_defaults=False).load(sys.argv[2:])["tasks"]
print(json.dumps({name: len(task.eval_docs) for name, task in loaded.items()}))
"""


def test_lm_eval_loads_the_benchmarks_from_any_folder_and_leaves_nothing_behind(
    tmp_path: Path,
) -> None:
    clone, hf_home = tmp_path / "clone", tmp_path / "hf"
    shutil.copytree(BENCHMARKS, clone, ignore=shutil.ignore_patterns("__pycache__"))
    files = sorted(clone.rglob("*"))
    offline = {"HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "HF_HOME": str(hf_home)}

    ended = subprocess.run(
        [sys.executable, "-c", LOAD_BY_LM_EVAL, "clone", *SHARES_RIGHT],
        cwd=tmp_path,
        env=os.environ | offline | {"PYTHONDONTWRITEBYTECODE": "1"},
        capture_output=True,
        text=True,
    )

    assert ended.returncode == 0, ended.stderr
    samples = {"demo_arithmetic": 40, "demo_letters": 30, "demo_capitals": 24}
    assert json.loads(ended.stdout) == samples
    assert sorted(clone.rglob("*")) == files
    assert not hf_home.exists()
