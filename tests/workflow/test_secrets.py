"""Secrets stay in the environment: their values are in no file, command line or output."""

import stat
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from quiz_project import OWN, edit, quiz, row, target_command, write

from rig.endpoint import ScriptedEndpoint
from rig.pipeline import HARNESSES, SUMS, Project

API_KEY = "canary-api-key-5f1d"
TOKEN = "canary-hf-token-77ab"
CANARIES = (API_KEY, TOKEN)

TELLTALE = {
    "kind": "command",
    "command": "env; echo {param.word}; echo $HF_TOKEN >&2; exit 1",
    "tasks": {"blab": None},
}
"""A harness that prints its whole environment, and fails."""


class CommandLines(threading.Thread):
    """Reads every command line of this machine, over and over, and keeps those with a canary."""

    def __init__(self, *canaries: str) -> None:
        super().__init__(daemon=True)
        self.canaries = canaries or CANARIES
        self.looks = 0
        self.found: set[str] = set()
        self.seen: set[str] = set()
        self._looks_at: Counter[str] = Counter()
        self._over = threading.Event()

    def run(self) -> None:
        while not self._over.wait(0.01):
            self.looks += 1
            for number in Path("/proc").glob("[0-9]*"):
                # A process gets its command line when it begins, and keeps it.
                self._looks_at[number.name] += 1
                if self._looks_at[number.name] > 50:
                    continue
                try:
                    told = (number / "cmdline").read_bytes().replace(b"\0", b" ")
                except OSError:
                    continue
                text = told.decode(errors="replace")
                self.seen.add(text.partition(" ")[2][:200])
                if any(canary in text for canary in self.canaries):
                    self.found.add(text)

    def __enter__(self) -> "CommandLines":
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._over.set()
        self.join()


def telling(folder: Path) -> list[str]:
    """Files below a folder that hold a canary."""
    wanted = [canary.encode() for canary in CANARIES]
    files = [path for path in folder.rglob("*") if path.is_file() and not path.is_symlink()]
    assert len(files) > 20
    return [str(path.relative_to(folder)) for path in files
            if any(canary in path.read_bytes() for canary in wanted)]  # fmt: skip


def test_no_secret_is_in_a_file_a_command_line_or_an_output(
    project: Project, endpoint: ScriptedEndpoint
) -> None:
    # given an endpoint that wants a key, a token for the benchmarks, and one that prints them
    endpoint.required_key = API_KEY
    project.environment.update(MY_KEY=API_KEY, MY_TOKEN=TOKEN)
    write(
        project,
        [quiz(seed=1), SUMS, quiz("telltale.blab", word="x")],
        harnesses={**HARNESSES, **OWN, "telltale": TELLTALE},
        env_vars={"HF_TOKEN": "host:MY_TOKEN"},
        target={
            "api_endpoint": {
                "url": project.url,
                "model_id": "test-model",
                "api_key_name": "MY_KEY",
            }
        },
    )

    with CommandLines() as command_lines:
        outputs = [
            project.run(*words)
            for words in (
                project.command("-n", "-p"),
                project.command("-p", "--verbose"),
                project.command("-p", "--retries", "0"),
                target_command(project, "status", "--verbose"),
                target_command(project, "logs", "--config", "task=blab", "follow=false"),
                target_command(project, "export_all", "-p"),
            )
        ]

    assert [ended.code for ended in outputs] == [0, 1, 1, 0, 0, 0]
    # then the endpoint has got its key, the blabbing one has run, and nobody else knows
    assert f"Bearer {API_KEY}" in endpoint.authorizations
    assert row(project, "snakeval_sums")["state"] == "published"
    assert row(project, "blab")["state"] == "failed"
    assert "HF_TOKEN=" in (project.task("blab") / "logs" / "evaluate.log").read_text()
    assert command_lines.looks > 10
    assert any("lm_eval" in text for text in command_lines.seen)
    assert command_lines.found == set()
    assert telling(project.folder) == []
    assert not any(canary in ended.output for ended in outputs for canary in CANARIES)


INLINE = "canary-in-the-url-99c1"
ASKS = {
    "kind": "command",
    "command": "python3 -c 'import json, os, urllib.request as u; "
    'u.urlopen(u.Request(os.environ["SNAKEVAL_ENDPOINT_URL"], '
    'json.dumps({"model": "test-model", "messages": [{"role": "user", "content": "1 + 1"}]})'
    '.encode(), {"Content-Type": "application/json"})).read(); '
    'json.dump({"scores": {"acc": 1.0}, "samples": {"expected": 1, "scored": 1, "unanswered": 0}}, '
    'open("results.json", "w"))\'',
    "tasks": {"once": {"samples": 1}},
}


def test_who_insists_on_a_secret_in_the_config_keeps_it_to_himself(
    project: Project, endpoint: ScriptedEndpoint
) -> None:
    # given a config with a key in the endpoint's URL, which is refused unless it insists
    sections: dict[str, Any] = {
        "harnesses": {"asks": ASKS},
        "target": {
            "api_endpoint": {"url": f"{project.url}?api-key={INLINE}", "model_id": "test-model"}
        },
    }
    write(project, [{"name": "asks.once"}], **sections)
    refused = project.run(*project.command("-n"))
    assert refused.code == 1 and "allow_inline_secrets" in refused.output
    write(project, [{"name": "asks.once"}], allow_inline_secrets=True, **sections)

    # when it runs, is reported and exported
    with CommandLines(INLINE) as command_lines:
        outputs = [refused] + [
            project.run(*words)
            for words in (
                project.command("-p"),
                target_command(project, "report"),
                target_command(project, "show_config"),
                target_command(project, "export_all", "-p"),
            )
        ]

    # then it works, and only files that nobody else can read know the key
    assert [ended.code for ended in outputs[1:]] == [0, 0, 0, 0], outputs[1].output
    assert row(project, "once")["state"] == "published"
    assert command_lines.found == set()
    assert not any(INLINE in ended.output for ended in outputs)
    run = project.task("once").parent
    assert stat.S_IMODE(run.stat().st_mode) == 0o700
    knowing = [
        path for path in run.rglob("*") if path.is_file() and INLINE.encode() in path.read_bytes()
    ]
    assert run / "config.yaml" in knowing
    for path in knowing:
        assert path.relative_to(run).parts[0] not in ("results", "exports"), path
        assert not path.stat().st_mode & 0o077, path


def test_failed_requests_do_not_tell_the_key(project: Project, endpoint: ScriptedEndpoint) -> None:
    # given a key that is refused only when the benchmark asks
    from rig.endpoint import Fault

    endpoint.required_key = API_KEY
    endpoint.fault = Fault("status", status=401)
    project.environment.update(MY_KEY=API_KEY)
    write(project, [SUMS], {"limit_samples": 3, "max_retries": 1})
    edit(project, lambda config: config["target"]["api_endpoint"].update(api_key_name="MY_KEY"))

    ended = project.snakemake("--retries", "0").refused()

    assert row(project, "snakeval_sums")["state"] == "failed"
    assert API_KEY not in ended.output
    assert telling(project.folder) == []
