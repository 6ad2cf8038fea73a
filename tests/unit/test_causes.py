"""Why a harness failed: known causes by name, else its last words; and what is not tried again."""

import json
from pathlib import Path

import pytest

from snakeval.job import attempt, causes, record
from snakeval.job.harness_log import read_log
from snakeval.job.paths import TaskPaths

FRAMES = 'Traceback (most recent call last):\n  File "/x/run.py", line 3, in main\n    go()\n'
OF_DATA = 'Traceback (most recent call last):\n  File "/x/task.py", line 9, in doc_to_text\n'


def told(tmp_path: Path, text: str, exit_code: int = 1) -> causes.Cause:
    log = tmp_path / "ifeval" / "logs" / "evaluate.1.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    log.write_text(text)
    return causes.of_harness(exit_code, read_log(log), "m")


@pytest.mark.parametrize(
    ("exit_code", "evidence", "text", "cause"),
    [
        (137, causes.AT_ITS_LIMIT, "", "it ran out of memory"),
        (137, causes.OF_THE_MACHINE, "", "while this machine was out of memory"),
        # What a harness has printed is no evidence, of one or the other.
        (137, causes.BY_SOMEBODY, "MemoryError", "somebody has killed it"),
        (137, causes.NOT_SAID, "MemoryError", "out of memory, or from outside"),
        # A process of it was killed, and it says so itself.
        (1, causes.AT_ITS_LIMIT, "CalledProcessError: died with <Signals.SIGKILL: 9>.", "memory"),
        (1, causes.AT_ITS_LIMIT, "ValueError: no such thing", "no such thing"),
        (1, causes.BY_SOMEBODY, "ValueError: no such thing", "no such thing"),
    ],
)
def test_who_has_killed_a_harness_is_told_by_evidence(
    tmp_path: Path, exit_code: int, evidence: str, text: str, cause: str
) -> None:
    log = tmp_path / "evaluate.1.log"
    log.write_text(text)
    found = causes.of_harness(exit_code, read_log(log), "m", evidence)
    assert cause in found.sentence
    assert not found.lasting


@pytest.mark.parametrize(
    ("lines_after", "named", "lasting"), [(0, True, True), (12, True, False), (60, False, False)]
)
def test_what_a_program_has_said_that_a_harness_tried_does_not_end_it(
    tmp_path: Path, lines_after: int, named: bool, lasting: bool
) -> None:
    of_program = f"{FRAMES}ModuleNotFoundError: No module named 'solution'\n"
    went_on = "".join(f"sample {number} is scored\n" for number in range(lines_after))
    found = told(tmp_path, of_program + went_on)
    assert ("the Python package solution" in found.sentence) is named
    assert found.lasting is lasting


LASTING = [
    ("ValueError: Tasks not found: gsm8kk", "no task gsm8kk"),
    ("KeyError: \"Unknown task 'mmlu_prox'\"", "no task mmlu_prox"),
    ("datasets.exceptions.DatasetNotFoundError: Dataset 'a/b' is a gated dataset on the Hub.",
     "a/b on Hugging Face is gated"),
    ("datasets.exceptions.DatasetNotFoundError: Dataset 'a/b' doesn't exist on the Hub",
     "a/b is not on the Hugging Face hub"),
    ("ValueError: Column 'question' not in the dataset. Current columns in the dataset: ['q']",
     "no column question"),
    ("jinja2.exceptions.UndefinedError: 'question' is undefined", "no column question"),
    ("ModuleNotFoundError: No module named 'langdetect'", "`pip install langdetect`"),
    ("ModuleNotFoundError: No module named 'sklearn.metrics'", "`pip install scikit-learn`"),
    ("ImportError: install it: pip install lm-eval[ifeval]", "`pip install lm-eval[ifeval]`"),
    ("ImportError: cannot import name 'Cls' from 'vllm.x' (/x.py)", "vllm.x is there in another"),
    ("TypeError: unsupported operand type(s) for |: 'type' and 'NoneType'", "with the Python"),
    ("ERROR: Package 'x' requires a different Python: 3.9.2 not in '>=3.10'", "with the Python"),
    ("RuntimeError: this harness requires Python >= 3.10", "with the Python"),
    ("FileNotFoundError: [Errno 2] No such file or directory: '/data/x.jsonl'", "/data/x.jsonl"),
    ("PermissionError: [Errno 13] Permission denied: '/data/x'", "/data/x may not be used by"),
    ("mkdir: cannot create directory \u2018/a/x\u2019: Permission denied", "/a/x may not be used"),
    ("/bin/sh: 1: cannot create /data/x: Permission denied", "/data/x may not be used by"),
    ("bash: line 1: /data/x: Permission denied", "/data/x may not be used by"),
    ("OSError: [Errno 30] Read-only file system: '/data/x'", "/data/x is on a file system that"),
    ("bash: line 1: /ro/x: Read-only file system", "/ro/x is on a file system that"),
    ("requests.exceptions.HTTPError: 401 Client Error: Unauthorized for url: https://data.org/x",
     "data.org answers 401: the key for it is missing"),
    ("exec /usr/bin/bash: exec format error", "another kind of processor"),
    ("bash: line 1: lm_evil: command not found", "no command lm_evil"),
    ("/bin/sh: 1: lm_evil: not found", "no command lm_evil"),
    ("NotImplementedError: Loglikelihood is not supported for chat completions.", "completions"),
    ("openai.BadRequestError: Error code: 400 - This model's maximum context length is 4096",
     "longer than the model can read"),
]  # fmt: skip

RETRIES = "Max retries exceeded with url: /x"

PASSING = [
    ("ConnectionError: Couldn't reach 'openai/gsm8k' on the Hub (LocalEntryNotFoundError)",
     "hub cannot be reached from where the harness runs, to fetch openai/gsm8k"),
    ("requests.ConnectionError: HTTPSPool(host='raw.githubusercontent.com'): Max retries",
     "raw.githubusercontent.com cannot be reached"),
    ("urllib.error.URLError: <urlopen error [Errno -2]> for https://huggingface.co/x",
     "huggingface.co cannot be reached"),
    ("requests.ConnectionError: HTTPSPool(host='drive.x'): failed\nerror: data missing: the tests'",
     "data missing: the tests'"),
    (f"ConnectionError: HTTPSConnectionPool(host='data.org', port=443): {RETRIES}",
     "data.org cannot be reached from where the harness runs"),
    (f"ConnectionError: HTTPConnectionPool(host='10.0.0.7', port=81): {RETRIES} timed out",
     "10.0.0.7 cannot be reached from where the harness runs"),
    (f"ConnectionError: HTTPConnectionPool(host='127.0.0.1', port=81): {RETRIES} Errno 111 refused",
     "nothing listens at 127.0.0.1:81 (connection refused); is that server up"),
    ("ClientConnectorError: Cannot connect to host judge:81 ssl:default [Connect call failed (1)]",
     "nothing listens at judge:81 (connection refused)"),
    ("requests.exceptions.HTTPError: 503 Server Error: Service Unavailable for url: https://a.b/x",
     "a.b answers 503: it is busy"),
    ("bash: fork: retry: Resource temporarily unavailable", "no more processes or threads"),
    ("RuntimeError: can't start new thread", "no more processes or threads"),
    ("OSError: [Errno 24] Too many open files: '/data/x'", "no more files"),
    ("torch.OutOfMemoryError: CUDA out of memory. Tried to allocate", "ran out of memory"),
    ("job: error: Detected 1 oom_kill event in StepId=7.batch", "ran out of memory"),
    ("openai.APIConnectionError: the judge at http://j:1 could not be asked: Connection error",
     "judge could not be asked"),
    ("job: error: *** JOB 7 CANCELLED AT x DUE TO TIME LIMIT ***", "time limit was reached"),
]  # fmt: skip


def test_why_the_hub_has_not_answered_is_told(tmp_path: Path) -> None:
    def cause(said: str) -> causes.Cause:
        asked = f"{said} thrown while requesting HEAD https://h/datasets/a/b/resolve/main/x\n"
        end = "ConnectionError: Couldn't reach 'a/b' on the Hub (LocalEntryNotFoundError)\n"
        return told(tmp_path, f"{asked}Retrying in 8s [Retry 5/5].\n{FRAMES}{end}")

    busy, refused = cause("HTTP Error 429"), cause("'[Errno 111] Connection refused'")
    untrusted = cause("'[SSL: CERTIFICATE_VERIFY_FAILED] certificate verify failed: self-signed'")

    assert "(HTTP Error 429), to fetch a/b" in busy.sentence and not busy.lasting
    assert "([Errno 111] Connection refused), to fetch a/b" in refused.sentence
    assert not refused.lasting
    assert "certificate is not trusted" in untrusted.sentence and untrusted.lasting


def test_what_is_wrong_around_a_harness_is_not_tried_again_where_it_has_ended_it(
    tmp_path: Path,
) -> None:
    line = "requests.exceptions.SSLError: [SSL: CERTIFICATE_VERIFY_FAILED] self-signed (_ssl.c:1)\n"
    went_on = "".join(f"sample {number} is scored\n" for number in range(60))

    assert told(tmp_path, FRAMES + line).lasting
    assert not told(tmp_path, FRAMES + line + went_on).lasting


@pytest.mark.parametrize(("line", "words"), LASTING)
def test_cause_that_stays_is_known_by_name(tmp_path: Path, line: str, words: str) -> None:
    cause = told(tmp_path, f"INFO: begin\n{FRAMES}{line}\n")

    assert words in cause.sentence
    assert cause.lasting


@pytest.mark.parametrize(
    ("frame", "line", "words"),
    [
        ("return self.dataset[self.config.test_split]", "KeyError: 'validation'", "no split valid"),
        ("x = {INV_AGG_REGISTRY[metric_agg]}", "KeyError: None",
         "a metric that lm-eval does not have"),
        ("score = self._metric_fn_list[metric](", "TypeError: 'NoneType' object is not callable",
         "a metric that lm-eval does not have"),
        ("text = doc_to_text(doc)", "KeyError: 'validation'", "no column validation"),
    ],
)  # fmt: skip
def test_what_a_definition_asks_for_in_vain_is_told_by_the_code_that_asks(
    tmp_path: Path, frame: str, line: str, words: str
) -> None:
    text = f'{FRAMES}  File "/x/lm_eval/api/task.py", line 9, in ask\n    {frame}\n{line}\n'
    cause = told(tmp_path, text)

    assert words in cause.sentence
    assert cause.lasting


@pytest.mark.parametrize(("line", "words"), PASSING)
def test_cause_that_may_pass_is_known_by_name(tmp_path: Path, line: str, words: str) -> None:
    cause = told(tmp_path, f"INFO: begin\n{FRAMES}{line}\n")

    assert words in cause.sentence
    assert not cause.lasting


def test_a_missing_key_is_a_column_only_where_data_is_read(tmp_path: Path) -> None:
    of_data = told(tmp_path, f"{OF_DATA}KeyError: 'question'\n")
    other = told(tmp_path, f"{FRAMES}KeyError: 'question'\n")

    assert "no column question" in of_data.sentence
    assert other.sentence == "KeyError: 'question'"


def test_what_was_handled_before_is_not_the_cause(tmp_path: Path) -> None:
    text = (
        f"WARNING: {FRAMES}ModuleNotFoundError: No module named 'vllm'\n"
        f"INFO: going on without it\n{FRAMES}ValueError: the answers are of the wrong kind\n"
    )

    assert told(tmp_path, text).sentence == "ValueError: the answers are of the wrong kind"


def test_program_that_has_started_another_one_lets_that_one_speak(tmp_path: Path) -> None:
    outer = "RuntimeError: Evaluation failed! Please consult the logs below"
    text = f"{FRAMES}ModuleNotFoundError: No module named 'langdetect'\n{FRAMES}{outer}\n"
    unknown = f"{FRAMES}ValueError: odd answers\n{FRAMES}{outer}\n"

    assert "langdetect" in told(tmp_path, text).sentence
    assert told(tmp_path, unknown).sentence == "ValueError: odd answers"


def test_exceptions_raised_while_another_was_handled_are_one(tmp_path: Path) -> None:
    during = "During handling of the above exception, another exception occurred:"
    text = (
        f"{FRAMES}requests.exceptions.ConnectionError: couldn't connect to 'https://huggingface.co'"
        f"\n\n{during}\n\n{FRAMES}RuntimeError: no data\n"
    )

    assert "hub cannot be reached" in told(tmp_path, text).sentence


def test_last_words_are_told_without_what_looks_like_a_secret(tmp_path: Path) -> None:
    secrets = {
        "Bearer abcdef": "abcdef",
        "sk-aB3dE5gH7jK9mN1p": "aB3dE5gH7jK9mN1p",
        "hf_abcdefghijklmnopqrst": "abcdefghijklmnopqrst",
        "https://me:pass-word@host/x": "pass-word",
        "api_key='zzz-zzz'": "zzz-zzz",
        "https://h/x?token=qwertz": "qwertz",
        "{'Authorization': 'Basic dXNlcjpwYXNz'}": "dXNlcjpwYXNz",
        "x7GhT4kLm9PqR2sVw5YzB8nDf3JcA6eU": "x7GhT4kLm9PqR2sVw5YzB8nDf3JcA6eU",
    }
    for text, secret in secrets.items():
        sentence = told(tmp_path, f"{FRAMES}ValueError: could not use {text} there\n").sentence
        assert sentence.startswith("ValueError: could not use ")
        assert "***" in sentence
        assert secret not in sentence


def test_harness_that_says_nothing_is_told_as_such(tmp_path: Path) -> None:
    assert told(tmp_path, "").sentence == "it wrote nothing into its log"
    assert told(tmp_path, "\n\nall is well\n").sentence == "all is well"
    assert told(tmp_path, "", exit_code=137).sentence.startswith("it was killed")


def test_container_that_did_not_start_says_why(tmp_path: Path) -> None:
    sentence = told(tmp_path, "docker: Error response: no such device gpu0.\n", 125).sentence

    assert sentence.startswith("the container could not be started: docker: Error response")


@pytest.fixture
def failed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A task whose first attempt in start `s1` failed for a cause that stays."""
    monkeypatch.setenv("SNAKEVAL_START", "s1")
    assert _begin(tmp_path) == 0
    ours = TaskPaths(tmp_path).record("d")
    ours.mkdir(parents=True, exist_ok=True)
    said = {"passed": False, "cause": "no task x", "lasting": True}
    (ours / record.CHECK).write_text(json.dumps(said))
    _end(tmp_path, "no task x")
    return tmp_path


def test_what_cannot_get_better_by_itself_is_not_tried_again(
    failed: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    capsys.readouterr()

    assert _begin(failed) == 1

    assert "not tried again, as it cannot get better by itself" in capsys.readouterr().out
    assert len(attempt.read(failed)["attempts"]) == 1


def test_server_does_not_wait_for_a_try_that_will_not_come(failed: Path) -> None:
    assert attempt.read(failed)["attempts"][0]["last"] is True


@pytest.mark.parametrize("start", ["s2", ""])
def test_next_start_and_a_person_try_everything_again(
    failed: Path, monkeypatch: pytest.MonkeyPatch, start: str
) -> None:
    monkeypatch.setenv("SNAKEVAL_START", start)

    assert _begin(failed) == 0


def test_other_spec_and_other_failure_are_tried_again(failed: Path) -> None:
    assert _begin(failed, digest="e") == 0
    _end(failed, "the endpoint could not be reached", number=2)
    assert _begin(failed, digest="e") == 0


def _begin(task: Path, digest: str = "d") -> int:
    words = ["begin", str(task), "--digest", digest, "--runtime", "process"]
    given = attempt.parser().parse_args(words)
    return int(given.run(given))


def _end(task: Path, cause: str, number: int = 1) -> None:
    words = ["end", str(task), "--number", str(number), "--state", "failed", "--cause", cause]
    given = attempt.parser().parse_args(words)
    given.run(given)
