"""Telling somebody of a NO-GO: a command, a webhook. What fails here ends no watch."""

from __future__ import annotations

import json
import subprocess
from collections.abc import Mapping
from typing import Any

PATIENCE = 60.0
"""Seconds for a command or a webhook."""


def tell(what: Mapping[str, Any], command: str | None, webhook: str | None) -> list[str]:
    """Hands `what` over as JSON: on the command's stdin, as the webhook's body. Returns what has
    failed, a sentence each; no address is in it, since it may hold a key."""
    failed = []
    text = json.dumps(what)
    if command:
        try:
            done = subprocess.run(
                ["bash", "-c", command], input=text, text=True, timeout=PATIENCE, check=False
            )
            if done.returncode:
                failed.append(f"the alert command has ended with {done.returncode}")
        except (OSError, subprocess.TimeoutExpired) as error:
            failed.append(f"the alert command failed: {type(error).__name__}")
    if webhook:
        import requests

        try:
            answer = requests.post(webhook, json=dict(what), timeout=PATIENCE)
            if answer.status_code >= 400:
                failed.append(f"the webhook answered {answer.status_code}")
        except requests.RequestException as error:
            failed.append(f"the webhook did not answer: {type(error).__name__}")
    return failed
