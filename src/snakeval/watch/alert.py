"""Telling somebody of a NO-GO: a command, a webhook. What fails here ends no watch."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Mapping
from typing import Any

PATIENCE = 60.0
"""Seconds for a command, or for one try at a webhook."""

PAUSES = (1.0, 5.0)
"""Seconds before a webhook that is down is tried again."""

COMMAND, WEBHOOK = "command", "webhook"


def tell(what: Mapping[str, Any], command: str | None, webhook: str | None) -> dict[str, str]:
    """Hands `what` over as JSON: on the command's stdin, as the webhook's body. Returns by whom it
    was not heard, and a sentence on why; no address is in it, since it may hold a key."""
    failed = {}
    if command and (sentence := _by_command(json.dumps(what), command)):
        failed[COMMAND] = sentence
    if webhook and (sentence := _by_webhook(what, webhook)):
        failed[WEBHOOK] = sentence
    return failed


def _by_command(text: str, command: str) -> str:
    """Why it has failed; empty where it has not."""
    try:
        done = subprocess.run(
            ["bash", "-c", command], input=text, text=True, timeout=PATIENCE, check=False
        )
    except (OSError, subprocess.TimeoutExpired) as error:
        return f"the alert command failed: {type(error).__name__}"
    return f"the alert command has ended with {done.returncode}" if done.returncode else ""


def _by_webhook(what: Mapping[str, Any], webhook: str) -> str:
    """As `_by_command`."""
    import requests

    sentence = ""
    for pause in (0.0, *PAUSES):
        time.sleep(pause)
        try:
            answer = requests.post(webhook, json=dict(what), timeout=PATIENCE)
        except requests.RequestException as error:
            sentence = f"the webhook did not answer: {type(error).__name__}"
            continue
        if answer.status_code < 400:
            return ""
        sentence = f"the webhook answered {answer.status_code}"
        if answer.status_code < 500 and answer.status_code != 429:
            break  # it will not like it better the next time
    return sentence
