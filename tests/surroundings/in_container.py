"""A benchmark that takes a blink, in the real evaluation image (it brings the Python for it)."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rig.pipeline import Project

ASK = Path(__file__).parents[1] / "workflow" / "quiz"
QUIZ = "python3 {files}/ask.py --url {url} --model {model_id} --results {results} --limit 3"
CERTIFICATES = ("SSL_CERT_FILE", "REQUESTS_CA_BUNDLE", "CURL_CA_BUNDLE")
RETRIES = ("--retries", "0")


def harness(command: str, image: str | None) -> dict[str, Any]:
    """A harness of one's own with one task, `quiz`."""
    return {
        "own": {
            "kind": "command",
            "command": command,
            "image": image,
            "files": str(ASK),
            "tasks": {"quiz": {"endpoint_type": "chat"}},
        }
    }


def write(project: Project, command: str = QUIZ, image: str | None = None, **sections: Any) -> None:
    """The project's config: only that task; as a process where there is no image."""
    project.write(
        tasks=[{"name": "own.quiz"}], **{"harnesses": harness(command, image), **sections}
    )


def cause(project: Project) -> str:
    """Why the task failed."""
    return str(project.status("quiz")["cause"])
