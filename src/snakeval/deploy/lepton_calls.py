"""Calls to Lepton that survive what passes: the SDK repeats nothing that fails.

429, 5xx, connections that break and answers that nobody can read are repeated with longer and
longer pauses; everything else is told in one line. The SDK is imported only here and where its
objects are made, and only when an endpoint is wanted.
"""

from __future__ import annotations

import json
import os
import threading
import time
from collections.abc import Callable
from typing import Any, TypeVar

PATIENCE = 120.0
"""Seconds for which a call is repeated."""
REQUEST = 20.0
"""Seconds that one request may take; the SDK's own 120 would outlast a kill."""
NO_CREDENTIALS = (
    "`lep login -c WORKSPACE:TOKEN`, or export LEPTON_WORKSPACE_ID and LEPTON_WORKSPACE_TOKEN"
)

Answer = TypeVar("Answer")


class GivenUp(Exception):
    """What was wanted of Lepton cannot be had; why."""


def may_pass(error: BaseException) -> bool:
    """Whether a failed call may succeed when it is repeated."""
    import requests
    from leptonai.api.v2.api_resource import ClientError, ServerError
    from leptonai.api.v2.utils import WorkspaceError

    if isinstance(error, ClientError):
        return error.response.status_code in (408, 425, 429)
    if isinstance(error, WorkspaceError):  # 401, 403 or 404 of the workspace itself
        return False
    # A RuntimeError is an answer that the SDK could not read.
    return isinstance(error, ServerError | requests.RequestException | RuntimeError)


def status_of(error: BaseException) -> int | None:
    """The HTTP status of a refused call."""
    answer = getattr(error, "response", None)
    return getattr(answer, "status_code", None)


def in_words(error: BaseException) -> str:
    """What the service said, in one line."""
    answer = getattr(error, "response", None)
    if answer is None:
        return " ".join(str(error).split())[:300] or type(error).__name__
    if answer.status_code in (401, 403):
        return (
            f"{answer.status_code}: Lepton refuses the token; `lep login` again, or correct "
            "LEPTON_WORKSPACE_TOKEN"
        )
    try:
        said = json.loads(answer.text)["message"]
    except (ValueError, KeyError, TypeError):
        said = answer.text
    return f"{answer.status_code}: {' '.join(str(said).split())[:300]}"


def patiently(
    call: Callable[[], Answer],
    what: str,
    patience: float | None = None,
    ended: threading.Event | None = None,
) -> Answer:
    """Repeats a call that fails in a way that may pass. Raises GivenUp, or what will not pass.

    patience  seconds; None: PATIENCE
    ended     nobody waits any more once it is set
    """
    patience = PATIENCE if patience is None else patience
    deadline = time.monotonic() + patience
    pause = 0.5
    while True:
        try:
            return call()
        except Exception as error:
            if not may_pass(error):
                raise
            if time.monotonic() + pause > deadline:
                raise GivenUp(
                    f"{what}: Lepton does not answer as it should for {patience:.0f} s "
                    f"({in_words(error)})"
                ) from None
            wait = max(pause, _told_to_wait(error))
            if ended is not None and ended.wait(wait):
                raise GivenUp(f"{what}: stopped") from None
            if ended is None:
                time.sleep(wait)
            pause = min(pause * 2, 15.0)


def _told_to_wait(error: BaseException) -> float:
    """Seconds that the service asks for, a minute at most."""
    answer = getattr(error, "response", None)
    try:
        return min(float(answer.headers["Retry-After"]), 60.0) if answer is not None else 0.0
    except (KeyError, ValueError, TypeError):
        return 0.0


def connect() -> Any:
    """The SDK's client. Raises GivenUp where there are no credentials."""
    os.environ.setdefault("LEPTON_LOG_LEVEL", "ERROR")
    from leptonai.api.v2.client import APIClient

    try:
        client = APIClient()
    except Exception as error:  # TypeError without a token, others without a workspace
        raise GivenUp(f"no credentials for Lepton: {NO_CREDENTIALS}") from error
    client._timeout = REQUEST
    return client


def family_of(client: Any, ended: threading.Event | None = None) -> Any:
    """The family of the endpoint API that the workspace has, once it has said which.

    The SDK takes the older one for good when the workspace does not answer at first.
    """
    from leptonai.api.v2.client import reset_new_deployment_api_flag_cache

    info = patiently(client.info, "asking the workspace", ended=ended)
    newer = info.features is not None and info.features.enable_new_deployment_api is True
    for _ in range(5):
        if client.new_deployment_api_enabled == newer:
            return client.deployment
        reset_new_deployment_api_flag_cache(client.url)
    raise GivenUp("asking the workspace: it does not say which endpoint API it has")
