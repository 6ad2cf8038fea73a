"""The scripted endpoint itself: other tests rest on its counts and its faults."""

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
import requests

from rig.endpoint import Fault, ScriptedEndpoint, answer_sums
from rig.image import BENCHMARK
from rig.waiting import PATIENCE

QUESTIONS = [
    json.loads(line) for line in (BENCHMARK / "sums.jsonl").read_text("utf-8").splitlines()
]


def ask(
    endpoint: ScriptedEndpoint, prompt: str = "What is 2 + 3?", key: str | None = None
) -> requests.Response:
    """One chat request on a connection of its own, given up after 30 s."""
    return requests.post(
        endpoint.chat_url,
        json={"model": "test-model", "messages": [{"role": "user", "content": prompt}]},
        headers={"Authorization": f"Bearer {key}"} if key else {},
        timeout=PATIENCE,
    )


def text(response: requests.Response) -> str:
    return str(response.json()["choices"][0]["message"]["content"])


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(16) as pool:
        yield pool


def test_every_question_of_the_benchmark_is_answered_right_or_wrong_as_scripted() -> None:
    right = [q for q in QUESTIONS if q["answer"] in answer_sums(q["question"]).rstrip(".").split()]
    none_right = [answer_sums(q["question"], right_share=0.0) for q in QUESTIONS]

    assert len({q["question"] for q in QUESTIONS}) == len(QUESTIONS) == 200
    assert 0.65 < len(right) / len(QUESTIONS) < 0.85
    assert all(
        q["answer"] not in said.rstrip(".").split()
        for q, said in zip(QUESTIONS, none_right, strict=True)
    )


def test_chat_completions_and_models_look_like_an_openai_server(endpoint: ScriptedEndpoint) -> None:
    endpoint.right_share = 1.0

    completion = requests.post(
        endpoint.completions_url,
        json={"model": "other", "prompt": ["What is 2 + 3?", "What is 2 * 3?"]},
        timeout=PATIENCE,
    ).json()

    assert text(ask(endpoint)) == "The answer is 5."
    assert [c["text"] for c in completion["choices"]] == ["The answer is 5.", "The answer is 6."]
    assert completion["model"] == "test-model"
    models = requests.get(f"{endpoint.url}/models", timeout=PATIENCE).json()
    assert [model["id"] for model in models["data"]] == ["test-model"]
    assert endpoint.requests == {"What is 2 + 3?": 2, "What is 2 * 3?": 1}


def test_requests_in_flight_are_counted(
    endpoint: ScriptedEndpoint, pool: ThreadPoolExecutor
) -> None:
    endpoint.fault = Fault("hang")
    held = [pool.submit(ask, endpoint, q["question"]) for q in QUESTIONS[:8]]
    endpoint.wait_for(lambda: endpoint.in_flight == 8)

    endpoint.fault = None
    endpoint.wait_until_idle()

    assert endpoint.highest_in_flight == 8
    assert endpoint.answers.total() == 0
    assert all(isinstance(future.exception(), requests.ConnectionError) for future in held)


def test_an_answer_for_a_client_that_has_left_is_not_counted(endpoint: ScriptedEndpoint) -> None:
    endpoint.latency = 20
    with pytest.raises(requests.Timeout):
        requests.post(endpoint.chat_url, json={"messages": []}, timeout=0.3)

    endpoint.wait_until_idle(timeout=PATIENCE)

    assert endpoint.requests.total() == 1
    assert endpoint.answers.total() == 0


@pytest.mark.parametrize("status", [400, 401, 429, 500])
def test_a_status_for_every_request_comes_with_an_error_body(
    endpoint: ScriptedEndpoint, status: int
) -> None:
    endpoint.fault = Fault("status", status=status)

    refused = ask(endpoint)
    endpoint.fault = None

    assert refused.status_code == status
    assert refused.json()["error"]["message"]
    assert ask(endpoint).status_code == 200


def test_a_fault_can_hit_every_third_prompt_the_first_time_only(endpoint: ScriptedEndpoint) -> None:
    endpoint.fault = Fault("status", status=429, every=3, first=1)
    prompts = [q["question"] for q in QUESTIONS[:6]]

    first = [ask(endpoint, prompt).status_code for prompt in prompts]
    second = [ask(endpoint, prompt).status_code for prompt in prompts]

    assert first == [200, 200, 429, 200, 200, 429]
    assert second == [200] * 6


@pytest.mark.parametrize("kind", ["drop", "truncate"])
def test_broken_answers_are_errors_of_the_connection(endpoint: ScriptedEndpoint, kind: str) -> None:
    endpoint.configure({"fault": {"kind": kind}})

    with pytest.raises((requests.ConnectionError, requests.exceptions.ChunkedEncodingError)):
        ask(endpoint)

    endpoint.wait_until_idle()
    assert endpoint.answers.total() == 0


def test_an_empty_answer_is_a_good_one_without_text(endpoint: ScriptedEndpoint) -> None:
    endpoint.fault = Fault("empty")

    response = ask(endpoint)

    assert response.status_code == 200
    assert text(response) == ""


def test_it_dies_after_exactly_n_answers_and_comes_back(
    endpoint: ScriptedEndpoint, pool: ThreadPoolExecutor
) -> None:
    endpoint.latency = 0.1
    endpoint.die_after = 5

    futures = [pool.submit(ask, endpoint, q["question"]) for q in QUESTIONS[:16]]
    endpoint.wait_for(lambda: not endpoint.listening)
    answered = [future for future in futures if future.exception() is None]
    assert len(answered) == endpoint.answers.total() == 5
    with pytest.raises(requests.ConnectionError):
        ask(endpoint)

    endpoint.come_back()
    assert ask(endpoint).status_code == 200


def test_a_key_a_model_list_and_other_models_can_be_asked_for(endpoint: ScriptedEndpoint) -> None:
    endpoint.required_key = "secret"
    assert [ask(endpoint).status_code, ask(endpoint, key="secret").status_code] == [401, 200]
    assert endpoint.authorizations == [None, "Bearer secret"]

    endpoint.required_key = None
    endpoint.models, endpoint.refuse_other_models = ["another"], True
    assert ask(endpoint).status_code == 404

    endpoint.models = None
    assert requests.get(f"{endpoint.url}/models", timeout=PATIENCE).status_code == 404


def test_waiting_in_vain_ends_with_the_counters(endpoint: ScriptedEndpoint) -> None:
    with pytest.raises(TimeoutError, match="'answers': 0"):
        endpoint.wait_until_answered(1, timeout=0.1)


def test_a_shell_can_start_it_read_its_counters_and_change_it(tmp_path: Path) -> None:
    tests = Path(__file__).parents[1]
    port_file = tmp_path / "port"
    command = [sys.executable, "-m", "tests.rig.endpoint", "--port-file", str(port_file)]
    command += ["--config", '{"right_share": 1.0}']
    with subprocess.Popen(
        command,
        cwd=tests.parent,
        stdout=subprocess.PIPE,
        text=True,
        env=os.environ | {"PYTHONDONTWRITEBYTECODE": "1"},
    ) as process:
        try:
            assert process.stdout is not None
            url = process.stdout.readline().strip().removesuffix("/v1")
            assert url.endswith(f":{int(port_file.read_text())}")
            chat = {"messages": [{"role": "user", "content": "What is 2 + 3?"}]}
            asked = requests.post(f"{url}/v1/chat/completions", json=chat, timeout=PATIENCE)
            assert text(asked) == "The answer is 5."
            fault = {"fault": {"kind": "status", "status": 503}}
            assert requests.post(f"{url}/rig/config", json=fault, timeout=PATIENCE).ok
            refused = requests.post(f"{url}/v1/chat/completions", json=chat, timeout=PATIENCE)
            assert refused.status_code == 503
            assert requests.get(f"{url}/rig/counters", timeout=PATIENCE).json()["requests"] == 2
        finally:
            process.terminate()
    assert process.returncode == 0


def test_nothing_of_it_is_left_running() -> None:
    others = set(threading.enumerate())
    with ScriptedEndpoint() as endpoint:
        assert ask(endpoint).status_code == 200
        own = set(threading.enumerate()) - others
        assert own
    for thread in own:
        thread.join(timeout=PATIENCE)
        assert not thread.is_alive()
